"""What the tokens of a grant's windows hold, kind by kind, and the tokens themselves.

| kind | P of token j |
|---|---|
| windows | R[a, b) of each lane |
| bill | the sum over the lanes and their price steps w of price[w] * R[w], and what rounds the bill to Q |
| load | R[a, b) of each lane, and the load monitoring centre's words of it |
| raw | not words but the keys of the window's links, under each incarnation that sealed in them |
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from gateway.chain.grant import Grant
from gateway.chain.keys import KeyChain, link_key
from gateway.chain.layout import Layout, Run
from gateway.chain.raw import LinkKeys, write_links
from gateway.chain.seal import MASK, U64, nonces, signed, words_under
from gateway.chain.tariff import Weight, rounded
from gateway.chain.token import Sealed, incarnation_of, make_raw, masks


@dataclass(frozen=True, slots=True)
class Sealing:
    """How the units of a stretch were sealed: enough to compute any nonce in it."""

    layout: Layout
    runs: Sequence[Run]
    k_inc: Callable[[int], bytes] = field(repr=False)


def sealed_by(runs: Sequence[Run], first: int, edges: Sequence[int]) -> list[Sealed]:
    """The incarnation that sealed the last unit of each of the windows from number `first` on, between
    `edges`. `runs` cover them in order."""
    ends = [run.end for run in runs]
    sealed: list[Sealed] = []
    for j, b in enumerate(edges[1:], first):
        incarnation = runs[bisect_left(ends, b)].incarnation
        if not sealed or sealed[-1].incarnation != incarnation:
            sealed.append(Sealed(j, incarnation))
    return sealed


def window_words(grant: Grant, sealing: Sealing, edges: Sequence[int]) -> U64:
    """P of the windows between `edges`, [window, lane]: their nonces."""
    link_words = words_under(sealing.k_inc, sealing.layout)
    lanes = [nonces(sealing.runs, edges, lane, sealing.layout, link_words) for lane in grant.lanes]
    return np.array(lanes, dtype=np.uint64).T


def bill_word(
    grant: Grant, sealing: Sealing, weights: dict[str, list[Weight]], c: dict[str, list[int]], a: int
) -> int:
    """P of one bill of the period that begins with unit `a`. `weights` are its steps of each lane, and `c`
    the sums of ciphertexts over each of them."""
    link_words = words_under(sealing.k_inc, sealing.layout)
    nonce = total = 0
    for lane, steps in weights.items():
        r = nonces(sealing.runs, [a, *(step.end for step in steps)], lane, sealing.layout, link_words)
        for step, sum_of_c, sum_of_r in zip(steps, c[lane], r, strict=True):
            nonce += step.price * sum_of_r
            total += step.price * signed(sum_of_c - sum_of_r)
    assert grant.quantum is not None
    return (nonce + total - rounded(total, grant.quantum)) & MASK


def hide(
    words: U64,
    chain: KeyChain,
    sealed: Sequence[Sealed],
    first: int,
    partner: KeyChain | None = None,
    cuts: Sequence[bytes] = (),
) -> U64:
    """The tokens that hold `words`, [window, word], of the windows from number `first` on. A load's hide the
    words of its two parties: `partner` is the key chain of the load monitoring centre's grant."""
    count, width = words.shape
    tokens = words + masks(chain, sealed, first, first + count, width, cuts)
    return tokens if partner is None else tokens + masks(partner, sealed, first, first + count, width, cuts)


def raw_tokens(
    grant: Grant,
    sealing: Sealing,
    chain: KeyChain,
    sealed: Sequence[Sealed],
    first: int,
    edges: Sequence[int],
) -> list[bytes]:
    """The tokens of a raw grant's windows from number `first` on, between `edges`."""
    return [
        make_raw(
            chain, grant.id, j, incarnation_of(sealed, j), a, b, write_links(_links(grant, sealing, a, b))
        )
        for j, (a, b) in enumerate(pairwise(edges), first)
    ]


def _links(grant: Grant, sealing: Sealing, a: int, b: int) -> Iterator[LinkKeys]:
    for n, x, y in sealing.layout.split(a, b):
        incarnations = (run.incarnation for run in sealing.runs if run.first < y and x < run.end)
        for incarnation in dict.fromkeys(incarnations):
            k_inc = sealing.k_inc(incarnation)
            keys = tuple(link_key(k_inc, n, lane) for lane in grant.lanes)
            yield LinkKeys(n, incarnation, keys)
