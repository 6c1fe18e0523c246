"""Tokens: the nonce of one window, sealed for one grant.

token_j = AES-256-GCM(T_j, nonce 0, aad = id | be64(a) | be64(b), R[a, b) of each lane)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.chain.keys import be64
from gateway.errors import Refused

# T_j encrypts one message ever, a pure function of sealed units: so the nonce may be fixed.
_NONCE = bytes(12)
TAG_BYTES = 16


def token_bytes(values: int) -> int:
    """The length of a token that holds so many u64."""
    return 8 * values + TAG_BYTES


def make_token(t_j: bytes, grant_id: bytes, a: int, b: int, r: Sequence[int]) -> bytes:
    """token_j for the window [a, b); `r` holds R[a, b) of each lane, in the grant's order."""
    plaintext = np.array(r, dtype="<u8").tobytes()
    return AESGCM(t_j).encrypt(_NONCE, plaintext, grant_id + be64(a) + be64(b))


def open_token(t_j: bytes, grant_id: bytes, a: int, b: int, token: bytes) -> list[int]:
    """R[a, b) of each lane. Refused if the token is another window's, another grant's, or changed."""
    try:
        plaintext = AESGCM(t_j).decrypt(_NONCE, token, grant_id + be64(a) + be64(b))
    except (InvalidTag, ValueError, OverflowError):  # the last for windows beyond 2^64: hostile numbers
        raise Refused(
            f"the token for units {a} to {b} of grant {grant_id.hex()} does not open: changed, "
            "or made for another window or grant"
        ) from None
    if len(plaintext) % 8:
        raise Refused(f"the token for units {a} to {b} of grant {grant_id.hex()} holds no whole words")
    return [int(word) for word in np.frombuffer(plaintext, dtype="<u8")]
