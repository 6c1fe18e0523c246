"""A home that keeps up with a clock: what it shows at which second, and what its truth file then holds."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.errors import UsageError
from gateway.simulate.home import Home
from gateway.simulate.truth import LiveHome
from tests.meters.bench import NOON_S, StillClock, until


class Face:
    """A display of whole Wh and kW that remembers what it showed."""

    def __init__(self) -> None:
        self.seconds: list[int] = []

    def show(self, home: Home) -> dict[str, int]:
        self.seconds.append(home.second)
        return {"import": home.import_mwh // 1000 * 1000, "power": home.power // 1000 * 1000}


def test_without_a_truth_only_the_asked_seconds_are_shown() -> None:
    clock, face = StillClock(), Face()
    live = LiveHome(Home(3, NOON_S - 500), clock, face.show)
    clock.pass_s(0.9)
    live.catch_up()
    clock.pass_s(300)
    live.catch_up()
    clock.pass_s(-10)
    live.catch_up()
    assert face.seconds == [NOON_S, NOON_S + 300]


async def test_the_truth_has_every_second_and_each_telegram_is_one_of_them(tmp_path: Path) -> None:
    clock, face, truth = StillClock(), Face(), tmp_path / "truth.jsonl"
    live = LiveHome(Home(3, NOON_S), clock, face.show, truth)
    said: list[int] = []
    keeping = asyncio.create_task(live.keep(lambda: said.append(face.seconds[-1])))
    for seconds in (0.4, 0.6, 1, 7.5, 0.1):
        clock.pass_s(seconds)
        shown = round(clock.wall() // 1_000_000_000) - NOON_S + 1
        await until(lambda shown=shown: truth.exists() and truth.read_text().count("\n") == shown)  # type: ignore[misc]
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    assert [line["unit"] for line in lines] == list(range(NOON_S, NOON_S + 10))
    assert set(lines[0]) == {"unit", "import_mwh", "power_w"}
    assert all(line["import_mwh"] % 1000 == 0 for line in lines)
    assert said == [NOON_S, NOON_S + 1, NOON_S + 2, NOON_S + 9]


async def test_what_is_asked_between_ticks_is_in_the_truth_and_said_once(tmp_path: Path) -> None:
    clock, face, truth = StillClock(), Face(), tmp_path / "truth.jsonl"
    live = LiveHome(Home(3, NOON_S), clock, face.show, truth)
    said: list[int] = []
    keeping = asyncio.create_task(live.keep(lambda: said.append(face.seconds[-1])))
    await until(lambda: bool(said))
    clock.pass_s(1)
    live.catch_up()
    await until(lambda: len(said) == 2)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert said == face.seconds == [NOON_S, NOON_S + 1]
    assert truth.read_text().count("\n") == 2


async def test_a_truth_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    live = LiveHome(Home(3, NOON_S), StillClock(), Face().show, tmp_path / "nowhere" / "truth.jsonl")
    with pytest.raises(UsageError, match=r"cannot write the truth to .*nowhere.*: No such file"):
        await live.keep()
