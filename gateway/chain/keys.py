"""Keys: from the root to a link of the chain, and from a grant's start to a block of its tokens.

root   stays in the TPM, which computes the HMAC of `incarnation_message`
K_inc  HMAC-SHA256(root, "gw1/incarnation" | stream | be64(incarnation))
K      HMAC-SHA256(K_inc, "gw1/link" | be64(n) | lane name)
K_m+1  HMAC-SHA256(K_m, "gw1/next"), for a block of 1024 windows each
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


def next_key(k_m: bytes) -> bytes:
    """K_{m+1}: the key chain of a grant, forward only, a link for each block of windows."""
    return _hmac(k_m, b"gw1/next")


def tokens_key(k_m: bytes, incarnation: int, cut: bytes = b"") -> bytes:
    """The key of S(m, incarnation), the keystream that hides the tokens of a block's windows; with `cut`, of
    the window that was cut so."""
    return _hmac(k_m, b"gw1/tokens" + be64(incarnation) + cut)


def openings_key(k_m: bytes, incarnation: int, cut: bytes = b"") -> bytes:
    """The key of O(m, incarnation), the keystream of the openings of a block's commitments; with `cut`, as
    for `tokens_key`."""
    return _hmac(k_m, b"gw1/openings" + be64(incarnation) + cut)


def raw_key(k_m: bytes, j: int, incarnation: int) -> bytes:
    """The key of raw token j, whose window's last unit was sealed in `incarnation`."""
    return _hmac(k_m, b"gw1/raw" + be64(j) + be64(incarnation))


class KeyChain:
    """The key chain of one grant. It remembers the block that it reached, so that going on is cheap."""

    __slots__ = ("_k_0", "_reached")

    def __init__(self, k_0: bytes) -> None:
        self._k_0 = k_0
        self._reached = (0, k_0)

    def block(self, m: int) -> bytes:
        """K_m, of m >= 0: a ValueError below it, for the chain only goes forward."""
        if m < 0:
            raise ValueError("the key chain of a grant only goes forward, from block 0")
        at, key = self._reached if self._reached[0] <= m else (0, self._k_0)
        for _ in range(m - at):
            key = next_key(key)
        self._reached = (m, key)
        return key
