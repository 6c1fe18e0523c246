"""The loads of all regions as they come: each window's set is asked for once, when its time to wait is over.

A home that is taken in after a window's set was asked for is missing from it, so `Watch` waits for as long as
the operator says after a window's end. It keeps the last day of each region; what was asked for before comes
from the centre's own memory, so a restart asks for nothing twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Container, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from decimal import Decimal

from gateway.centre.alarms import Alarm, Alarms
from gateway.centre.engine import Engine
from gateway.centre.query import NOBODY_HAS, REFUSES, Ask, Certified, Load, Missing, load
from gateway.centre.state import State, Times
from gateway.chain.layout import DAY_MS
from gateway.chain.window import Granularity
from gateway.errors import GatewayError, Unavailable, UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.host.fault_log import FaultLog
from gateway.provider.load import Answer, Windows
from gateway.stream.times import spell

LANE = "import"
LOOK_S = 20.0
"""How often the centre's memory is looked at."""
MOST_WINDOWS = 1440
"""The windows of a region that are kept, where a day has more."""
_LONGEST_MS = 3_600_000
_AT_ONCE = 96  # windows that are added up before others get their turn
NEWEST, BURST = 8, 3
"""Of a region's newest windows, the refused ones from which on there is an alarm; as many without a sum, one
after the other, are one as well."""

Service = Callable[[], AbstractAsyncContextManager[tuple[Ask, Certified]]]
"""Opens a session with the registrar: what asks its summing service, and its catalogue."""


@dataclass(frozen=True, slots=True)
class Point:
    """A window [start_ms, end_ms) of a region: its energy in mWh, or None where it has no sum and `problem`
    is the reason. Of `homes` + `absent` homes, `homes` are in the sum."""

    start_ms: int
    end_ms: int
    energy: int | None
    homes: int
    absent: int
    problem: str = ""

    @property
    def power(self) -> float | None:
        """The mean load in kW."""
        return None if self.energy is None else self.energy * 3.6 / (self.end_ms - self.start_ms)

    def above(self, limit: Decimal) -> bool:
        """Whether the mean load is above a limit in kW."""
        return self.energy is not None and self.energy * 36 > limit * 10 * (self.end_ms - self.start_ms)

    @property
    def refused(self) -> bool:
        """Whether the summing service refused the set."""
        return self.problem.startswith(REFUSES)


@dataclass(slots=True)
class Region:
    """A region's windows of the last day, by their beginning, and the homes that the newest sum lacks,
    None until one is known.

    It has no sum since `since_ms`, when its newest one ended, or when it was first watched; and it is
    `silent` where the last BURST windows or more have none, or nobody granted such windows. Windows before
    `judged_ms` were held against the limit; while loads are above it, `peak` is the highest in kW. `batch` is
    the last batch of files that was looked at.
    """

    name: str
    limit: Decimal | None
    points: dict[int, Point] = field(default_factory=dict)
    missing: tuple[Missing, ...] | None = None
    since_ms: int | None = None
    silent: bool = False
    judged_ms: int = 0
    peak: float = 0
    batch: int = 0

    @property
    def curve(self) -> list[Point]:
        """The windows in order."""
        return [self.points[start] for start in sorted(self.points)]

    @property
    def newest(self) -> Point | None:
        """The newest window, with a sum or without."""
        return self.points[max(self.points)] if self.points else None

    @property
    def summed(self) -> Point | None:
        """The newest window with a sum."""
        return next((one for one in reversed(self.curve) if one.energy is not None), None)

    @property
    def over(self) -> bool:
        """Whether the newest sum is above the limit."""
        return self.limit is not None and self.summed is not None and self.summed.above(self.limit)


def check_granularity(granularity: Granularity) -> int:
    """The length of a window in ms. UsageError for one that no curve of a day is made of."""
    if not isinstance(granularity.size, int) or granularity.size > _LONGEST_MS or DAY_MS % granularity.size:
        raise UsageError(
            "a load curve has windows of at most an hour, a whole number of them a day: 15min, 1h"
        )
    return granularity.size


