"""The summing service: gives away the sum of its words over a set of homes, and never a single word.

Sums over sets that share some homes, for one instant, would reveal the homes by which the sets differ. So at
any instant the sets that it answered for are equal or disjoint, for ever. A home that seals a window again,
after its ledger was restored, does so under another incarnation, with other words: two sums over one set
would then reveal how the home's two sums differ. So each incarnation that it answered for stays the one.

It counts households, as the registrar knows them by their certificates (`gateway.registrar.loads`). A
service that works without a registrar (`SummingService.in_folder`) counts gateways: whoever gives it the list
of homes answers for their being real, and different households'.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.chain.layout import ENERGY
from gateway.errors import NotGranted, UsageError
from gateway.host.clock import SystemClock, unix_ms
from gateway.host.files import write_durably
from gateway.provider.identity import Identity
from gateway.provider.load import Answer, Member, Pair, Windows, of_each, pair, set_digest, words
from gateway.stream.times import spell
from gateway.wire.cose import kid_of

LEAST = 2
"""A sum over a single home would be that home's."""
_SHOWS = {"power": frozenset(("power", *ENERGY)), **{lane: frozenset((lane, "power")) for lane in ENERGY}}
"""The lanes of which one shows something: power is import, or export where it is below 0."""


class Summed(NamedTuple):
    """A set of homes, as their streams' ids, that was summed over [start_ms, end_ms) of Unix time."""

    start_ms: int
    end_ms: int
    homes: frozenset[str]


class Run(NamedTuple):
    """Windows of one home that end from `first_ms` to `last_ms` of Unix time were sealed in `incarnation`."""

    incarnation: int
    first_ms: int
    last_ms: int


class Memory(Protocol):
    """The memory of what was summed over which sets, which outlasts the service."""

    async def claim(self, summed: Sequence[Summed], sealed: Mapping[str, Sequence[Run]]) -> None:
        """From now on these homes are summed in this set alone at every instant of these times, and their
        windows that end there are those of these incarnations; durable once this returns. NotGranted where
        that cannot be, UsageError where the memory was never begun, or is damaged."""


