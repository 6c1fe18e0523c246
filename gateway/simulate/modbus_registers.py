"""The registers of a simulated Modbus meter, as a profile or SunSpec lays them out."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from gateway.meters.modbus.model import ModbusModel, Probe, Register, Table
from gateway.meters.modbus.sunspec_model import (
    COMMON,
    END,
    INTEGERS,
    MARKER,
    METERS,
    SERIAL_AT,
    SERIAL_WORDS,
    SunSpecModel,
)
from gateway.meters.modbus.value import lane_value
from gateway.meters.reading import LANES
from gateway.simulate.home import Home
from gateway.simulate.modbus_tables import RESTS, SUNSPEC_FLOATS, SUNSPEC_INTEGERS, SUNSPEC_SCALES, Rest
from gateway.simulate.modbus_tables import value as value_of

_COMMON_LENGTH = 66  # registers after a model's id and length
_LENGTHS = {201: 105, 211: 124}  # of 201 to 204, of 211 to 214
SERIAL = "GATEWAY-SIM"
_COMMON_TEXTS = (  # Mn, Md, Opt, Vr and SN: their places in the common model, and how many words they have
    ("Gateway", 2, 16),
    ("Simulated meter", 18, 16),
    ("", 34, 8),
    ("1", 42, 8),
    (SERIAL, SERIAL_AT, SERIAL_WORDS),
)
_ADDRESS_AT, _PAD = 66, 0x8000  # DA, the device id, and what stands in the word behind it
_NO_OBIS = "0-0:0.0.0"
PLACES = 4  # words between two addresses of whole values: as many as the longest has


@dataclass(frozen=True, slots=True)
class Sheet:
    """The `registers` that show a home, the `probe`, which shows the middle of its range, and words that
    never change, by their addresses in the holding table. With `whole_values`, an address of the meter is
    that of a value, and the registers are at PLACES times theirs. The registers of `rest` show of the home
    what else the meter measures: each a quantity, as one of so many phases."""

    registers: tuple[Register, ...]
    probe: Probe
    fixed: Mapping[int, int] = field(default_factory=dict)
    whole_values: bool = False
    rest: Mapping[Register, tuple[str, int]] = field(default_factory=dict)


def sheet_of(model: ModbusModel | SunSpecModel, profile_id: str = "") -> Sheet:
    """The registers of a meter of `model`, with those that the gateway does not read where they are known of
    the profile; a SunSpec meter has three phases and integers."""
    if isinstance(model, SunSpecModel):
        return sunspec_sheet(model, 203)
    if model.block.whole_values:
        registers = tuple(_placed(register) for register in model.registers)
        return Sheet(
            registers, replace(model.probe, register=_placed(model.probe.register)), whole_values=True
        )
    return Sheet(model.registers, model.probe, rest=_rest(model.registers, RESTS.get(profile_id)))


def _rest(
    registers: Sequence[Register], rest: Rest | None, first: int = 0
) -> dict[Register, tuple[str, int]]:
    """The registers of `rest`, whose places count from `first`, that are not among `registers`."""
    if rest is None:
        return {}
    taken = {(register.table, at) for register in registers for at in range(register.address, register.end)}
    found = {}
    for row in rest.rows:
        for phase, place in enumerate(row.addresses, 1):
            address = first + place
            name = f"{row.quantity}_{phase}_of_{len(row.addresses)}"
            register = Register(
                name, _NO_OBIS, rest.table, address, row.type, rest.word_order, row.scale, "W"
            )
            if (rest.table, address) not in taken:
                found[register] = (row.quantity, len(row.addresses))
    return found


def _placed(register: Register) -> Register:
    return replace(register, address=PLACES * register.address)


def sunspec_sheet(model: SunSpecModel, kind: int, spare: int = 0) -> Sheet:
    """A device at the first of the model's bases with the meter model `kind`, which is `spare` registers
    longer than the specification says."""
    base = model.bases[0]
    common = base + len(MARKER)
    meter = common + 2 + _COMMON_LENGTH
    length = _LENGTHS[kind // 10 * 10 + 1] + spare
    fixed = dict(enumerate((*MARKER, COMMON, _COMMON_LENGTH), base))
    for text, at, words in _COMMON_TEXTS:
        fixed |= dict(
            enumerate(struct.unpack(f">{words}H", text.encode().ljust(2 * words, b"\0")), common + at)
        )
    fixed |= {common + _ADDRESS_AT: 1, common + _ADDRESS_AT + 1: _PAD}
    fixed |= {meter: kind, meter + 1: length, meter + 2 + length: END, meter + 3 + length: 0}
    integers = METERS[kind] is INTEGERS
    if integers:
        fixed |= {meter + at: power & 0xFFFF for at, power in SUNSPEC_SCALES.items()}
    registers = []
    for point in METERS[kind]:
        power = 0 if point.scale_at is None else SUNSPEC_SCALES[point.scale_at]
        registers.append(replace(point.register(Fraction(10) ** power), address=meter + point.at))
    (volts,) = (register for register in registers if register.name == "voltage")
    rest = Rest("holding", SUNSPEC_INTEGERS if integers else SUNSPEC_FLOATS)
    return Sheet(
        tuple(registers), Probe(volts, model.low, model.high), fixed, rest=_rest(registers, rest, meter)
    )


def words_of(sheet: Sheet, home: Home) -> dict[Register, list[int]]:
    """Each register's words for the home as it is now."""
    words = {}
    for lane, value in (("import", home.import_mwh), ("export", home.export_mwh), ("power", home.power)):
        parts = [register for register in sheet.registers if register.name == lane]
        for register, share in _shares(parts, Fraction(value)).items():
            words[register] = _encoded(register, share / register.factor)
    middle = (sheet.probe.low + sheet.probe.high) / 2
    for register in sheet.registers:
        if register.name not in LANES:
            words[register] = _encoded(register, middle if register == sheet.probe.register else Fraction(0))
    for register, (quantity, phases) in sheet.rest.items():
        words[register] = _encoded(register, value_of(quantity, home, phases))
    return words


