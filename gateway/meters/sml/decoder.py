"""Lists to telegrams: the registers that fill the lanes, and the peculiarities of makers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from gateway.errors import MeterError
from gateway.meters.reading import Telegram
from gateway.meters.sml.fields import Number
from gateway.meters.sml.message import Entry, RegisterList, register_lists
from gateway.meters.sml.transport import Frames
from gateway.meters.totals import Shown, hold_against_parts

_NS = 1_000_000_000
_WH, _W = 30, 27  # IEC 62056-6-2, table 4
_TARIFFS = range(1, 10)

# FNN Lastenheft EDL, version 1.0 (2010-01-13), status word: bit 5 is set while energy flows out.
_FLOWS_OUT = 1 << 5
_WITH_STATUS = ((1, 8, 0), (1, 8, 1))

# DZG's DVS74 with these serial numbers send a power above 32767 as if it were a signed number of two bytes; a
# power below zero always has four (libsml, sml/src/sml_list.c at dc096b4). Some send 1.7.0 instead of 16.7.0
# (github.com/spacemanspiff2007/SmlLib, issue 3).
_DZG = b"\x0a\x01DZG"
_POWERS = frozenset((quantity, 7, 0) for quantity in (1, 2, 15, 16, 36, 56, 76))
_DZG_SHORT_UNSIGNED = (range(42_000_000, 49_000_000), range(55_000_000, 59_000_000))


class SmlDecoder:
    """Turns a meter's bytes into telegrams. The meter's totals are the sum of `tariffs` tariffs, or of an
    unknown number of them."""

    def __init__(self, tariffs: int | None = None) -> None:
        self._frames = Frames()
        self._tariffs = tariffs

    def cut(self) -> None:
        """The next bytes come from another connection."""
        self._frames = Frames()

    def feed(self, data: bytes) -> Sequence[Telegram | MeterError]:
        """The telegrams that `data` completes, and an error for each broken frame."""
        said: list[Telegram | MeterError] = []
        for frame in self._frames.feed(data):
            try:
                if isinstance(frame, MeterError):
                    raise frame
                said += [telegram(one, self._tariffs) for one in register_lists(frame)]
            except MeterError as error:
                said.append(error)
        return said


def telegram(said: RegisterList, tariffs: int | None = None) -> Telegram:
    """The lanes that a list fills. MeterError where it fills none, or a total and its tariffs differ."""
    entries = {
        (entry.obis[2], entry.obis[3], entry.obis[4]): entry
        for entry in said.entries
        if len(entry.obis) == 6 and entry.obis[:2] == b"\x01\x00" and entry.obis[5] == 255
    }
    if _sends_short_unsigned(said.server_id):
        entries |= {at: _as_unsigned(entries[at]) for at in _POWERS & entries.keys()}
    values = {
        "import": _energy(entries, "import", 1, tariffs),
        "export": _energy(entries, "export", 2, tariffs),
        "power": _power(entries),
    }
    registers = {lane: round(value) for lane, value in values.items() if value is not None}
    if not registers:
        raise MeterError("the SML list holds neither an energy (1.8.0, 2.8.0) nor a power (16.7.0)")
    time = said.time.seconds * _NS if said.time and said.time.absolute else None
    return Telegram(registers, serial_number(said.server_id), time)


def serial_number(server_id: bytes) -> str:
    """The number printed on the meter, where the server id holds it (DIN 43863-5: 1EMH0010599732); otherwise
    the server id in hex digits."""
    if not re.fullmatch(rb"[\x09\x0a].[A-Z]{3}.{5}", server_id, re.DOTALL):
        return server_id.hex()
    medium, maker, block = server_id[1], server_id[2:5].decode("ascii"), server_id[5]
    return f"{medium:x}{maker}{block:02x}{int.from_bytes(server_id[6:], 'big'):08d}"


_Entries = Mapping[tuple[int, int, int], Entry]


def _energy(entries: _Entries, lane: str, direction: int, tariffs: int | None) -> Fraction | None:
    """mWh of register 1.8.0 or 2.8.0; the sum of the tariffs where the meter sends no total."""
    parts = {at: part for at in _TARIFFS if (part := _shown(entries, (direction, 8, at))) is not None}
    if (total := _shown(entries, (direction, 8, 0))) is None:
        return _sum(part.mwh for part in parts.values())
    complete = tariffs is not None and set(parts) == set(range(1, tariffs + 1))
    hold_against_parts(lane, total, list(parts.values()), complete=complete)
    return total.mwh


def _shown(entries: _Entries, at: tuple[int, int, int]) -> Shown | None:
    value = _value(entries, at, _WH)
    return None if value is None else Shown(value * 1000, 1000 * Fraction(10) ** entries[at].scaler)


def _power(entries: _Entries) -> Fraction | None:
    """W, positive when the home draws."""
    if (total := _value(entries, (16, 7, 0), _W)) is not None:
        return total
    phases = [_value(entries, (phase, 7, 0), _W) for phase in (36, 56, 76)]
    if None not in phases:
        return _sum(phases)
    if (absolute := _value(entries, (15, 7, 0), _W)) is not None:
        status = next((entry.status for at in _WITH_STATUS if (entry := entries.get(at))), None)
        if status is None:
            return None
        return -absolute if status & _FLOWS_OUT else absolute
    drawn, given = (_value(entries, (direction, 7, 0), _W) for direction in (1, 2))
    if drawn is None or given is None:
        return drawn or None  # where it draws 0 W, the home may be exporting
    return drawn - given


def _value(entries: _Entries, at: tuple[int, int, int], unit: int) -> Fraction | None:
    """The register's value in `unit`; None where it is missing or has another unit."""
    entry = entries.get(at)
    if entry is None or entry.unit != unit or not isinstance(entry.value, Number):
        return None
    if not -128 <= entry.scaler <= 127:  # an Integer8
        raise MeterError("an SML register's scaler does not fit in one byte")
    return entry.value.value * Fraction(10) ** entry.scaler


def _sum(values: Iterable[Fraction | None]) -> Fraction | None:
    known = [value for value in values if value is not None]
    return sum(known, Fraction(0)) if known else None


def _sends_short_unsigned(server_id: bytes) -> bool:
    number = int.from_bytes(server_id[5:], "big")
    return (
        server_id.startswith(_DZG)
        and len(server_id) == 10
        and any(number in affected for affected in _DZG_SHORT_UNSIGNED)
    )


def _as_unsigned(entry: Entry) -> Entry:
    value = entry.value
    if not isinstance(value, Number) or value.octets > 3 or value.value >= 0:
        return entry
    return replace(entry, value=Number(value.value + (1 << 8 * value.octets), value.octets))
