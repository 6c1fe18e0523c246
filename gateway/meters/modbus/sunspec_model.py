"""What SunSpec specifies for meters: a device says where its registers are.

The marker "SunS" at a base address is followed by one model after the other, each with its id and length, up
to the id 0xFFFF. The models of meters are 201 to 204, integers with scale factors of their own, and 211 to
214, floats. Source: SunSpec Device Information Model Specification 1.0, and the models' definitions, the
files json/model_*.json in https://github.com/sunspec/models/tree/7abdf8982d5364f8ae916deee18aac86c11be36d.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from gateway.meters.modbus.model import Register
from gateway.meters.toml_table import TomlTable

MARKER = (0x5375, 0x6E53)  # "SunS"
COMMON, END = 1, 0xFFFF  # ids of the model that every device begins with, and of the end
SERIAL_AT, SERIAL_WORDS = 50, 16  # in the common model: SN


@dataclass(frozen=True, slots=True)
class Point:
    """A value in a meter's model: `at` counts registers from the model's id; `scale_at` is where its power of
    ten is. `nan` has the raw values of a point that the device does not have."""

    name: str
    obis: str
    at: int
    type: str
    unit: str
    nan: tuple[int, ...] = ()
    scale_at: int | None = None

    def register(self, scale: Fraction = Fraction(1)) -> Register:
        """The point as a register."""
        return Register(
            self.name, self.obis, "holding", self.at, self.type, "high-first", scale, self.unit, nan=self.nan
        )

    @property
    def end(self) -> int:
        """The first place after it and its scale."""
        return max(self.register().end, 0 if self.scale_at is None else self.scale_at + 1)


# An unavailable acc32 is 0 by the specification, as a total may be too; some devices send what stands for no
# value in an uint32 or an int32.
_NO_TOTAL = (0xFFFF_FFFF, 0x8000_0000)
INTEGERS = (
    Point("voltage", "1-0:32.7.0", 8, "i16", "V", (0x8000,), 15),
    Point("power", "1-0:16.7.0", 18, "i16", "W", (0x8000,), 22),
    Point("export", "1-0:2.8.0", 38, "u32", "Wh", _NO_TOTAL, 54),
    Point("import", "1-0:1.8.0", 46, "u32", "Wh", _NO_TOTAL, 54),
)
FLOATS = (
    Point("voltage", "1-0:32.7.0", 12, "f32", "V"),
    Point("power", "1-0:16.7.0", 28, "f32", "W"),
    Point("export", "1-0:2.8.0", 60, "f32", "Wh"),
    Point("import", "1-0:1.8.0", 68, "f32", "Wh"),
)
METERS = dict.fromkeys(range(201, 205), INTEGERS) | dict.fromkeys(range(211, 215), FLOATS)


@dataclass(frozen=True, slots=True)
class SunSpecModel:
    """Where to look for the marker, and the range of the voltage between phase and neutral."""

    bases: tuple[int, ...]
    low: Fraction
    high: Fraction

    @property
    def lanes(self) -> tuple[str, ...]:
        return ("power", "import", "export")


def parse_model(keys: TomlTable) -> SunSpecModel:
    """Take the model's keys: bases and [probe]."""
    bases = keys.integers("bases", 0, 0xFFFF)
    probe = keys.table("probe")
    low, high = probe.number("min"), probe.number("max")
    probe.end()
    if low >= high:
        raise probe.fault("min", f"is {float(low):g}; it must be less than max, {float(high):g}")
    return SunSpecModel(bases, low, high)
