"""A series: values that a household's own devices put, such as the temperature, as readings of a stream.

A value counts at the moment when it arrives. From there on it takes a meter reading's way, under the same
rules of clocks and durability.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal

from gateway.chain.layout import LANES, Layout
from gateway.chain.window import spell_ms
from gateway.errors import UsageError
from gateway.host.clock import Clock
from gateway.meters.reader import ReaderState
from gateway.meters.reading import Reading

# Wide of what can be: the air on Earth has had -89 to 57 degrees (WMO's archive of extremes), a sauna has
# 110; the sun sends 1361 W/m2 (total solar irradiance), clouds may add some hundreds by reflection, and a
# pyranometer shows some below 0 at night.
_RANGES = {
    "temperature": (-100, 200),
    "irradiance": (-50, 2500),
    "appliances": (-1_000_000, 1_000_000),
    "occupancy": (0, 1000),
}


class Series:
    """One series, of `lanes` without `count`. `put` hands its readings to `deliver`, at most one in each unit
    of `layout`; `state` is kept up to date for whoever asks."""

    def __init__(
        self,
        name: str,
        lanes: tuple[str, ...],
        layout: Layout,
        clock: Clock,
        deliver: Callable[[Reading], None],
        state: ReaderState,
    ) -> None:
        self._name = name
        self._lanes = lanes
        self._layout = layout
        self._clock = clock
        self._deliver = deliver
        self._state = state

    def put(self, values: object) -> None:
        """Take a value of each lane, by name, as read just now; what is finer than the lane's scale is
        rounded. UsageError where a lane is missing or unknown, a value is not a number of its lane's range,
        or the present unit has values already: then nothing is taken."""
        if not isinstance(values, Mapping):
            raise UsageError(f"series {self._name}: the values are not a JSON object of numbers by lane")
        strange = sorted(str(lane) for lane in values if lane not in self._lanes)
        if strange:
            raise UsageError(
                f"series {self._name}: it has no lane {json.dumps(strange[0])}; its lanes are "
                f"{', '.join(self._lanes)}"
            )
        missing = [lane for lane in self._lanes if lane not in values]
        if missing:
            raise UsageError(
                f"series {self._name}: {missing[0]} is missing; give all of its lanes at once, "
                f"{', '.join(self._lanes)}, or make a series of its own for what is read by itself"
            )
        registers = {lane: self._integer(lane, values[lane]) for lane in self._lanes}
        wall, last = self._clock.wall(), self._state.last_wall
        if last is not None and self._layout.unit_at(last) == self._layout.unit_at(wall):
            raise UsageError(
                f"series {self._name}: it has values of this moment already; put some once a "
                f"unit at most, {spell_ms(self._layout.unit_ms)}"
            )
        reading = Reading(self._name, registers, wall, self._clock.monotonic())
        self._state.last_wall, self._state.latest = wall, reading
        self._deliver(reading)

    def _integer(self, lane: str, value: object) -> int:
        """A value in the lane's scale."""
        least, most = _RANGES[lane]
        number = Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value
        unit = LANES[lane].unit
        if not isinstance(number, Decimal) or not least <= number <= most:
            raise UsageError(f"series {self._name}: {lane} must be a number from {least} to {most} ({unit})")
        return int((number / Decimal(LANES[lane].scale)).to_integral_value(ROUND_HALF_EVEN))
