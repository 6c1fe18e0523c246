"""Tokens: what opens one window, hidden for one grant.

    token_j = P + the |P| words of S(m, i) from word (j mod 1024) * |P| on, modulo 2^64
    S(m, i) = ChaCha20(HMAC(K_m, "gw1/tokens" | be64(i) | cut), nonce 0), as u64 words
    m = j // 1024, and i the incarnation that sealed window j's last unit

P has one word for each lane (windows, load), or one for a bill. A raw token holds link keys instead, under
AES-256-GCM. A unit that is sealed again is so in another incarnation; and where a time zone's table has a say
in a window, `cut` says how it was cut: no place of any S hides two values.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.chain.keys import KeyChain, be64, raw_key, tokens_key
from gateway.chain.seal import U64
from gateway.errors import Refused

BLOCK = 1024
"""Windows that one link of a grant's key chain serves."""
TAG_BYTES = 16
_CHACHA_WORDS = 8  # in a ChaCha20 block of 64 bytes


class Sealed(NamedTuple):
    """From window number `window` on, the last units of windows were sealed in `incarnation`."""

    window: int
    incarnation: int


def cuts_of(edges: Sequence[int] | None, weighed: Sequence[bytes] | None) -> list[bytes]:
    """How each window was cut, by what its bundle says: the digest of a bill's steps, the edges of another
    calendar window; an empty list for windows of whole units, which are cut one way only."""
    if weighed is not None:
        return list(weighed)
    return [] if edges is None else [be64(a) + be64(b) for a, b in pairwise(edges)]


def masks(
    chain: KeyChain,
    sealed: Sequence[Sealed],
    first: int,
    end: int,
    width: int,
    cuts: Sequence[bytes] = (),
    key_of: Callable[[bytes, int, bytes], bytes] = tokens_key,
) -> U64:
    """The words of S at the places of windows `first` to `end` - 1, an array [window, word], `width` words
    a window. `sealed` rises and begins at or before `first`: a ValueError where it does not. `cuts` has how
    each window was cut, or nothing. Another `key_of` (K_m, incarnation, cut) gives another keystream than S
    in the same places."""
    if first < end and (not sealed or first < sealed[0].window):
        raise ValueError(f"nothing says in which incarnation window {first} was sealed")
    found = np.empty((end - first, width), dtype=np.uint64)
    for x, y, incarnation, cut in _pieces(sealed, first, end, cuts):
        key = key_of(chain.block(x // BLOCK), incarnation, cut)
        counter, skipped = divmod(x % BLOCK * width, _CHACHA_WORDS)
        # The 96-bit nonce may be 0 for all: each key hides each place once.
        keystream = Cipher(algorithms.ChaCha20(key, counter.to_bytes(4, "little") + bytes(12)), mode=None)
        words = keystream.encryptor().update(bytes(8 * (skipped + (y - x) * width)))
        found[x - first : y - first] = np.frombuffer(words, dtype="<u8")[skipped:].reshape(y - x, width)
    return found


def make_raw(
    chain: KeyChain, grant_id: bytes, j: int, incarnation: int, a: int, b: int, keys: bytes
) -> bytes:
    """Raw token j, of the window [a, b): the keys of its links, sealed."""
    return _raw_cipher(chain, j, incarnation).encrypt(bytes(12), keys, grant_id + be64(a) + be64(b))


def open_raw(
    chain: KeyChain, grant_id: bytes, j: int, incarnation: int, a: int, b: int, token: bytes
) -> bytes:
    """What raw token j holds; Refused for one that is another window's or grant's, or was changed."""
    try:
        return _raw_cipher(chain, j, incarnation).decrypt(bytes(12), token, grant_id + be64(a) + be64(b))
    except (InvalidTag, ValueError, OverflowError):  # the last for windows beyond 2^64: hostile numbers
        raise Refused(
            f"the token for units {a} to {b} of grant {grant_id.hex()} does not open: changed, "
            "or made for another window or grant"
        ) from None


def incarnation_of(sealed: Sequence[Sealed], j: int) -> int:
    """The incarnation that sealed window j's last unit. `sealed` rises, and begins at or before j."""
    return sealed[bisect_right(sealed, j, key=lambda one: one.window) - 1].incarnation


def _raw_cipher(chain: KeyChain, j: int, incarnation: int) -> AESGCM:
    return AESGCM(raw_key(chain.block(j // BLOCK), j, incarnation))


def _pieces(
    sealed: Sequence[Sealed], first: int, end: int, cuts: Sequence[bytes]
) -> Iterator[tuple[int, int, int, bytes]]:
    """Windows [first, end) in pieces of one key: of one block and one incarnation, and of one window where
    there are `cuts`."""
    for at, one in enumerate(sealed):
        x = max(first, one.window)
        y = min(end, sealed[at + 1].window if at + 1 < len(sealed) else end)
        while x < y:
            upto = x + 1 if cuts else min(y, (x // BLOCK + 1) * BLOCK)
            yield x, upto, one.incarnation, cuts[x - first] if cuts else b""
            x = upto
