"""Readings to chunks in the store, whatever fails in between: dense, sealed once, exact to the mWh."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError, LedgerError, TrustError, UsageError
from tests.home import CHUNK_UNITS, LAYOUT, LINK_UNITS, Home


@dataclass(frozen=True)
class Act:
    """One thing that happens to the home; `a` and `b` say how much."""

    what: str
    a: int = 0
    b: int = 0

    def __repr__(self) -> str:
        return f"{self.what}({self.a}, {self.b})"


NONE = st.just(0)


def acts(
    what: str, a: st.SearchStrategy[int] = NONE, b: st.SearchStrategy[int] = NONE
) -> st.SearchStrategy[Act]:
    return st.builds(Act, st.just(what), a, b)


LIFE = st.lists(
    st.one_of(
        acts("reads", st.integers(1, 25), st.integers(0, 40)),
        acts("reads", st.integers(1, 80), st.integers(0, 40)),
        acts("gap", st.integers(2, 200), st.integers(0, 9000)),
        acts("commit"),
        acts("dip", st.integers(1, 9)),
        acts("step", st.integers(-90, 90)),
        acts("trust", st.integers(0, 1)),
        acts("ledger fails", st.integers(0, 12), st.integers(1, 5)),
        acts("root fails", st.integers(0, 6), st.integers(1, 5)),
        acts("dies while it commits", st.integers(0, 15)),
        acts("crash"),
        acts("stop"),
        acts("publish"),
    ),
    max_size=25,
)


async def happens(home: Home, act: Act) -> None:
    match act.what:
        case "reads":
            for second in range(act.a):
                home.reads(1, act.b + second % 3, second % 7, second)
        case "gap":
            home.reads(act.a, act.b, act.b // 3)
        case "commit":
            await home.commit()
        case "dip":
            home.clock.pass_s(1)
            imported, exported, power = home.shown["main"]
            home.deliver((imported - act.a, exported, power))
        case "step":
            home.steps(act.a)
        case "trust":
            home.clock.is_trusted = bool(act.a)
        case "ledger fails":
            home.database.fuse.set(act.a, act.b)
            await home.commit()
        case "root fails":
            home.root.fuse.set(act.a, act.b)
            await home.commit()
        case "dies while it commits":
            for fuse in (home.database.fuse, home.root.fuse):
                fuse.set(act.a, None)
            await home.commit()
            await home.crashes_and_starts()
        case "crash":
            await home.crashes_and_starts()
        case "stop":
            home.mend()
            await home.stop()
            await home.start()
        case "publish":
            await home.publish()


async def lives(life: list[Act]) -> None:
    with tempfile.TemporaryDirectory(prefix="home-") as folder:
        async with Home(Path(folder)) as home:
            for act in life:
                await happens(home, act)
            home.mend()
            home.clock.is_trusted = True
            home.clock.pass_s(200)  # past whatever the clock was set back by
            await home.runs(2 * LINK_UNITS)
            await home.stop()
            await home.start()
            await home.publish()
            stored = await home.check_energy()
            assert stored.end == LAYOUT.unit_at(home.clock.wall()) + 1
            home.check_kept(stored)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LIFE)
def test_whatever_happens_units_are_dense_sealed_once_and_exact(life: list[Act]) -> None:
    asyncio.run(lives(life))
