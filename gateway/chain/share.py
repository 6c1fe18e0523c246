"""Load shares: two parties hold halves of a window's nonce, and only their sums over many homes meet.

    half of the load monitoring centre    the first u64 of HMAC-SHA256(K_j, "gw1/share" | lane)
    half of the summing service           R[a, b) minus that, as a token

For a set of homes, sum of d = sum of c - (sum of the centre's halves) - (sum of the service's halves):
the centre adds its own, the service gives away its sum and no half of a single home.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from gateway.chain.seal import MASK, signed


def centre_half(k_j: bytes, lane: str) -> int:
    """The load monitoring centre's half of window j's nonce, by its own key of the grant."""
    return int.from_bytes(hmac.digest(k_j, b"gw1/share" + lane.encode("ascii"), "sha256")[:8], "little")


def service_half(r: int, centre: int) -> int:
    """What is left of the nonce R for the summing service."""
    return (r - centre) & MASK


def load(c: Iterable[int], centre: Iterable[int], service_sum: int) -> int:
    """The homes' load of one window: each home's sum of c, the centre's halves, the service's one sum."""
    return signed(sum(c) - sum(centre) - service_sum)
