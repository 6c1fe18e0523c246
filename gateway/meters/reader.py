"""Reads a meter for ever: early in each interval of the wall clock, and after a fault again and again.

A reading whose answer comes in a later interval than its question is a fault too: the registers are
of one or the other, and nobody can tell. Values are never logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from gateway.clock import Clock
from gateway.errors import MeterError
from gateway.meters.reading import Meter, Reading

_log = logging.getLogger(__name__)

_NS = 1_000_000_000
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0
_EARLY_NS = 50_000_000  # how far into an interval it is read, a twentieth of it at most
_LOG_EVERY_NS = 60 * _NS


@dataclass(slots=True)
class ReaderState:
    """How reading goes: the wall time (ns) of the last good reading, how many attempts failed since, and
    the last one's fault in a sentence, none while all is well."""

    last_wall: int | None = None
    failures: int = 0
    fault: str | None = None


async def read_forever(
    meter: Meter,
    clock: Clock,
    interval_s: float,
    deliver: Callable[[Reading], None],
    state: ReaderState | None = None,
) -> None:
    """Read `meter` once in each interval of `interval_s`, and `deliver` each reading; ends by
    cancellation only, and closes the meter then. After a fault it waits 1 s (or an interval, if that is
    shorter), then twice as long each time, 30 s at most. `state` is kept up to date for whoever asks."""
    state = state or ReaderState()
    interval = round(interval_s * _NS)
    voice = _Voice(clock)
    try:
        while True:
            try:
                reading = await _read_within(meter, clock, interval)
            except MeterError as error:
                state.failures += 1
                state.fault = str(error)
                voice.fault(state.fault)
                await clock.sleep(_wait_s(state.failures, interval_s))
                continue
            state.last_wall, state.failures, state.fault = reading.wall, 0, None
            voice.well(reading.meter)
            deliver(reading)
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


class _Voice:
    """Says at once that a meter fails, then once a minute how often, and at last that it is back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._quiet_until: int | None = None
        self._unsaid = 0
        self._said = False

    def fault(self, sentence: str) -> None:
        self._unsaid += 1
        now = self._clock.monotonic()
        if self._quiet_until is not None and now < self._quiet_until:
            return
        times = f" ({self._unsaid} times since the last such line)" if self._unsaid > 1 else ""
        _log.warning("%s%s", sentence, times)
        self._quiet_until, self._unsaid, self._said = now + _LOG_EVERY_NS, 0, True

    def well(self, meter: str) -> None:
        if self._said:
            _log.info("meter %s answers again", meter)
            self._said = False