class SummingService:
    """The summing service with its memory. `k_min` is the least number of households whose homes it sums, and
    `households` names the household of each gateway by its kid; None: each gateway is one."""

    def __init__(
        self,
        memory: Memory,
        identity: Identity,
        k_min: int = LEAST,
        households: Mapping[bytes, object] | None = None,
        centre: bytes | None = None,
    ) -> None:
        """`centre` is the kid of who asks, whose the grants must be; None: whoever has the list."""
        if k_min < LEAST:
            raise UsageError(f"k_min = {k_min}: expected at least {LEAST} gateways")
        self._memory = memory
        self._identity = identity
        self._k_min = k_min
        self._households = households
        self._centre = centre

    @classmethod
    def in_folder(cls, folder: Path, identity: Identity, k_min: int = LEAST) -> Self:
        """A service that works without a registrar, with its memory in a file of `folder`."""
        return cls(_Record(folder), identity, k_min)

    @staticmethod
    def begin(folder: Path) -> None:
        """Begin the record of a service that has answered nothing yet. UsageError where `folder` has one."""
        _Record(folder).begin()

    async def add(self, homes: Sequence[Member], windows: Windows) -> Answer:
        """The sums of its words for the set: of all windows, or of none.

        NotGranted for too few gateways, for a set that shares some homes with another that was summed at an
        instant of a window, for a home that has sealed a window again since, and where a home's grant has no
        such window; Unavailable while a token is not there yet.
        """
        streams = frozenset(home.stream.hex() for home in homes)
        if len(streams) < len(homes):
            raise UsageError("the set names a home twice: name each once")

        total = np.zeros((len(windows.times), len(windows.lanes)), dtype=np.uint64)

        async def of(home: Member) -> tuple[Pair, tuple[int, ...]]:
            both = await pair(home, self._identity, "service")
            one = await words(both, windows)
            np.add(total, one.own, out=total)  # words of many homes and windows would fill the memory
            return both, one.incarnations

        found = await of_each(homes, lambda home: home.stream, of)
        # In a thread: of many homes and windows it takes seconds, in which others are answered.
        await asyncio.to_thread(self._check, [both for both, _ in found], windows)
        times = [Summed(start_ms, end_ms, streams) for start_ms, end_ms in windows.times]
        incarnations = {both.home.stream: some for both, some in found}
        sealed, sets = await asyncio.to_thread(_sealed, incarnations, windows)
        await self._memory.claim(times, sealed)
        return Answer(windows, total, sets)

    def _check(self, found: Sequence[Pair], windows: Windows) -> None:
        """NotGranted where a window has too few gateways of which the centre opens nothing otherwise."""
        if len({both.centre.provider for both in found}) > 1:
            raise UsageError("the set has grants to several load monitoring centres: a load is that of one")
        if self._centre is not None and found[0].centre.provider != self._centre:
            raise NotGranted("the grants of the set are another load monitoring centre's")
        k_min = max([self._k_min, *(both.k_min for both in found)])
        gateways = [self._household(kid_of(both.home.reader.descriptor.signing_key)) for both in found]
        opened = [_opened(both, windows.lanes) for both in found]
        closed = {gateway for gateway, spans in zip(gateways, opened, strict=True) if not spans}
        partly = [(gateway, spans) for gateway, spans in zip(gateways, opened, strict=True) if spans]
        for start_ms, end_ms in windows.times:
            count = len(closed.union(one for one, spans in partly if not _meets(spans, start_ms, end_ms)))
            if count < k_min:
                apart = len(set(gateways)) - count
                raise NotGranted(
                    f"only sums over homes of {k_min} {self._noun} or more are given away; this set has "
                    "homes of "
                    f"{count}"
                    + (f", and of {apart} of which the centre can open the window otherwise" * bool(apart))
                    + f", from {spell(start_ms, 1)} to {spell(end_ms, 1)}"
                )

    @property
    def _noun(self) -> str:
        return "gateways" if self._households is None else "households"

    def _household(self, gateway: bytes) -> object:
        """Whose a gateway is; NotGranted for one that nobody registered."""
        if self._households is None:
            return gateway
        if gateway not in self._households:
            raise NotGranted(
                f"the gateway {gateway.hex()} has no valid certificate here: its home is in no sum, since"
                " nobody knows whether it is real"
            )
        return self._households[gateway]


def _opened(both: Pair, lanes: Sequence[str]) -> list[tuple[int, int | None]]:
    """When the centre may learn something of a home without this service: the times [from_ms, until_ms) of
    its grants of the same quantity, whatever their windows; None: without end."""
    shown_by = frozenset[str]().union(*(_SHOWS.get(lane, {lane}) for lane in lanes))
    unit_ms = both.home.reader.descriptor.layout.unit_ms
    return [
        (grant.first * unit_ms, None if limit is None else limit * unit_ms)
        for grant, limit in both.others
        if not shown_by.isdisjoint(grant.lanes)
    ]


def _meets(spans: Iterable[tuple[int, int | None]], start_ms: int, end_ms: int) -> bool:
    """Whether a window has a time in common with one of these."""
    return any(a < end_ms and (b is None or start_ms < b) for a, b in spans)


def _sealed(
    incarnations: Mapping[bytes, Sequence[int]], windows: Windows
) -> tuple[dict[str, list[Run]], tuple[str, ...]]:
    """Of each stream the runs of the incarnations that sealed the windows; of each window its set's
    digest."""
    ends = [end_ms for _, end_ms in windows.times]
    sealed = {stream.hex(): _runs_of(some, ends) for stream, some in incarnations.items()}
    by_window = zip(*incarnations.values(), strict=True)
    sets = (set_digest(windows, i, zip(incarnations, some, strict=True)) for i, some in enumerate(by_window))
    return sealed, tuple(sets)


