"""What the device keeps at rest opens under its own root, in its own place, unchanged, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import LedgerError
from gateway.trust.vault import Vault

KEY = bytes(range(32))
OTHER = (
    "the ledger's grant does not open under this root: the ledger is another gateway's or was changed; "
    "restore this gateway's own"
)


@given(secret=st.binary(max_size=80), place=st.binary(max_size=40))
def test_a_secret_comes_back(secret: bytes, place: bytes) -> None:
    vault = Vault(KEY)
    assert Vault(KEY).open(vault.seal(secret, place), place) == secret
    assert vault.seal(secret, place) != vault.seal(secret, place)


def test_a_sealed_secret_shows_nothing_of_itself() -> None:
    assert b"sixteen bytes or" not in Vault(KEY).seal(b"sixteen bytes or more", b"grant/1")


@pytest.mark.parametrize("place", [b"grant/2", b"grant/", b"state/1", b""])
def test_a_secret_of_another_place_does_not_open(place: bytes) -> None:
    sealed = Vault(KEY).seal(b"K_0", b"grant/1")
    with pytest.raises(LedgerError, match="does not open under this root"):
        Vault(KEY).open(sealed, place)


def test_another_root_opens_nothing() -> None:
    sealed = Vault(KEY).seal(b"K_0", b"grant/1")
    with pytest.raises(LedgerError) as raised:
        Vault(bytes(32)).open(sealed, b"grant/1")
    assert str(raised.value) == OTHER


def test_every_changed_byte_and_every_length_is_noticed() -> None:
    vault, place = Vault(KEY), b"grant/1"
    sealed = vault.seal(b"K_0", place)
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(LedgerError):
            vault.open(bytes(changed), place)
    for wrong in (*(sealed[:length] for length in range(len(sealed))), sealed + b"\0"):
        with pytest.raises(LedgerError):
            vault.open(wrong, place)
