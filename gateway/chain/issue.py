"""Token issuing: the plaintext of each window's token, kind by kind, and the tokens themselves.

| kind | the plaintext of token j |
|---|---|
| windows | R[a, b) of each lane |
| bill | the sum over the lanes and their price steps w of price[w] * R[w], one word |
| load | to the summing service: of each lane R[a, b) minus the load monitoring centre's half |
| raw | the keys of the window's links, under each incarnation that sealed in them |
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gateway.chain.grant import Grant
from gateway.chain.keys import advance, link_key, next_key, token_key
from gateway.chain.layout import Layout, Run
from gateway.chain.raw import LinkKeys, write_links
from gateway.chain.seal import MASK, LinkWords, nonces, words_under
from gateway.chain.share import centre_half, service_half
from gateway.chain.tariff import Tariff
from gateway.chain.token import make_token, pack_words


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a grant's key chain: K_j, and of a load its partner's K_j too. It only goes forward."""

    j: int
    key: bytes = field(repr=False)
    partner_key: bytes | None = field(default=None, repr=False)

    def forward(self, j: int) -> Cursor:
        """The cursor at window j."""
        steps = j - self.j
        partner = None if self.partner_key is None else advance(self.partner_key, steps)
        return Cursor(j, advance(self.key, steps), partner)


@dataclass(frozen=True, slots=True)
class Sealing:
    """How a stretch of units was sealed: enough to compute any nonce in it."""

    layout: Layout
    runs: Sequence[Run]
    k_inc: Callable[[int], bytes] = field(repr=False)


def make_tokens(
    grant: Grant, tariff: Tariff | None, sealing: Sealing, cursor: Cursor, end: int
) -> tuple[list[bytes], Cursor]:
    """The tokens of the windows from the cursor's to `end` - 1, and the cursor after them.

    A ValueError for the centre's grant of a load, whose half is never published, and for a bill without its
    tariff.
    """
    if (grant.kind == "load") != (cursor.partner_key is not None):
        raise ValueError("a load's tokens need the key of the grant's partner, and no others do")
    if (grant.kind == "bill") != (tariff is not None):
        raise ValueError("a bill's tokens need its tariff, and no others do")
    boundaries = [grant.window(j)[0] for j in range(cursor.j, end + 1)]
    tokens = []
    for a, b, plaintext in _plaintexts(grant, tariff, sealing, boundaries, cursor):
        tokens.append(make_token(token_key(cursor.key), grant.id, a, b, plaintext))
        partner = None if cursor.partner_key is None else next_key(cursor.partner_key)
        cursor = Cursor(cursor.j + 1, next_key(cursor.key), partner)
    return tokens, cursor


def _plaintexts(
    grant: Grant, tariff: Tariff | None, sealing: Sealing, boundaries: Sequence[int], cursor: Cursor
) -> Iterator[tuple[int, int, bytes]]:
    windows = itertools.pairwise(boundaries)
    if grant.kind == "raw":
        for a, b in windows:
            yield a, b, write_links(_links(grant, sealing, a, b))
        return
    link_words = words_under(sealing.k_inc, sealing.layout)
    if tariff is not None:
        for a, b in windows:
            yield a, b, pack_words([_bill(grant, tariff, sealing, link_words, (a, b))])
        return
    lanes = [nonces(sealing.runs, boundaries, lane, sealing.layout, link_words) for lane in grant.lanes]
    partner = cursor.partner_key
    for (a, b), r in zip(windows, zip(*lanes, strict=True), strict=True):
        if partner is None:
            yield a, b, pack_words(r)
        else:
            halves = [centre_half(partner, lane) for lane in grant.lanes]
            yield a, b, pack_words([service_half(x, half) for x, half in zip(r, halves, strict=True)])
            partner = next_key(partner)


def _bill(
    grant: Grant, tariff: Tariff, sealing: Sealing, link_words: LinkWords, window: tuple[int, int]
) -> int:
    total = 0
    for lane, weights in tariff.weights(grant.lanes, sealing.layout.unit_ms, *window).items():
        bounds = [window[0], *(w.end for w in weights)]
        r = nonces(sealing.runs, bounds, lane, sealing.layout, link_words)
        total += sum(w.price * value for w, value in zip(weights, r, strict=True))
    return total & MASK


def _links(grant: Grant, sealing: Sealing, a: int, b: int) -> Iterator[LinkKeys]:
    for n, x, y in sealing.layout.split(a, b):
        sealed = (run.incarnation for run in sealing.runs if run.first < y and x < run.end)
        for incarnation in dict.fromkeys(sealed):
            k_inc = sealing.k_inc(incarnation)
            keys = tuple(link_key(k_inc, n, lane) for lane in grant.lanes)
            yield LinkKeys(n, incarnation, keys)
