"""Values to the lanes, by the codes that a profile names."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from gateway.errors import MeterError
from gateway.meters.iec62056.datasets import Value, Values
from gateway.meters.reading import Telegram
from gateway.meters.totals import hold_against_parts

_TARIFFS = range(1, 10)
# The maker's serial number; else the meter's identification after DIN 43863-5; else the device address.
_SERIAL = ("C.1.0", "96.1.0", "96.1.1", "96.1.255", "0.0.0")
_MOST_SHOWN = 8  # codes in a message


@dataclass(frozen=True, slots=True)
class Term:
    """A register that is added, or subtracted."""

    code: str
    sign: int


@dataclass(frozen=True, slots=True)
class TextRegisters:
    """The registers that fill the lanes. `imported` and `exported` are the codes of totals (1.8.0); where a
    data block has the tariffs too (1.8.1 and so on), they are held against the total, which is the sum of
    `tariffs` of them, or of an unknown number. A total that is missing is replaced by the sum of the tariffs
    where the data block is `checked`, which shows that none of them was lost on the way.

    Each of `power` is a sum of registers; the first whose registers are all there counts. `energy_unit` is
    the unit of energies that come without one.
    """

    imported: str | None
    exported: str | None
    power: tuple[tuple[Term, ...], ...]
    tariffs: int | None
    energy_unit: str | None
    checked: bool

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lanes that they can fill."""
        filled = {"import": self.imported, "export": self.exported, "power": self.power}
        return tuple(lane for lane, codes in filled.items() if codes)

    def telegram(self, values: Values) -> Telegram:
        """The lanes that `values` fill. MeterError where they fill none, or contradict each other."""
        found = {
            "import": self._energy("import", self.imported, values),
            "export": self._energy("export", self.exported, values),
            "power": self._power(values),
        }
        registers = {lane: round(value) for lane, value in found.items() if value is not None}
        if not registers:
            has = ", ".join([*values][:_MOST_SHOWN]) or "no register"
            raise MeterError(
                f"a text telegram has none of the registers of its profile ({', '.join(self._codes())}); it "
                f"has {has}{' ...' if len(values) > _MOST_SHOWN else ''}"
            )
        return Telegram(registers, serial_number(values))

    def _codes(self) -> list[str]:
        energies = [code for code in (self.imported, self.exported) if code]
        powers = [term.code for terms in self.power for term in terms]
        return list(dict.fromkeys(energies + powers))

    def _energy(self, lane: str, code: str | None, values: Values) -> Fraction | None:
        """mWh."""
        if code is None:
            return None
        total = values[code].energy(code, self.energy_unit) if code in values else None
        tariffs = {n: f"{code.removesuffix('0')}{n}" for n in _TARIFFS}
        parts = {
            n: values[name].energy(name, self.energy_unit) for n, name in tariffs.items() if name in values
        }
        if total is None:
            return sum((part.mwh for part in parts.values()), Fraction(0)) if self.checked and parts else None
        complete = self.tariffs is not None and set(parts) == set(range(1, self.tariffs + 1))
        hold_against_parts(lane, total, list(parts.values()), complete=complete)
        return total.mwh

    def _power(self, values: Values) -> Fraction | None:
        """W."""
        for terms in self.power:
            if all(term.code in values for term in terms):
                return sum((term.sign * values[term.code].power_w(term.code) for term in terms), Fraction(0))
        return None


def serial_number(values: Values) -> str | None:
    """The number by which a meter is told from another one; None where it sends none."""
    numbers = (values.get(code, Value("", "")).text for code in _SERIAL)
    return next((number for number in numbers if number.strip("0 ")), None)
