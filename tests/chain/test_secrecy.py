"""What a provider can tell: what its tokens span, exactly, and nothing beyond, however much it computes.

For any other plaintext with the same granted sums there are words that give the very same chunks and
tokens, to the byte. Words are uniform to who has no key, so both are equally likely: no test tells them
apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import lcm

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.chain.grant import Kind
from gateway.chain.keys import KeyChain, tokens_key
from gateway.chain.layout import Layout, Run
from gateway.chain.prices import Dynamic
from gateway.chain.seal import MASK, U64, signed
from gateway.chain.tariff import Tariff, cent, rounded
from gateway.chain.token import BLOCK, Sealed, masks
from tests.chain.streams import I64, u64
from tests.chain.views import (
    LANES,
    UNIT_MS,
    Holding,
    Home,
    Masks,
    Span,
    View,
    edges_of,
    equations,
    grant_of,
    granted,
    holdings,
    homes,
    other_words,
    some_words,
    times,
    view,
)

SEED = st.integers(0, 2**32)


def units(data: st.DataObject, home: Home, values: st.SearchStrategy[int] = I64) -> list[int]:
    """A value for each unit of both lanes."""
    return data.draw(st.lists(values, min_size=home.size, max_size=home.size))


def stretch(data: st.DataObject, home: Home) -> list[int]:
    """The sum of some units of a lane that follow each other."""
    a = data.draw(st.integers(home.start, home.end - 1))
    return home.row(data.draw(st.sampled_from(LANES)), a, data.draw(st.integers(a + 1, home.end)))


def look_the_same(home: Home, held: list[Holding], d: list[int], extra: list[int], seed: int) -> bool:
    """Whether `d`, and `d` with `extra` added, can come from one and the same view."""
    link_words = some_words(home, held, seed)
    changed = [value + more for value, more in zip(d, extra, strict=True)]
    return view(home, held, link_words, d) == view(home, held, other_words(home, link_words, extra), changed)


@pytest.mark.slow
@given(st.data(), SEED)
@settings(max_examples=150)
def test_what_grants_open_is_exactly_their_span(data: st.DataObject, seed: int) -> None:
    """Of any stretch of a lane: it is a combination of what the tokens open, and so known, or a second
    plaintext with another sum of it looks the same."""
    home = data.draw(homes())
    held, d = data.draw(holdings(home, least=1)), units(data, home)
    seen = view(home, held, some_words(home, held, seed), d)
    known = list(equations(home, held, seen))
    assert all(signed(value) == times(row, d) for row, value in known)
    span, target = Span([row for row, _ in known], home.size), stretch(data, home)
    parts = span.combination(target)
    if parts is not None:
        scale = lcm(*(part.denominator for part in parts))
        told = sum(int(part * scale) * value for part, (_, value) in zip(parts, known, strict=True))
        assert signed(told) == signed(scale * times(target, d))
        return
    basis = span.unseen()
    tells = [vector for vector in basis if sum(x * y for x, y in zip(target, vector, strict=True))]
    extra = data.draw(st.sampled_from(tells))
    for vector in data.draw(st.lists(st.sampled_from(basis), max_size=4)):
        more = [x + y for x, y in zip(extra, vector, strict=True)]
        extra = more if times(target, more) else extra
    assert times(target, extra)
    assert look_the_same(home, held, d, extra, seed)


QUANTA = st.integers(1, 30) | st.sampled_from((2**20, 2**62))


@given(st.data(), SEED)
@settings(max_examples=150)
def test_what_changes_a_granted_number_shows_and_nothing_else(data: st.DataObject, seed: int) -> None:
    """The other way round: views are equal if and only if the granted sums and the rounded bills are."""
    home = data.draw(homes())
    kinds: tuple[Kind, ...] = ("windows", "bill", "load")  # of raw grants no words are free
    held = data.draw(holdings(home, kinds, quanta=QUANTA))
    values = data.draw(st.sampled_from((I64, st.integers(-9, 9))))
    d, extra = units(data, home, values), units(data, home, st.integers(-2, 2))
    changed = [value + more for value, more in zip(d, extra, strict=True)]
    same = granted(home, held, d) == granted(home, held, changed)
    assert look_the_same(home, held, d, extra, seed) == same


@given(st.data(), SEED, st.integers(2, 10**6))
@settings(max_examples=50)
def test_a_rounded_bill_tells_nothing_below_its_quantum(data: st.DataObject, seed: int, quantum: int) -> None:
    """One unit's price of 1 changes the bill by what it changes: all readings that round alike look alike."""
    home = Home(Layout(UNIT_MS, 4), (Run(1, 0, 5),))
    grant = replace(grant_of(home, 1, "bill", 5, 0, None), lanes=LANES[:1], quantum=quantum)
    listed = {"import": Dynamic(0, (1, 0, 3, -2, 1))}
    held = [Holding(grant, bytes(32), Tariff("EUR", 2, "UTC", UNIT_MS, listed))]
    multiple, below = data.draw(st.integers(-5, 5)), data.draw(st.integers(0, quantum - 1))
    d = [multiple * quantum - quantum // 2] + [0] * 9  # the least that rounds to it
    extra = [below] + [0] * 9
    assert granted(home, held, d) == [multiple * quantum & MASK]
    assert look_the_same(home, held, d, extra, seed)
    extra[0] = data.draw(st.sampled_from((-1, quantum)))
    assert not look_the_same(home, held, d, extra, seed)


@given(st.integers(0, 12 * 10**6), st.integers(0, 12 * 10**6), st.integers(0, 1000))
def test_a_bill_in_nine_decimals_does_not_tell_its_two_sums(peak: int, rest: int, permille: int) -> None:
    """At 0.312400001 and 0.219900000 a kWh the last digits of an exact bill are those of the peak energy, to
    the mWh. Rounded to a cent, the bill fits any peak energy up to that of the whole bill."""
    dear, cheap, quantum = 312_400_001, 219_900_000, cent(9)
    exact = dear * peak + cheap * rest
    assert exact % 100_000 == peak % 100_000
    paid = rounded(exact, quantum)
    other = paid // dear * permille // 1000
    fits = max(0, (paid - dear * other) // cheap)
    assert rounded(dear * other + cheap * fits, quantum) == paid


@given(st.data(), SEED)
@settings(max_examples=50)
def test_the_store_sees_nothing(data: st.DataObject, seed: int) -> None:
    """Without tokens any two plaintexts of one length look the same."""
    home = data.draw(homes())
    assert look_the_same(home, [], units(data, home), units(data, home), seed)


@given(st.data(), SEED)
@settings(max_examples=50)
def test_two_grants_do_not_open_the_time_between(data: st.DataObject, seed: int) -> None:
    """Also where all of it lies in one link, and the windows' borders are words that both grants use."""
    home = data.draw(homes())
    assume(home.end - home.start > 2)
    cuts = st.lists(st.integers(home.start, home.end), min_size=4, max_size=4, unique=True)
    a, b, c, d = sorted(data.draw(cuts))
    held = [
        Holding(grant_of(home, i, "windows", 1, x, y - x), bytes([i]) * 32)
        for i, (x, y) in enumerate(((a, b), (c, d)))
    ]
    extra = units(data, home)
    for lane in LANES:
        for unit in (*range(a, b), *range(c, d)):
            extra[home.at(lane, unit)] = 0
    assert look_the_same(home, held, units(data, home), extra, seed)


@given(st.data(), SEED, st.sampled_from(("windows", "bill", "load")))
@settings(max_examples=50)
def test_a_revoked_grant_opens_nothing_after(data: st.DataObject, seed: int, kind: Kind) -> None:
    """With every K_m to come: the tokens have stopped, and the window in which they did stays closed."""
    home = data.draw(homes())
    held = data.draw(holdings(home, (kind,), least=1))
    revoked = data.draw(st.integers(home.start, home.end))
    d, extra, link_words = units(data, home), units(data, home), some_words(home, held, seed)
    opened = max(one.grant.window(one.grant.complete(revoked))[0] for one in held)
    for lane in LANES:
        for unit in range(home.start, min(opened, home.end)):
            extra[home.at(lane, unit)] = 0
    one, other = (
        view(home, held, under, values)
        for under, values in (
            (link_words, d),
            (other_words(home, link_words, extra), [x + y for x, y in zip(d, extra, strict=True)]),
        )
    )
    assert one.chunks == other.chunks
    for holding, tokens, others in zip(held, one.tokens, other.tokens, strict=True):
        published = holding.grant.complete(revoked)
        assert tokens[:published] == others[:published]


CENTRE, SERVICE = bytes([9]) * 32, bytes(32)


def load_of(data: st.DataObject, home: Home) -> Holding:
    size, first = data.draw(st.integers(1, 6)), data.draw(st.integers(home.start, home.end))
    return Holding(grant_of(home, 1, "load", size, first, None), SERVICE, None, CENTRE)


def sums_of(home: Home, load: Holding, d: Sequence[int]) -> U64:
    """The sums of each window and lane, [window, lane]."""
    edges = edges_of(home, load.grant)
    rows = [[times(home.row(lane, a, b), d) for lane in LANES] for a, b in pairwise(edges)]
    return u64(rows).reshape(-1, len(LANES))


def another(k_0: bytes, more: U64) -> Masks:
    """The keystreams, but `more` is added to the words that come from one K_0."""

    def of(
        chain: KeyChain,
        sealed: Sequence[Sealed],
        first: int,
        end: int,
        width: int,
        cuts: Sequence[bytes] = (),
    ) -> U64:
        own = masks(chain, sealed, first, end, width, cuts)
        return own + more[first:end] if chain.block(0) == k_0 else own

    return of


@given(st.data(), SEED, st.sampled_from((CENTRE, SERVICE)))
@settings(max_examples=100)
def test_neither_party_of_a_load_learns_anything(data: st.DataObject, seed: int, unknown: bytes) -> None:
    """Each has the chunks, the tokens and its own keystream. The other's is as uniform to it as words are:
    under another one, any other plaintext gives the very same view."""
    home = data.draw(homes())
    load = load_of(data, home)
    d, extra, link_words = units(data, home), units(data, home), some_words(home, [], seed)
    changed = [value + more for value, more in zip(d, extra, strict=True)]
    others = another(unknown, sums_of(home, load, extra))
    seen = view(home, [load], link_words, d)
    assert seen == view(home, [load], other_words(home, link_words, extra), changed, others)
    # and what both know together are the windows
    for row, value in equations(home, [load], seen):
        assert signed(value) == times(row, d)


@given(st.data(), SEED)
@settings(max_examples=50)
def test_of_homes_summed_only_the_sum_shows(data: st.DataObject, seed: int) -> None:
    """To the centre, which has the chunks and tokens of two homes, its own keystream of both, and the sum of
    the service's words: it cannot tell what one home used more and the other less."""
    home = data.draw(homes())
    load, extra = load_of(data, home), units(data, home)
    given_away = []
    for number, sign in enumerate((1, -1)):
        moved = [sign * more for more in extra]
        d, link_words = units(data, home), some_words(home, [], seed + number)
        changed = [value + more for value, more in zip(d, moved, strict=True)]
        others = another(SERVICE, sums_of(home, load, moved))
        seen = view(home, [load], link_words, d)
        assert seen == view(home, [load], other_words(home, link_words, moved), changed, others)
        given_away.append(others)
    chain, end = KeyChain(SERVICE), len(edges_of(home, load.grant)) - 1
    under = [Sealed(0, 1)]
    one, other = (words_of(chain, under, 0, end, len(LANES)) for words_of in given_away)
    assert (one + other == 2 * masks(chain, under, 0, end, len(LANES))).all()


def test_the_partners_words_are_on_what_is_published() -> None:
    """Without them, and so with the service's K_0 alone, a load's token would open one home."""
    home = Home(Layout(UNIT_MS, 4), (Run(1, 0, 8),))
    load = Holding(grant_of(home, 1, "load", 2, home.start, None), SERVICE, None, CENTRE)
    d = [*range(100, 100 + home.size)]
    link_words = some_words(home, [], 1)
    seen = view(home, [load], link_words, d)
    alone = replace(load, partner=None)
    assert not any(
        signed(value) == times(row, d)
        for row, value in equations(home, [alone], View(seen.chunks, seen.tokens))
    )
    bare = view(home, [alone], link_words, d)
    assert all(signed(value) == times(row, d) for row, value in equations(home, [alone], bare))


@given(st.binary(min_size=32, max_size=32), st.integers(0, 5), st.integers(0, MASK))
def test_keystreams_are_no_keys_of_the_chain(k_0: bytes, m: int, incarnation: int) -> None:
    """A word that a party gives away in a sum is no part of what hides another."""
    chain = KeyChain(k_0)
    words = masks(chain, [Sealed(m * BLOCK, incarnation)], m * BLOCK, m * BLOCK + 3, 4)
    k_m = chain.block(m)
    keys = [k_m, chain.block(m + 1), tokens_key(k_m, incarnation)]
    parts = {int.from_bytes(key[at : at + 8], "little") for key in keys for at in range(0, 32, 8)}
    assert not parts & set(words.flatten().tolist())
