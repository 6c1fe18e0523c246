"""Load shares: two parties hold a half each of a window's nonce, and only sums over many homes meet.

    half of the load monitoring centre    the first u64 of HMAC-SHA256(K_j, "gw1/share" | lane)
    half of the summing service           R[a, b) minus that, as a token

For a set of homes, sum of d = sum of c - (sum of the centre's halves) - (sum of the service's halves):
the centre adds up its own, and the service gives away its sum, never the half of a single home.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from gateway.chain.seal import MASK, signed


def centre_half(k_j: bytes, lane: str) -> int:
    """The load monitoring centre's half of window j's nonce, derived from K_j of its own grant."""
    return int.from_bytes(hmac.digest(k_j, b"gw1/share" + lane.encode("ascii"), "sha256")[:8], "little")


def service_half(r: int, centre: int) -> int:
    """The summing service's half: the nonce R less the centre's."""
    return (r - centre) & MASK


def load(c: Iterable[int], centre: Iterable[int], service_sum: int) -> int:
    """The load of a set of homes in one window: from the sum of c and the centre's half of each home, and the
    one sum of the service."""
    return signed(sum(c) - sum(centre) - service_sum)
