"""A Modbus meter's model: its registers, from its profile.

A profile without a probe is refused, and so are registers that overlap: a wrong register would give plausible
but wrong numbers. A lane that no single register holds has several of its name, which are added up; one with
a scale of -1 is subtracted.
"""

from __future__ import annotations

import difflib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from gateway.meters.reading import LANES
from gateway.meters.toml_table import TomlTable

Table = Literal["input", "holding"]
WordOrder = Literal["high-first", "low-first"]
Quantity = Literal["energy", "power", "voltage"]

_FORMATS = {  # struct's codes, the most significant word first
    "i16": ">h",
    "u16": ">H",
    "i32": ">i",
    "u32": ">I",
    "i64": ">q",
    "u64": ">Q",
    "f32": ">f",
    "f64": ">d",
}
_UNITS: dict[str, tuple[Quantity, int]] = {  # to mWh, W and V
    "Wh": ("energy", 1_000),
    "kWh": ("energy", 1_000_000),
    "MWh": ("energy", 1_000_000_000),
    "W": ("power", 1),
    "kW": ("power", 1_000),
    "V": ("voltage", 1),
}
_LANE_QUANTITIES: dict[str, Quantity] = {"import": "energy", "export": "energy", "power": "power"}
MODBUS_PORT = 502  # IANA: mbap
_MOST_IN_A_REQUEST = 125  # Modbus application protocol V1.1b3, 6.3 and 6.4


@dataclass(frozen=True, slots=True)
class Register:
    """One value of the meter: where it is, and how to read its words.

    `address` is zero-based, as on the wire. The value is the number in the words times `scale`, in `unit`. An
    `optional` register is absent in some meters of the model. `nan` has the raw values, most significant word
    first, by which the meter says that it has no value. At `rollover`, in `unit`, it starts from 0 again.
    """

    name: str
    obis: str
    table: Table
    address: int
    type: str
    word_order: WordOrder
    scale: Fraction
    unit: str
    optional: bool = False
    nan: tuple[int, ...] = ()
    rollover: Fraction | None = None

    @property
    def format(self) -> str:
        """The format for `struct`, most significant word first."""
        return _FORMATS[self.type]

    @property
    def words(self) -> int:
        return struct.calcsize(self.format) // 2

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.address + self.words

    @property
    def quantity(self) -> Quantity:
        return _UNITS[self.unit][0]

    @property
    def factor(self) -> int:
        """How many mWh, W or V one `unit` is."""
        return _UNITS[self.unit][1]


@dataclass(frozen=True, slots=True)
class Probe:
    """A register whose value is known beforehand: between `low` and `high`, in its unit."""

    register: Register
    low: Fraction
    high: Fraction


@dataclass(frozen=True, slots=True)
class BlockLimits:
    """How many registers one request may read, and how many unknown ones it may read across. With
    `whole_values`, an address is that of a whole value, however many words that has, and a request counts
    values."""

    most: int
    gap: int
    whole_values: bool = False

    def end(self, register: Register) -> int:
        """The first address after the register."""
        return register.address + 1 if self.whole_values else register.end


@dataclass(frozen=True, slots=True)
class Pace:
    """How slow a meter is: seconds that it needs after a connection before the first request, and for an
    answer."""

    pause_s: float = 0
    answer_s: float = 2


@dataclass(frozen=True, slots=True)
class ModbusModel:
    """The registers to read, in requests within the limits of `block`, and the register to check first. A
    meter that speaks over `udp` does so only."""

    block: BlockLimits
    probe: Probe
    registers: tuple[Register, ...]
    pace: Pace = Pace()
    udp: bool = False

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lanes this model can fill, in the order of the profile."""
        return tuple(dict.fromkeys(register.name for register in self.registers if register.name in LANES))

    @property
    def rollover(self) -> Mapping[str, int]:
        """The mWh at which a lane's register starts from 0 again, for the lanes where this is known."""
        return {
            register.name: round(register.rollover * register.factor)
            for register in self.registers
            if register.rollover is not None
        }

    def of(self, lane: str) -> tuple[Register, ...]:
        """The registers that make up a lane."""
        return tuple(register for register in self.registers if register.name == lane)


