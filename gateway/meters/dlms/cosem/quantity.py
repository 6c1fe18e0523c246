"""A register's value with scaler and unit, converted to a lane's unit: exact, with one rounding at the
end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from gateway.errors import MeterError
from gateway.meters.dlms.cosem.data import Value
from gateway.meters.totals import Shown

WATT, WATT_HOUR = 27, 30  # IEC 62056-6-2, enumeration of physical units


@dataclass(frozen=True, slots=True)
class ScalerUnit:
    """A register's value is in steps of 10^`scaler` `unit`."""

    scaler: int
    unit: int

    @classmethod
    def of(cls, value: Value) -> ScalerUnit:
        """From a scaler_unit attribute: a number that fits in one byte, of whatever integer type, and an
        enum. A larger scaler would be a power of ten that fills the memory."""
        match value:
            case (int(scaler), int(unit)) if -128 <= scaler <= 127:
                return cls(int(scaler), int(unit))
        raise MeterError("a register's scaler_unit is not a structure of a small number and a unit")


def milliwatt_hours(value: Value, scale: ScalerUnit) -> int:
    """An energy, rounded half to even. MeterError where the value is not one."""
    return round(_scaled(value, scale, WATT_HOUR, "watt-hours") * 1000)


def shown_energy(value: Value, scale: ScalerUnit) -> Shown:
    """An energy, and its step: that of the scaler, or of a float of four bytes. MeterError where the value is
    not an energy."""
    energy = _scaled(value, scale, WATT_HOUR, "watt-hours") * 1000
    step = 1000 * Fraction(10) ** scale.scaler
    return Shown(energy, max(step, energy / 2**23) if isinstance(value, float) else step)


def watts(value: Value, scale: ScalerUnit) -> int:
    """A power, rounded half to even. MeterError where the value is not one."""
    return round(_scaled(value, scale, WATT, "watts"))


def _scaled(value: Value, scale: ScalerUnit, unit: int, name: str) -> Fraction:
    if scale.unit != unit:
        raise MeterError(
            f"a register is in unit {scale.unit}, not in {unit} ({name}): is its OBIS code wrong?"
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MeterError("a register holds no number")
    if not math.isfinite(value):
        raise MeterError("a register holds no number (NaN or infinite)")
    return Fraction(value) * Fraction(10) ** scale.scaler
