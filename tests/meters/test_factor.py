"""A meter whose readings are multiplied: registers keep their differences, whatever the factor."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.factor import Factor, FactoredMeter
from gateway.meters.reading import Plausibility, Reading

FACTORS = st.decimals(Decimal("0.000001"), 100_000, places=6)


class Shows:
    """A meter, with a load profile, that shows what it is told."""

    pushes = False
    period_s = 900

    def __init__(self, registers: Sequence[dict[str, int]]) -> None:
        self.rollover: dict[str, int] = {}
        self._registers = list(registers)
        self.closed = False

    @property
    def load_profile(self) -> Shows:
        return self

    async def read(self) -> Reading:
        return Reading("main", self._registers.pop(0), 5, 6, "A1", 7)

    async def remembered(self, after: int) -> list[Reading]:
        return [Reading("main", registers, after, 6) for registers in self._registers]

    async def probe(self) -> Plausibility:
        return Plausibility(True, "fine")

    async def aclose(self) -> None:
        self.closed = True


@given(FACTORS, st.lists(st.integers(0, 10**9), min_size=2, max_size=20).map(sorted))
async def test_energy_between_any_two_readings_is_right_to_the_mwh(
    factor: Decimal, registers: list[int]
) -> None:
    meter = FactoredMeter(Shows([{"import": one} for one in registers]), Factor(Fraction(factor)))
    seen = [(await meter.read()).registers["import"] for _ in registers]
    assert seen == sorted(seen)
    for at, one in enumerate(registers):
        for other, b in enumerate(registers[at:], at):
            assert abs(seen[other] - seen[at] - (b - one) * Fraction(factor)) < 1


async def test_the_rest_of_a_reading_stays() -> None:
    inner = Shows([{"import": 1001, "export": 3, "power": -15}] * 2)
    meter = FactoredMeter(inner, Factor(Fraction(40), Fraction(40)))
    assert await meter.read() == Reading(
        "main", {"import": 40_040, "export": 120, "power": -600}, 5, 6, "A1", 7
    )
    assert meter.load_profile is not None
    assert meter.load_profile.period_s == 900
    (remembered,) = await meter.load_profile.remembered(9)
    assert (remembered.wall, remembered.registers["power"]) == (9, -600)
    assert (meter.pushes, (await meter.probe()).sentence) == (False, "fine")
    await meter.aclose()
    assert inner.closed


async def test_energy_alone() -> None:
    meter = FactoredMeter(Shows([{"import": 1000, "power": -15}]), Factor(Fraction(1, 10)))
    assert (await meter.read()).registers == {"import": 100, "power": -15}


def test_a_modulus_that_is_learnt_later_is_multiplied_too() -> None:
    inner = Shows([])
    meter = FactoredMeter(inner, Factor(Fraction(1, 10)))
    assert dict(meter.rollover) == {}
    inner.rollover["import"] = 100_000_000_000
    assert dict(meter.rollover) == {"import": 10_000_000_000}
    assert len(meter.rollover) == 1


async def test_what_no_meter_measures_is_refused() -> None:
    meter = FactoredMeter(Shows([{"import": 10**14}]), Factor(Fraction(40)))
    with pytest.raises(
        MeterError,
        match="meter main: register import holds more than any meter measures, multiplied by 40 and 1",
    ):
        await meter.read()
