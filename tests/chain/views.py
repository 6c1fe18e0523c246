"""What a provider sees of a stream: all chunks and its own tokens; and what linear algebra makes of it.

The words of links whose keys nobody holds are uniform to everybody, so here they are free to choose:
a stream sealed under other words shows which plaintexts one and the same view can come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import lcm

import numpy as np
import pytest
from hypothesis import strategies as st

from gateway.chain import issue
from gateway.chain.grant import KINDS, Grant, Kind
from gateway.chain.issue import Sealing, bill_word, hide, raw_tokens, sealed_by, window_words
from gateway.chain.keys import KeyChain, link_key
from gateway.chain.layout import Layout, Run
from gateway.chain.prices import Dynamic
from gateway.chain.raw import read_links
from gateway.chain.seal import MASK, U64, LinkWords, seal, signed, unseal, words
from gateway.chain.tariff import Tariff, Weight, rounded
from gateway.chain.token import incarnation_of, masks, open_raw
from gateway.chain.window import Granularity
from gateway.chain.windows import GrantWindows
from gateway.wire import cose
from gateway.wire.stream import Chunk
from tests.chain.streams import STREAM, k_inc, u64

UNIT_MS = 900_000
LANES = ("import", "export")


@dataclass(frozen=True)
class Home:
    """A stream of two lanes: when it was sealed, and under which incarnations."""

    layout: Layout
    runs: tuple[Run, ...]

    @property
    def start(self) -> int:
        return self.runs[0].first

    @property
    def end(self) -> int:
        return self.runs[-1].end

    @property
    def size(self) -> int:
        """How many unknowns there are: the units of both lanes, one lane after the other."""
        return len(LANES) * (self.end - self.start)

    def at(self, lane: str, unit: int) -> int:
        """Which of the unknowns a unit is."""
        return LANES.index(lane) * (self.end - self.start) + unit - self.start

    def row(self, lane: str, a: int, b: int) -> list[int]:
        """The sum of [a, b) as a combination of the unknowns."""
        row = [0] * self.size
        for unit in range(a, b):
            row[self.at(lane, unit)] = 1
        return row

    def pieces(self) -> Iterator[tuple[int, int, int, int]]:
        """(incarnation, n, x, y): units x to y - 1 were sealed in link n under the incarnation."""
        for run in self.runs:
            for n, x, y in self.layout.split(run.first, run.end):
                yield run.incarnation, n, x, y


@dataclass(frozen=True)
class Holding:
    """A grant in a provider's hands, with its K_0 and, of a load, the other party's too."""

    grant: Grant
    key: bytes
    tariff: Tariff | None = None
    partner: bytes | None = None

    def weights(self, a: int, b: int) -> dict[str, list[Weight]]:
        """The steps of a bill."""
        assert self.tariff is not None
        return self.tariff.weights(self.grant.lanes, UNIT_MS, a, b)


Token = bytes | list[int]  # of a raw grant, of another


@dataclass(frozen=True)
class View:
    """All chunks, and the tokens of each grant."""

    chunks: list[bytes]
    tokens: list[list[Token]]


Masks = Callable[..., U64]


def some_words(home: Home, holdings: Sequence[Holding], seed: int) -> LinkWords:
    """Uniform words for all links but those whose keys the provider holds."""
    raw = [holding.grant for holding in holdings if holding.grant.kind == "raw"]

    def of(incarnation: int, n: int, lane: str) -> U64:
        unit = n * home.layout.link_units
        if any(lane in g.lanes and g.first <= unit < g.window(g.complete(home.end))[0] for g in raw):
            return words(link_key(k_inc(incarnation), n, lane), home.layout.link_units)
        rng = np.random.default_rng([seed, incarnation, n, LANES.index(lane)])
        return rng.integers(0, MASK, home.layout.link_units + 1, dtype=np.uint64, endpoint=True)

    return of


def other_words(home: Home, link_words: LinkWords, extra: Sequence[int]) -> LinkWords:
    """The words under which plaintexts with `extra` added to each unit look as they did before."""

    def of(incarnation: int, n: int, lane: str) -> U64:
        at, until = n * home.layout.link_units, [0]
        for unit in range(at, at + home.layout.link_units):
            inside = home.start <= unit < home.end
            until.append(until[-1] + (extra[home.at(lane, unit)] if inside else 0))
        return link_words(incarnation, n, lane) + np.array([x & MASK for x in until], dtype=np.uint64)

    return of


def view(
    home: Home,
    holdings: Sequence[Holding],
    link_words: LinkWords,
    d: Sequence[int],
    keystream: Masks = masks,
) -> View:
    """What is seen when `d` is sealed under these words, and tokens are hidden under this keystream."""
    chunks: list[bytes] = []
    for seq, (incarnation, n, x, y) in enumerate(home.pieces()):
        lanes = []
        for lane in LANES:
            plain = np.array([d[home.at(lane, unit)] & MASK for unit in range(x, y)], dtype=np.uint64)
            c = seal(link_words(incarnation, n, lane), home.layout.position(x), plain)
            lanes.append(c.astype("<u8").tobytes())
        before = cose.digest(chunks[-1] if chunks else b"the descriptor")
        chunk = Chunk(STREAM, seq, incarnation, x, y - x, tuple(lanes), before, y * UNIT_MS)
        chunks.append(chunk.payload())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(issue, "words_under", lambda *_: link_words)
        patch.setattr(issue, "masks", keystream)
        tokens = [_tokens(home, holding, ciphertexts(home, chunks)) for holding in holdings]
    return View(chunks, tokens)


def ciphertexts(home: Home, chunks: Sequence[bytes]) -> list[int]:
    """c of each of the unknowns."""
    c = [0] * home.size
    for payload in chunks:
        chunk = Chunk.from_payload(payload, "the chunk")
        for i, lane in enumerate(LANES):
            for unit, value in enumerate(chunk.c(i).tolist(), chunk.first):
                c[home.at(lane, unit)] = value
    return c


def edges_of(home: Home, grant: Grant) -> list[int]:
    """The edges of the grant's windows that have ended."""
    windows = GrantWindows(grant)
    return windows.edges(0, windows.complete(home.end))


