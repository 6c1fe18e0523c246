"""Values to the lanes, by the registers that a profile names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from zoneinfo import ZoneInfo

from gateway.errors import MeterError
from gateway.meters.p1.cipher import SealedFrames
from gateway.meters.p1.frames import Frames
from gateway.meters.p1.lines import Value, Values, equipment_number, line_reader, meter_time
from gateway.meters.reading import Telegram

_CLOCK = "0-0:1.0.0"


@dataclass(frozen=True, slots=True)
class P1Registers:
    """The lines that fill the lanes: `imported` and `exported` are each added up; power is the sum of `drawn`
    less the sum of `given`. `serial` has the equipment identifier; the meter's clock is in `zone`."""

    imported: tuple[str, ...]
    exported: tuple[str, ...]
    drawn: tuple[str, ...]
    given: tuple[str, ...]
    serial: str
    zone: ZoneInfo

    @property
    def codes(self) -> tuple[str, ...]:
        """All lines that are used."""
        return (_CLOCK, self.serial, *self.imported, *self.exported, *self.drawn, *self.given)


class P1Decoder:
    """Turns a meter's bytes into telegrams; `sealed` decrypts them first where the meter encrypts."""

    def __init__(self, registers: P1Registers, *, checked: bool, sealed: SealedFrames | None = None) -> None:
        self._registers = registers
        self._read = line_reader(registers.codes)
        self._checked = checked
        self._outer = sealed or Frames(checked=checked)
        self._sealed = sealed is not None

    def cut(self) -> None:
        """The next bytes come from another connection."""
        self._outer.cut()

    def feed(self, data: bytes) -> Sequence[Telegram | MeterError]:
        """The telegrams that `data` completes, and an error for each broken one."""
        said: list[Telegram | MeterError] = []
        for frame in self._outer.feed(data):
            try:
                if isinstance(frame, MeterError):
                    raise frame
                said.append(_telegram(self._read(self._opened(frame)), self._registers))
            except MeterError as error:
                said.append(error)
        return said

    def _opened(self, frame: bytes) -> bytes:
        if not self._sealed:
            return frame
        match Frames(checked=self._checked).feed(frame + b"\r\n"):
            case [bytes(telegram)]:
                return telegram
            case [MeterError() as error]:
                raise error
        raise MeterError("a decrypted P1 frame does not hold a telegram")


def _telegram(values: Values, registers: P1Registers) -> Telegram:
    """The lanes that the lines fill. MeterError where they fill none."""
    lanes = {
        "import": _sum(values, registers.imported, Value.energy_mwh),
        "export": _sum(values, registers.exported, Value.energy_mwh),
    }
    drawn, given = (_sum(values, codes, Value.power_w) for codes in (registers.drawn, registers.given))
    lanes["power"] = None if drawn is None or given is None else drawn - given
    found = {lane: round(value) for lane, value in lanes.items() if value is not None}
    if not found:
        raise MeterError("a P1 telegram has no number in any of the registers that its profile names")
    serial, clock = values.get(registers.serial), values.get(_CLOCK)
    return Telegram(
        found,
        serial=equipment_number(serial.text) if serial and serial.text else None,
        meter_time=meter_time(clock.text, registers.zone) if clock else None,
    )


def _sum(values: Values, codes: Sequence[str], read: Callable[[Value], Fraction | None]) -> Fraction | None:
    """The sum of `codes`; None where one of them is missing or not a number, or where there are none."""
    found = [read(values[code]) if code in values else None for code in codes]
    known = [value for value in found if value is not None]
    return sum(known, Fraction(0)) if known and len(known) == len(found) else None
