"""Deterministic CBOR, and COSE_Sign1 (RFC 9052, section 4.2) with ES256: how an object is signed and checked.

The encoding is that of RFC 8949, section 4.2.1: the shortest form of everything, map entries in the bytewise
order of their encoded keys. All keys of version 1 are unsigned integers, and among those the length-first
order of section 4.2.3, which cbor2's `canonical` writes, is the same.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from typing import Any, NamedTuple

import cbor2
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from gateway.errors import Refused
from gateway.wire import es256

_TAG = b"\xd2"  # tag 18, COSE_Sign1
_FOUR_PARTS, _NO_MAP = b"\x84", b"\xa0"
_SIGNATURE1 = b"\x84\x6aSignature1"
_HEADER = b"\xa2\x01\x26\x04"  # {1: -7, 4: what follows}
_KID = 4
KID_BYTES = 16
SPKI_BYTES = 91  # SubjectPublicKeyInfo of P-256 as a named curve with an uncompressed point (RFC 5480)
_BYTES = {1: b"\x58", 2: b"\x59", 4: b"\x5a", 8: b"\x5b"}  # a byte string whose length takes so many bytes
_BYTES_1 = _BYTES[1]
_SIZES = {lead[0]: size for size, lead in _BYTES.items()}
_LEAST = {1: 24, 2: 2**8, 4: 2**16, 8: 2**32}  # the least number that needs so many bytes
_BEFORE_KID = _TAG + _FOUR_PARTS + b"\x55" + _HEADER + b"\x50"
_BEFORE_PAYLOAD = len(_BEFORE_KID) + KID_BYTES + 1
_BEFORE_SIGNATURE = _BYTES_1 + bytes([es256.SIGNATURE_BYTES])
_MANY = 8  # items of an array, from which on it is quicker to look at all of them at once
KEYS_KEPT = 2**14  # public keys, 2 KiB each, of the streams that are read again and again
_DEPTH = 8  # a tariff, the deepest of what is signed or hashed, nests 4 deep


def digest(data: bytes) -> bytes:
    """H of PROTOCOL.md: SHA-256."""
    return hashlib.sha256(data).digest()


@lru_cache(KEYS_KEPT)
def kid_of(public_key: bytes) -> bytes:
    """The name of a signing key: H(SubjectPublicKeyInfo)[:16]."""
    return digest(public_key)[:KID_BYTES]


def encode(value: Any) -> bytes:
    """Deterministic CBOR, for a value whose maps have unsigned integers for keys."""
    return cbor2.dumps(value, canonical=True)


def _examine(data: bytes) -> tuple[bool, bool]:
    """Whether it is integers, strings, arrays and maps of unsigned integer keys alone; and then, whether it
    is one item in the one deterministic form. IndexError if it is cut short, UnicodeDecodeError if a text is
    not UTF-8.

    cbor2 makes dates, decimals, patterns and shared items of tags, and those can grow out of all
    proportion to the bytes: a kilobyte of references to references writes out as terabytes. A text that is
    not UTF-8 it never frees (5.9.0): a store that serves one over and over would fill the memory.
    """
    at, size_of_all, shortest = 0, len(data), True
    left, last_key = 1, None  # how many items are to come in the innermost array or map, and a map's last key
    above: list[tuple[int, int | None]] = []
    while True:
        while not left:
            if not above:
                return True, shortest and at == size_of_all
            left, last_key = above.pop()
        left -= 1
        value = data[at]
        major, value = value >> 5, value & 0x1F
        at += 1
        if value == 24:
            value = data[at]
            at += 1
            if value < 24:
                shortest = False
        elif value > 24:
            if value > 27:
                return False, False
            size = 1 << value - 24
            value = int.from_bytes(data[at : at + size], "big")
            at += size
            if value < _LEAST[size]:
                shortest = False
        if left & 1 and last_key is not None:  # an even number was left: a key
            if major:
                return False, False
            if value <= last_key:
                shortest = False
            last_key = value
        elif major == 2:
            at += value
        elif major == 3:
            data[at : at + value].decode("utf-8")
            at += value
        elif major > 3:
            if major > 5 or len(above) == _DEPTH - 1:
                return False, False
            alike = _alike(data, at, value) if major == 4 else 0
            if alike:
                at += alike
            else:
                above.append((left, last_key))
                left, last_key = value * (major - 3), None if major == 4 else -1
        if at > size_of_all:
            raise IndexError


def _alike(data: bytes, at: int, count: int) -> int:
    """The bytes of an array's `count` items from `at` on, if they are byte strings of one length from 24 to
    255, as digests are; else 0."""
    if count < _MANY or data[at : at + 1] != _BYTES_1:
        return 0
    length = data[at + 1 : at + 2]
    size = count * (2 + int.from_bytes(length, "big"))
    if length < b"\x18" or size > len(data) - at:
        return 0
    items, step = data[at : at + size], size // count
    return size if items[::step] == _BYTES_1 * count and items[1::step] == length * count else 0


def decode(data: bytes, what: str) -> Any:
    """The value of deterministic CBOR; Refused for any other bytes. `what` names them in the sentence."""
    try:
        plain, deterministic = _examine(data)
        value = cbor2.loads(data) if plain else None
    except Exception:  # cbor2 lets through whatever hostile bytes raise inside it
        raise Refused(f"{what} is not CBOR, or was cut short") from None
    if not plain:
        raise Refused(
            f"{what} holds CBOR that version 1 does not use: it has integers, byte strings, text, arrays and"
            " maps of unsigned integer keys, none of them open-ended"
        )
    if not deterministic:
        raise Refused(
            f"{what} is not deterministic CBOR: it can be written in more than one way, or more follows it"
        )
    return value


def protected_header(kid: bytes) -> bytes:
    """The protected header: {1: ES256, 4: kid}."""
    return _HEADER + _bytes(kid)


def to_be_signed(type_string: str, kid: bytes, payload: bytes) -> bytes:
    """The Sig_structure whose SHA-256 is signed; the object's type is the external_aad."""
    header, aad = _bytes(protected_header(kid)), _bytes(type_string.encode("ascii"))
    return b"".join((_SIGNATURE1, header, aad, _head(len(payload)), payload))


