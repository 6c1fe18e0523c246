"""Sums within a UTC day that is over, from the two objects of a home that hold them: the day's page and its
bundle of tokens.

That is what many homes are mostly asked for, and most of them are alike: what is the same for all that are is
worked out once. `Sums` gives the same rows, from whatever a store holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.chain.grant import Grant
from gateway.chain.layout import Lane
from gateway.chain.page import Calendar, Period
from gateway.chain.window import Granularity
from gateway.chain.windows import GrantWindows
from gateway.errors import GatewayError
from gateway.provider.grants import OwnGrant
from gateway.provider.query import Query, Resolved, resolve
from gateway.provider.sums import Rows
from gateway.provider.together import Together
from gateway.provider.tokens import Opener
from gateway.stream.bundles import Part
from gateway.stream.fetch import get
from gateway.stream.pages import check_page
from gateway.stream.reader import StreamReader
from gateway.stream.tokens import check_bundle
from gateway.wire import names
from gateway.wire.stream import Descriptor

_Kind = tuple[tuple[Lane, ...], tuple[str, ...], Granularity]
"""How homes are alike: in their lanes, and in their grants' lanes and windows."""


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What a query asks of all homes of a kind: the windows between `edges`, which these steps of the day's
    page make up, and the lanes with these numbers in the stream."""

    resolved: Resolved
    edges: NDArray[np.int64]
    steps: slice
    lanes: tuple[int, ...]


class DayReader:
    """Reads the day of homes that are all asked the same query."""

    def __init__(self, query: Query, together: Together) -> None:
        self._query = query
        self._together = together
        self._days: dict[int, Period | None] = {}
        self._plans: dict[_Kind, _Plan | None] = {}

    def day(self, descriptor: Descriptor) -> Period | None:
        """The UTC day that the query lies in, if the stream may have a page of it. The period is that of a
        stream which began before. UsageError outside the calendar."""
        unit_ms = descriptor.layout.unit_ms
        if unit_ms not in self._days:
            self._days[unit_ms] = _day(self._query, unit_ms)
        day = self._days[unit_ms]
        return day if day is not None and descriptor.start <= day.end - day.step else None

    async def read(self, reader: StreamReader, day: Period, held: OwnGrant) -> tuple[Resolved, Rows] | None:
        """The query as it was resolved, and all its rows, which lie in `day`. None where `Sums` must answer:
        where the day is not wholly in the stream and the grant, where this does not have just the windows and
        the lanes that are asked for, and where one of the two objects is missing or invalid. NotGranted and
        UsageError as for `resolve`."""
        descriptor, grant, size = reader.descriptor, held.grant, held.grant.granularity.size
        head, days_end = reader.head, reader.days_end
        if head is None or not descriptor.start <= day.begin < day.end <= days_end:
            return None
        if grant.first > day.begin or (held.limit is not None and held.limit < day.end):
            return None
        if not isinstance(size, int) or grant.first % size:  # the bundles of a calendar grant say its windows
            return None
        plan = self._plan(descriptor, day, held)
        if plan is None:
            return None
        page_key, bundle_key = keys_of(day, grant)
        try:
            async with self._together.verified() as later:
                data = await get(reader.bucket, page_key), await get(reader.bucket, bundle_key)
                if data[0] is None or data[1] is None:
                    return None
                named = head.day if day.end == days_end else None
                page = check_page(descriptor, day, page_key, data[0], named, later)
                bundle = check_bundle(descriptor, grant, bundle_key, data[1], later)
        except GatewayError:
            return None
        count = len(plan.edges) - 1
        first = held.windows.number(int(plan.edges[0]))
        if first + count > bundle.end_window(grant.words):
            return None
        c = np.stack([page.c(lane)[plan.steps] for lane in plan.lanes])
        r = Opener(held).words_of(Part(bundle_key, bundle, first, first + count)).T
        d = c.reshape(len(plan.lanes), count, -1).sum(axis=2) - r
        edges, opened = plan.edges.copy(), np.ones(d.shape, dtype=np.bool_)
        sums = dict(zip(grant.lanes, d.view(np.int64), strict=True))
        all_opened = dict(zip(grant.lanes, opened, strict=True))
        return plan.resolved, Rows(descriptor.layout.unit_ms, edges[:-1], edges[1:], sums, all_opened)

    def _plan(self, descriptor: Descriptor, day: Period, held: OwnGrant) -> _Plan | None:
        grant = held.grant
        kind = descriptor.lanes, grant.lanes, grant.granularity
        if kind not in self._plans:
            self._plans[kind] = _plan(self._query, descriptor, day, held)
        return self._plans[kind]


def keys_of(day: Period, grant: Grant) -> list[str]:
    """The keys of the day's page and of the bundle of the grant's tokens for that day, as far as there are
    such."""
    if grant.first >= day.end:
        return []
    page, windows = names.page(grant.stream, day.name), GrantWindows(grant)
    if windows.calendar:
        return [page]
    return [page, names.bundle(grant.stream, grant.id, windows.complete(day.begin), "day")]


def _day(query: Query, unit_ms: int) -> Period | None:
    calendar = Calendar.of(unit_ms, 0)
    if calendar is None or query.from_ms is None or query.until_ms is None:
        return None
    day = calendar.period("day", query.from_ms // unit_ms)
    return day if query.until_ms <= day.end * unit_ms else None


def _plan(query: Query, descriptor: Descriptor, day: Period, held: OwnGrant) -> _Plan | None:
    """The plan for homes like this one, whose stream and grant have the whole day; None where the page and
    the bundle do not have just what is asked for."""
    grant, size = held.grant, held.grant.granularity.size
    resolved = resolve(query, descriptor, [held], grant.provider)
    if (resolved.granularity, resolved.lanes) != (grant.granularity, grant.lanes):
        return None
    if not isinstance(size, int) or size % day.step:
        return None
    assert resolved.until is not None  # or the query would not lie in a day
    edges = np.arange(grant.granularity.align_up(resolved.first), resolved.until + 1, size, dtype=np.int64)
    first, end = ((int(edge) - day.begin) // day.step for edge in (edges[0], edges[-1]))
    lanes = [lane.name for lane in descriptor.lanes]
    return _Plan(resolved, edges, slice(first, end), tuple(map(lanes.index, grant.lanes)))
