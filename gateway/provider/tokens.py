"""The words in a grant's tokens, opened with its key."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

import numpy as np
from numpy.typing import NDArray

from gateway.chain.keys import KeyChain
from gateway.chain.page import add_up
from gateway.chain.seal import U64
from gateway.chain.token import incarnation_of, masks, open_raw
from gateway.errors import Refused
from gateway.provider.grants import OwnGrant
from gateway.stream.bundles import Part


class Opener:
    """The opener of one grant's tokens. It keeps the key of the block that it has reached, so that continuing
    costs little."""

    def __init__(self, held: OwnGrant) -> None:
        self.held = held
        self._chain = KeyChain(held.k_0)

    async def nonces(self, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> U64:
        """The nonces R, modulo 2^64, of windows [begins[i], ends[i]), which are in ascending order and
        covered by the grant: an array [lane of the grant, window]. Windows at the end whose tokens are not
        there yet are left out; Refused where a token in between is missing."""
        width, find = self.held.grant.words, self.held.windows.find
        if not len(begins):
            return np.zeros((width, 0), dtype=np.uint64)
        first, end = find(begins)[0], find(ends)[0]
        if (first[1:] == end[:-1]).all() and end[-1] - first[0] == len(first):  # they are the grant's own
            part = await self.held.bundles.whole(int(first[0]), int(end[-1]))
            if part is not None:
                return self.words_of(part).T
            parts = [np.zeros((0, width), dtype=np.uint64)]
            async with aclosing(self.words(int(first[0]), int(end[-1]))) as opened:
                parts += [words async for _, words in opened]
            return np.concatenate(parts).T
        edges = np.sort(np.concatenate([first, end]), kind="stable")  # which is quick, being sorted twice
        edges = edges[np.concatenate([[True], edges[1:] > edges[:-1]])]
        sums = np.zeros((width, len(edges) - 1), dtype=np.uint64)
        upto = 0
        async with aclosing(self.words(int(edges[0]), int(edges[-1]))) as opened:
            async for part, words in opened:
                add_up(sums, edges, part.first, 1, words.T)
                upto = part.end
        return sums[:, np.searchsorted(edges, first[end <= upto])]

    async def words(self, first: int, end: int) -> AsyncGenerator[tuple[Part, U64], None]:
        """The words in the tokens of windows `first` to `end` - 1, an array [window, word] for each part, as
        far as there are tokens; Refused where one in between is missing."""
        async with aclosing(self.held.bundles.read(first, end)) as parts:
            async for part in parts:
                yield part, self.words_of(part)

    def words_of(self, part: Part) -> U64:
        """The words in the tokens of a part's windows, an array [window, word]."""
        width = self.held.grant.words
        lo, hi = (window - part.bundle.first_window for window in (part.first, part.end))
        tokens, cuts = part.bundle.table(width)[lo:hi], part.bundle.cuts[lo:hi]
        return tokens - masks(self._chain, part.sealed, part.first, part.end, width, cuts)

    async def raw(self, first: int, end: int) -> AsyncGenerator[tuple[int, bytes], None]:
        """(j, the link keys in raw token j) for each window from `first` to `end` - 1, as far as there are
        tokens;
        Refused where one in between is missing, or does not open."""
        grant = self.held.grant
        async with aclosing(self.held.bundles.read(first, end)) as parts:
            async for part in parts:
                tokens, sealed = part.bundle.words, part.sealed
                for j in range(part.first, part.end):
                    a, b = self.held.windows.window(j)
                    token = tokens[j - part.bundle.first_window]
                    assert isinstance(token, bytes)  # checked with the bundle
                    try:
                        keys = open_raw(self._chain, grant.id, j, incarnation_of(sealed, j), a, b, token)
                    except Refused as error:
                        raise Refused(f"{part.key}: {error}") from None
                    yield j, keys


async def nonces(
    openers: Sequence[Opener], lanes: Sequence[str], edges: NDArray[np.int64]
) -> tuple[U64, NDArray[np.bool_], int]:
    """Of the windows between `edges`, from all of these grants: the nonces R, modulo 2^64, as an array [lane,
    window]; which of them are opened, likewise; and how many windows come before the first one whose tokens
    are yet to come. Refused where a token in between is missing."""
    count = len(edges) - 1
    if len(openers) == 1 and openers[0].held.grant.lanes == tuple(lanes):
        [opener] = openers
        if opener.held.covers(edges).all():  # as of nearly all queries
            r = await opener.nonces(edges[:-1], edges[1:])
            return r, np.ones(r.shape, dtype=np.bool_), r.shape[1]
    r = np.zeros((len(lanes), count), dtype=np.uint64)
    opened = np.zeros((len(lanes), count), dtype=np.bool_)
    for opener in openers:
        own = _rows(opener, lanes)
        at = np.flatnonzero(opener.held.covers(edges) & ~_all_of(opened, own))
        found = await opener.nonces(edges[:-1][at], edges[1:][at])
        at = at[: found.shape[1]]
        for row, lane in own.items():
            fresh = ~opened[row, at]
            r[row, at[fresh]] = found[lane, fresh]
            opened[row, at] = True
    ready = count
    for opener in openers:
        waits = opener.held.covers(edges) & ~_all_of(opened, _rows(opener, lanes))
        if waits.any():
            ready = min(ready, int(waits.argmax()))
    return r, opened, ready


def _rows(opener: Opener, lanes: Sequence[str]) -> dict[int, int]:
    """The numbers, among `lanes`, of those that a grant opens: each with its number in the grant."""
    granted = opener.held.grant.lanes
    return {row: granted.index(lane) for row, lane in enumerate(lanes) if lane in granted}


def _all_of(opened: NDArray[np.bool_], rows: Mapping[int, int]) -> NDArray[np.bool_]:
    """Of each window, whether it is opened in all of these rows."""
    return np.asarray(opened[list(rows)].all(axis=0))