def assemble(kid: bytes, payload: bytes, signature: bytes) -> bytes:
    """The tagged COSE_Sign1. `signature` is r | s, 64 bytes."""
    header = _bytes(protected_header(kid))
    return b"".join((_TAG, _FOUR_PARTS, header, _NO_MAP, _bytes(payload), _bytes(signature)))


def _bytes(data: bytes) -> bytes:
    """A byte string in CBOR."""
    return _head(len(data)) + data


def _head(length: int) -> bytes:
    """What comes before the bytes of a byte string."""
    if length < _LEAST[1]:
        return bytes((0x40 | length,))
    size = 1 if length < _LEAST[2] else 2 if length < _LEAST[4] else 4 if length < _LEAST[8] else 8
    return _BYTES[size] + length.to_bytes(size, "big")


def _taken_apart(data: bytes) -> tuple[bytes, bytes, bytes] | None:
    """(kid, payload, signature) of which `assemble` makes these very bytes; None where there are none of a
    kid and a signature of the right length."""
    end = len(data) - len(_BEFORE_SIGNATURE) - es256.SIGNATURE_BYTES
    if end <= _BEFORE_PAYLOAD or not data.startswith(_BEFORE_KID):
        return None
    begin = _BEFORE_PAYLOAD + 1 + _SIZES.get(data[_BEFORE_PAYLOAD], 0)
    between = _NO_MAP + _head(max(0, end - begin))
    if not data.startswith(between, _BEFORE_PAYLOAD - 1) or not data.startswith(_BEFORE_SIGNATURE, end):
        return None
    kid = data[len(_BEFORE_KID) : _BEFORE_PAYLOAD - 1]
    return kid, data[begin:end], data[-es256.SIGNATURE_BYTES :]


@lru_cache(KEYS_KEPT)
def load_public_key(public_key: bytes, what: str) -> ec.EllipticCurvePublicKey:
    """A P-256 key from its SubjectPublicKeyInfo (DER). Refused for anything else, and for the same key with a
    compressed or hybrid point (SEC 1, section 2.3.3), which `cryptography` takes."""
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if (
        not isinstance(key, ec.EllipticCurvePublicKey)
        or not isinstance(key.curve, ec.SECP256R1)
        or es256.spki(key) != public_key
    ):
        raise Refused(f"{what} is not a P-256 public key (SubjectPublicKeyInfo, DER)")
    return key


def payload_unchecked(data: bytes, what: str) -> tuple[bytes, bytes, bytes]:
    """(kid, payload, signature) of a COSE_Sign1 that anybody may have signed: only to find out which key to
    ask for."""
    found = _taken_apart(data)
    if found is not None:
        return found
    parts = decode(data.removeprefix(_TAG), what)
    if (
        not data.startswith(_TAG)
        or not isinstance(parts, list)
        or len(parts) != 4
        or parts[1] != {}
        or not all(isinstance(parts[i], bytes) for i in (0, 2, 3))
    ):
        raise Refused(f"{what} is not a COSE_Sign1")
    header = decode(parts[0], f"the header of {what}")
    kid = header.get(_KID) if isinstance(header, dict) else None
    if not isinstance(kid, bytes) or parts[0] != protected_header(kid) or len(kid) != KID_BYTES:
        raise Refused(f"the header of {what} is not {{1: -7 (ES256), 4: kid of {KID_BYTES} bytes}}")
    return kid, parts[2], parts[3]


class Unverified(NamedTuple):
    """The signature of a COSE_Sign1 that is still to be verified, over the SHA-256 of what was signed: a
    chunk's bytes need not stay for it. `what` names the object in the sentence."""

    signed: bytes
    signature: bytes
    type_string: str
    public_key: bytes
    what: str

    def verify(self) -> None:
        """Refused unless the signature is that of `public_key` (DER)."""
        key = load_public_key(self.public_key, "the registered key")
        if not es256.verifies_digest(key, self.signed, self.signature):
            raise Refused(f"the signature of {self.what} does not fit: changed, or not a {self.type_string}")


def verify(
    data: bytes, type_string: str, public_key: bytes, what: str, later: list[Unverified] | None = None
) -> bytes:
    """The payload of `data`; Refused unless it is a `type_string` signed by `public_key` (DER). With `later`
    the signature is put there instead, and the payload may be used once `Unverified.verify` has passed."""
    kid, payload, signature = payload_unchecked(data, what)
    registered = kid_of(public_key)
    if not hmac.compare_digest(kid, registered):
        raise Refused(f"{what} is signed by key {kid.hex()}, not by the registered {registered.hex()}")
    if len(signature) != es256.SIGNATURE_BYTES:
        raise Refused(f"the signature of {what} has {len(signature)} bytes, not {es256.SIGNATURE_BYTES}")
    signed = digest(to_be_signed(type_string, kid, payload))
    found = Unverified(signed, signature, type_string, public_key, what)
    if later is None:
        found.verify()
    else:
        later.append(found)
    return payload
