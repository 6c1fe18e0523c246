"""The audit of pages: every page against what it was made of, a day's chunks or a month's day pages.

Chunks come in order, and a day is examined once a chunk beyond it was taken: until then the chain may still
show that one of its chunks was replaced. What an invalid chunk explains is not reported again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import numpy as np

from gateway.chain.page import SPANS, Calendar, Period, Span, add_up
from gateway.chain.seal import U64
from gateway.errors import Refused, UsageError
from gateway.stream.chunks import Problem
from gateway.stream.fetch import get, listed
from gateway.stream.pages import FoundPage, check_follows, check_page, check_so_far
from gateway.stream.reader import StreamReader
from gateway.stream.times import unix_ms
from gateway.wire import cose, names
from gateway.wire.stream import Chunk, Head

_SO_FAR: Literal["so-far"] = "so-far"
_BELOW: dict[Span, str] = {"day": "chunks", "month": "day pages"}


@dataclass(slots=True)
class _Sum:
    """The sums that a page should have, as far as they were added up: `have` of `need` units or days."""

    period: Period
    sums: U64
    need: int
    have: int = 0
    children: list[bytes] = field(default_factory=list)
    sound: bool = True

    def add(self, first: int, step: int, c: U64, digest: bytes, have: int) -> None:
        if self.period.count > 0:
            add_up(self.sums, self.period.edges, first, step, c)
        self.children.append(digest)
        self.have += have


class PageAudit:
    """The audit of one stream's pages; `count` of them were there."""

    def __init__(self, reader: StreamReader, head: Head | None, report: Callable[[Problem], None]) -> None:
        descriptor = reader.descriptor
        self.count = 0
        self._bucket = reader.bucket
        self._descriptor = descriptor
        self._head = head
        self._report = report
        self._calendar = Calendar.of(descriptor.layout.unit_ms, descriptor.start)
        self._days: deque[_Sum] = deque()
        self._month: _Sum | None = None
        self._last: dict[Span, FoundPage | None] = {}
        self._paged: Period | None = None  # the last day with a page, whose month so far is to be examined
        self._replaced: set[str] = set()
        self._looked_at: set[str] = set()
        self._end = 0

    async def take(self, chunk: Chunk, data: bytes, *, sound: bool) -> None:
        """Take the next chunk that is valid by itself; `sound`: it also follows the one before."""
        calendar = self._calendar
        if calendar is None:
            return
        for day in self._days:
            day.sound = day.sound and sound
        await self._close_days(chunk.first)
        c = np.stack([chunk.c(lane) for lane in range(len(chunk.lanes))])
        at = chunk.first
        while at < chunk.end:
            period = calendar.period("day", at)
            if not self._days or self._days[-1].period != period:
                need = period.end - max(period.begin, calendar.start)
                self._days.append(self._begin(period, need, sound))
            upto = min(chunk.end, period.end)
            self._days[-1].add(chunk.first, 1, c, cose.digest(data), upto - at)
            at = upto
        self._end = chunk.end

    async def finish(self) -> None:
        """After the last chunk: examine the last pages, and whatever else lies among them."""
        await self._close_days(self._end)
        await self._examine_so_far()
        if self._month is not None and self._month.period.end <= self._end:
            await self._close("month", self._month)
        for folder in (*SPANS, _SO_FAR):
            async for key in listed(self._bucket, names.pages(self._descriptor.stream, folder)):
                if key not in self._looked_at:
                    await self._look_at(folder, key)

    def _begin(self, period: Period, need: int, sound: bool) -> _Sum:
        shape = (len(self._descriptor.lanes), max(0, period.count))
        return _Sum(period, np.zeros(shape, dtype=np.uint64), need, sound=sound)

    async def _close_days(self, end: int) -> None:
        """Examine the pages of the days that end at or before unit `end`."""
        assert self._calendar is not None or not self._days
        while self._days and self._days[0].period.end <= end:
            assert self._calendar is not None
            day = self._days.popleft()
            if day.period.count <= 0:
                continue
            page = await self._close("day", day)
            await self._examine_so_far()
            period = self._calendar.period("month", day.period.begin)
            if self._month is not None and self._month.period != period:
                if self._month.period.count > 0:
                    await self._close("month", self._month)
                self._month = None
            if self._month is None:
                first = self._calendar.period("day", self._calendar.first("day")).begin
                length = day.period.end - day.period.begin
                self._month = self._begin(period, (period.end - max(period.begin, first)) // length, True)
            if page is not None:
                self._month.add(page.page.first, page.page.step, page.c, page.digest, 1)
                if self._named("day", page.period) not in (None, page.digest):
                    self._month.sound = False
                self._paged = page.period

    async def _close(self, span: Span, right: _Sum) -> FoundPage | None:
        """Examine the page that should have the sums `right`; returns it if it is valid by itself."""
        key = names.page(self._descriptor.stream, right.period.name)
        before, self._last[span] = self._last.get(span), None
        self._looked_at.add(key)
        page = await self._read(right.period, key)
        if page is None:
            return None
        self._last[span] = page
        named = self._named(span, right.period)
        if named not in (None, page.digest):
            head_key = names.head(self._descriptor.stream)
            self._report(Problem(key, f"{key} is not the page that {head_key} names: replaced"))
        if before is not None and before.period.end == page.period.begin:
            follows = self._follows(page, before)
            if span == "day" and self._month is not None:
                self._month.sound = self._month.sound and follows
        if right.sound and right.have == right.need:
            if list(page.page.children) != right.children:
                self._report(Problem(key, f"{key} lists other {_BELOW[span]} than the store holds"))
            elif not np.array_equal(page.c, right.sums):
                self._report(Problem(key, f"{key}: its sums are not those of its {_BELOW[span]}"))
        return page

    async def _examine_so_far(self) -> None:
        """Examine what is stored of a month up to the end of the last day whose page was examined, if
        anything is, beside its days: not before the next day's page has shown whether that was replaced."""
        month, day = self._month, self._paged
        if month is None or day is None:
            return
        self._paged = None
        key = names.so_far(self._descriptor.stream, day.name)
        self._looked_at.add(key)
        found = await self._read_so_far(replace(month.period, end=day.end), key)
        if found is None:
            return
        before = self._last.get("month")
        if before is not None and before.period.end == month.period.begin:
            self._follows(found, before)
        left = (month.period.end - day.end) // (day.end - day.begin)
        if month.sound and month.have == month.need - left:
            if list(found.page.children) != month.children:
                self._report(Problem(key, f"{key} lists other day pages than the store holds"))
            elif not np.array_equal(found.c, month.sums[:, : found.page.count]):
                self._report(Problem(key, f"{key}: its sums are not those of its day pages"))

    def _follows(self, page: FoundPage, before: FoundPage) -> bool:
        """Whether `page` was made to follow the page before; one that was replaced is reported once."""
        try:
            check_follows(page, before)
        except Refused as error:
            if before.key not in self._replaced:
                self._replaced.add(before.key)
                self._report(Problem(before.key, str(error)))
            return False
        return True

    def _named(self, span: Span, period: Period) -> bytes | None:
        """The digest that the head gives of the page of `period`, if it does."""
        if self._head is None or self._calendar is None or span != "day":
            return None
        begin = self._calendar.period("day", self._head.next_unit).begin
        return self._head.day if period.end == begin else None

    async def _read(self, period: Period, key: str) -> FoundPage | None:
        data = await get(self._bucket, key)
        if data is None:
            if self._head is not None and period.end <= self._head.next_unit:
                self._report(Problem(key, f"{key} is missing, and the head is beyond its period"))
            return None
        self.count += 1
        try:
            return FoundPage(period, key, data, check_page(self._descriptor, period, key, data))
        except Refused as error:
            self._report(Problem(key, str(error)))
            return None

    async def _read_so_far(self, period: Period, key: str) -> FoundPage | None:
        """What is stored of a month up to the end of a day, with which `period` ends; None where nothing is,
        or where it is invalid by itself."""
        data = await get(self._bucket, key)
        try:
            if data is not None:
                return FoundPage(period, key, data, check_so_far(self._descriptor, period, key, data))
        except Refused as error:
            self._report(Problem(key, str(error)))
        return None

    async def _look_at(self, folder: Span | Literal["so-far"], key: str) -> None:
        """Examine what no chunk led to: a page, a month so far, or something else."""
        place = names.pages(self._descriptor.stream, folder)
        name = key.removeprefix(place).removesuffix(".cose")
        period = None if key != f"{place}{name}.cose" else self._period(folder, name)
        if period is None or period.count <= 0:
            self._report(Problem(key, f"{key} is not a page that this stream can have"))
        elif folder == _SO_FAR:
            await self._read_so_far(period, key)
        else:
            await self._read(period, key)

    def _period(self, folder: Span | Literal["so-far"], name: str) -> Period | None:
        """The period of an object of this name; None where no stream has one of it."""
        span: Span = "month" if folder == "month" else "day"
        try:
            day = date.fromisoformat(f"{name}-01" if span == "month" else name)
            if self._calendar is None:
                return None
            when = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=12)
            unit = unix_ms(when) // self._descriptor.layout.unit_ms
            period, month = self._calendar.period(span, unit), self._calendar.period("month", unit)
        except (ValueError, UsageError):  # UsageError: outside the calendar
            return None
        if period.name != name:  # another way to write a date
            return None
        if folder == _SO_FAR:  # with a month's last day there is the month's own page
            return None if period.end == month.end else replace(month, end=period.end)
        return period
