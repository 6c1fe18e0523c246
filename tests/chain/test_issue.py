"""What each kind of grant's tokens open: bills, loads, raw links and windows, from public ciphertexts."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.grant import Grant, Kind
from gateway.chain.issue import Sealing, bill_word, hide, raw_tokens, sealed_by, window_words
from gateway.chain.keys import KeyChain
from gateway.chain.layout import Layout, Run
from gateway.chain.prices import Dynamic
from gateway.chain.raw import read_links
from gateway.chain.seal import MASK, U64, signed, total, unseal, words
from gateway.chain.tariff import Tariff, rounded
from gateway.chain.token import incarnation_of, masks, open_raw
from gateway.chain.window import Granularity
from gateway.chain.windows import GrantWindows
from gateway.errors import Refused
from tests.chain.streams import I64, STREAM, Sealed, k_inc, load, seal_all, streams, u64

K_0, PARTNER_K_0 = hashlib.sha256(b"K_0").digest(), hashlib.sha256(b"partner").digest()
_ids = itertools.count(1)


def grant(sealed: Sealed, size: int, kind: Kind = "windows", **fields: Any) -> Grant:
    granularity = Granularity(size, sealed.layout.unit_ms)
    values = {
        "id": next(_ids).to_bytes(16, "big"),
        "stream": STREAM,
        "provider": bytes(16),
        "lanes": tuple(sealed.d),
        "granularity": granularity,
        "first": granularity.align_up(sealed.start),
        "until": None,
        "purpose": "test",
        "kind": kind,
        "issued_ms": 0,
        "serial": 1,
    }
    if kind == "bill":
        values |= {"tariff": bytes(32), "quantum": 1}
    return Grant(**(values | fields))  # type: ignore[arg-type]


def sealing(sealed: Sealed) -> Sealing:
    return Sealing(sealed.layout, sealed.runs, k_inc)


def ciphertext(sealed: Sealed, lane: str, a: int, b: int) -> int:
    return total(sealed.c[lane][a - sealed.start : b - sealed.start])


def plaintext(sealed: Sealed, lane: str, a: int, b: int) -> int:
    return sum(sealed.d[lane][a - sealed.start : b - sealed.start])


def edges_of(sealed: Sealed, of: Grant) -> list[int]:
    """The edges of all complete windows."""
    windows = GrantWindows(of)
    return windows.edges(0, windows.complete(sealed.end))


def held(
    sealed: Sealed, of: Grant, edges: list[int], first: int = 0, end: int | None = None, **more: Any
) -> U64:
    """P of windows `first` to `end` - 1."""
    cuts = edges[first : None if end is None else end + 1]
    if of.kind != "bill":
        return window_words(of, sealing(sealed), cuts)
    rows = []
    for a, b in pairwise(cuts):
        weights = more["tariff"].weights(of.lanes, sealed.layout.unit_ms, a, b)
        c = {lane: [ciphertext(sealed, lane, w.first, w.end) for w in weights[lane]] for lane in of.lanes}
        rows.append([bill_word(of, sealing(sealed), weights, c, a)])
    return u64(rows).reshape(len(rows), 1)


def opened(sealed: Sealed, of: Grant, tokens: U64, *keys: bytes) -> U64:
    """What tokens from window 0 on hold, with the key chains of these grants."""
    runs = sealed_by(sealed.runs, 0, edges_of(sealed, of))
    for key in keys:
        tokens = tokens - masks(KeyChain(key), runs, 0, len(tokens), of.words)
    return tokens


@given(streams(), st.integers(1, 7))
def test_windows_open_each_lanes_sums(sealed: Sealed, size: int) -> None:
    of = grant(sealed, size)
    edges = edges_of(sealed, of)
    tokens = hide(held(sealed, of, edges), KeyChain(K_0), sealed_by(sealed.runs, 0, edges), 0)
    assert tokens.shape == (len(edges) - 1, len(of.lanes))
    for (a, b), row in zip(pairwise(edges), opened(sealed, of, tokens, K_0).tolist(), strict=True):
        for lane, r in zip(of.lanes, row, strict=True):
            assert signed(ciphertext(sealed, lane, a, b) - r) == signed(plaintext(sealed, lane, a, b))


@given(streams(), st.integers(1, 7), st.integers(0, 3))
def test_each_window_is_salted_by_what_sealed_its_last_unit(sealed: Sealed, size: int, first: int) -> None:
    of = grant(sealed, size)
    edges = edges_of(sealed, of)[first:]
    found = sealed_by(sealed.runs, first, edges)
    for j, b in enumerate(edges[1:], first):
        (run,) = (run for run in sealed.runs if run.first < b <= run.end)
        assert incarnation_of(found, j) == run.incarnation
    assert [one.window for one in found][:1] == ([first] if len(edges) > 1 else [])
    assert all(x.window < y.window and x.incarnation != y.incarnation for x, y in pairwise(found))


def test_runs_of_one_incarnation_are_one() -> None:
    runs = [Run(5, 0, 3), Run(5, 3, 4), Run(7, 4, 8), Run(7, 8, 12)]
    assert sealed_by(runs, 10, [0, 2, 4, 6, 12]) == [(10, 5), (12, 7)]
    assert sealed_by(runs, 10, [4]) == []
    with pytest.raises(IndexError):
        sealed_by(runs, 10, [4, 13])


PRICE = st.integers(-(10**6), 10**6) | st.sampled_from((0, 1, -1))


@st.composite
def tariffs(draw: st.DrawFn, sealed: Sealed, step: int) -> Tariff:
    """A price for each lane and each step of so many units."""
    step_ms = step * sealed.layout.unit_ms
    first, end = sealed.start // step, -(-sealed.end // step)
    few = draw(st.booleans())  # few prices make long runs of one
    values = st.sampled_from(draw(st.lists(PRICE, min_size=1, max_size=2))) if few else PRICE
    lists = {lane: draw(st.lists(values, min_size=end - first, max_size=end - first)) for lane in sealed.d}
    prices = {lane: Dynamic(first * step_ms, tuple(given)) for lane, given in lists.items()}
    return Tariff("EUR", 5, "UTC", step_ms, prices)


@st.composite
def meters(draw: st.DrawFn) -> Sealed:
    """A stream of import and export, at most a megawatt of either sign, so that no bill wraps."""
    sealed = draw(streams(("import", "export")))
    size, energy = sealed.end - sealed.start, st.integers(-278_000, 278_000)
    d = {lane: draw(st.lists(energy, min_size=size, max_size=size)) for lane in sealed.d}
    c = {lane: seal_all(sealed.layout, sealed.runs, lane, values) for lane, values in d.items()}
    return Sealed(sealed.layout, sealed.runs, d, c)


@pytest.mark.slow
@given(
    meters(),
    st.sampled_from((1, 2, 3, 4)),
    st.integers(1, 5),
    st.just(1) | st.integers(1, 10**12) | st.integers(1, 20),
    st.data(),
)
def test_a_bill_is_the_sum_of_price_times_reading_rounded(
    sealed: Sealed, step: int, steps: int, quantum: int, data: st.DataObject
) -> None:
    """Any readings, prices of either sign, runs and incarnations; one word a billing period."""
    tariff = data.draw(tariffs(sealed, step))
    of = grant(sealed, step * steps, "bill", quantum=quantum)
    edges = edges_of(sealed, of)
    tokens = hide(held(sealed, of, edges, tariff=tariff), KeyChain(K_0), sealed_by(sealed.runs, 0, edges), 0)
    for (a, b), (word,) in zip(pairwise(edges), opened(sealed, of, tokens, K_0).tolist(), strict=True):
        weighted = due = 0
        for lane in of.lanes:
            prices = tariff.prices[lane]
            assert isinstance(prices, Dynamic)
            for x in range(a, b, step):
                price = prices.prices[x // step - sealed.start // step]
                weighted += price * ciphertext(sealed, lane, x, x + step)
                due += price * plaintext(sealed, lane, x, x + step)
        assert signed(weighted - word) == rounded(due, quantum)


@pytest.mark.slow
@given(meters(), st.data())
def test_a_bill_prices_the_lanes_of_its_grant_alone(sealed: Sealed, data: st.DataObject) -> None:
    """One tariff serves homes with and without export."""
    tariff = data.draw(tariffs(sealed, 1))
    others = {lane: Dynamic(0, (1,)) for lane in ("import", "export")}
    both = replace(tariff, prices={**others, **tariff.prices})
    of = grant(sealed, 2, "bill", quantum=7)
    edges = edges_of(sealed, of)
    assert np.array_equal(held(sealed, of, edges, tariff=both), held(sealed, of, edges, tariff=tariff))


@st.composite
def streets(draw: st.DrawFn) -> list[Sealed]:
    """Homes that all sealed the same 12 units of one lane, each with its own runs."""
    layout, homes = Layout(1000, draw(st.integers(1, 5))), []
    counters = draw(st.lists(st.integers(0, MASK), min_size=8, max_size=8, unique=True))
    begin = 60 * layout.link_units
    for home in range(draw(st.integers(2, 4))):
        cut = begin + draw(st.integers(1, 11))
        runs = (Run(counters[2 * home], begin, cut), Run(counters[2 * home + 1], cut, begin + 12))
        d = draw(st.lists(I64, min_size=12, max_size=12))
        homes.append(Sealed(layout, runs, {"import": d}, {"import": seal_all(layout, runs, "import", d)}))
    return homes


@given(streets(), st.sampled_from((1, 3, 4)))
def test_both_parties_words_open_the_sum_over_homes(street: list[Sealed], size: int) -> None:
    """Each home with the keys of its own two grants."""
    grants = [grant(home, size, "load", partner=bytes(16)) for home in street]
    edges = edges_of(street[0], grants[0])
    parts = []
    for number, (home, of) in enumerate(zip(street, grants, strict=True)):
        centre, service = (KeyChain(bytes([number]) * 31 + bytes([party])) for party in (0, 1))
        found = sealed_by(home.runs, 0, edges)
        tokens = hide(held(home, of, edges), service, found, 0, centre)
        own = [masks(chain, found, 0, len(tokens), 1)[:, 0].tolist() for chain in (centre, service)]
        parts.append((tokens[:, 0].tolist(), *own))
    for j, (a, b) in enumerate(pairwise(edges)):
        c = [ciphertext(home, "import", a, b) for home in street]
        tokens_of, centres, services = ([part[k][j] for part in parts] for k in range(3))
        loads = sum(plaintext(home, "import", a, b) for home in street)
        assert load(c, tokens_of, centres, sum(services) & MASK) == signed(loads)


def raw(sealed: Sealed, of: Grant, first: int = 0, end: int | None = None) -> list[bytes]:
    edges = edges_of(sealed, of)[first : None if end is None else end + 1]
    found = sealed_by(sealed.runs, first, edges)
    return raw_tokens(of, sealing(sealed), KeyChain(K_0), found, first, edges)


@given(streams(), st.integers(1, 3))
def test_raw_tokens_open_every_unit_of_their_links(sealed: Sealed, links: int) -> None:
    layout = sealed.layout
    of = grant(sealed, links * layout.link_units, "raw")
    of.check(layout)
    edges = edges_of(sealed, of)
    found = sealed_by(sealed.runs, 0, edges)
    for j, ((a, b), token) in enumerate(zip(pairwise(edges), raw(sealed, of), strict=True)):
        keys = open_raw(KeyChain(K_0), of.id, j, incarnation_of(found, j), a, b, token)
        parts = {
            (n, run.incarnation): (max(x, run.first), min(y, run.end))
            for n, x, y in layout.split(a, b)
            for run in sealed.runs
            if run.first < y and x < run.end
        }
        read = read_links(keys, of.lanes)
        assert [(link.n, link.incarnation) for link in read] == list(parts)
        for link in read:
            x, y = parts[link.n, link.incarnation]
            for lane, key in zip(of.lanes, link.keys, strict=True):
                c = sealed.c[lane][x - sealed.start : y - sealed.start]
                d = unseal(words(key, layout.link_units), layout.position(x), c)
                assert [signed(int(value)) for value in d] == sealed.d[lane][
                    x - sealed.start : y - sealed.start
                ]


def test_a_link_sealed_in_many_chunks_of_one_incarnation_has_its_keys_once() -> None:
    layout = Layout(1000, 6)
    runs = (Run(1, 0, 2), Run(1, 2, 4), Run(2, 4, 5), Run(2, 5, 6))
    sealed = Sealed(layout, runs, {"import": [0] * 6}, {"import": seal_all(layout, runs, "import", [0] * 6)})
    of = grant(sealed, 6, "raw")
    (token,) = raw(sealed, of)
    keys = open_raw(KeyChain(K_0), of.id, 0, 2, 0, 6, token)
    assert [(link.n, link.incarnation) for link in read_links(keys, ("import",))] == [(0, 1), (0, 2)]


def tokens_of(sealed: Sealed, of: Grant, tariff: Tariff | None, first: int, end: int) -> list[Any]:
    """Tokens `first` to `end` - 1, made by new key chains."""
    if of.kind == "raw":
        return raw(sealed, of, first, end)
    edges = edges_of(sealed, of)
    p = held(sealed, of, edges, first, end, tariff=tariff)
    found = sealed_by(sealed.runs, first, edges[first : end + 1])
    partner = KeyChain(PARTNER_K_0) if of.kind == "load" else None
    rows: list[Any] = hide(p, KeyChain(K_0), found, first, partner).tolist()
    return rows


@given(meters(), st.sampled_from(("windows", "bill", "load", "raw")), st.data())
def test_tokens_are_a_pure_function_of_what_was_sealed(
    sealed: Sealed, kind: Kind, data: st.DataObject
) -> None:
    """Made at once, or in any pieces and in any order, they are the same bytes."""
    tariff = data.draw(tariffs(sealed, 1)) if kind == "bill" else None
    size = sealed.layout.link_units if kind == "raw" else 2
    of = grant(sealed, size, kind, **{"partner": bytes(16)} if kind == "load" else {})
    end = len(edges_of(sealed, of)) - 1
    whole = tokens_of(sealed, of, tariff, 0, end)
    cuts = sorted({0, end, *data.draw(st.lists(st.integers(0, end), max_size=3))})
    pieces = {
        x: tokens_of(sealed, of, tariff, x, y) for x, y in data.draw(st.permutations([*pairwise(cuts)]))
    }
    assert [token for x in sorted(pieces) for token in pieces[x]] == whole


@st.composite
def restored(draw: st.DrawFn) -> tuple[Sealed, Sealed, int]:
    """A stream, and what it became when an old copy of the ledger came back: from a unit on it was sealed
    again, with other readings, in incarnations that had sealed nothing."""
    before = draw(meters())
    cut = draw(st.integers(before.start + 1, before.end))
    kept = [Run(run.incarnation, run.first, min(run.end, cut)) for run in before.runs if run.first < cut]
    taken = {run.incarnation for run in before.runs}
    counters = st.integers(0, MASK).filter(lambda i: i not in taken)
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    fresh = draw(st.lists(counters, min_size=len(lengths), max_size=len(lengths), unique=True))
    for incarnation, length in zip(fresh, lengths, strict=True):
        kept.append(Run(incarnation, kept[-1].end, kept[-1].end + length))
    size, energy = kept[-1].end - cut, st.integers(-278_000, 278_000)
    d = {
        lane: values[: cut - before.start] + draw(st.lists(energy, min_size=size, max_size=size))
        for lane, values in before.d.items()
    }
    c = {lane: seal_all(before.layout, kept, lane, values) for lane, values in d.items()}
    return before, Sealed(before.layout, tuple(kept), d, c), cut


@pytest.mark.slow
@given(restored(), st.integers(1, 4), st.sampled_from(("windows", "bill", "load")), st.data())
def test_what_is_sealed_again_meets_no_keystream_again(
    story: tuple[Sealed, Sealed, int], size: int, kind: Kind, data: st.DataObject
) -> None:
    """To the store's owner, who has the tokens of before and after: those of a window that was not sealed
    again are the same, and the others' differences are blinded by two words of different keystreams, each of
    which hides nothing else."""
    before, after, cut = story
    of = grant(before, size, kind, **{"partner": bytes(16)} if kind == "load" else {})
    longer = max(before, after, key=lambda sealed: sealed.end)
    tariff = data.draw(tariffs(longer, 1)) if kind == "bill" else None
    found = []
    for sealed in (before, after):
        edges = edges_of(sealed, of)
        runs = sealed_by(sealed.runs, 0, edges)
        tokens = tokens_of(sealed, of, tariff, 0, len(edges) - 1)
        hiding = masks(KeyChain(K_0), runs, 0, len(tokens), of.words).tolist()
        incarnations = [incarnation_of(runs, j) for j in range(len(tokens))]
        found.append([*zip(incarnations, tokens, hiding, strict=True)])
    hides: dict[int, tuple[int, int, int, int]] = {}  # a word of the keystream -> where it hides what
    for windows in found:
        for j, (incarnation, token, hiding) in enumerate(windows):
            for at, word in enumerate(hiding):
                place = (j, incarnation, at, token[at])
                assert hides.setdefault(word, place) == place
    for j, (one, other) in enumerate(zip(*found, strict=False)):
        again = of.window(j)[1] > cut
        assert (one == other) == (not again)
        if again:
            assert one[0] != other[0]
            assert all(x != y for x, y in zip(one[2], other[2], strict=True))


@given(restored(), st.integers(1, 2))
def test_raw_keys_of_links_sealed_again_are_hidden_anew(
    story: tuple[Sealed, Sealed, int], links: int
) -> None:
    before, after, cut = story
    of = grant(before, links * before.layout.link_units, "raw")
    chain, tokens = KeyChain(K_0), [raw(before, of), raw(after, of)]
    runs = [sealed_by(sealed.runs, 0, edges_of(sealed, of)) for sealed in (before, after)]
    for j, (one, other) in enumerate(zip(*tokens, strict=False)):
        again = of.window(j)[1] > cut
        assert (one != other) == again
        if again:
            with pytest.raises(Refused):
                open_raw(chain, of.id, j, incarnation_of(runs[0], j), *of.window(j), other)


def test_sealing_shows_no_key() -> None:
    assert "k_inc" not in repr(sealing(_one_link()))


def test_tokens_are_what_the_protocol_adds_up() -> None:
    """By hand: one link, one incarnation, windows of two units."""
    sealed = _one_link()
    of = grant(sealed, 2)
    edges = edges_of(sealed, of)
    assert edges == [0, 2, 4, 6]
    assert sealed_by(sealed.runs, 0, edges) == [(0, 1)]
    tokens = hide(held(sealed, of, edges), KeyChain(K_0), sealed_by(sealed.runs, 0, edges), 0)
    assert [
        signed(ciphertext(sealed, "import", a, b) - r)
        for (a, b), r in zip(pairwise(edges), opened(sealed, of, tokens, K_0)[:, 0].tolist(), strict=True)
    ] == [10, 10, 10]
    assert not np.array_equal(tokens, held(sealed, of, edges))


def _one_link() -> Sealed:
    layout, runs, d = Layout(1000, 6), (Run(1, 0, 6),), [5] * 6
    return Sealed(layout, runs, {"import": d}, {"import": seal_all(layout, runs, "import", d)})
