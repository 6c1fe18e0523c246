"""Deterministic CBOR, and COSE_Sign1 (RFC 9052, section 4.2) with ES256: how an object is signed and checked.

The encoding is that of RFC 8949, section 4.2.1: the shortest form of everything, map entries in the bytewise
order of their encoded keys. All keys of version 1 are unsigned integers, and among those the length-first
order of section 4.2.3, which cbor2's `canonical` writes, is the same.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import cbor2
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from gateway.errors import Refused
from gateway.wire import es256

_TAG = b"\xd2"  # tag 18, COSE_Sign1
_ALG, _KID, _ES256 = 1, 4, -7
KID_BYTES = 16
SPKI_BYTES = 91  # SubjectPublicKeyInfo of P-256 as a named curve with an uncompressed point (RFC 5480)
_DEPTH = 8  # a tariff, the deepest of what is signed or hashed, nests 4 deep


def digest(data: bytes) -> bytes:
    """H of PROTOCOL.md: SHA-256."""
    return hashlib.sha256(data).digest()


def kid_of(public_key: bytes) -> bytes:
    """The name of a signing key: H(SubjectPublicKeyInfo)[:16]."""
    return digest(public_key)[:KID_BYTES]


def encode(value: Any) -> bytes:
    """Deterministic CBOR, for a value whose maps have unsigned integers for keys."""
    return cbor2.dumps(value, canonical=True)


def _is_plain(data: bytes) -> bool:
    """Whether it is integers, strings, arrays and maps of unsigned integer keys alone; IndexError if it is
    cut short, UnicodeDecodeError if a text is not UTF-8.

    cbor2 makes dates, decimals, patterns and shared items of tags, and those can grow out of all
    proportion to the bytes: a kilobyte of references to references writes out as terabytes. A text that is
    not UTF-8 it never frees (5.9.0): a store that serves one over and over would fill the memory.
    """
    at = 0
    left, in_map = (
        [1],
        [False],
    )  # how many items are to come at each level that is open, and whether it is a map
    while left:
        if not left[-1]:
            left.pop()
            in_map.pop()
            continue
        is_key = in_map[-1] and left[-1] % 2 == 0
        left[-1] -= 1
        major, low = data[at] >> 5, data[at] & 0x1F
        size = 0 if low < 24 else 1 << low - 24
        value = int.from_bytes(data[at + 1 : at + 1 + size], "big") if size else low
        if low > 27 or major > 5 or (is_key and major):
            return False
        begin = at + 1 + size
        at = begin + (value if major in (2, 3) else 0)
        if at > len(data):
            raise IndexError
        if major == 3:
            data[begin:at].decode("utf-8")
        if major >= 4:
            left.append(value * (major - 3))
            in_map.append(major == 5)
            if len(left) > _DEPTH:
                return False
    return True


def decode(data: bytes, what: str) -> Any:
    """The value of deterministic CBOR; Refused for any other bytes. `what` names them in the sentence."""
    try:
        plain = _is_plain(data)
    except (IndexError, UnicodeDecodeError):
        raise Refused(f"{what} is not CBOR, or was cut short") from None
    if not plain:
        raise Refused(
            f"{what} holds CBOR that version 1 does not use: it has integers, byte strings, text, arrays and"
            " maps of unsigned integer keys, none of them open-ended"
        )
    try:
        value = cbor2.loads(data)
        same = encode(value) == data
    except Exception:  # cbor2 lets through whatever hostile bytes raise inside it
        raise Refused(f"{what} is not CBOR, or was cut short") from None
    if not same:
        raise Refused(f"{what} is not deterministic CBOR: it can be written in more than one way")
    return value


def protected_header(kid: bytes) -> bytes:
    """The protected header: {1: ES256, 4: kid}."""
    return encode({_ALG: _ES256, _KID: kid})


def to_be_signed(type_string: str, kid: bytes, payload: bytes) -> bytes:
    """The Sig_structure whose SHA-256 is signed; the object's type is the external_aad."""
    return encode(["Signature1", protected_header(kid), type_string.encode("ascii"), payload])


def assemble(kid: bytes, payload: bytes, signature: bytes) -> bytes:
    """The tagged COSE_Sign1. `signature` is r | s, 64 bytes."""
    return _TAG + encode([protected_header(kid), {}, payload, signature])


def load_public_key(public_key: bytes, what: str) -> ec.EllipticCurvePublicKey:
    """A P-256 key from its SubjectPublicKeyInfo (DER); Refused for anything else."""
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Refused(f"{what} is not a P-256 public key (SubjectPublicKeyInfo, DER)")
    return key


def payload_unchecked(data: bytes, what: str) -> tuple[bytes, bytes, bytes]:
    """(kid, payload, signature) of a COSE_Sign1 that anybody may have signed: only to find out which key to
    ask for."""
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


def verify(data: bytes, type_string: str, public_key: bytes, what: str) -> bytes:
    """The payload of `data`; Refused unless it is a `type_string` signed by `public_key` (DER)."""
    kid, payload, signature = payload_unchecked(data, what)
    if not hmac.compare_digest(kid, kid_of(public_key)):
        raise Refused(
            f"{what} is signed by key {kid.hex()}, not by the registered {kid_of(public_key).hex()}"
        )
    if len(signature) != es256.SIGNATURE_BYTES:
        raise Refused(f"the signature of {what} has {len(signature)} bytes, not {es256.SIGNATURE_BYTES}")
    key = load_public_key(public_key, "the registered key")
    if not es256.verifies(key, to_be_signed(type_string, kid, payload), signature):
        raise Refused(f"the signature of {what} does not fit: changed, or not a {type_string}")
    return payload
