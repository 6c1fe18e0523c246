"""Commitments to what tokens hold, by which a provider proves to others what its grant opened.

    O(m, i)  ChaCha20(HMAC(K_m, "gw1/openings" | be64(i) | cut), nonce 0), as u64 words
    c_j      H("gw1/commitment" | the 4 words of O(m, i) from word (j mod 1024) * 4 on | P of token j)

A bundle has H("gw1/commitments" | c_j of each of its windows), under the gateway's signature. The opening and
P of some windows, with c_j of the bundle's others, show that the gateway signed this P and no other, and say
nothing of the others: their openings are words of a keystream whose key stays with the provider.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from gateway.chain.keys import KeyChain, openings_key
from gateway.chain.seal import U64
from gateway.chain.token import Sealed, masks

COMMITTED = ("windows", "bill")
"""The kinds of grants whose bundles have commitments."""
OPENING_WORDS = 4
COMMITMENT_BYTES = 32


def openings(
    chain: KeyChain, sealed: Sequence[Sealed], first: int, end: int, cuts: Sequence[bytes] = ()
) -> U64:
    """The openings of windows `first` to `end` - 1, an array [window, 4]; the rest is as for `masks`."""
    return masks(chain, sealed, first, end, OPENING_WORDS, cuts, openings_key)


def commitments(opened: U64) -> bytes:
    """c_j of windows, one after the other: `opened` has a row for each, its opening and then its P."""
    data, size = opened.astype("<u8").tobytes(), 8 * opened.shape[1]
    return b"".join(
        hashlib.sha256(b"gw1/commitment" + data[at : at + size]).digest() for at in range(0, len(data), size)
    )


def bundle_commitment(each: bytes) -> bytes:
    """What a bundle has, of c_j of all its windows."""
    return hashlib.sha256(b"gw1/commitments" + each).digest()


def commit(
    words: U64, chain: KeyChain, sealed: Sequence[Sealed], first: int, cuts: Sequence[bytes] = ()
) -> bytes:
    """The commitment of a bundle whose tokens, of the windows from number `first` on, hold `words`,
    [window, word]."""
    opening = openings(chain, sealed, first, first + len(words), cuts)
    return bundle_commitment(commitments(np.concatenate([opening, words], axis=1)))
