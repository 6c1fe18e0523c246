"""A data block to values by their codes (IEC 62056-21, 6.5; codes: IEC 62056-61).

A data set is a code and a value: `1-0:1.8.0*255(000123.4567*kWh)`, or without medium and channel
`1.8.0(000123.4567*kWh)`, or with an even shorter code `16.7(0.35*kW)`. A group F other than 255 (`1.8.0*01`,
`1.8.0&12`) marks what the register held at an earlier reset: such data sets are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from gateway.errors import MeterError
from gateway.meters.totals import Shown

_ENERGY = {"Wh": 1_000, "kWh": 1_000_000, "MWh": 1_000_000_000}  # to mWh
_POWER = {"W": 1, "kW": 1_000, "MW": 1_000_000}
_SET = re.compile(r"([^()\r\n]*)\(([^()\r\n]*)\)")
_BLOCK = re.compile(r"(?:(?:[^()\r\n]*\([^()\r\n]*\))*\r*\n)*")
_CODE = re.compile(
    r"(?:(?P<medium>[0-9]{1,3})-(?P<channel>[0-9]{1,3}):)?"
    r"(?P<kind>[0-9]{1,3}|[CFLP])\.(?P<type>[0-9]{1,3})(?:\.(?P<tariff>[0-9]{1,3}))?(?:[*&](?P<stored>[0-9]{1,3}))?"
)
_CURRENT = "255"
_MEASURED = ("7", "8")  # group D: instantaneous values, and registers
_NUMBER = re.compile(r"[+-]?[0-9]{1,12}(?:\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class Value:
    """A data set's value as text, and its unit, empty where there is none."""

    text: str = field(repr=False)
    unit: str

    def energy(self, code: str, missing_unit: str | None) -> Shown:
        """An energy; `missing_unit` is the unit of a value without one. MeterError where it is not an
        energy."""
        number, unit = self._number(code), self.unit or missing_unit
        if unit is None:
            raise MeterError(f"register {code} comes without a unit, and the profile does not name one")
        if unit not in _ENERGY:
            raise MeterError(f"register {code} is in {unit!r}, which is not a unit of energy such as kWh")
        decimals = len(self.text.partition(".")[2])
        return Shown(number * _ENERGY[unit], Fraction(_ENERGY[unit], 10**decimals))

    def power_w(self, code: str) -> Fraction:
        """A power in W. MeterError where it is not one."""
        if self.unit not in _POWER:
            raise MeterError(f"register {code} is in {self.unit!r}, which is not a unit of power such as kW")
        return self._number(code) * _POWER[self.unit]

    def _number(self, code: str) -> Fraction:
        if _NUMBER.fullmatch(self.text) is None:
            raise MeterError(f"register {code} does not hold a number")
        return Fraction(self.text)


Values = Mapping[str, Value]


def read_datasets(block: str) -> Values:
    """The current values in a data block, by their codes without medium and channel: 1.8.0, 96.1.0, C.1.0.
    MeterError where the block is malformed, or two measured values of one code differ."""
    if _BLOCK.fullmatch(block) is None:
        raise MeterError("a text telegram is malformed: it must consist of lines such as 1.8.0(000123.4*kWh)")
    found: dict[str, Value] = {}
    for address, content in _SET.findall(block):
        code = _CODE.fullmatch(address.strip())
        if code is None or code["medium"] not in (None, "0", "1") or code["stored"] not in (None, _CURRENT):
            continue
        number, _, unit = content.strip().partition("*")
        value = Value(number.strip(), unit.strip())
        name = f"{code['kind']}.{code['type']}.{code['tariff'] or '0'}"
        if (other := found.setdefault(name, value)) != value and code["type"] in _MEASURED:
            raise MeterError(
                f"the meter shows register {name} twice, and the two differ: {other.text} {other.unit} and "
                f"{value.text} {value.unit}"
            )
    return found
