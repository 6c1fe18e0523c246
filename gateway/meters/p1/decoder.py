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
    """Which lines fill the lanes: `imported` and `exported` are added up, `drawn` and `given` too, and power
    is the one less the other. `serial` holds the equipment identifier; the meter's clock stands in `zone`."""

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
    """Makes telegrams of a meter's bytes: `sealed` opens them first where the meter encrypts them."""

    def __init__(self, registers: P1Registers, *, checked: bool, sealed: SealedFrames | None = None) -> None:
        self._registers = registers
        self._read = line_reader(registers.codes)
        self._checked = checked
        self._outer = sealed or Frames(checked=checked)
        self._sealed = sealed is not None

    def cut(self) -> None:
        """What comes next is from another connection."""
        self._outer.cut()

    def feed(self, data: bytes) -> Sequence[Telegram | MeterError]:
        """What has become whole with `data`."""
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
        raise MeterError("what a P1 frame holds is no telegram")


def _telegram(values: Values, registers: P1Registers) -> Telegram:
    """What the lines say of the lanes. MeterError where they say nothing of them."""
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
    """All of `codes` together; none where one of them is not there or no number, or none is named."""
    found = [read(values[code]) if code in values else None for code in codes]
    known = [value for value in found if value is not None]
    return sum(known, Fraction(0)) if known and len(known) == len(found) else None
