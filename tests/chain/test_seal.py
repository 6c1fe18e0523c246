"""Sealing and opening: exact sums over any window, and nothing sealed that would show."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.layout import Layout, Run
from gateway.chain.seal import MASK, U64, nonces, seal, signed, total, unseal, words, words_under
from tests.chain.streams import I64, Sealed, boundaries, k_inc, seal_all, streams

W = words(bytes(32), 8)


@given(st.data())
def test_opening_any_windows_gives_their_exact_sums(data: st.DataObject) -> None:
    stream: Sealed = data.draw(streams())
    cuts = data.draw(boundaries(stream.start, stream.end))
    for lane, d in stream.d.items():
        r = nonces(stream.runs, cuts, lane, stream.layout, stream.link_words)
        opened = [
            signed(total(stream.c[lane][a - stream.start : b - stream.start]) - nonce)
            for (a, b), nonce in zip(pairwise(cuts), r, strict=True)
        ]
        expected = [signed(sum(d[a - stream.start : b - stream.start])) for a, b in pairwise(cuts)]
        assert opened == expected


@pytest.mark.slow
@given(st.data())
def test_nonces_are_the_sum_of_every_units_nonce(data: st.DataObject) -> None:
    stream: Sealed = data.draw(streams())
    cuts = data.draw(boundaries(stream.start, stream.end))
    layout = stream.layout
    words_of = {
        (run.incarnation, n, lane): data.draw(
            st.lists(st.integers(0, MASK), min_size=layout.link_units + 1, max_size=layout.link_units + 1)
        )
        for run in stream.runs
        for n, _, _ in layout.split(run.first, run.end)
        for lane in stream.d
    }

    def link_words(incarnation: int, n: int, lane: str) -> U64:
        return np.array(words_of[incarnation, n, lane], dtype=np.uint64)

    def naive(unit: int, lane: str) -> int:
        (run,) = (run for run in stream.runs if run.first <= unit < run.end)
        w = words_of[run.incarnation, unit // layout.link_units, lane]
        p = unit % layout.link_units
        return w[p] - w[p + 1]

    for lane in stream.d:
        expected = [sum(naive(unit, lane) for unit in range(a, b)) & MASK for a, b in pairwise(cuts)]
        assert nonces(stream.runs, cuts, lane, layout, link_words) == expected


@given(st.data())
def test_the_holder_of_a_links_key_reads_its_units(data: st.DataObject) -> None:
    d = np.array([v & MASK for v in data.draw(st.lists(I64, max_size=8))], dtype=np.uint64)
    p = data.draw(st.integers(0, 8 - len(d)))
    assert (unseal(W, p, seal(W, p, d)) == d).all()


@given(st.lists(I64, min_size=12, max_size=12), st.lists(I64, min_size=12, max_size=12))
def test_ciphertexts_of_homes_add_up(one: list[int], two: list[int]) -> None:
    """The sum over homes opens with the sum of their nonces, whatever their runs."""
    layout = Layout(1000, 5)
    homes: list[tuple[tuple[Run, ...], list[int]]] = [
        ((Run(1, 10, 22),), one),
        ((Run(2, 10, 17), Run(3, 17, 22)), two),
    ]
    opened = 0
    for home, d in homes:
        (r,) = nonces(home, [10, 22], "import", layout, words_under(k_inc, layout))
        opened += total(seal_all(layout, home, "import", d)) - r
    assert signed(opened) == signed(sum(one) + sum(two))


@pytest.mark.parametrize("p", [0, 3, 7])
def test_every_place_is_blinded(p: int) -> None:
    """No unit, the last of its link included, is stored as it was read."""
    zeros = np.zeros(8 - p, dtype=np.uint64)
    assert seal(W, p, zeros).all()


@pytest.mark.parametrize(
    ("p", "count"), [(8, 1), (7, 2), (0, 9), (9, 1), (-1, 1), (-8, 2), (9, 0), (2**70, 1)]
)
def test_units_outside_the_link_are_not_sealed(p: int, count: int) -> None:
    d = np.arange(count, dtype=np.uint64)
    with pytest.raises(ValueError, match="do not lie in a link of 8"):
        seal(W, p, d)
    with pytest.raises(ValueError, match="do not lie in a link of 8"):
        unseal(W, p, d)


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.uint32, np.object_, np.bool_])
def test_only_u64_are_sealed(dtype: type) -> None:
    """numpy would make floats of i64 and u64 together, and so lose the low bits."""
    with pytest.raises(ValueError, match="unsigned 64-bit"):
        seal(W, 0, np.zeros(4, dtype=dtype))
    with pytest.raises(ValueError, match="one-dimensional array"):
        seal(W, 0, np.zeros((4, 2), dtype=np.uint64))


def test_sealing_does_not_touch_what_it_is_given() -> None:
    d = np.arange(8, dtype=np.uint64)
    seal(W, 0, d)
    assert (d == np.arange(8)).all()
    assert not W.flags.writeable


RUNS = (Run(1, 8, 12), Run(2, 12, 20))


@pytest.mark.parametrize(
    ("runs", "cuts", "says"),
    [
        ((), [8, 12], "unit 8 was sealed in no run"),
        ((Run(1, 9, 20),), [8, 12], "unit 8 was sealed in no run"),
        ((Run(1, 8, 11), Run(2, 12, 20)), [8, 20], "unit 11 was sealed in no run"),
        (RUNS, [8, 21], "unit 20 was sealed in no run"),
        (RUNS, [25, 30], "unit 25 was sealed in no run"),
        ((Run(1, 8, 13), Run(2, 12, 20)), [8, 20], "unit 12 was sealed in two runs"),
        ((Run(1, 8, 20), Run(2, 8, 20)), [10, 21], "unit 8 was sealed in two runs"),
        (tuple(reversed(RUNS)), [13, 21], "unit 8 was sealed in two runs"),
        (RUNS, [8, 12, 10], "go back"),
    ],
)
def test_runs_that_do_not_cover_the_windows_once(runs: tuple[Run, ...], cuts: list[int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        nonces(runs, cuts, "import", Layout(1000, 8), lambda *_: W)


def test_no_window_or_empty_windows_need_no_run() -> None:
    assert nonces((), [8], "import", Layout(1000, 8), lambda *_: W) == []
    assert nonces((), [8, 8, 8], "import", Layout(1000, 8), lambda *_: W) == [0, 0]


@given(I64)
def test_u64_and_back(value: int) -> None:
    assert signed(value & MASK) == value
    assert signed(value + 2**64 * 3) == value


@given(st.lists(st.integers(0, MASK), max_size=20))
def test_total_wraps(values: list[int]) -> None:
    assert total(np.array(values, dtype=np.uint64)) == sum(values) % 2**64
