"""Reads a meter for ever: connect, read, back off, again.

A polled meter is read early in each interval of the wall clock. An answer that comes in a later interval than
its question counts as a fault: nobody can tell which of the two its registers belong to. A meter that pushes
is heard whenever it sends. After an outage, a meter with a load profile is asked for the readings that it
recorded meanwhile; they are delivered ahead of the new one. Values are never logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.errors import MeterError
from gateway.host.clock import Clock
from gateway.host.fault_log import FaultLog
from gateway.meters.reading import Meter, Reading, WithLoadProfile

_log = logging.getLogger(__name__)

_NS = 1_000_000_000
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0
_EARLY_NS = 50_000_000  # how far into an interval a meter is read, a twentieth of it at most
_ASK_MEMORY = 3  # attempts, after which an outage's energy is shared out instead


@dataclass(slots=True)
class ReaderState:
    """How reading is going: the wall time (ns) of the last good reading, how far the meter's clock was ahead
    of the gateway's then (ns, where the meter sends it), how many attempts have failed since, the last fault
    as a sentence, None while all is well, the last good reading itself, and how many attempts have failed in
    all."""

    last_wall: int | None = None
    meter_ahead: int | None = None
    failures: int = 0
    fault: str | None = None
    latest: Reading | None = None
    errors: int = 0


async def read_forever(
    meter: Meter,
    clock: Clock,
    interval_s: float,
    deliver: Callable[[Reading], None],
    state: ReaderState | None = None,
    since: Callable[[], int | None] = lambda: None,
) -> None:
    """Read `meter` once in each interval of `interval_s` (one that pushes: as often as it sends) and
    `deliver` each reading. Only cancellation ends this; the meter is closed then. After a fault it waits 1 s
    (or an interval, if that is shorter), then twice as long each time, 30 s at most. `state` is kept up to
    date for whoever asks. `since` gives the wall time (ns) of the last reading of an earlier run."""
    state = state or ReaderState()
    interval = round(interval_s * _NS)
    faults = FaultLog(clock, _log.warning, _log.info)
    memory = _Memory(meter.load_profile, clock) if meter.load_profile is not None else None
    try:
        while True:
            try:
                reading = await meter.read() if meter.pushes else await _read_within(meter, clock, interval)
                earlier = await memory.before(reading, state.last_wall or since()) if memory else ()
            except MeterError as error:
                state.failures += 1
                state.errors += 1
                state.fault = str(error)
                faults.report(state.fault)
                await clock.sleep(_wait_s(state.failures, interval_s))
                continue
            state.last_wall, state.failures, state.fault, state.latest = reading.wall, 0, None, reading
            if reading.meter_time is not None:
                state.meter_ahead = reading.meter_time - reading.wall
            faults.clear(f"meter {reading.meter} answers again")
            for one in (*earlier, reading):
                deliver(one)
            if not meter.pushes:
                await clock.sleep(_until_next(clock.wall(), interval) / _NS)
    finally:
        await meter.aclose()


async def _read_within(meter: Meter, clock: Clock, interval: int) -> Reading:
    reading = await meter.read()
    if clock.wall() // interval != reading.wall // interval:
        took_s = (clock.monotonic() - reading.monotonic) / _NS
        raise MeterError(
            f"meter {reading.meter} answered after {took_s:.1f} s, in a later interval than it was asked in, "
            f"so its reading belongs to neither; if this persists, make interval_s longer than {took_s:.1f}"
        )
    return reading


def _wait_s(failures: int, interval_s: float) -> float:
    first = min(interval_s, _FIRST_WAIT_S)
    return min(first * 2.0 ** min(failures - 1, 16), _LONGEST_WAIT_S)


def _until_next(wall: int, interval: int) -> int:
    """Nanoseconds until shortly after the next interval begins, so that waking a little early is harmless."""
    return interval - wall % interval + min(_EARLY_NS, interval // 20)


class _Memory:
    """The readings of an outage in a meter's load profile, asked for a few times at most."""

    def __init__(self, profile: WithLoadProfile, clock: Clock) -> None:
        self._profile = profile
        self._clock = clock
        self._asked = 0

    async def before(self, reading: Reading, last: int | None) -> Sequence[Reading]:
        """The registers captured between the reading at `last` and this one."""
        # A clock that is set says how long the outage was; without one its energy is shared out in time.
        now = reading.wall if self._clock.trusted() else reading.meter_time
        if last is None or now is None or now - last < self._profile.period_s * _NS:
            return ()
        self._asked += 1
        try:
            remembered = await self._profile.remembered(last)
        except MeterError as error:
            if self._asked < _ASK_MEMORY:
                raise
            _log.warning("what an outage used is shared out in proportion to time: %s", error)
            remembered = ()
        else:
            _log.info("meter %s has recorded %d readings of an outage", reading.meter, len(remembered))
        self._asked = 0
        return remembered
