"""The split of a nonce between the load monitoring centre and the summing service."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.keys import next_key
from gateway.chain.layout import LANES
from gateway.chain.seal import MASK
from gateway.chain.share import centre_half, load, service_half

KEY = st.binary(min_size=32, max_size=32)
WORD = st.integers(0, MASK)
D = st.integers(-(2**40), 2**40)


@given(KEY)
def test_the_centres_half_is_the_first_word_of_its_hmac(k_j: bytes) -> None:
    for lane in LANES:
        digest = hmac.new(k_j, b"gw1/share" + lane.encode(), "sha256").digest()
        assert centre_half(k_j, lane).to_bytes(8, "little") == digest[:8]


@given(KEY)
def test_halves_differ_from_lane_to_lane_and_window_to_window(k_j: bytes) -> None:
    halves = [centre_half(k, lane) for k in (k_j, next_key(k_j)) for lane in LANES]
    assert len(set(halves)) == len(halves)


@given(WORD, WORD)
def test_two_halves_are_the_nonce(r: int, centre: int) -> None:
    service = service_half(r, centre)
    assert 0 <= service <= MASK
    assert (service + centre) & MASK == r


@given(st.lists(st.tuples(D, WORD, WORD), min_size=1, max_size=6))
def test_the_sums_over_homes_come_out_whatever_the_nonces(homes: list[tuple[int, int, int]]) -> None:
    """Each home: what it used, its nonce, the centre's half."""
    c = [(d + r) & MASK for d, r, _ in homes]
    service = sum(service_half(r, centre) for _, r, centre in homes) & MASK
    assert load(c, [centre for _, _, centre in homes], service) == sum(d for d, _, _ in homes)


@pytest.mark.parametrize("left_out", [0, 1])
def test_one_home_left_out_of_one_sum_opens_nothing(left_out: int) -> None:
    r, centre = [2**63 + 5, 2**62 + 11], [2**61 + 1, 2**60 + 3]
    c = [(d + x) & MASK for d, x in zip((7, 8), r, strict=True)]
    halves = [service_half(x, y) for x, y in zip(r, centre, strict=True)]
    assert load(c, centre, sum(halves)) == 15
    assert abs(load(c, centre, halves[1 - left_out])) > 2**40
