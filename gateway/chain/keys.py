"""The keys, from the root to a link of the chain, and from a grant's start to a token.

root   lives in the TPM; `incarnation_message` is what the TPM is asked to HMAC
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
    """What the root signs to give K_inc. `stream` has 16 bytes."""
    return b"gw1/incarnation" + stream + be64(incarnation)


def ledger_message(stream: bytes) -> bytes:
    """What the root signs to give the key under which the device keeps its own secrets at rest.

    It never leaves the device and opens nothing that is stored elsewhere; the label keeps it apart
    from every K_inc.
    """
    return b"gw1/ledger" + stream


def link_key(k_inc: bytes, n: int, lane: str) -> bytes:
    """K(n, lane): the key of one lane's link n."""
    return _hmac(k_inc, b"gw1/link" + be64(n) + lane.encode("ascii"))


def next_key(k_j: bytes) -> bytes:
    """K_{j+1}: a grant's chain, forward only."""
    return _hmac(k_j, b"gw1/next")


def token_key(k_j: bytes) -> bytes:
    """T_j: the key of window j's token."""
    return _hmac(k_j, b"gw1/token")


def advance(k_j: bytes, steps: int) -> bytes:
    """K_{j+steps}."""
    if steps < 0:
        raise ValueError("a grant's chain has no way back")
    for _ in range(steps):
        k_j = next_key(k_j)
    return k_j