class Watch:
    """Keeps the loads of all regions up to date, in windows of `window_ms`, of which each is asked for
    `wait_ms` after its end.

    It works in the event loop of its caller, a region and `_AT_ONCE` windows at a time; others wait for as
    long as these take to add up.
    """

    def __init__(
        self,
        state: State,
        engine: Engine,
        service: Service,
        clock: Clock,
        alarms: Alarms,
        *,
        window_ms: int,
        wait_ms: int,
        limits: Mapping[str, Decimal],
        notify: Callable[[str], object],
    ) -> None:
        self.alarms = alarms
        self.window_ms = window_ms
        self.wait_ms = wait_ms
        self.regions: dict[str, Region] = {}
        self.looked_ms: int | None = None
        self._state = state
        self._engine = engine
        self._service = service
        self._clock = clock
        self._limits = limits
        self._faults = FaultLog(clock, notify, notify)
        self._changed = asyncio.Condition()
        self._looks = 0

    @property
    def shown_ms(self) -> int:
        """How much of each region's past is kept."""
        return min(DAY_MS, MOST_WINDOWS * self.window_ms)

    @property
    def fault(self) -> str | None:
        """Why the loads are not up to date; None while they are."""
        return self._faults.fault

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(LOOK_S)

    async def look(self) -> None:
        """Ask for all windows whose time has come. What fails is tried again in the next look."""
        fault: GatewayError | None = None
        try:
            batch = self._state.next_batch()
            async with self._service() as session:
                ask, certified = _once(*session)
                for region in self._listed():
                    try:
                        await self._bring_up(region, batch, ask, certified)
                    except GatewayError as error:
                        fault = error
                    await asyncio.sleep(0)
            self._judge_chains()
        except GatewayError as error:
            fault = error
        if fault is None:
            self._faults.clear("the loads are up to date again")
        else:
            self._faults.report(f"{fault}; trying again")
        self.looked_ms = unix_ms(self._clock)
        async with self._changed:
            self._looks += 1
            self._changed.notify_all()

    async def changes(self) -> AsyncGenerator[None, None]:
        """Now, and after each look."""
        seen = -1
        while True:
            async with self._changed:
                while self._looks == seen:
                    await self._changed.wait()
                seen = self._looks
            yield

    def _listed(self) -> list[Region]:
        """The regions that have homes now, by name; alarms of others are over."""
        before = self.regions
        self.regions = {
            name: before.get(name) or Region(name, self._limits.get(name))
            for name in sorted(self._state.regions())
        }
        for name in before.keys() - self.regions.keys():
            self.alarms.end("load", name)
            self.alarms.end("refused", name)
            self.alarms.end("silent", name)
        return list(self.regions.values())

    async def _bring_up(self, region: Region, batch: int, ask: Ask, certified: Certified) -> None:
        """Sum the windows of a region whose time has come, and try those without a sum again where something
        was taken in since; a refused set is tried again only while its window is one of the newest."""
        size = self.window_ms
        end = (unix_ms(self._clock) - self.wait_ms) // size
        if region.since_ms is None:
            region.since_ms = end * size
        first = end - self.shown_ms // size
        wanted: list[Times] = []
        for k in range(first, end):
            known = region.points.get(k * size)
            if known is not None and (
                known.energy is not None or region.batch == batch or (known.refused and k < end - NEWEST)
            ):
                continue
            wanted.append((k * size, (k + 1) * size))
        newest = ((end - 1) * size, end * size)
        asked = self._state.asked(region.name, first * size, end * size) if wanted else {}
        for times in _slices(wanted, asked, newest):
            found = await load(self._state, self._engine, region.name, _windows(times), ask, certified)
            region.points |= {one.start_ms: one for one in _points(found)}
            if times == [newest] and found.homes[0]:
                region.missing = found.missing
            await asyncio.sleep(0)
        region.points = {start: one for start, one in region.points.items() if start >= first * size}
        region.batch = batch
        self._judge(region)

    def _judge(self, region: Region) -> None:
        curve = region.curve
        for point in curve:
            if region.limit is None or point.energy is None or point.start_ms < region.judged_ms:
                continue
            region.judged_ms = point.end_ms
            if point.above(region.limit):
                region.peak = max(region.peak, point.power or 0)
                over = f"above the limit of {region.limit} kW"
                text = f"{point.power:.1f} kW, {over}; {region.peak:.1f} kW at its highest"
                self.alarms.hold(Alarm("load", region.name, "", text, point.start_ms, point.end_ms))
            else:
                region.peak = 0
                self.alarms.end("load", region.name)
        refused = [one for one in curve[-NEWEST:] if one.refused]
        if len(refused) >= BURST:
            why = refused[-1].problem.removeprefix(f"{REFUSES}: ")
            text = (
                f"the summing service refused {len(refused)} of the newest {len(curve[-NEWEST:])} sets of"
                f" {region.name}: {why}"
            )
            self.alarms.hold(Alarm("refused", region.name, "", text, refused[0].start_ms, refused[-1].end_ms))
        else:
            self.alarms.end("refused", region.name)
        if region.summed is not None:
            region.since_ms = region.summed.end_ms
        since_ms = region.since_ms or 0
        silent = [one for one in curve if one.start_ms >= since_ms]
        never = None  # what nobody granted is not waited for: no later window will have a sum either
        if region.summed is None:
            never = next((one.problem for one in curve if one.problem.startswith(NOBODY_HAS)), None)
        region.silent = never is not None or len(silent) >= BURST
        if region.silent and len(refused) < BURST:
            text = never or f"no sum since {spell(since_ms, 1)}: {silent[-1].problem}"
            self.alarms.hold(Alarm("silent", region.name, "", text, since_ms, curve[-1].end_ms))
        else:
            self.alarms.end("silent", region.name)

    def _judge_chains(self) -> None:
        now_ms = unix_ms(self._clock)
        held = set()
        for region, stream, problem in self._state.passed_over():
            alarm = Alarm("chain", region, stream.hex(), problem, now_ms, now_ms)
            self.alarms.hold(alarm)
            held.add(alarm.key)
        self.alarms.end_others("chain", held)