def _tokens(home: Home, holding: Holding, c: Sequence[int]) -> list[Token]:
    """What the gateway publishes for a grant."""
    grant, sealing, chain = holding.grant, Sealing(home.layout, home.runs, k_inc), KeyChain(holding.key)
    edges = edges_of(home, grant)
    sealed = sealed_by(home.runs, 0, edges)
    if grant.kind == "raw":
        return [*raw_tokens(grant, sealing, chain, sealed, 0, edges)]
    if grant.kind == "bill":
        bills = []
        for a, b in pairwise(edges):
            weights = holding.weights(a, b)
            sums = {
                lane: [times(home.row(lane, step.first, step.end), c) for step in steps]
                for lane, steps in weights.items()
            }
            bills.append([bill_word(grant, sealing, weights, sums, a)])
        words_of = u64(bills).reshape(-1, 1)
    else:
        words_of = window_words(grant, sealing, edges)
    partner = None if holding.partner is None else KeyChain(holding.partner)
    rows: list[Token] = hide(words_of, chain, sealed, 0, partner).tolist()
    return rows


def granted(home: Home, holdings: Sequence[Holding], d: Sequence[int]) -> list[int]:
    """Each number that grants give: sums of windows, rounded bills, units."""
    found = []
    for holding in holdings:
        grant = holding.grant
        for a, b in pairwise(edges_of(home, grant)):
            if grant.kind == "raw":
                found += [d[home.at(lane, unit)] & MASK for lane in grant.lanes for unit in range(a, b)]
            elif grant.kind == "bill":
                bill = sum(
                    step.price * times(home.row(lane, step.first, step.end), d)
                    for lane, steps in holding.weights(a, b).items()
                    for step in steps
                )
                assert grant.quantum is not None
                found.append(rounded(bill, grant.quantum) & MASK)
            else:
                found += [times(home.row(lane, a, b), d) & MASK for lane in grant.lanes]
    return found


def equations(home: Home, holdings: Sequence[Holding], seen: View) -> Iterator[tuple[list[int], int]]:
    """All that the provider knows: combinations of the unknowns, and their values modulo 2^64; of a bill, up
    to half of what it is rounded to."""
    c = ciphertexts(home, seen.chunks)
    for holding, tokens in zip(holdings, seen.tokens, strict=True):
        for j, token in enumerate(tokens):
            for row, r in _nonces(home, holding, j, token):
                yield row, (sum(x * value for x, value in zip(row, c, strict=True)) - r) & MASK


def _nonces(home: Home, holding: Holding, j: int, token: Token) -> Iterator[tuple[list[int], int]]:
    """Combinations of the unknowns, and what blinds them in the ciphertexts."""
    grant = holding.grant
    edges = edges_of(home, grant)
    a, b = edges[j], edges[j + 1]
    sealed = sealed_by(home.runs, 0, edges)
    if isinstance(token, bytes):
        plaintext = open_raw(KeyChain(holding.key), grant.id, j, incarnation_of(sealed, j), a, b, token)
        keys = {(link.n, link.incarnation): link.keys for link in read_links(plaintext, grant.lanes)}
        for incarnation, n, x, y in home.pieces():
            if a <= x < b:
                for lane, key in zip(grant.lanes, keys.pop((n, incarnation)), strict=True):
                    w, p = words(key, home.layout.link_units), home.layout.position(x)
                    nonces = -unseal(w, p, np.zeros(y - x, dtype=np.uint64))
                    for unit, r in enumerate(nonces.tolist(), x):
                        yield home.row(lane, unit, unit + 1), r
        assert not keys
        return
    hiding = [key for key in (holding.key, holding.partner) if key is not None]
    opened = [
        word - sum(int(masks(KeyChain(key), sealed, j, j + 1, grant.words)[0, at]) for key in hiding)
        for at, word in enumerate(token)
    ]
    if grant.kind == "bill":
        row = [0] * home.size
        for lane, steps in holding.weights(a, b).items():
            for step in steps:
                for unit in range(step.first, step.end):
                    row[home.at(lane, unit)] = step.price
        yield row, opened[0]
    else:
        for lane, r in zip(grant.lanes, opened, strict=True):
            yield home.row(lane, a, b), r


