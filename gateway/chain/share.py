"""Load shares: what blinds a home in a load is known to two parties in two parts that never meet.

A load's token is R + the load monitoring centre's words + the summing service's words, each party's own
keystream at the window's place. Tokens and ciphertexts are public, so for a set of homes

    sum of d = sum of c - sum of tokens + sum of the centre's words + sum of the service's words

The centre adds up all but the last, and the service gives away that one number and no home's part of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gateway.chain.seal import U64


def blinded(c: U64, tokens: U64, centre: U64) -> U64:
    """A home's part of the loads, which only the service's sum over all homes opens: its ciphertexts, tokens
    and the centre's words of it. Arrays of one shape, such as [window, lane]."""
    return c - tokens + centre


def load(parts: U64, service: U64) -> NDArray[np.int64]:
    """The loads of a set of homes, from the sum of their `blinded` parts and the service's sums of its words,
    modulo 2^64: arrays of one shape."""
    return (parts + service).view(np.int64)
