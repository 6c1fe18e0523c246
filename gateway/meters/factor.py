"""A factor by which a meter's readings are multiplied: of current transformers, or of a meter whose unit is
another than its profile says.

It applies to registers and power, never to differences, and rounds down to the mWh: so the energy between any
two readings is right to the mWh, whatever was read between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from gateway.errors import MeterError
from gateway.meters.reading import Meter, Plausibility, Reading, WithLoadProfile, sane


@dataclass(frozen=True, slots=True)
class Factor:
    """By what energies and power are multiplied."""

    energy: Fraction = Fraction(1)
    power: Fraction = Fraction(1)


class FactoredMeter:
    """`meter`, with its energies and its power multiplied by `factor`."""

    def __init__(self, meter: Meter, factor: Factor) -> None:
        self.meter = meter
        self._factor = factor
        self.rollover: Mapping[str, int] = _Factored(meter.rollover, factor)

    @property
    def pushes(self) -> bool:
        return self.meter.pushes

    @property
    def load_profile(self) -> WithLoadProfile | None:
        profile = self.meter.load_profile
        return None if profile is None else _FactoredProfile(profile, self._factor)

    async def read(self) -> Reading:
        return _times(await self.meter.read(), self._factor)

    async def probe(self) -> Plausibility:
        return await self.meter.probe()

    async def aclose(self) -> None:
        await self.meter.aclose()


class _FactoredProfile:
    def __init__(self, profile: WithLoadProfile, factor: Factor) -> None:
        self._profile = profile
        self._factor = factor

    @property
    def period_s(self) -> int:
        return self._profile.period_s

    async def remembered(self, after: int) -> Sequence[Reading]:
        return [_times(reading, self._factor) for reading in await self._profile.remembered(after)]


class _Factored(Mapping[str, int]):
    """The moduli of a meter's registers, which it may learn later."""

    def __init__(self, moduli: Mapping[str, int], factor: Factor) -> None:
        self._moduli = moduli
        self._factor = factor

    def __getitem__(self, lane: str) -> int:
        return _product(lane, self._moduli[lane], self._factor)

    def __iter__(self) -> Iterator[str]:
        return iter(self._moduli)

    def __len__(self) -> int:
        return len(self._moduli)


def _product(lane: str, value: int, factor: Factor) -> int:
    return math.floor(value * (factor.power if lane == "power" else factor.energy))


def _times(reading: Reading, factor: Factor) -> Reading:
    registers = {lane: _product(lane, value, factor) for lane, value in reading.registers.items()}
    try:
        sane(registers)
    except MeterError as error:
        times = f"multiplied by {float(factor.energy):g} and {float(factor.power):g}"
        raise MeterError(f"meter {reading.meter}: {error}, {times}") from None
    return replace(reading, registers=registers)