def shown(words: Mapping[Register, Sequence[int]]) -> dict[str, int]:
    """The lanes that the words show, as the gateway reads them."""
    lanes: dict[str, dict[Register, Sequence[int]]] = {}
    for register, one in words.items():
        if register.name in LANES:
            lanes.setdefault(register.name, {})[register] = one
    return {lane: lane_value(parts) for lane, parts in lanes.items()}


def table_of(sheet: Sheet, words: Mapping[Register, Sequence[int]], table: Table) -> tuple[int, list[int]]:
    """The first address of a table, and its registers up to the last, with zeros between the meter's own."""
    mine = [(register, one) for register, one in words.items() if register.table == table]
    fixed = sheet.fixed if table == "holding" else {}
    low = min((*(register.address for register, _ in mine), *fixed), default=0)
    end = max((*(register.end for register, _ in mine), *(address + 1 for address in fixed)), default=low)
    registers = [0] * (end - low)
    for register, one in mine:
        registers[register.address - low : register.end - low] = one
    for address, word in fixed.items():
        registers[address - low] = word
    return low, registers


def _shares(parts: Sequence[Register], value: Fraction) -> dict[Register, Fraction]:
    """A lane's value divided among the registers that are added up: evenly among those with a scale of the
    value's sign; those of the other sign show 0."""
    fit = [register for register in parts if (register.scale < 0) == (value < 0)] or list(parts)
    shares = dict.fromkeys(parts, Fraction(0))
    for left, register in zip(range(len(fit), 0, -1), fit, strict=True):
        shares[register] = value if left == 1 else Fraction(round(value / left))
        value -= shares[register]
    return shares


def _encoded(register: Register, value: Fraction) -> list[int]:
    raw = value / register.scale
    number = float(raw) if register.type.startswith("f") else math.floor(raw)
    words = struct.unpack(f">{register.words}H", struct.pack(register.format, number))
    return list(words if register.word_order == "high-first" else words[::-1])
