"""What a provider can tell: what its tokens span, exactly, and nothing beyond, however much it computes.

For any other plaintext with the same granted sums there are words that give the very same chunks and
tokens, to the byte. Words are uniform to who has no key, so both are equally likely: no test tells them
apart.
"""

from __future__ import annotations

from dataclasses import replace
from math import lcm

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.chain.grant import Kind
from gateway.chain.issue import Cursor, Sealing, make_tokens
from gateway.chain.keys import advance, token_key
from gateway.chain.layout import Layout, Run
from gateway.chain.seal import MASK, signed
from gateway.chain.share import centre_half
from tests.chain.streams import I64, k_inc
from tests.chain.views import (
    LANES,
    UNIT_MS,
    Holding,
    Home,
    Span,
    equations,
    grant_of,
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


@given(st.data(), SEED)
@settings(max_examples=50)
def test_what_changes_a_granted_sum_shows(data: st.DataObject, seed: int) -> None:
    """The other way round: views that are equal have equal granted sums."""
    home = data.draw(homes())
    held = data.draw(holdings(home, ("windows", "bill", "load")))  # of raw grants no words are free
    d, extra = units(data, home), units(data, home, st.integers(-2, 2))
    seen = view(home, held, some_words(home, held, seed), d)
    granted = [times(row, extra) for row, _ in equations(home, held, seen)]
    assert look_the_same(home, held, d, extra, seed) == (not any(granted))


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
    """With every K_j to come: the tokens have stopped, and the window in which they did stays closed."""
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


@given(st.data(), SEED)
@settings(max_examples=50)
def test_neither_half_of_a_load_tells_anything(data: st.DataObject, seed: int) -> None:
    """The centre has no token, so it has the store's view. To the service the centre's halves are as
    uniform as words are: with other halves any other plaintext gives the very same tokens."""
    home = data.draw(homes())
    size, first = data.draw(st.integers(1, 6)), data.draw(st.integers(home.start, home.end))
    service = Holding(grant_of(home, 1, "load", size, first, None), bytes(32), None, bytes([9]) * 32)
    d, extra, link_words = units(data, home), units(data, home), some_words(home, [], seed)
    changed = [value + more for value, more in zip(d, extra, strict=True)]
    assert service.partner is not None
    shift = {}
    for j in range(service.grant.complete(home.end)):
        a, b = service.grant.window(j)
        for lane in LANES:
            shift[advance(service.partner, j), lane] = times(home.row(lane, a, b), extra)

    def others(k_j: bytes, lane: str) -> int:
        return (centre_half(k_j, lane) - shift[k_j, lane]) & MASK

    seen = view(home, [service], link_words, d)
    assert seen == view(home, [service], other_words(home, link_words, extra), changed, others)
    # and both halves together are the windows
    for row, value in equations(home, [service], seen):
        assert signed(value) == times(row, d)


def test_the_centres_half_is_never_published() -> None:
    home = Home(Layout(UNIT_MS, 4), (Run(1, 0, 8),))
    centre = replace(grant_of(home, 1, "load", 2, home.start, None), partner=None)
    with pytest.raises(ValueError, match="need the key of the grant's partner"):
        make_tokens(centre, None, Sealing(home.layout, home.runs, k_inc), Cursor(0, bytes(32)), 1)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 20))
def test_halves_are_no_keys_of_the_chain(k_j: bytes, j: int) -> None:
    """A half is of its window and lane alone, and no part of what opens a token."""
    halves = {centre_half(advance(k_j, i), lane) for i in range(j, j + 3) for lane in LANES}
    assert len(halves) == 6
    keys = [advance(k_j, j), advance(k_j, j + 1), token_key(advance(k_j, j))]
    assert not {half.to_bytes(8, "little") for half in halves} & {key[:8] for key in keys}
