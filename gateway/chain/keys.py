"""Keys: from the root to a link of the chain, and from a grant's start to a token.

root   stays in the TPM, which computes the HMAC of `incarnation_message`
K_inc  HMAC-SHA256(root, "gw1/incarnation" | stream | be64(incarnation))
K      HMAC-SHA256(K_inc, "gw1/link" | be64(n) | lane name)
K_j+1  HMAC-SHA256(K_j, "gw1/next")
T_j    HMAC-SHA256(K_j, "gw1/token")
"""

from __future__ import annotations

import hmac

KEY_BYTES = 32
STREAM_BYTES = 16


def be64(value: int) -> bytes:
    """8 bytes, big-endian, of 0 <= value < 2^64."""
    return value.to_bytes(8, "big")


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def incarnation_message(stream: bytes, incarnation: int) -> bytes:
    """The message whose HMAC under the root is K_inc. `stream` has 16 bytes."""
    return b"gw1/incarnation" + stream + be64(incarnation)


def ledger_message(stream: bytes) -> bytes:
    """The message whose HMAC under the root is the key of the device's own secrets at rest.

    That key never leaves the device and opens nothing that is stored elsewhere; the label keeps it apart
    from every K_inc.
    """
    return b"gw1/ledger" + stream


def link_key(k_inc: bytes, n: int, lane: str) -> bytes:
    """K(n, lane), the key of link n of one lane."""
    return _hmac(k_inc, b"gw1/link" + be64(n) + lane.encode("ascii"))


def next_key(k_j: bytes) -> bytes:
    """K_{j+1}, the next key of a grant's chain, which only goes forward."""
    return _hmac(k_j, b"gw1/next")


def token_key(k_j: bytes) -> bytes:
    """T_j, the key of window j's token."""
    return _hmac(k_j, b"gw1/token")


def advance(k_j: bytes, steps: int) -> bytes:
    """K_{j+steps}."""
    if steps < 0:
        raise ValueError("a grant's chain only goes forward")
    for _ in range(steps):
        k_j = next_key(k_j)
    return k_j
