"""Tokens: each opens one window and is sealed for one grant.

    token_j = AES-256-GCM(T_j, nonce 0, aad = id | be64(a) | be64(b), plaintext)

The plaintext is R[a, b) of each lane (windows), one word for a whole bill, the summing service's halves
(load), or the keys of the window's links (raw): words are u64, little-endian.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from gateway.chain.keys import be64, next_key, token_key
from gateway.errors import Refused

# The nonce may be fixed: T_j encrypts one message ever, a pure function of sealed units.
_NONCE = bytes(12)
TAG_BYTES = 16


def make_token(t_j: bytes, grant_id: bytes, a: int, b: int, plaintext: bytes) -> bytes:
    """token_j for the window [a, b)."""
    return AESGCM(t_j).encrypt(_NONCE, plaintext, grant_id + be64(a) + be64(b))


def open_token(t_j: bytes, grant_id: bytes, a: int, b: int, token: bytes) -> bytes:
    """The plaintext of a token. Refused if it belongs to another window or grant, or was changed."""
    try:
        return AESGCM(t_j).decrypt(_NONCE, token, grant_id + be64(a) + be64(b))
    except (InvalidTag, ValueError, OverflowError):  # OverflowError: hostile windows beyond 2^64
        raise _closed(grant_id, a, b) from None


def open_words(
    k_j: bytes, grant_id: bytes, boundaries: Sequence[int], tokens: Sequence[bytes], count: int
) -> tuple[NDArray[np.uint64], bytes]:
    """The words of the tokens of consecutive windows, [window, word], and the key K of the window after.

    `k_j` is the first window's key, window i is [boundaries[i], boundaries[i+1]), and each token holds
    `count` words; Refused where one does not open.
    """
    edges = np.array(boundaries, dtype=">u8").tobytes()
    plain = []
    for i, token in enumerate(tokens):
        try:
            cipher = AESGCM(token_key(k_j))
            plain.append(cipher.decrypt(_NONCE, token, grant_id + edges[8 * i : 8 * i + 16]))
        except InvalidTag:
            raise _closed(grant_id, boundaries[i], boundaries[i + 1]) from None
        k_j = next_key(k_j)
    if any(len(one) != 8 * count for one in plain):
        raise Refused(f"tokens of grant {grant_id.hex()} do not hold {count} words each")
    return np.frombuffer(b"".join(plain), dtype="<u8").reshape(len(plain), count), k_j


def _closed(grant_id: bytes, a: int, b: int) -> Refused:
    return Refused(
        f"the token for units {a} to {b} of grant {grant_id.hex()} does not open: changed, "
        "or made for another window or grant"
    )


def pack_words(values: Sequence[int]) -> bytes:
    """Words 0 <= value < 2^64 as a plaintext."""
    return np.array(values, dtype="<u8").tobytes()


def read_words(plaintext: bytes, count: int) -> list[int]:
    """The words of a plaintext that must hold `count` of them; else Refused."""
    if len(plaintext) != 8 * count:
        raise Refused(f"a token holds {len(plaintext)} bytes where its grant has {count} words")
    return [int(word) for word in np.frombuffer(plaintext, dtype="<u8")]
