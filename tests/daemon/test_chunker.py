"""Chunks: where they end, what follows them, and that nothing of it is forgotten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.layout import Layout
from gateway.daemon.chunker import border, front
from gateway.ledger.records import Sealed
from gateway.wire import names
from tests.support.home import CHUNK_UNITS, LINK_UNITS, Home, kind_of
from tests.support.provider import Provider

LAYOUT = Layout(1000, 12)


@given(unit=st.integers(0, 2**40), chunk_units=st.integers(1, 12))
def test_a_border_lies_in_the_units_own_link(unit: int, chunk_units: int) -> None:
    end = border(unit, LAYOUT, chunk_units)
    assert unit < end <= unit + chunk_units
    assert LAYOUT.link(end - 1) == LAYOUT.link(unit)
    assert LAYOUT.position(end) % chunk_units == 0 or LAYOUT.position(end) == 0
    assert border(end - 1, LAYOUT, chunk_units) == end


def sealed(incarnation: int, first: int, count: int) -> Sealed:
    return Sealed(incarnation, first, np.arange(first, first + count, dtype=np.uint64).reshape(1, -1))


@st.composite
def open_parts(draw: st.DrawFn) -> list[Sealed]:
    """Dense parts as the sealer leaves them: of one link each, incarnations one after another."""
    at, parts = draw(st.integers(0, 40)), []
    for incarnation in range(draw(st.integers(1, 3))):
        for size in draw(st.lists(st.integers(1, 30), max_size=4)):
            parts += [sealed(incarnation, x, y - x) for _, x, y in LAYOUT.split(at, at + size)]
            at += size
    return parts


@given(parts=open_parts(), chunk_units=st.integers(1, 12), incarnation=st.integers(0, 3))
def test_chunks_hold_all_units_once_and_lie_within_one_link_and_incarnation(
    parts: list[Sealed], chunk_units: int, incarnation: int
) -> None:
    units = [(part.incarnation, int(c)) for part in parts for c in part.c[0]]
    found: list[tuple[int, int]] = []
    while ready := front(parts, LAYOUT, chunk_units, incarnation):
        whole, rest = ready
        assert LAYOUT.link(whole.first) == LAYOUT.link(whole.end - 1)
        assert whole.end <= border(whole.first, LAYOUT, chunk_units)
        found += [(whole.incarnation, int(c)) for c in whole.c[0]]
        parts = [part for part in parts if part.first >= whole.end]
        if rest is not None:
            assert rest.first == whole.end
            parts.insert(0, rest)
    left = [(part.incarnation, int(c)) for part in parts for c in part.c[0]]
    assert found + left == units
    if left:  # only what can still grow stays open
        assert left[0][0] == incarnation
        same = [unit for of, unit in left if of == incarnation]
        assert same[-1] + 1 < border(same[0], LAYOUT, chunk_units)


async def test_what_follows_a_chunk_is_made_up_for_at_the_next_commit(tmp_path: Path) -> None:
    """Chunk, tokens, head: whichever signature fails, the next commit goes on there."""
    async with Home(tmp_path) as home:
        await home.runs(LINK_UNITS + 5)
        await home.grants(Provider(home.clock.now_ms), "20s")
        await home.runs(2 * CHUNK_UNITS)
        for calls in range(3):
            await home.publish()
            sent = len(home.bucket.puts)
            for _ in range(CHUNK_UNITS):
                home.reads()
            home.root.fail_after(calls)
            await home.commit()
            assert home.line().fault is not None
            await home.commit()
            assert home.line().fault is None
            await home.publish()
            kinds = [kind_of(key) for key, _ in home.bucket.puts[sent:]]
            assert kinds == ["chunk", "new", "head"]
            await home.check_energy()


async def test_the_order_is_descriptor_chunk_tokens_head(tmp_path: Path) -> None:
    async with Home(tmp_path) as home:
        await home.runs(LINK_UNITS + 5)
        await home.grants(Provider(home.clock.now_ms), "10s")
        await home.runs(2 * LINK_UNITS)
        await home.publish()
        stream = (await home.stream()).id
        kinds = [kind_of(key) for key, _ in home.bucket.puts]
        assert kinds[0] == "stream"
        assert set(kinds) == {"stream", "grant", "chunk", "new", "head"}
        sealed_until = 0
        for key, _ in home.bucket.puts:
            if key.startswith(names.chunks(stream)):
                sealed_until = names.number_in(key) + CHUNK_UNITS
            elif kind_of(key) == "new":
                grant = (await home.ledger.grants())[0]
                assert sealed_until > 0
                assert grant.next_window >= names.number_in(key)


async def test_between_chunks_nothing_is_signed_or_sent(tmp_path: Path) -> None:
    """Each signature costs a TPM a tenth of a second, each head the store a request."""
    async with Home(tmp_path) as home:
        await home.runs(2 * LINK_UNITS)
        while home.layout.unit_at(home.clock.wall()) % CHUNK_UNITS != 1:
            await home.runs(1, every=1)
        waiting, calls = await home.ledger.backlog(), home.root.calls
        await home.runs(CHUNK_UNITS - 3, every=1)
        assert (await home.ledger.backlog(), home.root.calls) == (waiting, calls)
