"""Loads: only the sum over a set of homes opens, and only with what both parties give."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.issue import hide
from gateway.chain.keys import KeyChain
from gateway.chain.seal import MASK, U64
from gateway.chain.token import Sealed, masks
from tests.chain.streams import load, u64

KEY = st.binary(min_size=32, max_size=32)
WORD = st.integers(0, MASK)
D = st.integers(-(2**40), 2**40)
HOME = st.tuples(D, WORD, WORD, WORD)


@given(st.lists(HOME, min_size=1, max_size=6))
def test_the_sums_over_homes_come_out_whatever_the_words(homes: list[tuple[int, int, int, int]]) -> None:
    """Each home: what it used, its nonce, the centre's word, the service's word."""
    c = [(d + r) & MASK for d, r, _, _ in homes]
    tokens = [(r + centre + service) & MASK for _, r, centre, service in homes]
    service_sum = sum(service for *_, service in homes) & MASK
    centre = [word for _, _, word, _ in homes]
    assert load(c, tokens, centre, service_sum) == sum(d for d, *_ in homes)


@given(st.lists(HOME, min_size=2, max_size=6), st.data())
def test_one_home_left_out_of_one_sum_opens_nothing(
    homes: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    """The service's sum is of one set: with the ciphertexts of another, its missing word blinds all."""
    out = data.draw(st.integers(0, len(homes) - 1))
    c = [(d + r) & MASK for d, r, _, _ in homes]
    tokens = [(r + centre + service) & MASK for _, r, centre, service in homes]
    centre = [word for _, _, word, _ in homes]
    less = sum(service for i, (*_, service) in enumerate(homes) if i != out)
    wrong = load(c, tokens, centre, less)
    assert (wrong + homes[out][3] - sum(d for d, *_ in homes)) & MASK == 0


@given(KEY, KEY, st.integers(0, 3000), st.integers(1, 5), WORD, st.integers(1, 4))
def test_a_loads_tokens_hide_the_words_of_both(
    service: bytes, centre: bytes, first: int, count: int, incarnation: int, lanes: int
) -> None:
    """What either party takes off leaves the other's words on."""
    sealed = [Sealed(first, incarnation)]
    nonces = u64([[7 * j + lane for lane in range(lanes)] for j in range(count)])
    tokens = hide(nonces, KeyChain(service), sealed, first, KeyChain(centre))
    of = {key: masks(KeyChain(key), sealed, first, first + count, lanes) for key in (service, centre)}
    assert (tokens - of[service] - of[centre] == nonces).all()
    assert (tokens - of[service] - nonces == of[centre]).all()
    assert (tokens - of[centre] - nonces == of[service]).all()
    if service != centre:  # nor does either open it, or both together the other way round
        assert (of[service] != of[centre]).all()


STREET = st.lists(st.tuples(D, WORD), min_size=2, max_size=5)


@given(STREET, st.data())
def test_to_the_centre_only_the_load_shows(street: list[tuple[int, int]], data: st.DataObject) -> None:
    """All ciphertexts, all tokens, all its own words and the service's one number: energy moved from a home
    to another gives the very same, under other words of the service, which are uniform to it."""
    count = len(street)
    centre, service = (
        data.draw(st.lists(WORD, min_size=count, max_size=count)) for _ in ("centre", "service")
    )
    moved = data.draw(st.lists(D, min_size=count - 1, max_size=count - 1))
    moved.append(-sum(moved))
    c = [(d + r) & MASK for d, r in street]

    def seen(d: list[int], of_service: list[int]) -> tuple[list[int], int]:
        nonces = [x - value for x, value in zip(c, d, strict=True)]
        tokens = [(r + x + y) & MASK for r, x, y in zip(nonces, centre, of_service, strict=True)]
        return tokens, sum(of_service) & MASK

    before = [d for d, _ in street]
    after = [d + more for d, more in zip(before, moved, strict=True)]
    others = [(x + more) & MASK for x, more in zip(service, moved, strict=True)]
    assert seen(before, service) == seen(after, others)
    assert load(c, seen(after, others)[0], centre, sum(service)) == sum(before) == sum(after)


def subtracted(one: U64, other: U64) -> list[list[int]]:
    difference: list[list[int]] = (one - other).tolist()
    return difference


@pytest.mark.parametrize("changed", ["service", "centre"])
def test_a_grant_made_anew_beside_its_partner_shares_no_words(changed: str) -> None:
    """The other party's words stay; the difference of both grants' tokens is of two keystreams."""
    sealed, nonces = [Sealed(0, 3)], u64([[5, 6], [7, 8]])
    keys = {"service": bytes(32), "centre": bytes(31) + b"\1"}
    one = hide(nonces, KeyChain(keys["service"]), sealed, 0, KeyChain(keys["centre"]))
    keys[changed] = bytes(31) + b"\2"
    two = hide(nonces, KeyChain(keys["service"]), sealed, 0, KeyChain(keys["centre"]))
    assert all(word for row in subtracted(one, two) for word in row)