class _Document(BaseModel):
    """The record's file: the sets that were summed, and the incarnations of each home by its stream's id."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    sets: list[Summed]
    sealed: dict[str, list[Run]]


class _Answered(BaseModel):
    """How much the record has had since it was begun, in a file beside it: its `_extent`, and the end of the
    last window that was summed. A copy that is put back has less where it lacks something. From then on only
    windows that begin at or after `from_ms` are summed: there the record is whole. Where the file is missing
    that is now. Times are Unix ms."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    extent: int = 0
    until_ms: int = 0
    from_ms: int = 0


class _Record:
    """The memory in a file: JSON, durable before an answer is given."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "summed.json"
        self._beside = folder / "summed.extent.json"

    def begin(self) -> None:
        """Write an empty record; UsageError where there is one, damaged or not."""
        with self._locked():
            if self._path.exists():
                raise UsageError(f"{self._path} is there already: a record is begun once")
            if not self._beside.exists():
                self._say(_Answered())
            self._save(_Document(sets=[], sealed={}))

    async def claim(self, summed: Sequence[Summed], sealed: Mapping[str, Sequence[Run]]) -> None:
        """See `Memory`."""
        with self._locked():
            known = self._load()
            answered = self._answered(known)
            added = joined(summed)
            for new in added:
                check_disjoint(known.sets, new)
                check_whole(answered.from_ms, known.sets, new)
            for home, runs in sealed.items():
                check_sealed(answered.from_ms, home, known.sealed.get(home, []), runs)
            merged_runs = {
                home: merged(home, [*known.sealed.get(home, []), *new]) for home, new in sealed.items()
            }
            now = _Document(sets=joined([*known.sets, *added]), sealed={**known.sealed, **merged_runs})
            self._save(now)  # first, so that a crash leaves it ahead of what is said beside it
            until_ms = max([answered.until_ms, *(new.end_ms for new in added)])
            self._say(_Answered(extent=_extent(now), until_ms=until_ms, from_ms=answered.from_ms))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The folder's lock: of two services on one folder, also in two processes, one waits."""
        try:
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                yield
            finally:
                os.close(folder)
        except OSError as error:
            raise UsageError(f"{self._path} cannot be used: {error.strerror}") from None

    def _load(self) -> _Document:
        try:
            return _Document.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            state, or_else = (
                "missing",
                ", or begin one if it never gave one away: gateway provider share begin",
            )
        except ValidationError:
            state, or_else = "damaged", ""
        raise UsageError(
            f"{self._path} is {state}, so nobody knows what was summed, and nothing more may be: put a copy "
            f"of it back that has every sum{or_else}"
        )

    def _answered(self, known: _Document) -> _Answered:
        """What is said beside the record, corrected first where the record is an older copy."""
        try:
            answered = _Answered.model_validate_json(self._beside.read_bytes())
        except FileNotFoundError:  # a copy, put back by itself: what it may lack has ended by now
            now_ms = unix_ms(SystemClock("host"))
            answered = _Answered(extent=_extent(known), until_ms=now_ms, from_ms=now_ms)
            self._say(answered)
            return answered
        except ValidationError:
            raise UsageError(f"{self._beside} is damaged: put a copy of it back") from None
        if (extent := _extent(known)) < answered.extent:
            answered = _Answered(extent=extent, until_ms=answered.until_ms, from_ms=answered.until_ms)
            self._say(answered)
        return answered

    def _save(self, known: _Document) -> None:
        sets = [[one.start_ms, one.end_ms, sorted(one.homes)] for one in known.sets]
        write_durably(self._path, json.dumps({"sets": sets, "sealed": known.sealed}).encode(), 0o644)

    def _say(self, answered: _Answered) -> None:
        write_durably(self._beside, answered.model_dump_json().encode(), 0o644)


def _extent(known: _Document) -> int:
    """How much a record has: ms of homes that were summed, and ms and number of runs. Whatever is added to a
    record makes it larger."""
    sets = sum((one.end_ms - one.start_ms) * len(one.homes) for one in known.sets)
    runs = (run for home in known.sealed.values() for run in home)
    return sets + sum(run.last_ms - run.first_ms + 1 for run in runs)


