"""The nonces in a grant's tokens: bundles are found, checked and opened in order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from gateway.chain.keys import advance, next_key, token_key
from gateway.chain.seal import MASK
from gateway.chain.token import open_token, read_words
from gateway.errors import Refused
from gateway.provider.grants import OwnGrant
from gateway.stream.fetch import first_key, holding, numbered, objects
from gateway.stream.reader import StreamReader
from gateway.stream.tokens import check_bundle
from gateway.wire import names
from gateway.wire.grant import Tokens
from gateway.wire.names import Fold

Window = tuple[int, int]

_LOOK_BACK = 4096  # windows; a bundle that began earlier is found too, by more requests


class Opener:
    """The opener of one grant's tokens. It keeps K_j of the window that it has reached, so that continuing
    costs nothing for earlier windows."""

    def __init__(self, reader: StreamReader, held: OwnGrant) -> None:
        self.held = held
        self._reader = reader
        self._reached = (0, held.k_0)
        self._last: tuple[str, Tokens] | None = None  # a month's bundle holds several queries' windows
        self._behind: dict[Fold, tuple[str, int]] = {}  # the last bundle read of each fold, and its end

    async def nonces(self, windows: Sequence[Window]) -> dict[Window, list[int]]:
        """The nonce R of each lane of the grant, modulo 2^64, over each of `windows`, which are in ascending
        order and covered by the grant. Windows at the end whose tokens are not there yet are left out;
        Refused where a token in between is missing, or does not open."""
        grant = self.held.grant
        found: dict[Window, list[int]] = {}
        if not windows:
            return found
        spans = [(grant.number(a), grant.number(b)) for a, b in windows]
        i, r = 0, [0] * len(grant.lanes)
        async with aclosing(self._opened(spans[0][0], spans[-1][1])) as opened:
            async for name, j, plaintext in opened:
                if j < spans[i][0]:
                    continue
                try:
                    values = read_words(plaintext, len(grant.lanes))
                except Refused as error:
                    raise Refused(f"{name}: {error}") from None
                r = [(old + value) & MASK for old, value in zip(r, values, strict=True)]
                if j + 1 == spans[i][1]:
                    found[windows[i]] = r
                    i, r = i + 1, [0] * len(grant.lanes)
        return found

    async def plaintexts(self, first: int, end: int) -> AsyncGenerator[tuple[int, bytes], None]:
        """(j, plaintext of token j) for each window from `first` to `end` - 1, as far as there are tokens;
        Refused where one in between is missing, or does not open."""
        async with aclosing(self._opened(first, end)) as opened:
            async for _, j, plaintext in opened:
                yield j, plaintext

    async def _opened(self, first: int, end: int) -> AsyncGenerator[tuple[str, int, bytes], None]:
        """(object's key, j, plaintext of token j) for each j from `first` to `end` - 1, as far as there are
        any."""
        grant = self.held.grant
        at = first
        async with aclosing(self._closed(first, end)) as bundles:
            async for name, bundle in bundles:
                if bundle.first_window > at:
                    missing = names.bundle(grant.stream, grant.id, at)
                    raise Refused(f"{missing} is missing: tokens of later windows are there")
                self._last = name, bundle
                for j in range(at, min(bundle.end_window, end)):
                    key = self._key(j)
                    try:
                        plaintext = open_token(token_key(key), grant.id, *grant.window(j), bundle.token(j))
                    except Refused as error:
                        raise Refused(f"{name}: {error}") from None
                    self._reached = (j + 1, next_key(key))
                    yield name, j, plaintext
                at = max(at, bundle.end_window)

    def _key(self, j: int) -> bytes:
        """K_j."""
        at, key = self._reached if self._reached[0] <= j else (0, self.held.k_0)
        return advance(key, j - at)

    async def _closed(self, first: int, end: int) -> AsyncGenerator[tuple[str, Tokens], None]:
        """The bundles that hold windows `first` to `end` - 1, in order: folded ones of days that are over."""
        over = min(end, max(first, self.held.grant.complete(self._reader.days_end)))
        for x, y, folds in ((first, over, names.FOLDS), (over, end, names.FOLDS[:1])):
            async with aclosing(self._bundles(x, y, folds)) as bundles:
                async for one in bundles:
                    yield one

    async def _bundles(
        self, first: int, end: int, folds: Sequence[Fold]
    ) -> AsyncGenerator[tuple[str, Tokens], None]:
        """The bundles that hold windows `first` to `end` - 1, in order: those of the last of `folds`, and of
        the ones before it where it has none."""
        *finer, fold = folds
        at = first
        if self._last is not None and self._last[1].first_window <= at < self._last[1].end_window:
            yield self._last
            at = self._last[1].end_window
        if at >= end:
            return
        async with aclosing(objects(self._reader.bucket, self._keys(at, end, fold))) as found:
            async for key, data in found:
                bundle = check_bundle(self._reader.descriptor, self.held.grant, key, data)
                if finer and bundle.first_window > at:
                    async with aclosing(self._bundles(at, bundle.first_window, finer)) as between:
                        async for one in between:
                            yield one
                self._behind[fold] = key, bundle.end_window
                if bundle.end_window > at:
                    yield key, bundle
                    at = bundle.end_window
        if finer and at < end:
            async with aclosing(self._bundles(at, end, finer)) as rest:
                async for one in rest:
                    yield one

    async def _keys(self, first: int, end: int, fold: Fold) -> AsyncGenerator[str, None]:
        """The keys of a fold's bundles from the one that should hold window `first` on."""
        prefix = names.bundles(self.held.grant.stream, self.held.grant.id, fold)
        after = await self._before(prefix, first, fold)
        async with aclosing(holding(numbered(self._reader.bucket, prefix, after, end), first)) as keys:
            async for key in keys:
                yield key

    async def _before(self, prefix: str, first: int, fold: Fold) -> str:
        """The key after which to list, so that the bundle that should hold window `first` comes early."""
        key, reached = self._behind.get(fold, ("", first + 1))
        if reached <= first and fold != "new":  # the last new one is read again: it shows a changed store
            return key
        grant, back = self.held.grant, _LOOK_BACK
        while back < first:
            after = names.bundle(grant.stream, grant.id, first - back - 1, fold)
            found = await first_key(self._reader.bucket, prefix, after)
            if found is not None and names.number_in(found) <= first:
                return after
            back *= 64  # the bundle that holds `first` begins earlier, or there is none
        return ""
