"""Nonces for logins: this registrar's, good once, and for two minutes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.registrar.nonces import LIFETIME_MS, Nonces
from gateway.web.refusals import NotAuthenticated
from gateway.wire.request import NONCE_BYTES
from tests.support.clock import FakeClock


def test_a_nonce_is_good_once() -> None:
    nonces = Nonces(FakeClock())
    nonce, _ = nonces.new()
    assert len(nonce) == NONCE_BYTES
    nonces.use(nonce)
    with pytest.raises(NotAuthenticated, match="was used before"):
        nonces.use(nonce)


def test_a_nonce_is_good_until_it_expires() -> None:
    clock = FakeClock()
    nonces = Nonces(clock)
    (early, expires_ms), (late, _) = nonces.new(), nonces.new()
    assert expires_ms == clock.now_ms + LIFETIME_MS
    clock.pass_s(LIFETIME_MS / 1000 - 0.001)
    nonces.use(early)
    clock.pass_s(0.001)
    with pytest.raises(NotAuthenticated, match="has expired"):
        nonces.use(late)
    with pytest.raises(NotAuthenticated, match="has expired"):
        nonces.use(early)


@pytest.mark.parametrize("back_s", [60, 3600])
def test_a_nonce_is_good_once_though_the_clock_goes_back(back_s: float) -> None:
    clock = FakeClock()
    nonces = Nonces(clock)
    nonce, _ = nonces.new()
    clock.pass_s(-back_s)
    uses = 0
    for _ in range(int(back_s / 30) + 10):
        with suppress(NotAuthenticated):
            nonces.use(nonce)
            uses += 1
        nonces.use(nonces.new()[0])
        clock.pass_s(30)
    assert uses == 1
    assert len(nonces._used) <= 10


@given(st.integers(0, NONCE_BYTES - 1), st.integers(1, 255))
def test_a_nonce_with_a_changed_byte_is_none(place: int, change: int) -> None:
    nonces = Nonces(FakeClock())
    nonce = bytearray(nonces.new()[0])
    nonce[place] ^= change
    with pytest.raises(NotAuthenticated, match="not one that this registrar gave out"):
        nonces.use(bytes(nonce))


def test_another_runs_nonce_is_none() -> None:
    clock = FakeClock()
    with pytest.raises(NotAuthenticated, match="not one that this registrar gave out"):
        Nonces(clock).use(Nonces(clock).new()[0])


def test_what_has_expired_is_forgotten() -> None:
    clock = FakeClock()
    nonces = Nonces(clock)
    for _ in range(50):
        nonces.use(nonces.new()[0])
        clock.pass_s(10)
    assert len(nonces._used) <= LIFETIME_MS / 10_000 + 1