def _slices(wanted: Sequence[Times], asked: Container[Times], newest: Times) -> list[list[Times]]:
    """The windows in parts that are loaded together: first what was asked for before, which needs no
    registrar; and the newest always alone, since its missing homes are shown."""
    slices = []
    for part in ([one for one in wanted if one in asked], [one for one in wanted if one not in asked]):
        others = [one for one in part if one != newest]
        slices += [others[at : at + _AT_ONCE] for at in range(0, len(others), _AT_ONCE)]
        slices += [[newest]] if newest in part else []
    return slices


def _windows(times: Sequence[Times]) -> Windows:
    return Windows((LANE,), tuple(times))


def _points(found: Load) -> list[Point]:
    return [
        Point(start_ms, end_ms, int(sums[0]) if homes else None, homes, absent, found.problems.get(i, ""))
        for i, ((start_ms, end_ms), sums, homes, absent) in enumerate(
            zip(found.windows.times, found.sums, found.homes, found.absent, strict=True)
        )
    ]


def _once(ask: Ask, certified: Certified) -> tuple[Ask, Certified]:
    """The same, for one look: the catalogue is read once for all regions, and a registrar that has not
    answered is not asked again for each."""
    streams: AbstractSet[bytes] | None = None
    failed: Unavailable | None = None

    async def ask_once(homes: str, windows: Windows) -> Answer:
        nonlocal failed
        if failed is not None:
            raise failed
        try:
            return await ask(homes, windows)
        except Unavailable as error:
            failed = error
            raise

    async def certified_once() -> AbstractSet[bytes]:
        nonlocal streams, failed
        if failed is not None:
            raise failed
        try:
            if streams is None:
                streams = await certified()
        except Unavailable as error:
            failed = error
            raise
        return streams

    return ask_once, certified_once
