"""Values to the lanes, by the registers that a profile names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from zoneinfo import ZoneInfo

from gateway.errors import KeyFault, MeterError
from gateway.meters.p1.cipher import SealedFrames, SealedHeads
from gateway.meters.p1.frames import Check, Frames
from gateway.meters.p1.lines import Values, equipment_number, line_reader, meter_time
from gateway.meters.reading import Telegram
from gateway.meters.totals import Shown, hold_against_parts, the_finer

_CLOCK = "0-0:1.0.0"
_TOTAL_OR_TARIFF = re.compile(r"(.*:[0-9]+\.8\.)([0-9])")
_TARIFFS = range(1, 10)


@dataclass(frozen=True, slots=True)
class P1Registers:
    """The lines that fill the lanes. `imported` and `exported` are totals (1-0:1.8.0), or tariffs that are
    added up (1-0:1.8.1, 1-0:1.8.2). Where a telegram has both, they are held against each other, and the
    total counts; a total that is named is the sum of `tariffs` tariffs, or of an unknown number of them.

    Power is the sum of `drawn` less the sum of `given`. `serial` has the equipment identifier; the meter's
    clock is in `zone`. Energies and powers may come in any of `channels`, the group B of their codes, instead
    of the one named.
    """

    imported: tuple[str, ...]
    exported: tuple[str, ...]
    drawn: tuple[str, ...]
    given: tuple[str, ...]
    serial: str
    zone: ZoneInfo
    tariffs: int | None = None
    channels: tuple[int, ...] = ()

    @property
    def energies(self) -> dict[str, Energy]:
        """The energy of each lane that has one."""
        named = {"import": self.imported, "export": self.exported}
        return {lane: Energy.of(codes, self.tariffs) for lane, codes in named.items() if codes}

    @property
    def codes(self) -> tuple[str, ...]:
        """All lines that are used."""
        energies = [code for energy in self.energies.values() for code in energy.codes]
        measured = [same for code in (*energies, *self.drawn, *self.given) for same in self.in_channels(code)]
        return (_CLOCK, self.serial, *measured)

    def in_channels(self, code: str) -> tuple[str, ...]:
        """The code, and those that mean the same in the other channels."""
        medium, _, rest = code.partition(":")
        others = (f"{medium[0]}-{channel}:{rest}" for channel in self.channels)
        return tuple(dict.fromkeys((code, *others)))


@dataclass(frozen=True, slots=True)
class Energy:
    """The codes of an energy: those that a telegram must have where it lacks the `total`, and the `tariffs`
    that add up to the total if the `complete` ones are there."""

    named: tuple[str, ...]
    total: str | None
    tariffs: tuple[str, ...]
    complete: frozenset[str]

    @classmethod
    def of(cls, named: tuple[str, ...], tariffs: int | None) -> Energy:
        """Of the codes that a profile names."""
        found = [_TOTAL_OR_TARIFF.fullmatch(code) for code in named]
        families = {match[1] if match else None for match in found}
        family = families.pop()
        if families or family is None:
            return cls(named, None, (), frozenset())
        total = f"{family}0"
        listed = named if total not in named else tuple(f"{family}{n + 1}" for n in range(tariffs or 0))
        return cls(named, total, tuple(f"{family}{n}" for n in _TARIFFS), frozenset(listed))

    @property
    def codes(self) -> tuple[str, ...]:
        """All codes that may be in a telegram."""
        return tuple(dict.fromkeys((*self.named, *([self.total] if self.total else []), *self.tariffs)))


class P1Decoder:
    """Turns a meter's bytes into telegrams, which end in one of `checks`, or without a check sequence where
    there are none; `sealed` decrypts them first where the meter encrypts."""

    def __init__(
        self, registers: P1Registers, *, checks: Collection[Check], sealed: SealedFrames | None = None
    ) -> None:
        self._registers = registers
        self._read = line_reader(registers.codes)
        self._checks = checks
        self._outer = sealed or Frames(checks)
        self._sealed = sealed is not None
        self._heads = SealedHeads()
        self._encrypts = False  # since the last plain telegram, the head of an encrypted one has come

    def cut(self) -> None:
        """The next bytes come from another connection."""
        self._outer.cut()

    def feed(self, data: bytes) -> Sequence[Telegram | MeterError]:
        """The telegrams that `data` completes, and an error for each broken one."""
        said: list[Telegram | MeterError] = []
        if not self._sealed and self._heads.feed(data):
            self._encrypts = True
            said.append(
                KeyFault(
                    "the meter encrypts its P1 telegrams, and its profile is of one that does not: choose "
                    "the profile of a meter that encrypts, with the keys that the grid operator has"
                )
            )
        for frame in self._outer.feed(data):
            try:
                if isinstance(frame, MeterError):
                    raise frame
                said.append(self._telegram(frame))
                self._encrypts = False
            except MeterError as error:
                if not self._encrypts:  # else this is a piece of what is encrypted
                    said.append(error)
        return said

    def _telegram(self, frame: bytes) -> Telegram:
        values = self._read(self._opened(frame))
        if not self._checks and not self._sealed:
            _all_there(values, self._registers)
        return _telegram(values, self._registers)

    def _opened(self, frame: bytes) -> bytes:
        if not self._sealed:
            return frame
        match Frames(self._checks).feed(frame + b"\r\n"):
            case [bytes(telegram)]:
                return telegram
            case [MeterError() as error]:
                raise error
        raise MeterError("a decrypted P1 frame does not hold a telegram")


def _telegram(values: Values, registers: P1Registers) -> Telegram:
    """The lanes that the lines fill. MeterError where they fill none."""
    energies = {lane: _energy(lane, values, registers) for lane in registers.energies}
    drawn, given = (_power(values, codes, registers) for codes in (registers.drawn, registers.given))
    lanes = energies | {"power": None if drawn is None or given is None else drawn - given}
    found = {lane: round(value) for lane, value in lanes.items() if value is not None}
    if not found:
        raise MeterError("a P1 telegram has no number in any of the registers that its profile names")
    serial, clock = values.get(registers.serial), values.get(_CLOCK)
    return Telegram(
        found,
        serial=equipment_number(serial.text) if serial and serial.text else None,
        meter_time=meter_time(clock.text, registers.zone) if clock else None,
    )


def _energy(lane: str, values: Values, registers: P1Registers) -> Fraction | None:
    """mWh of the total, or else of the tariffs; None where a line that is needed is missing or not an energy.
    MeterError where the total and the tariffs, or the same register in two channels, differ."""
    energy = registers.energies[lane]
    shown = {code: _shown(lane, code, values, registers) for code in energy.codes}
    total = shown[energy.total] if energy.total else None
    tariffs = {code: part for code in energy.tariffs if (part := shown[code]) is not None}
    if total is not None:
        hold_against_parts(
            lane,
            total,
            list(tariffs.values()),
            complete=bool(energy.complete) and energy.complete <= set(tariffs),
        )
        return total.mwh
    parts = {code: shown[code] for code in energy.named} | tariffs
    unread = [code for code in energy.tariffs if code in values and code not in tariffs]
    known = [part.mwh for part in parts.values() if part is not None]
    return None if unread or len(known) < len(parts) else sum(known, Fraction(0))


def _shown(lane: str, code: str, values: Values, registers: P1Registers) -> Shown | None:
    """The energy under a code, in whichever channel."""
    found: Shown | None = None
    for same in registers.in_channels(code):
        if same in values and (shown := values[same].energy()) is not None:
            found = shown if found is None else the_finer(lane, found, shown)
    return found


def _power(values: Values, codes: Sequence[str], registers: P1Registers) -> Fraction | None:
    """The sum of `codes` in W; None where one of them is missing or not a power, or where there are none."""
    found = [_watts(values, registers.in_channels(code)) for code in codes]
    known = [value for value in found if value is not None]
    return sum(known, Fraction(0)) if known and len(known) == len(found) else None


def _watts(values: Values, codes: Sequence[str]) -> Fraction | None:
    powers = (values[code].power_w() for code in codes if code in values)
    return next((power for power in powers if power is not None), None)


def _all_there(values: Values, registers: P1Registers) -> None:
    """MeterError where a telegram without a check sequence lacks a number that its profile names, or writes
    energies with different numbers of digits: then bytes of it may be lost."""
    for code in (*registers.drawn, *registers.given):
        if _watts(values, registers.in_channels(code)) is None:
            raise _damaged(f"lacks {code}")
    widths = set()
    for energy in registers.energies.values():
        there = {code: text for code in energy.codes for text in _energy_texts(values, registers, code)}
        if energy.total not in there and (missing := [code for code in energy.named if code not in there]):
            raise _damaged(f"lacks {missing[0]}")
        widths |= {(text.find("."), len(text)) for text in there.values()}
    if len(widths) > 1:
        raise _damaged("has energies of different numbers of digits")


def _energy_texts(values: Values, registers: P1Registers, code: str) -> Iterator[str]:
    for same in registers.in_channels(code):
        if same in values and values[same].energy() is not None:
            yield values[same].text


def _damaged(what: str) -> MeterError:
    return MeterError(f"a P1 telegram, which no check sequence protects, {what}: it may have been damaged")
