"""Reads a meter for ever: connect, read, back off, again.

A meter that is asked is asked early in each interval of the wall clock. A reading whose answer comes in a
later interval than its question is a fault too: the registers are of one or the other, and nobody can
tell. One that speaks by itself is heard whenever it does. After an outage a meter with a load profile is
asked for what it remembers, which goes out ahead of the reading. Values are never logged.
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
_EARLY_NS = 50_000_000  # how far into an interval it is read, a twentieth of it at most
_ASK_MEMORY = 3  # times, before the units of an outage are left to be shared out


@dataclass(slots=True)
class ReaderState:
    """How reading goes: the wall time (ns) of the last good reading, how far the meter's clock was ahead of
    the gateway's then (ns, if it told), how many attempts failed since, and the last one's fault in a
    sentence, none while all is well."""

    last_wall: int | None = None
    meter_ahead: int | None = None
    failures: int = 0
    fault: str | None = None


async def read_forever(
    meter: Meter,
    clock: Clock,
    interval_s: float,
    deliver: Callable[[Reading], None],
    state: ReaderState | None = None,
    since: Callable[[], int | None] = lambda: None,
) -> None:
    """Read `meter` once in each interval of `interval_s` (as often as it speaks, if it does so by itself),
    and `deliver` each reading; ends by cancellation only, and closes the meter then. After a fault it waits
    1 s (or an interval, if that is shorter), then twice as long each time, 30 s at most. `state` is kept up
    to date for whoever asks. `since` is the wall time (ns) of the last reading that an earlier run had."""
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
                state.fault = str(error)
                faults.report(state.fault)
                await clock.sleep(_wait_s(state.failures, interval_s))
                continue
            state.last_wall, state.failures, state.fault = reading.wall, 0, None
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
            f"meter {reading.meter} answered after {took_s:.1f} s, in another interval than it was asked in, "
            f"so the reading belongs to neither; if this goes on, make interval_s longer than {took_s:.1f}"
        )
    return reading


def _wait_s(failures: int, interval_s: float) -> float:
    first = min(interval_s, _FIRST_WAIT_S)
    return min(first * 2.0 ** min(failures - 1, 16), _LONGEST_WAIT_S)


def _until_next(wall: int, interval: int) -> int:
    """Nanoseconds until shortly after the next interval begins: waking a little early is harmless then."""
    return interval - wall % interval + min(_EARLY_NS, interval // 20)


class _Memory:
    """What a meter with a load profile remembers of an outage, asked for a few times at most."""

    def __init__(self, profile: WithLoadProfile, clock: Clock) -> None:
        self._profile = profile
        self._clock = clock
        self._asked = 0

    async def before(self, reading: Reading, last: int | None) -> Sequence[Reading]:
        """The registers at the stamps between the reading at `last` and this one."""
        # Whose clock is set tells how long the outage was; without either it is shared out in time.
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
            _log.info("meter %s remembers %d stamps of an outage", reading.meter, len(remembered))
        self._asked = 0
        return remembered
