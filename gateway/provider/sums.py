"""Sums of readings, window by window: verified ciphertexts minus the nonces that grants open."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.chain.seal import signed
from gateway.provider.grants import OwnGrant, own_grants, short
from gateway.provider.identity import Identity
from gateway.provider.query import Query, Resolved, length_ms, resolve, why_not
from gateway.provider.tokens import Opener, Window
from gateway.stream.chunks import ChainFollower
from gateway.stream.reader import StreamReader
from gateway.stream.times import moment

_BLOCK = 1024  # windows that are read at a time


@dataclass(frozen=True, slots=True)
class Row:
    """A window [start, end), UTC, and the sum of each lane in it, in the lane's own integers: mWh for
    import and export, W for power, readings for count. A lane that is not granted there is left out."""

    start: datetime
    end: datetime
    sums: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Missing:
    """Windows between two moments, UTC, for which some lanes have no sum, and why."""

    start: datetime
    end: datetime
    lanes: tuple[str, ...]
    reason: str


class Sums:
    """The answers to one query, in order; `rows` continues where it ended.

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
    async def ask(cls, reader: StreamReader, identity: Identity, query: Query) -> Sums:
        """Resolve the query. The errors are those of `resolve`, and Refused as for `own_grants`."""
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
        """A row for each further window that is sealed and opens. Refused for an object that is invalid, or
        missing while later ones are there; the rows before that are good."""
        self.tail = None
        head = self._reader.head
        if head is None:
            return
        if self._follower is None:
            self._follower = ChainFollower(self._reader.descriptor, self._reader.marks(head))
        while not self.done and (windows := self._next(head.next_unit)):
            opened = await self._open(windows)
            ready = self._ready(windows, opened)
            if ready < len(windows):
                self.tail = self._gap(
                    windows[ready][0],
                    head.next_unit,
                    self.resolved.lanes,
                    "its tokens are not in the store yet",
                )
            windows = windows[:ready]
            for row in await self._sum(windows, opened):
                yield row
            if self.tail is not None:
                return
        if self.done:
            self._pass_over(head.next_unit)

    async def _sum(self, windows: Sequence[Window], opened: Mapping[Window, Mapping[str, int]]) -> list[Row]:
        """The rows of consecutive windows; what is left out goes to `missing`."""
        lanes, rows = self.resolved.lanes, []
        if any(opened[window] for window in windows):
            assert self._follower is not None
            follower = self._follower.fork()
            c = await self._reader.sums([windows[0][0], *(b for _, b in windows)], lanes, follower)
            self._follower = follower
        for column, window in enumerate(windows):
            r = opened[window]
            self._note_closed(window, [lane for lane in lanes if lane not in r])
            if r:
                sums = {
                    lane: signed(int(c[row, column]) - r[lane]) for row, lane in enumerate(lanes) if lane in r
                }
                rows.append(Row(self._moment(window[0]), self._moment(window[1]), sums))
            self._at = window[1]
        return rows

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

    def _next(self, head: int) -> list[Window]:
        """The next windows that can open and end at or before unit `head`, a block of them at most."""
        last = self._end()
        end = head if last is None else min(head, last)
        windows: list[Window] = []
        a = self._at
        while len(windows) < _BLOCK and (b := self._edge(a + 1)) <= end:
            windows.append((a, b))
            a = b
        return windows

    async def _open(self, windows: Sequence[Window]) -> dict[Window, dict[str, int]]:
        """The nonce R of each lane over each window, as far as there are tokens."""
        opened: dict[Window, dict[str, int]] = {window: {} for window in windows}
        for opener in self._openers:
            lanes = self._lanes(opener)
            wanted = [w for w in windows if opener.held.covers(*w) and lanes - opened[w].keys()]
            for window, r in (await opener.nonces(wanted)).items():
                for lane, value in zip(opener.held.grant.lanes, r, strict=True):
                    if lane in lanes:
                        opened[window].setdefault(lane, value)
        return opened

    def _ready(self, windows: Sequence[Window], opened: Mapping[Window, Mapping[str, int]]) -> int:
        """The number of windows before the first one whose tokens are yet to come."""
        for i, window in enumerate(windows):
            for opener in self._openers:
                if self._lanes(opener) - opened[window].keys() and opener.held.covers(*window):
                    return i
        return len(windows)

    def _lanes(self, opener: Opener) -> set[str]:
        return set(opener.held.grant.lanes) & set(self.resolved.lanes)

    def _note_closed(self, window: Window, lanes: Sequence[str]) -> None:
        """Note that lanes of a window stay closed, and why."""
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
