"""The bundles of one grant, read in order: folded ones of the days and months that are over, then new ones.

No key is needed: which windows a bundle is for, and in which incarnations they were sealed, is in the clear.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from gateway.chain.grant import Grant
from gateway.chain.token import Sealed
from gateway.chain.windows import GrantWindows
from gateway.errors import Refused, UsageError
from gateway.stream.fetch import first_key, get, holding, numbered, objects
from gateway.stream.reader import StreamReader
from gateway.stream.tokens import check_bundle
from gateway.wire import names
from gateway.wire.grant import Tokens
from gateway.wire.names import Fold

_LOOK_BACK = 4096  # windows; a bundle that began earlier is found too, by more requests
_FEW_DAYS = 2  # that a day of a time zone lies in
_NO_END = 2**64


class Part(NamedTuple):
    """Windows [first, end) of a grant, and the bundle under `key` that holds their tokens."""

    key: str
    bundle: Tokens
    first: int
    end: int

    @property
    def sealed(self) -> list[Sealed]:
        """In which incarnations the last units of the bundle's windows were sealed."""
        return [Sealed(*one) for one in self.bundle.sealed]


class BundleReader:
    """Reads the bundles of one grant. The bundles of a calendar grant are few, and are kept.

    `windows` are the grant's windows. Those of a calendar grant are settled by the bundles that `settle` has
    read; `cut_otherwise` is the first unit at which this machine's time zone data would have begun a window
    where they do not, None while there is none.
    """

    def __init__(self, reader: StreamReader, grant: Grant) -> None:
        self.grant = grant
        self.windows = GrantWindows(grant)
        self.cut_otherwise: int | None = None
        self._reader = reader
        self._settled = 0  # how many windows have their edges from a bundle
        self._kept: list[tuple[str, Tokens]] = []
        self._last: tuple[str, Tokens] | None = None  # a month's bundle holds several queries' windows
        self._behind: dict[Fold, tuple[str, int]] = {}  # the last bundle read of each fold, and its end

    async def settle(self) -> None:
        """Read a calendar grant's bundles on to the last one in the store, and take their edges.

        Refused where a bundle is missing while later ones are there, or its edges do not join those before.
        """
        if self.windows.calendar:
            async with aclosing(self._bundles(self._settled, _NO_END, names.FOLDS)) as bundles:
                async for key, bundle in bundles:
                    self._take_edges(key, bundle)
                    self._kept.append((key, bundle))

    async def read(self, first: int, end: int) -> AsyncGenerator[Part, None]:
        """Windows `first` to `end` - 1 in consecutive parts, as far as there are bundles; of a calendar
        grant, as far as `settle` has read. Refused where one is missing while later ones are there."""
        at = first
        async with aclosing(self._closed(first, end)) as bundles:
            async for key, bundle in bundles:
                self._check_joins(at, bundle)
                self._last = key, bundle
                upto = min(end, self._end(bundle))
                if upto > at:
                    yield Part(key, bundle, at, upto)
                    at = upto

    def _take_edges(self, key: str, bundle: Tokens) -> None:
        """Settle the windows of the next bundle, whose first ones, or all, may be settled already."""
        assert bundle.edges is not None  # checked with the bundle
        self._check_joins(self._settled, bundle)
        end = self._end(bundle)
        known = self.windows.edges(bundle.first_window, min(end, self._settled))
        if list(bundle.edges[: len(known)]) != known:
            raise Refused(f"{key} has edges that do not join those of the bundles before it")
        if end <= self._settled:
            return
        try:
            other = self.windows.settle(self._settled, bundle.edges[len(known) - 1 :])
        except UsageError as error:  # edges beyond the calendar
            raise Refused(f"{key}: {error}") from None
        if self.cut_otherwise is None:
            self.cut_otherwise = other
        self._settled = end

    def _check_joins(self, window: int, bundle: Tokens) -> None:
        if bundle.first_window > window:
            missing = names.bundle(self.grant.stream, self.grant.id, window)
            raise Refused(f"{missing} is missing: tokens of later windows are there")

    def _end(self, bundle: Tokens) -> int:
        return bundle.end_window(self.grant.words)

    async def _closed(self, first: int, end: int) -> AsyncGenerator[tuple[str, Tokens], None]:
        """The bundles that hold windows `first` to `end` - 1, in order: folded ones of days that are over."""
        if self.windows.calendar:
            for key, bundle in self._kept:
                if bundle.first_window < end and first < self._end(bundle):
                    yield key, bundle
            return
        over = min(end, max(first, self.windows.complete(self._reader.days_end)))
        async with aclosing(self._of_days(first, over)) as bundles:
            async for one in bundles:
                yield one
                first = self._end(one[1])
        for x, y, folds in ((first, over, names.FOLDS), (over, end, names.FOLDS[:1])):
            async with aclosing(self._bundles(x, y, folds)) as bundles:
                async for one in bundles:
                    yield one

    async def _of_days(self, first: int, end: int) -> AsyncGenerator[tuple[str, Tokens], None]:
        """The folded bundles of a few days' windows `first` to `end` - 1 that lie where they likely do, which
        saves lists: as far as they follow one another."""
        edge, at = self.windows.edge, first
        for _ in range(_FEW_DAYS):
            day = self._reader.day(edge(at + 1) - 1) if at < end else None
            if day is None or edge(end) - edge(at) > _FEW_DAYS * (day[1] - day[0]):
                return
            begin = self.windows.complete(day[0])
            key = names.bundle(self.grant.stream, self.grant.id, begin, "day")
            data = await get(self._reader.bucket, key)
            bundle = None if data is None else check_bundle(self._reader.descriptor, self.grant, key, data)
            if bundle is None or self._end(bundle) <= at:
                return
            yield key, bundle
            at = self._end(bundle)

    async def _bundles(
        self, first: int, end: int, folds: Sequence[Fold]
    ) -> AsyncGenerator[tuple[str, Tokens], None]:
        """The bundles that hold windows `first` to `end` - 1, in order: those of the last of `folds`, and of
        the ones before it where it has none."""
        *finer, fold = folds
        at = first
        if self._last is not None and self._last[1].first_window <= at < self._end(self._last[1]):
            yield self._last
            at = self._end(self._last[1])
        if at >= end:
            return
        async with aclosing(objects(self._reader.bucket, self._keys(at, end, fold))) as found:
            async for key, data in found:
                bundle = check_bundle(self._reader.descriptor, self.grant, key, data)
                if finer and bundle.first_window > at:
                    async with aclosing(self._bundles(at, bundle.first_window, finer)) as between:
                        async for one in between:
                            yield one
                            at = max(at, self._end(one[1]))
                self._behind[fold] = key, self._end(bundle)
                if self._end(bundle) > at:
                    yield key, bundle
                    at = self._end(bundle)
        if finer and at < end:
            async with aclosing(self._bundles(at, end, finer)) as rest:
                async for one in rest:
                    yield one

    async def _keys(self, first: int, end: int, fold: Fold) -> AsyncGenerator[str, None]:
        """The keys of a fold's bundles from the one that should hold window `first` on."""
        prefix = names.bundles(self.grant.stream, self.grant.id, fold)
        after = await self._before(prefix, first, fold)
        async with aclosing(holding(numbered(self._reader.bucket, prefix, after, end), first)) as keys:
            async for key in keys:
                yield key

    async def _before(self, prefix: str, first: int, fold: Fold) -> str:
        """The key after which to list, so that the bundle that should hold window `first` comes early."""
        key, reached = self._behind.get(fold, ("", first + 1))
        if reached <= first and fold != "new":  # the last new one is read again: it shows a changed store
            return key
        back = _LOOK_BACK
        while back < first:
            after = names.bundle(self.grant.stream, self.grant.id, first - back - 1, fold)
            found = await first_key(self._reader.bucket, prefix, after)
            if found is not None and names.number_in(found) <= first:
                return after
            back *= 64  # the bundle that holds `first` begins earlier, or there is none
        return ""
