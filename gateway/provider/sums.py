"""Sums of readings, window by window: verified ciphertexts minus the nonces that grants open."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gateway.errors import Refused
from gateway.provider.grants import OwnGrant, own_grants, short
from gateway.provider.identity import Identity
from gateway.provider.query import Query, Resolved, length_ms, resolve, why_not
from gateway.provider.tokens import Opener, nonces
from gateway.stream.chunks import ChainFollower
from gateway.stream.reader import StreamReader
from gateway.stream.times import moment

_BLOCK = 2**16  # windows that are read at a time
_SMALL_BLOCK = 1024  # where an object is refused, so that most of the rows before it come out

_Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Row:
    """A window [start, end), UTC, and the sum of each lane in it, in the lane's own integers: mWh for
    import and export, W for power, readings for count. A lane that is not granted there is left out."""

    start: datetime
    end: datetime
    sums: Mapping[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows in columns, of consecutive windows of which some lane is open: window i is
    [starts[i], ends[i]) in units of `unit_ms`, `sums` has an int64 of it for each lane, and `opened` says of
    each whether that lane is granted there: where it is not, the int64 is 0."""

    unit_ms: int
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    sums: Mapping[str, NDArray[np.int64]]
    opened: Mapping[str, _Bools]

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[Row]:
        """Each row by itself."""
        lanes = [(lane, d.tolist(), self.opened[lane].tolist()) for lane, d in self.sums.items()]
        for i, (a, b) in enumerate(zip(self.starts.tolist(), self.ends.tolist(), strict=True)):
            sums = {lane: d[i] for lane, d, opened in lanes if opened[i]}
            yield Row(moment(a, self.unit_ms), moment(b, self.unit_ms), sums)


@dataclass(frozen=True, slots=True)
class Missing:
    """Windows between two moments, UTC, for which some lanes have no sum, and why."""

    start: datetime
    end: datetime
    lanes: tuple[str, ...]
    reason: str


