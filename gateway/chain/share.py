"""Load shares: what blinds a home in a load is known to two parties in two parts that never meet.

A load's token is R + the load monitoring centre's words + the summing service's words, each party's own
keystream at the window's place. Tokens and ciphertexts are public, so for a set of homes

    sum of d = sum of c - sum of tokens + sum of the centre's words + sum of the service's words

The centre adds up all but the last, and the service gives away that one number and no home's part of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.chain.seal import signed


def load(c: Iterable[int], tokens: Iterable[int], centre: Iterable[int], service_sum: int) -> int:
    """The load of a set of homes in one window: each home's sum of c, its token, the centre's word of it, and
    the service's one sum."""
    return signed(sum(c) - sum(tokens) + sum(centre) + service_sum)
