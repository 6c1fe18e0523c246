"""Day and month pages: checks of one, alone and beside its neighbours, and the choice of which to read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.chain.page import Calendar, Period, Span
from gateway.chain.seal import U64
from gateway.errors import Refused
from gateway.store.bucket import Bucket
from gateway.stream.fetch import get, get_ahead
from gateway.wire import cose, names
from gateway.wire.stream import Descriptor, Head, Page, SoFar

_AHEAD = 16  # pages that are fetched at a time


def check_page(
    descriptor: Descriptor,
    period: Period,
    key: str,
    data: bytes,
    named: bytes | None = None,
    later: list[cose.Unverified] | None = None,
) -> Page:
    """The page of `period` that the store holds under `key`, its own; Refused unless valid by itself, and the
    one with the digest `named` where a head names it. With `later` its signature, if that is what shows it to
    be the gateway's, is put there, to be verified before the page is used."""
    unit_ms = descriptor.layout.unit_ms
    if named is None:
        page = Page.read_at(key, data, descriptor.signing_key, unit_ms, later)
    else:
        found = Page.read_named(key, data, named, unit_ms)
        if found is None:
            raise Refused(f"{key} is not the page that {names.head(descriptor.stream)} names: replaced")
        page = found
    _check_steps(descriptor, period, key, page)
    return page


def check_so_far(descriptor: Descriptor, month: Period, key: str, data: bytes) -> SoFar:
    """What the store holds under `key` of a month up to the end of a day, where `month` ends too; Refused
    unless valid by itself."""
    found = SoFar.read_at(key, data, descriptor.signing_key, descriptor.layout.unit_ms)
    _check_steps(descriptor, month, key, found)
    return found


def _check_steps(descriptor: Descriptor, period: Period, key: str, page: Page) -> None:
    """Refused unless a page has the stream's lanes and the steps of its period."""
    if len(page.sums) != len(descriptor.lanes):
        raise Refused(f"{key} holds {len(page.sums)} lanes; the stream has {len(descriptor.lanes)}")
    if (page.step, page.first, page.count) != (period.step, period.first, period.count):
        raise Refused(
            f"{key} holds {page.count} steps of {page.step} units from unit {page.first};"
            f" its period has {period.count} of {period.step} from {period.first}"
        )


