"""The primitives of PROTOCOL.md written once more, in plain Python and from their own sources.

Nothing here is taken from the gateway, so that agreement with it means something. AES-GCM, X25519,
ML-KEM and ECDSA come from `cryptography`; what is built of them does not.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, mlkem, utils, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256

MASK = 2**64 - 1
_N = 2**256 - 2**224 + 2**192 - 0x4319055258E8617B0C46353D039CDAAF  # the order of P-256


def h(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def mac(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256."""
    return hmac.new(key, message, hashlib.sha256).digest()


def be64(n: int) -> bytes:
    """8 bytes, big-endian."""
    return struct.pack(">Q", n)


# ChaCha20: RFC 8439, section 2.3.


def _quarter(s: list[int], a: int, b: int, c: int, d: int) -> None:
    for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        s[x] = (s[x] + s[y]) & 0xFFFFFFFF
        mixed = s[z] ^ s[x]
        s[z] = (mixed << turn | mixed >> (32 - turn)) & 0xFFFFFFFF


def chacha20_block(key: bytes, counter: int, nonce: bytes) -> bytes:
    """64 bytes of keystream."""
    start = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), counter]
    start += struct.unpack("<3I", nonce)
    s = list(start)
    for _ in range(10):
        for column in range(4):
            _quarter(s, column, column + 4, column + 8, column + 12)
        for diagonal in range(4):
            places = [4 * row + (diagonal + row) % 4 for row in range(4)]
            _quarter(s, *places)
    return struct.pack("<16I", *((x + y) & 0xFFFFFFFF for x, y in zip(s, start, strict=True)))


def word(key: bytes, p: int) -> int:
    """W[p] of the link that has this key: the p-th u64, little-endian."""
    block = chacha20_block(key, p // 8, bytes(12))
    return int(struct.unpack_from("<Q", block, 8 * (p % 8))[0])


# Deterministic CBOR: RFC 8949, section 4.2.1 (map entries in the bytewise order of their keys).


@dataclass(frozen=True)
class Tag:
    """A tagged item."""

    number: int
    item: Any


def _head(major: int, n: int) -> bytes:
    if n < 24:
        return bytes([major << 5 | n])
    for low, form in ((24, ">B"), (25, ">H"), (26, ">I"), (27, ">Q")):
        if n < 1 << 8 * struct.calcsize(form):
            return bytes([major << 5 | low]) + struct.pack(form, n)
    raise ValueError(n)


def cbor(value: Any) -> bytes:
    """One item: integers, bytes, text, arrays, maps and tags."""
    match value:
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            return _head(3, len(value.encode())) + value.encode()
        case list():
            return _head(4, len(value)) + b"".join(cbor(item) for item in value)
        case dict():
            entries = sorted((cbor(key), cbor(item)) for key, item in value.items())
            return _head(5, len(value)) + b"".join(key + item for key, item in entries)
        case Tag():
            return _head(6, value.number) + cbor(value.item)
    raise TypeError(type(value))


# COSE_Sign1 with ES256: RFC 9052, section 4.4, and RFC 9053, section 2.1.


class Signer:
    """An ES256 key of a fixed number; signs as RFC 6979 has it, so the same bytes each time."""

    def __init__(self, number: int) -> None:
        self._key = ec.derive_private_key(number, ec.SECP256R1())
        at = self._key.public_key().public_numbers()
        prefix = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")  # RFC 5480
        self.spki = prefix + at.x.to_bytes(32, "big") + at.y.to_bytes(32, "big")
        self.kid = h(self.spki)[:16]

    def sign(self, type_string: str, payload: bytes) -> tuple[bytes, bytes]:
        """What is signed, and the COSE_Sign1."""
        protected = cbor({1: -7, 4: self.kid})
        signed = cbor(["Signature1", protected, type_string.encode(), payload])
        der = self._key.sign(signed, ec.ECDSA(SHA256(), deterministic_signing=True))
        r, s = utils.decode_dss_signature(der)
        s = min(s, _N - s)  # of a signature and its twin, the one that counts
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return signed, cbor(Tag(18, [protected, {}, payload, signature]))


# X-Wing: draft-connolly-cfrg-xwing-kem, section 5.


class XWing:
    """The key pair of a 32-byte seed."""

    def __init__(self, seed: bytes) -> None:
        expanded = hashlib.shake_256(seed).digest(96)
        self._m = mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        self._x = x25519.X25519PrivateKey.from_private_bytes(expanded[64:])
        self.public = self._m.public_key().public_bytes_raw() + self._x.public_key().public_bytes_raw()

    def decapsulate(self, ct: bytes) -> bytes:
        """The shared secret in 1120 bytes."""
        peer = x25519.X25519PublicKey.from_public_bytes(ct[1088:])
        return _combine(self._m.decapsulate(ct[:1088]), self._x.exchange(peer), ct[1088:], self.public[1184:])


def xwing_encapsulate(public: bytes, ephemeral: bytes) -> tuple[bytes, bytes]:
    """A shared secret and its 1120 bytes; the ML-KEM half is random."""
    ss_m, ct_m = mlkem.MLKEM768PublicKey.from_public_bytes(public[:1184]).encapsulate()
    key = x25519.X25519PrivateKey.from_private_bytes(ephemeral)
    ct_x = key.public_key().public_bytes_raw()
    ss_x = key.exchange(x25519.X25519PublicKey.from_public_bytes(public[1184:]))
    return _combine(ss_m, ss_x, ct_x, public[1184:]), ct_m + ct_x


def _combine(ss_m: bytes, ss_x: bytes, ct_x: bytes, pk_x: bytes) -> bytes:
    return hashlib.sha3_256(ss_m + ss_x + ct_x + pk_x + rb"\.//^" + b"\\").digest()


# HPKE, base mode with HKDF-SHA256: RFC 9180, sections 4 and 5.1.


def hpke_schedule(shared: bytes, info: bytes, kem: int, aead: int, key_bytes: int) -> tuple[bytes, bytes]:
    """The AEAD's key and base nonce."""
    suite = b"HPKE" + struct.pack(">HHH", kem, 1, aead)

    def extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return mac(salt, b"HPKE-v1" + suite + label + ikm)

    def expand(secret: bytes, label: bytes, context: bytes, length: int) -> bytes:  # up to 32 bytes
        labelled = struct.pack(">H", length) + b"HPKE-v1" + suite + label + context
        return mac(secret, labelled + b"\1")[:length]

    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")
    return expand(secret, b"key", context, key_bytes), expand(secret, b"base_nonce", context, 12)


def hpke_seal(message: bytes, info: bytes, public: bytes, ephemeral: bytes) -> bytes:
    """Encapsulated key and ciphertext, X-Wing with AES-256-GCM."""
    shared, ct = xwing_encapsulate(public, ephemeral)
    key, nonce = hpke_schedule(shared, info, 0x647A, 2, 32)
    return ct + AESGCM(key).encrypt(nonce, message, b"")


def hpke_open(sealed: bytes, info: bytes, keys: XWing) -> bytes:
    """The message; InvalidTag where it does not open."""
    key, nonce = hpke_schedule(keys.decapsulate(sealed[:1120]), info, 0x647A, 2, 32)
    return AESGCM(key).decrypt(nonce, sealed[1120:], b"")
