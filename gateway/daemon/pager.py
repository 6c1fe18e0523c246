"""The pager: makes day and month pages (PROTOCOL.md, "What is stored").

A day's page is made once chunks reach the day's end, from the chunks' ciphertexts, which the ledger keeps
until then; a month's is made from its days' pages. With a day's page go the sums of its month so far, so that
who reads a year needs no page of each day of the month under way.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import numpy as np

from gateway.chain.page import SPANS, Calendar, Period, Span, add_up
from gateway.chain.seal import U64
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import Outgoing, PageEntry, Stream
from gateway.trust.root import Root
from gateway.trust.signing import sign
from gateway.wire import cose, names
from gateway.wire.stream import Page, SoFar


class Pager:
    """The pager of one gateway's streams."""

    def __init__(self, ledger: Ledger, root: Root) -> None:
        self._ledger = ledger
        self._root = root

    async def due(self, stream: Stream, end: int) -> AsyncGenerator[tuple[Span, Period], None]:
        """The days, then the months, that have no page yet and ended at or before unit `end`, the end of the
        chunks. Make each page before asking for the next."""
        calendar = Calendar.of(stream.layout.unit_ms, stream.start)
        if calendar is None:
            return
        for span in SPANS:
            last = await self._ledger.last_page(stream, span)
            unit = calendar.first(span) if last is None else last.end
            while unit < end and (period := calendar.period(span, unit)).end <= end:
                yield span, period
                unit = period.end

    async def last_day(self, stream: Stream, end: int) -> bytes | None:
        """H of the page of the last day that ended at or before unit `end`, the end of the chunks; None where
        there is none."""
        calendar = Calendar.of(stream.layout.unit_ms, stream.start)
        last = await self._ledger.last_page(stream, "day")
        if calendar is None or last is None or last.end != calendar.period("day", end).begin:
            return None
        return last.digest

    async def make(self, stream: Stream, span: Span, period: Period, folded: Sequence[Outgoing]) -> None:
        """Make a page that is due, in one transaction. `folded` are the tokens of the windows that ended in
        the period; they are sent before the page."""
        last = await self._ledger.last_page(stream, span)
        sums = np.zeros((len(stream.lanes), period.count), dtype=np.uint64)
        add = self._add_chunks if span == "day" else self._add_days
        page = Page(
            stream=stream.id,
            period=period.name,
            step=period.step,
            first=period.first,
            count=period.count,
            children=await add(stream, period, sums),
            sums=tuple(lane.astype("<u8").tobytes() for lane in sums),
            previous=None if last is None else last.digest,
        )
        data = await sign(self._root, page)
        kept = sums if span == "day" else None
        entry = PageEntry(span, period.name, period.step, period.first, period.end, cose.digest(data), kept)
        made = [*folded, Outgoing("page", names.page(stream.id, period.name), data)]
        if span == "day" and (so_far := await self._so_far(stream, entry)) is not None:
            made.append(
                Outgoing("page", names.so_far(stream.id, period.name), await sign(self._root, so_far))
            )
        await self._ledger.add_page(stream, entry, made)

    async def _so_far(self, stream: Stream, day: PageEntry) -> SoFar | None:
        """The sums of the month up to the end of `day`, whose page is the last one made; None with the
        month's last day, where no step of the month has ended, and while the page of the month before is
        still to be made."""
        calendar = Calendar.of(stream.layout.unit_ms, stream.start)
        assert calendar is not None  # it has pages
        month = calendar.period("month", day.first)
        before = await self._ledger.last_page(stream, "month")
        due = calendar.period("month", calendar.first("month") if before is None else before.end)
        if day.end == month.end or day.end <= month.first or due != month:
            return None
        so_far = replace(month, end=day.end)
        sums = np.zeros((len(stream.lanes), so_far.count), dtype=np.uint64)
        days = [*await self._ledger.day_pages(stream, month.begin, day.first), day]
        return SoFar(
            stream=stream.id,
            period=day.period,
            step=so_far.step,
            first=so_far.first,
            count=so_far.count,
            children=_add_days(days, so_far, sums),
            sums=tuple(lane.astype("<u8").tobytes() for lane in sums),
            previous=None if before is None else before.digest,
        )

    async def _add_chunks(self, stream: Stream, day: Period, sums: U64) -> tuple[bytes, ...]:
        """Add the day's ciphertexts to `sums`; return the digests of the chunks that overlap the day."""
        chunks = await self._ledger.chunks(stream, day.begin, day.end)
        for chunk in chunks:
            add_up(sums, day.edges, chunk.first, 1, await self._ledger.ciphertexts(stream, chunk))
        return tuple(chunk.digest for chunk in chunks)

    async def _add_days(self, stream: Stream, month: Period, sums: U64) -> tuple[bytes, ...]:
        """Add the sums of the month's days to `sums`; return the digests of their pages."""
        return _add_days(await self._ledger.day_pages(stream, month.begin, month.end), month, sums)


def _add_days(days: Sequence[PageEntry], month: Period, sums: U64) -> tuple[bytes, ...]:
    """Add the sums of these days to those of the month's steps; return the digests of their pages."""
    for day in days:
        assert day.c is not None  # kept until the month's page is made
        add_up(sums, month.edges, day.first, day.step, day.c)
    return tuple(day.digest for day in days)
