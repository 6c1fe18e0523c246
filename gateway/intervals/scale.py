"""The scale of a meter's registers: its energy held against its power over time. Pure.

Some meters send energies in Wh where others of the same make send 10 Wh, in messages that are otherwise the
same (UtilitechAS/amsreader-firmware #239, #359, #811): then every bill is ten times too high, and no single
reading shows it. The rise of the registers and the integral of the power over the same time do.

They are compared window by window. A window begins and ends with a reading in which a register changed, so
that coarse registers and hourly ones are measured from step to step; it is long enough, has enough readings
of the power, and enough energy. Where the home both draws and gives in it, and little is left of the
difference, it says nothing. The scale is told only after three windows in a row whose ratio lies within a
quarter of the same power of ten: power that is read every ten seconds or five minutes misses some of what
spiky loads use, but never nine tenths of it for hours. It never changes a value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from gateway.meters.reading import Reading

_NS = 1_000_000_000
_MWH_NS = 3600 * 1_000_000  # W times ns in a mWh
_GAP_NS = 600 * _NS  # a longer time without the power is not integrated over
_NEAR = 0.1  # of the logarithm: 0.79 to 1.26 times the power of ten
_WINDOWS = 3


@dataclass(frozen=True, slots=True)
class Scale:
    """The registers rose by `energy_mwh` in `seconds`, while the power over that time was `power_mwh`:
    10 to the power of `exponent` times as much."""

    exponent: int
    seconds: int
    energy_mwh: int = field(repr=False)
    power_mwh: int = field(repr=False)

    @property
    def factor(self) -> str:
        """The factor of energy that corrects the registers, as it is written in the configuration."""
        return f"0.{'0' * (self.exponent - 1)}1" if self.exponent > 0 else str(10**-self.exponent)

    def sentence(self, meter: str) -> str:
        """What the power says, what the registers say, and the remedy."""
        times = 10 ** abs(self.exponent)
        much = f"{times} times as much" if self.exponent > 0 else f"1/{times} of that"
        return (
            f"meter {meter}: over {_duration(self.seconds)} its power added up to {self.power_mwh / 1e6:.3f} "
            f"kWh, but its registers to {self.energy_mwh / 1e6:.3f} kWh, {much}. Compare them with the "
            "meter's display; if its registers are read wrongly, "
            f"factor = {{ energy = {self.factor} }} in its [[meter]] section corrects them"
        )


@dataclass(frozen=True, slots=True)
class _Point:
    """The integrals and registers at a reading in which a register changed."""

    monotonic: int
    samples: int
    drawn: int  # W times ns, of the power while the home draws
    given: int
    registers: dict[str, int]


class ScaleCheck:
    """The check of one meter: `add` its readings in order; `found` is its scale while it is steadily wrong.

    A window has at least `window_s`, `samples` readings of the power and `least_mwh` of power over time."""

    def __init__(self, window_s: int = 3600, samples: int = 60, least_mwh: int = 300_000) -> None:
        self.found: Scale | None = None
        self._window = window_s * _NS
        self._least_samples = samples
        self._least_mwh = least_mwh
        self._power: tuple[int, int] | None = None  # the last one: when (ns, monotonic), and W
        self._samples = self._drawn = self._given = 0
        self._registers: dict[str, int] = {}
        self._begin: _Point | None = None
        self._run: list[Scale] = []

    def add(self, reading: Reading) -> None:
        """Take a reading; one that is older than the last is passed over."""
        now = reading.monotonic
        if self._power is not None and now < self._power[0]:
            return
        power = reading.registers.get("power")
        if self._power is not None and now - self._power[0] > _GAP_NS:
            self._power = self._begin = None
        if power is not None:
            self._drawn, self._given = self._until(now, power)
            self._samples += 1
            self._power = now, power
        energy = {lane: value for lane, value in reading.registers.items() if lane != "power"}
        before, self._registers = self._registers, self._registers | energy
        if self._power is None or not before or self._registers == before:
            return
        point = _Point(now, self._samples, *self._until(now, self._power[1]), self._registers)
        if self._begin is None or any(
            point.registers[lane] < value for lane, value in self._begin.registers.items()
        ):
            self._begin = point
        elif self._is_long(self._begin, point):
            self._judge(self._begin, point)
            self._begin = point

    def _until(self, now: int, power: int) -> tuple[int, int]:
        """What was drawn and given until now, in W times ns, where the power is `power` now."""
        if self._power is None:
            return self._drawn, self._given
        at, before = self._power
        ws = (before + power) * (now - at) // 2
        return self._drawn + max(0, ws), self._given + max(0, -ws)

    def _is_long(self, begin: _Point, end: _Point) -> bool:
        energy = (end.drawn - begin.drawn + end.given - begin.given) // _MWH_NS
        return (
            end.monotonic - begin.monotonic >= self._window
            and end.samples - begin.samples >= self._least_samples
            and energy >= self._least_mwh
        )

    def _judge(self, begin: _Point, end: _Point) -> None:
        drawn, given = (end.drawn - begin.drawn) // _MWH_NS, (end.given - begin.given) // _MWH_NS
        rises = {lane: value - begin.registers.get(lane, value) for lane, value in end.registers.items()}
        if "export" not in rises:
            given = 0  # it is not counted
        if "import" not in rises:
            drawn = 0
        power, energy = drawn - given, rises.get("import", 0) - rises.get("export", 0)
        little = 2 * abs(power) < drawn + given or 2 * abs(energy) < sum(rises.values())
        if little or power * energy <= 0:
            return
        ratio = math.log10(energy / power)
        exponent = round(ratio)
        seconds = (end.monotonic - begin.monotonic) // _NS
        if exponent == 0 or abs(ratio - exponent) > _NEAR:
            self._run, self.found = [], None
            return
        if self._run and self._run[-1].exponent != exponent:
            self._run = []
        self._run = [*self._run[1 - _WINDOWS :], Scale(exponent, seconds, abs(energy), abs(power))]
        self.found = None
        if len(self._run) == _WINDOWS:
            self.found = Scale(
                exponent,
                sum(one.seconds for one in self._run),
                sum(one.energy_mwh for one in self._run),
                sum(one.power_mwh for one in self._run),
            )


def _duration(seconds: int) -> str:
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
