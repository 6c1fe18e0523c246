"""Signatures between DER, as libraries have them, and r | s, as COSE wants them."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire import cose, es256
from tests.vectors import plain
from tests.wire.samples import KEY, OTHER

PUBLIC = KEY.private.public_key()
ECDSA = ec.ECDSA(hashes.SHA256())


@given(st.binary(max_size=100))
def test_what_is_signed_verifies_both_ways(message: bytes) -> None:
    made = es256.sign(KEY.private, message)
    assert len(made) == es256.SIGNATURE_BYTES
    assert es256.verifies(PUBLIC, message, made)
    r, s = (int.from_bytes(half, "big") for half in (made[:32], made[32:]))
    PUBLIC.verify(encode_dss_signature(r, s), message, ECDSA)  # raises where it does not fit
    assert 1 <= s <= (es256.ORDER - 1) // 2
    r, s = decode_dss_signature(KEY.private.sign(message, ECDSA))
    assert es256.verifies(PUBLIC, message, es256.signature(PUBLIC, message, r, s))


@given(st.binary(max_size=100))
def test_the_twin_of_a_signature_is_refused(message: bytes) -> None:
    """(r, n - s) verifies as ECDSA goes: anybody can make it, without the key."""
    made = es256.sign(KEY.private, message)
    r, s = (int.from_bytes(half, "big") for half in (made[:32], made[32:]))
    PUBLIC.verify(encode_dss_signature(r, es256.ORDER - s), message, ECDSA)
    assert not es256.verifies(PUBLIC, message, made[:32] + (es256.ORDER - s).to_bytes(32, "big"))
    assert es256.signature(PUBLIC, message, r, es256.ORDER - s) == made


@given(st.binary(max_size=100), st.integers(0, 511))
def test_a_changed_bit_does_not_verify(message: bytes, bit: int) -> None:
    made = bytearray(es256.sign(KEY.private, message))
    assert not es256.verifies(OTHER.private.public_key(), message, bytes(made))
    assert not es256.verifies(PUBLIC, message + b"\0", bytes(made))
    made[bit // 8] ^= 1 << bit % 8
    assert not es256.verifies(PUBLIC, message, bytes(made))


def test_small_numbers_are_padded() -> None:
    """One signature in 128 has a half that begins with a zero byte."""
    messages = (bytes([i, j]) for i in range(256) for j in range(256))
    made = next(made for made in (es256.sign(KEY.private, message) for message in messages) if not made[32])
    assert len(made) == es256.SIGNATURE_BYTES


def test_public_keys_are_written_as_rfc_5480_has_it() -> None:
    for number in (1, 2, 3):
        key = ec.derive_private_key(number, ec.SECP256R1()).public_key()
        assert es256.spki(key) == plain.Signer(number).spki
        assert len(es256.spki(key)) == cose.SPKI_BYTES