class FoundPage:
    """A page that was read and checked, with its key."""

    def __init__(self, period: Period, key: str, data: bytes, page: Page) -> None:
        self.period = period
        self.key = key
        self.page = page
        self._data = data
        self._digest: bytes | None = None

    @property
    def digest(self) -> bytes:
        """H of its bytes, which only a page beside it needs."""
        if self._digest is None:
            self._digest = cose.digest(self._data)
        return self._digest

    @property
    def c(self) -> U64:
        """The sums of all steps, an array [lane, step]."""
        return self.cut(self.page.first, self.page.end, range(len(self.page.sums)))

    def cut(self, first: int, end: int, lanes: Sequence[int]) -> U64:
        """The sums of the steps in [first, end) of the descriptor's lanes with these numbers, an array
        [lane, step]."""
        x, y = ((unit - self.page.first) // self.page.step for unit in (first, end))
        return np.stack([self.page.c(lane)[x:y] for lane in lanes])


class Pages:
    """The pages of one stream. The last one of each kind is kept, since windows are read in order; each page
    must fit those that are kept: its predecessor, and the month that lists it."""

    def __init__(self, bucket: Bucket, descriptor: Descriptor) -> None:
        self._bucket = bucket
        self._descriptor = descriptor
        self._calendar = Calendar.of(descriptor.layout.unit_ms, descriptor.start)
        self._last: dict[Span, tuple[Period, FoundPage | None]] = {}
        self._named: tuple[int, bytes | None] = 0, None

    def name(self, head: Head) -> None:
        """Take the digest that a valid head gives of the last day's page."""
        self._named = self.day_begin(head.next_unit), head.day

    def named(self, span: Span, period: Period) -> bytes | None:
        """The digest of the page of `period`, as far as the head gives it."""
        end, digest = self._named
        return digest if span == "day" and period.end == end else None

    async def best(
        self, at: int, edges: NDArray[np.int64], end: int, ahead: dict[str, bytes | None]
    ) -> FoundPage | None:
        """The page of the longest period that contains unit `at`, is over at unit `end`, is in the store, and
        has no edge inside a step. Refused where such a page is invalid. `ahead`, at first empty, takes pages
        that were fetched with it and are likely to be next, up to the last edge."""
        if self._calendar is None:
            return None
        day = self._calendar.period("day", at)
        spans: tuple[Span, ...] = ("month", "day") if edges[-1] > day.end else ("day", "month")
        for span in spans:
            period = self._calendar.period(span, at)
            if period.end > end or period.first > at:
                continue
            inside = edges[np.searchsorted(edges, at) : np.searchsorted(edges, period.end, side="right")]
            if (at - period.first) % period.step or ((inside - period.first) % period.step).any():
                continue
            await self._fetch(span, period, int(edges[-1]), end, ahead)
            held = await self._get(span, period, ahead)
            if held is not None:
                return held
        return None

    def day_begin(self, unit: int) -> int:
        """The unit with which the day of `unit` begins; 0 in a stream without pages."""
        return 0 if self._calendar is None else self._calendar.period("day", unit).begin

    def next_day(self, unit: int) -> int | None:
        """The unit with which the next page could begin; None in a stream without pages."""
        return None if self._calendar is None else self._calendar.period("day", unit).end

    async def day_of(self, unit: int) -> FoundPage | None:
        """The day page that contains `unit`, if the store has it."""
        return None if self._calendar is None else await self._get("day", self._calendar.period("day", unit))

    async def ending_at(self, unit: int) -> FoundPage | None:
        """The day page that ends at `unit`, if it or the month page that ends there was the last one read."""
        if any(held is not None and period.end == unit for period, held in self._last.values()):
            return await self.day_of(unit - 1)
        return None

    async def _fetch(
        self, span: Span, period: Period, needed: int, end: int, ahead: dict[str, bytes | None]
    ) -> None:
        """Fetch the page of `period`, unless it is here, and with it some of those after it that begin before
        unit `needed` and are over at unit `end`."""
        assert self._calendar is not None
        before = self._last.get(span)
        if before is not None and before[0] == period:
            return
        keys: list[str] = []
        while len(keys) < _AHEAD and period.begin < needed and period.end <= end:
            keys.append(names.page(self._descriptor.stream, period.name))
            if keys[0] in ahead:
                return
            period = self._calendar.period(span, period.end)
        ahead |= await get_ahead(self._bucket, keys)

    async def _get(
        self, span: Span, period: Period, ahead: dict[str, bytes | None] | None = None
    ) -> FoundPage | None:
        before = self._last.get(span)
        if before is not None and before[0] == period:
            return before[1]
        key = names.page(self._descriptor.stream, period.name)
        data = ahead.pop(key) if ahead and key in ahead else await get(self._bucket, key)
        held = None
        if data is not None:
            held = FoundPage(
                period, key, data, check_page(self._descriptor, period, key, data, self.named(span, period))
            )
            if before is not None and before[1] is not None and before[0].end == period.begin:
                check_follows(held, before[1])
            others = {other: one for other, (_, one) in self._last.items() if one is not None} | {span: held}
            if len(others) == 2:
                check_listed(others["day"], others["month"])
        if held is not None or span == "month":  # an absent month is not asked for again on each of its days
            self._last[span] = (period, held)
        return held


def check_follows(page: FoundPage, before: FoundPage) -> None:
    """Refused unless `page` was made to follow the page before of its kind."""
    if page.page.previous != before.digest:
        raise Refused(f"{before.key} is not the object that {page.key} was made to follow: replaced")


def check_listed(day: FoundPage, month: FoundPage) -> None:
    """Refused unless a month lists its day, or the first day after it follows its last."""
    children = month.page.children
    if month.period.begin <= day.period.begin < month.period.end:
        if day.digest not in children:
            raise Refused(f"{day.key} is not among the pages that {month.key} lists: replaced")
    elif day.period.begin == month.period.end and day.page.previous != children[-1]:
        raise Refused(f"{day.key} does not go on where {month.key} ends: it is of another history")