def check_disjoint(known: Sequence[Summed], new: Summed) -> None:
    """NotGranted where `new` shares an instant and some homes, but not all, with a set that was summed."""
    for one in known:
        meet = one.start_ms < new.end_ms and new.start_ms < one.end_ms
        if meet and one.homes != new.homes and one.homes & new.homes:
            raise NotGranted(
                f"from {spell(one.start_ms, 1)} to {spell(one.end_ms, 1)} another set of homes was summed, "
                "which has some of these: a second sum would reveal the homes by which the sets differ"
            )


def check_whole(from_ms: int, known: Sequence[Summed], new: Summed) -> None:
    """NotGranted for times of before `from_ms`, from when on the memory is whole (Unix ms), unless this very
    set was summed over all of them: a sum that was given away once."""
    same = joined([one for one in known if one.homes == new.homes])
    if new.start_ms < from_ms and not any(
        one.start_ms <= new.start_ms and new.end_ms <= one.end_ms for one in same
    ):
        raise NotGranted(
            f"the memory was restored from a copy, and what was summed before {spell(from_ms, 1)} may be"
            " missing in it: only later windows are summed"
        )


def check_sealed(from_ms: int, home: str, known: Sequence[Run], new: Sequence[Run]) -> None:
    """The same for the incarnations of windows that end at `from_ms` or before: NotGranted unless the home's
    runs have them. 0: the memory is whole."""
    for one in new if from_ms else ():
        last_ms = min(one.last_ms, from_ms)
        if one.first_ms <= from_ms and not any(
            run.incarnation == one.incarnation and run.first_ms <= one.first_ms and last_ms <= run.last_ms
            for run in known
        ):
            raise NotGranted(
                f"the memory was restored from a copy, and does not say in which incarnation stream {home}"
                f" sealed what ends at {spell(one.first_ms, 1)}: only windows after {spell(from_ms, 1)} are"
                " summed"
            )


def joined(summed: Sequence[Summed]) -> list[Summed]:
    """The same times of each set, in as few entries as can be."""
    joined: list[Summed] = []
    order = {homes: i for i, homes in enumerate(sorted({one.homes for one in summed}, key=sorted))}
    for one in sorted(summed, key=lambda one: (order[one.homes], one.start_ms)):
        last = joined[-1] if joined else None
        if last is not None and last.homes == one.homes and one.start_ms <= last.end_ms:
            joined[-1] = Summed(last.start_ms, max(last.end_ms, one.end_ms), one.homes)
        else:
            joined.append(one)
    return joined


def _runs_of(incarnations: Sequence[int], ends: Sequence[int]) -> list[Run]:
    """The runs of a home's windows that end at `ends`, each sealed in its incarnation."""
    runs = []
    for incarnation, group in groupby(zip(incarnations, ends, strict=True), lambda one: one[0]):
        times = [end for _, end in group]
        runs.append(Run(incarnation, times[0], times[-1]))
    return runs


def merged(home: str, runs: Sequence[Run]) -> list[Run]:
    """A home's runs, one for each incarnation, by time. NotGranted unless each ends before the next begins:
    an incarnation does not come back once another has sealed, and a window has one."""
    joined: dict[int, Run] = {}
    for one in runs:
        known = joined.get(one.incarnation, one)
        joined[one.incarnation] = Run(
            one.incarnation, min(known.first_ms, one.first_ms), max(known.last_ms, one.last_ms)
        )
    found = sorted(joined.values(), key=lambda one: (one.first_ms, one.last_ms))
    for one, after in pairwise(found):
        if after.first_ms <= one.last_ms:
            raise NotGranted(
                f"stream {home} has sealed again what was summed before, in another incarnation, at "
                f"{spell(after.first_ms, 1)}: a second sum would reveal what it changed"
            )
    return found