class Sums:
    """The answers to one query, in order; `blocks`, or `rows`, continue where they ended.

    `missing` has what was left out between the rows, `tail` why the rows end before the head.
    """

    def __init__(self, reader: StreamReader, identity: Identity, resolved: Resolved) -> None:
        self.resolved = resolved
        self.missing: list[Missing] = []
        self.tail: Missing | None = None
        self._reader = reader
        self._identity = identity
        self._openers: list[Opener] = []
        self._at = resolved.first
        self._follower: ChainFollower | None = None

    @classmethod
    async def ask(
        cls, reader: StreamReader, identity: Identity, query: Query, held: Sequence[OwnGrant] | None = None
    ) -> Sums:
        """Resolve the query against the grants `held`, or where they were not read yet against all. The
        errors are those of `resolve`, and Refused as for `own_grants`."""
        if held is None:
            held = await own_grants(reader, identity)
        for one in held:
            await one.bundles.settle()
        sums = cls(reader, identity, resolve(query, reader.descriptor, held, identity.kid))
        sums._hold(held)
        sums._at = sums._edge(sums._at)
        begin = min(opener.held.grant.first for opener in sums._openers)
        first = sums._edge(max(begin, sums._at))
        if first > sums._at:
            if query.from_ms is not None:
                sums._leave_out(sums._at, first, sums.resolved.lanes, "no grant begins earlier")
            sums._at = first
        return sums

    async def renew(self) -> None:
        """Read the grants again: one may have been added or revoked."""
        known = {opener.held.grant.id: opener.held for opener in self._openers}
        held = []
        for one in await own_grants(self._reader, self._identity):
            before = known.get(one.grant.id, one)  # its bundles are read on
            await before.bundles.settle()
            held.append(replace(before, limit=one.limit, revoked=one.revoked))
        self._hold(held)

    @property
    def done(self) -> bool:
        """Whether no further window can open, whatever is sealed."""
        end = self._end()
        return end is not None and self._edge(self._at + 1) > end

    @property
    def next_window(self) -> tuple[datetime, datetime] | None:
        """The window that opens next, by its two moments, UTC; None where none can."""
        if self.done:
            return None
        begin = self._edge(self._at)
        return self._moment(begin), self._moment(self._edge(begin + 1))

    @property
    def sources(self) -> list[str]:
        """The grants that the sums come from, in sentences."""
        asked = self.resolved.granularity
        return [
            str(opener.held)
            + ("" if opener.held.grant.granularity == asked else f"; added up to sums of {asked}")
            for opener in self._openers
        ]

    @property
    def notes(self) -> list[str]:
        """What else a person should know about the sources, in sentences."""
        return [note for opener in self._openers for note in opener.held.notes]

    async def rows(self) -> AsyncGenerator[Row, None]:
        """The rows of `blocks`, one by one."""
        async with aclosing(self.blocks()) as blocks:
            async for block in blocks:
                for row in block:
                    yield row

    async def blocks(self) -> AsyncGenerator[Rows, None]:
        """A row for each further window that is sealed and opens, many at a time. Refused for an object that
        is invalid, or missing while later ones are there; the rows before that are good."""
        self.tail = None
        head = self._reader.head
        if head is None:
            return
        if self._follower is None:
            self._follower = ChainFollower(self._reader.descriptor, self._reader.marks(head))
        most = _BLOCK
        while not self.done and len(edges := self._next(head.next_unit, most)) > 1:
            try:
                block = await self._read(edges, head.next_unit)
            except Refused:
                if most == _SMALL_BLOCK:
                    raise
                most = _SMALL_BLOCK
                continue
            if len(block):
                yield block
            if self.tail is not None:
                return
        if self.done:
            self._pass_over(head.next_unit)

    async def _read(self, edges: NDArray[np.int64], head: int) -> Rows:
        """The rows of the windows between `edges`, as far as their tokens are there: `tail` is set where they
        end before. What is left out goes to `missing`."""
        r, opened, ready = await nonces(self._openers, self.resolved.lanes, edges)
        waits = ready < len(edges) - 1
        edges, r, opened = edges[: ready + 1], r[:, :ready], opened[:, :ready]
        lanes, d = self.resolved.lanes, r
        everything = bool(opened.all())
        if ready and (everything or opened.any()):
            assert self._follower is not None
            follower = self._follower.fork()
            d = await self._reader.sums(edges, lanes, follower) - r
            self._follower = follower
        if not everything:
            self._note_all_closed(edges, opened)
        self._at = int(edges[-1])
        if waits:
            reason = "its tokens are not in the store yet"
            self.tail = self._gap(self._at, head, lanes, reason)
        begins, ends = edges[:-1], edges[1:]
        if not everything:
            some = opened.any(axis=0)
            d = np.where(opened, d, np.uint64(0))[:, some]
            begins, ends, opened = begins[some], ends[some], opened[:, some]
        return Rows(
            self._reader.descriptor.layout.unit_ms,
            begins,
            ends,
            dict(zip(lanes, d.view(np.int64), strict=True)),
            dict(zip(lanes, opened, strict=True)),
        )

    def _hold(self, held: Sequence[OwnGrant]) -> None:
        """Make openers for the grants that serve the query; existing ones keep the keys that they reached."""
        known = {opener.held.grant.id: opener for opener in self._openers}
        self._openers = []
        # Long windows first, so that a sum takes few tokens.
        for one in sorted(held, key=lambda one: (-length_ms(one.grant.granularity), one.grant.first)):
            if why_not(self.resolved, one, self.resolved.lanes) is None:
                opener = known.get(one.grant.id) or Opener(one)
                opener.held = one
                self._openers.append(opener)

    def _end(self) -> int | None:
        """The unit from which on no window can open; None while more can always come."""
        limits = [opener.held.limit for opener in self._openers]
        known = [limit for limit in limits if limit is not None]
        ends = [] if self.resolved.until is None else [self.resolved.until]
        if len(known) == len(limits):
            ends.append(max(known, default=self._at))
        return min(ends, default=None)

    def _edge(self, unit: int) -> int:
        """The first edge of rows at or after `unit`: where a grant has such calendar windows itself, one of
        its edges, which this machine's time zone data need not have."""
        granularity = self.resolved.granularity
        edge = granularity.align_up(unit)
        if isinstance(granularity.size, int):
            return edge
        for held in (opener.held for opener in self._openers):
            if held.grant.granularity == granularity and (held.limit is None or unit <= held.limit):
                if held.grant.first <= unit:
                    return held.edge_from(unit)
                edge = min(edge, held.grant.first)
        return edge

    def _pass_over(self, end: int) -> None:
        """Note that the windows up to `end` stay closed: every grant is over."""
        granularity, until, at = self.resolved.granularity, self.resolved.until, self._at
        end = end if until is None else min(end, until)
        if isinstance(granularity.size, int):
            at = granularity.start(granularity.index(end))
        else:
            while (edge := self._edge(at + 1)) <= end:
                at = edge
        if at > self._at:
            self._note_closed((self._at, at), self.resolved.lanes)
            self._at = at

    def _next(self, head: int, most: int) -> NDArray[np.int64]:
        """The edges of the next windows that can open and end at or before unit `head`, of `most` at most."""
        last = self._end()
        end = head if last is None else min(head, last)
        size = self.resolved.granularity.size
        if isinstance(size, int):
            count = min(most, max(0, (end - self._at) // size))
            return self._at + size * np.arange(count + 1, dtype=np.int64)
        edges = [self._at]
        while len(edges) <= most and (edge := self._edge(edges[-1] + 1)) <= end:
            edges.append(edge)
        return np.array(edges, dtype=np.int64)

    def _note_all_closed(self, edges: NDArray[np.int64], opened: _Bools) -> None:
        """Note which lanes stay closed in the windows between `edges`, and why: once for all consecutive ones
        with the same lanes and the same grants that are over."""
        limits = [opener.held.limit for opener in self._openers]
        over = [edges[1:] > limit for limit in limits if limit is not None]
        alike = np.vstack([opened, *over])
        changes = np.flatnonzero((alike[:, 1:] != alike[:, :-1]).any(axis=0)) + 1
        for x, y in pairwise([0, *changes.tolist(), len(edges) - 1]):
            closed = [lane for row, lane in enumerate(self.resolved.lanes) if not opened[row, x]]
            self._note_closed((int(edges[x]), int(edges[y])), closed)

    def _note_closed(self, window: tuple[int, int], lanes: Sequence[str]) -> None:
        """Note that lanes stay closed between two units, and why."""
        reasons: dict[str, list[str]] = {}
        for lane in lanes:
            reason = "no grant opens these windows"
            for held in (opener.held for opener in self._openers if lane in opener.held.grant.lanes):
                if held.limit is not None and held.limit < window[1]:
                    reason = f"grant {short(held.grant.id)} " + (
                        "was revoked" if held.revoked else "has ended"
                    )
            reasons.setdefault(reason, []).append(lane)
        for reason, without in reasons.items():
            self._leave_out(*window, tuple(without), reason)

    def _leave_out(self, a: int, b: int, lanes: tuple[str, ...], reason: str) -> None:
        gap = self._gap(a, b, lanes, reason)
        for i, before in enumerate(self.missing):
            if before.end == gap.start and (before.lanes, before.reason) == (lanes, reason):
                self.missing[i] = replace(before, end=gap.end)
                return
        self.missing.append(gap)

    def _gap(self, a: int, b: int, lanes: tuple[str, ...], reason: str) -> Missing:
        return Missing(self._moment(a), self._moment(b), lanes, reason)

    def _moment(self, unit: int) -> datetime:
        return moment(unit, self._reader.descriptor.layout.unit_ms)