class Span:
    """The combinations of some rows of integers, over the rationals."""

    def __init__(self, rows: Sequence[Sequence[int]], size: int) -> None:
        self._size, self._count = size, len(rows)
        self._reduced: dict[int, list[Fraction]] = {}  # by pivot; behind each row, of which rows it is made
        for i, row in enumerate(rows):
            made_of = [Fraction(i == k) for k in range(len(rows))]
            new = self._without_pivots([*map(Fraction, row), *made_of])
            pivot = next((at for at in range(size) if new[at]), None)
            if pivot is None:
                continue
            new = [value / new[pivot] for value in new]
            for at, known in self._reduced.items():
                self._reduced[at] = _less(known, new, known[pivot])
            self._reduced[pivot] = new

    def _without_pivots(self, row: list[Fraction]) -> list[Fraction]:
        for pivot, known in self._reduced.items():
            row = _less(row, known, row[pivot])
        return row

    def combination(self, target: Sequence[int]) -> list[Fraction] | None:
        """How much of each row makes up the target; None where it lies outside the span."""
        rest = self._without_pivots([*map(Fraction, target), *[Fraction(0)] * self._count])
        return None if any(rest[: self._size]) else [-value for value in rest[self._size :]]

    def unseen(self) -> list[list[int]]:
        """A basis, in integers, of what can be added to the unknowns without any row's value changing."""
        basis = []
        for free in (at for at in range(self._size) if at not in self._reduced):
            vector = [Fraction(at == free) for at in range(self._size)]
            for pivot, row in self._reduced.items():
                vector[pivot] = -row[free]
            scale = lcm(*(value.denominator for value in vector))
            basis.append([int(value * scale) for value in vector])
        return basis


def _less(row: list[Fraction], other: list[Fraction], factor: Fraction) -> list[Fraction]:
    return [x - factor * y for x, y in zip(row, other, strict=True)] if factor else row


def times(row: Sequence[int], values: Sequence[int]) -> int:
    """The value of a combination, as a lane's integer."""
    return signed(sum(x * y for x, y in zip(row, values, strict=True)))


# --- for hypothesis


@st.composite
def homes(draw: st.DrawFn) -> Home:
    """A stream of 2 to 14 units, in 1 to 3 runs that may meet inside a link."""
    layout = Layout(UNIT_MS, draw(st.integers(1, 6)))
    first = draw(st.integers(0, 2**16)) * layout.link_units
    runs: list[Run] = []
    for length in draw(st.lists(st.integers(2, 7), min_size=1, max_size=3)):
        runs.append(Run(draw(st.integers(0, 2**32)) * 4 + len(runs), first, first + length))
        first += length
    return Home(layout, tuple(runs))


def grant_of(home: Home, number: int, kind: Kind, size: int, first: int, windows: int | None) -> Grant:
    """Windows of `size` units, so many or without an end, from the first border at or after `first`."""
    granularity = Granularity(size, UNIT_MS)
    first = granularity.align_up(first)
    grant = Grant(
        id=number.to_bytes(16, "big"),
        stream=STREAM,
        provider=bytes(16),
        lanes=LANES,
        granularity=granularity,
        first=first,
        until=None if windows is None else first + windows * size,
        purpose="test",
        kind=kind,
        issued_ms=0,
        serial=number,
        tariff=bytes(32) if kind == "bill" else None,
        quantum=1 if kind == "bill" else None,
        partner=bytes(16) if kind == "load" else None,
    )
    grant.check(home.layout)
    return grant


@st.composite
def holdings(
    draw: st.DrawFn,
    home: Home,
    kinds: Sequence[Kind] = KINDS,
    least: int = 0,
    quanta: st.SearchStrategy[int] | None = None,
) -> list[Holding]:
    """Up to 4 grants of these kinds, in one hand: of loads both parties'. Bills are exact, or rounded to one
    of these quanta."""
    out: list[Holding] = []
    for number, kind in enumerate(draw(st.lists(st.sampled_from(kinds), min_size=least, max_size=4))):
        size = draw(st.integers(1, 6))
        size *= home.layout.link_units if kind == "raw" else 1
        first = draw(st.integers(home.start, home.end - 1))
        grant = grant_of(home, number, kind, size, first, draw(st.none() | st.integers(1, 4)))
        if kind == "bill" and quanta is not None:
            grant = replace(grant, quantum=draw(quanta))
        lanes = draw(st.sampled_from((LANES, LANES[:1], LANES[1:])))
        prices = st.lists(st.integers(-3, 3), min_size=home.size, max_size=home.size).map(tuple)
        listed = {lane: Dynamic(home.start * UNIT_MS, draw(prices)) for lane in lanes if kind == "bill"}
        out.append(
            Holding(
                replace(grant, lanes=lanes),
                bytes([number]) * 32,
                Tariff("EUR", 2, "UTC", UNIT_MS, listed) if listed else None,
                bytes([100 + number]) * 32 if kind == "load" else None,
            )
        )
    return out