def parse_model(keys: TomlTable) -> ModbusModel:
    """Take the model's keys: udp, [pace], [block], [probe] and [[register]]."""
    registers = tuple(_register(entry) for entry in keys.tables("register"))
    block = _block(keys.table("block"))
    _check_registers(registers, block, keys)
    probe = _probe(keys.table("probe"), registers)
    for register in registers:
        if register.name not in (*LANES, probe.register.name):
            raise keys.problem(_unknown(register.name))
    return ModbusModel(
        block=block,
        probe=probe,
        registers=registers,
        pace=_pace(keys.table("pace")) if keys.has("pace") else Pace(),
        udp=keys.flag("udp"),
    )


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, LANES, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return (
        f"a register is named {name}, which nothing reads: it must be {', '.join(LANES)}, or the register of "
        f"[probe]{meant}"
    )


def _register(keys: TomlTable) -> Register:
    register = Register(
        name=keys.text("name", r"[a-z][a-z0-9_]*"),
        obis=keys.text("obis", r"\d+-\d+:\d+\.\d+\.\d+"),
        table=keys.choice("table", ("input", "holding")),
        address=keys.integer("address", 0, 0xFFFF),
        type=keys.choice("type", tuple(_FORMATS)),
        word_order=keys.choice("word_order", ("high-first", "low-first"), default="high-first"),
        scale=keys.number("scale", default=1),
        unit=keys.choice("unit", tuple(_UNITS)),
        optional=keys.flag("optional"),
        nan=keys.integers("nan", 0, 2**64 - 1) if keys.has("nan") else (),
        rollover=keys.number("rollover") if keys.has("rollover") else None,
    )
    keys.end()
    if register.end > 0x1_0000:
        raise keys.fault("address", f"is {register.address}: the value would end beyond 65535")
    if register.scale == 0:
        raise keys.fault("scale", "is 0; it must be the factor for the raw value")
    if any(raw >> 16 * register.words for raw in register.nan):
        raise keys.fault("nan", f"has more bits than a value of type {register.type}")
    if register.rollover is not None and (register.quantity != "energy" or register.rollover <= 0):
        raise keys.fault("rollover", "must be more than 0, and belong to a register of energy")
    quantity = _LANE_QUANTITIES.get(register.name, register.quantity)
    if register.quantity != quantity:
        raise keys.fault("unit", f"is {register.unit}; {register.name} needs a unit of {quantity}")
    return register


def _check_registers(registers: tuple[Register, ...], block: BlockLimits, keys: TomlTable) -> None:
    if not any(register.name in LANES for register in registers):
        raise keys.problem(f"no register is named {', '.join(LANES)}; there must be at least one")
    in_order = sorted(registers, key=lambda register: (register.table, register.address))
    for one, other in pairwise(in_order):
        if one.table == other.table and other.address < block.end(one):
            raise keys.problem(f"registers {one.name} and {other.name} overlap at {other.address:#06x}")
    names = [register.name for register in registers]
    for register in registers:
        if names.count(register.name) > 1 and register.name not in LANES:
            raise keys.problem(
                f"two registers are named {register.name}; only a lane may have several, which are added up"
            )
        if names.count(register.name) > 1 and register.rollover is not None:
            raise keys.problem(
                f"{register.name} is a sum of registers, which does not start from 0 when one of them does: "
                "leave rollover out"
            )


def _block(keys: TomlTable) -> BlockLimits:
    most, gap = keys.integer("most", 4, _MOST_IN_A_REQUEST), keys.integer("gap", 0, 124)
    whole_values = keys.choice("addresses", ("words", "values"), default="words") == "values"
    keys.end()
    if whole_values and gap:
        raise keys.fault(
            "gap", f"is {gap}; it must be 0 where addresses are those of values of unknown length"
        )
    return BlockLimits(most, gap, whole_values)


def _pace(keys: TomlTable) -> Pace:
    pause, answer = keys.integer("pause_s", 0, 10), keys.integer("answer_s", 1, 30)
    keys.end()
    return Pace(pause, answer)


def _probe(keys: TomlTable, registers: tuple[Register, ...]) -> Probe:
    name = keys.text("register", r"[a-z][a-z0-9_]*")
    low, high = keys.number("min"), keys.number("max")
    keys.end()
    named = [register for register in registers if register.name == name]
    if len(named) != 1:
        how_many = f"{len(named)} registers have" if named else "no register has"
        raise keys.fault("register", f"is {name!r}; {how_many} this name")
    if low >= high:
        raise keys.fault("min", f"is {float(low):g}; it must be less than max, {float(high):g}")
    return Probe(named[0], low, high)
