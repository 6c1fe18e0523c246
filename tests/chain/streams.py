"""Streams for properties: layouts, runs and plaintexts, and what sealing them unit by unit would give."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from gateway.chain import share
from gateway.chain.layout import LANES, Layout, Run
from gateway.chain.seal import MASK, U64, LinkWords, seal, words_under

STREAM = bytes(range(16))


def k_inc(incarnation: int) -> bytes:
    """Stands in for the root's answer."""
    return hashlib.sha256(b"root" + incarnation.to_bytes(8, "big")).digest()


@dataclass(frozen=True)
class Sealed:
    """A stream from the first unit of `runs` to the last: plaintexts and ciphertexts of each lane."""

    layout: Layout
    runs: tuple[Run, ...]
    d: dict[str, list[int]]
    c: dict[str, U64]

    @property
    def start(self) -> int:
        return self.runs[0].first

    @property
    def end(self) -> int:
        return self.runs[-1].end

    @property
    def link_words(self) -> LinkWords:
        return words_under(k_inc, self.layout)


def seal_all(layout: Layout, runs: Sequence[Run], lane: str, d: Sequence[int]) -> U64:
    """The ciphertexts of one lane over all runs, cut at links as the protocol has it."""
    values = np.array([value & MASK for value in d], dtype=np.uint64)
    link_words, first, c = words_under(k_inc, layout), runs[0].first, []
    for run in runs:
        for n, x, y in layout.split(run.first, run.end):
            w = link_words(run.incarnation, n, lane)
            c.append(seal(w, layout.position(x), values[x - first : y - first]))
    return np.concatenate(c)


def u64(rows: Sequence[Sequence[int]]) -> U64:
    """Rows of integers as an array modulo 2^64."""
    return np.array([[value & MASK for value in row] for row in rows], dtype=np.uint64)


def load(c: Sequence[int], tokens: Sequence[int], centre: Sequence[int], service_sum: int) -> int:
    """The load of a set of homes in one window, each home with its number of each sequence."""
    parts = share.blinded(*(u64([row]) for row in (c, tokens, centre)))
    return int(share.load(parts.sum(axis=1), u64([[service_sum]])[0])[0])


I64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from((0, 1, -1, 2**63 - 1, -(2**63)))


@st.composite
def runs(draw: st.DrawFn, layout: Layout) -> tuple[Run, ...]:
    """1 to 5 runs without holes, from a link's border on, each under its own incarnation."""
    first = draw(st.integers(0, 2**50)) * layout.link_units
    count = draw(st.integers(1, 5))
    lengths = draw(st.lists(st.integers(1, 3 * layout.link_units), min_size=count, max_size=count))
    counters = draw(st.lists(st.integers(0, MASK), min_size=count, max_size=count, unique=True))
    out = []
    for incarnation, length in zip(counters, lengths, strict=True):
        out.append(Run(incarnation, first, first + length))
        first += length
    return tuple(out)


@st.composite
def streams(draw: st.DrawFn, among: Sequence[str] = tuple(sorted(LANES))) -> Sealed:
    """Any sealed stream of some of the lanes."""
    layout = Layout(1000, draw(st.integers(1, 9)))
    all_runs = draw(runs(layout))
    lanes = draw(st.lists(st.sampled_from(among), min_size=1, max_size=4, unique=True))
    size = all_runs[-1].end - all_runs[0].first
    d = {lane: draw(st.lists(I64, min_size=size, max_size=size)) for lane in lanes}
    return Sealed(layout, all_runs, d, {lane: seal_all(layout, all_runs, lane, d[lane]) for lane in lanes})


def boundaries(first: int, end: int) -> st.SearchStrategy[list[int]]:
    """Some boundaries within [first, end], ascending; windows may be empty."""
    return st.lists(st.integers(first, end), min_size=1, max_size=8).map(sorted)
