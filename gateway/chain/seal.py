"""Sealing: c[u] = d[u] + W[p] - W[p+1], modulo 2^64, and the nonce of any window.

Within a link the blinding telescopes, so the nonce of units [x, y) is W[x] - W[y], whatever their number.
W has link_units + 1 words. The last one closes the link: links, lanes and incarnations share no word,
because each has its own key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray

from gateway.chain.keys import link_key
from gateway.chain.layout import Layout, Run

U64 = NDArray[np.uint64]
MASK = 2**64 - 1


def words(key: bytes, link_units: int) -> U64:
    """W(n, lane)[0..link_units] for the link's key: the ChaCha20 keystream read as u64, little-endian."""
    # 32-bit counter from 0, then the 96-bit nonce 0: fixed, because a key makes one keystream ever.
    keystream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    return np.frombuffer(keystream.update(bytes(8 * (link_units + 1))), dtype="<u8")


def _blinding(w: U64, p: int, values: U64) -> U64:
    """W[p] - W[p+1] for each of the values at positions p, p+1, ..."""
    # numpy would broadcast a one-word slice, and a unit beyond the link's end would leave in clear.
    if not 0 <= p <= p + len(values) < len(w):
        raise ValueError(f"{len(values)} units from position {p} on do not lie in a link of {len(w) - 1}")
    if values.dtype != np.uint64 or values.ndim != 1:
        raise ValueError("a lane is sealed as a one-dimensional array of unsigned 64-bit integers")
    return w[p : p + len(values)] - w[p + 1 : p + len(values) + 1]


def seal(w: U64, p: int, d: U64) -> U64:
    """The ciphertexts of plaintexts `d` at positions p, p+1, ... of the link whose words are `w`.

    A ValueError where the units do not all lie in the link, or `d` is not a one-dimensional array of u64.
    """
    return d + _blinding(w, p, d)


def unseal(w: U64, p: int, c: U64) -> U64:
    """The plaintexts of ciphertexts `c` at positions p, p+1, ...: the key of a link opens all its units."""
    return c - _blinding(w, p, c)


def signed(value: int) -> int:
    """A u64 read back as two's complement."""
    value &= MASK
    return value - 2**64 if value >> 63 else value


def total(values: U64) -> int:
    """The sum of u64 modulo 2^64."""
    return int(np.add.reduce(values, dtype=np.uint64))


LinkWords = Callable[[int, int, str], U64]
"""(incarnation, n, lane) -> the words of that link."""


def words_under(k_inc: Callable[[int], bytes], layout: Layout) -> LinkWords:
    """A function that gives the words of any link, from K_inc of each incarnation. It caches the last link of
    each lane."""
    last: dict[str, tuple[int, int, U64]] = {}

    def of(incarnation: int, n: int, lane: str) -> U64:
        held = last.get(lane)
        if held is None or held[:2] != (incarnation, n):
            key = link_key(k_inc(incarnation), n, lane)
            held = last[lane] = (incarnation, n, words(key, layout.link_units))
        return held[2]

    return of


def nonces(
    runs: Iterable[Run], boundaries: Sequence[int], lane: str, layout: Layout, link_words: LinkWords
) -> list[int]:
    """R of the consecutive windows [boundaries[j], boundaries[j+1]) of one lane.

    `runs` cover [boundaries[0], boundaries[-1]) in order, without holes or overlaps; a ValueError
    says where they do not. A window may be empty: its R is 0.
    """
    if any(b < a for a, b in pairwise(boundaries)):
        raise ValueError("the boundaries of windows go back in time")
    r = [0] * (len(boundaries) - 1)
    at, j, covered = boundaries[0], 0, 0
    if at == boundaries[-1]:
        return r
    for run in runs:
        if run.first < covered:
            raise ValueError(f"unit {run.first} was sealed in two runs")
        covered = run.end
        if run.end <= at:
            continue
        if run.first > at:
            break
        for n, x, y in layout.split(at, min(run.end, boundaries[-1])):
            w = link_words(run.incarnation, n, lane)
            base = n * layout.link_units
            while x < y:
                cut = min(y, boundaries[j + 1])
                r[j] = (r[j] + int(w[x - base]) - int(w[cut - base])) & MASK
                x = cut
                if x == boundaries[j + 1]:
                    j += 1
        at = min(run.end, boundaries[-1])
        if at == boundaries[-1]:
            return r
    raise ValueError(f"unit {at} was sealed in no run")
