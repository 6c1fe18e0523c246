"""A meter on a Modbus bus, read by its profile: neighbouring registers in one request.

An optional register that the meter refuses is requested once more, by itself. If it is refused again, it is
left out until the next connection, and so is its lane.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from gateway.errors import MeterError, UsageError
from gateway.host.clock import Clock
from gateway.meters.modbus.bus import NoSuchRegisters
from gateway.meters.modbus.model import BlockLimits, ModbusModel, Probe, Register, Table
from gateway.meters.modbus.value import NoValue, lane_value, number
from gateway.meters.reading import Plausibility, Reading


class RegisterSource(Protocol):
    """Where registers come from: a Bus, or the record of one."""

    @property
    def connections(self) -> int:
        """How many connections there were so far; after a new one, everything may be different."""

    async def registers(
        self, device_id: int, table: Table, address: int, count: int, words: int | None = None
    ) -> list[int]:
        """See Bus."""

    async def aclose(self) -> None:
        """See Bus."""


@dataclass(frozen=True, slots=True)
class Block:
    """Registers read by one request, in the order of their addresses. With `whole_values`, `count` is the
    number of values, which follow each other."""

    table: Table
    address: int
    count: int
    registers: tuple[Register, ...]
    whole_values: bool = False

    @property
    def length(self) -> int:
        """How many words the answer has."""
        return sum(register.words for register in self.registers) if self.whole_values else self.count

    def words(self, register: Register, answer: Sequence[int]) -> Sequence[int]:
        """The words of one register in the answer to the request."""
        at = register.address - self.address
        if self.whole_values:
            at = sum(before.words for before in self.registers[:at])
        return answer[at : at + register.words]


class ModbusMeter:
    """The meter `name`, read as its `model` says; `lanes` are some of import, export and power."""

    pushes = False
    load_profile = None

    def __init__(
        self,
        name: str,
        model: ModbusModel,
        bus: RegisterSource,
        *,
        lanes: Collection[str],
        device_id: int,
        clock: Clock,
    ) -> None:
        check_lanes(name, lanes, model.lanes)
        self.rollover = model.rollover
        self._name = name
        self._model = model
        self._lanes = {lane: model.of(lane) for lane in model.lanes if lane in lanes}
        self._bus = bus
        self._device_id = device_id
        self._clock = clock
        self._absent: frozenset[Register] = frozenset()
        self._absent_in = 0  # the connection in which they were
        self._blocks = self._plan()

    async def read(self) -> Reading:
        """Its registers now. A lane is missing where one of its optional registers is absent or has no value;
        MeterError where that leaves no lane."""
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        try:
            registers = await self._read()
        except MeterError as error:
            raise MeterError(f"meter {self._name}: {error}") from None
        return Reading(self._name, registers, wall, monotonic)

    async def probe(self) -> Plausibility:
        """Whether its probe register is in range, and every lane is there."""
        try:
            seen = await probe_model(self._bus, self._device_id, self._model)
            registers = await self._read()
        except MeterError as error:
            raise MeterError(f"meter {self._name}: {error}") from None
        sentence = f"meter {self._name} {seen.sentence}"
        if not seen.plausible:
            return Plausibility(False, f"{sentence}: is it the profile's model?")
        if lacking := ", ".join(lane for lane in self._lanes if lane not in registers):
            return Plausibility(
                False,
                f"{sentence}, but has no {lacking}, like some meters of its model: take that out of lanes",
            )
        return Plausibility(True, sentence)

    async def aclose(self) -> None:
        await self._bus.aclose()

    async def _read(self) -> dict[str, int]:
        if self._absent and self._absent_in != self._bus.connections:
            self._absent = frozenset()
            self._blocks = self._plan()
        words: dict[Register, Sequence[int]] | None = None
        while words is None:
            words = await self._ask_all()
        registers = {}
        for lane, parts in self._present().items():
            try:
                registers[lane] = lane_value({register: words[register] for register in parts})
            except NoValue:
                if not any(register.optional for register in parts):
                    raise
        if not registers:
            raise MeterError(f"has no {', '.join(self._lanes)}, like some meters of its model")
        return registers

    async def _ask_all(self) -> dict[Register, Sequence[int]] | None:
        """The words of every register; None where some turned out to be absent, and the rest must be
        requested."""
        words: dict[Register, Sequence[int]] = {}
        for block in self._blocks:
            try:
                answer = await _ask(self._bus, self._device_id, block)
            except NoSuchRegisters:
                if not (absent := await self._absent_of(block)):
                    raise
                self._absent |= absent
                self._absent_in = self._bus.connections
                self._blocks = self._plan()
                return None
            words |= {register: block.words(register, answer) for register in block.registers}
        return words

    async def _absent_of(self, block: Block) -> set[Register]:
        absent = set()
        for register in block.registers:
            if register.optional:
                try:
                    await _ask(self._bus, self._device_id, alone(register, self._model.block))
                except NoSuchRegisters:
                    absent.add(register)
        return absent

    def _present(self) -> dict[str, tuple[Register, ...]]:
        return {lane: parts for lane, parts in self._lanes.items() if self._absent.isdisjoint(parts)}

    def _plan(self) -> tuple[Block, ...]:
        present = [register for parts in self._present().values() for register in parts]
        return plan(present, self._model.block)


def check_lanes(name: str, lanes: Collection[str], has: Sequence[str]) -> None:
    """UsageError where the meter `name` is to fill a lane that its model does not have."""
    for lane in lanes:
        if lane not in has:
            raise UsageError(f"meter {name}: its profile has no lane {lane!r}; it has {', '.join(has)}")


async def probe_model(bus: RegisterSource, device_id: int, model: ModbusModel) -> Plausibility:
    """Whether the device's probe register is in the range that `model` gives; the sentence continues one that
    begins with the meter's name. MeterError as for the bus."""
    register = model.probe.register
    return judge(model.probe, number(register, await _ask(bus, device_id, alone(register, model.block))))


def judge(probe: Probe, value: Fraction) -> Plausibility:
    """Whether `value` is in the probe's range."""
    unit, name = probe.register.unit, probe.register.name
    plausible = probe.low <= value <= probe.high
    return Plausibility(
        plausible,
        f"shows {_spell(value)} {unit} as its {name}, {'within' if plausible else 'not within'} "
        f"{_spell(probe.low)} to {_spell(probe.high)} {unit}",
    )


def plan(registers: Iterable[Register], limits: BlockLimits) -> tuple[Block, ...]:
    """The fewest requests that read the registers, none longer or with a wider gap than `limits` allow."""
    planned: list[Block] = []
    for register in sorted(registers, key=lambda register: (register.table, register.address)):
        last = planned[-1] if planned else None
        if (
            last is not None
            and last.table == register.table
            and register.address - (last.address + last.count) <= limits.gap
            and limits.end(register) - last.address <= limits.most
        ):
            together, count = (*last.registers, register), limits.end(register) - last.address
            planned[-1] = Block(last.table, last.address, count, together, limits.whole_values)
        else:
            planned.append(alone(register, limits))
    return tuple(planned)


def alone(register: Register, limits: BlockLimits) -> Block:
    """A request for one register."""
    count = limits.end(register) - register.address
    return Block(register.table, register.address, count, (register,), limits.whole_values)


async def _ask(bus: RegisterSource, device_id: int, block: Block) -> list[int]:
    return await bus.registers(device_id, block.table, block.address, block.count, block.length)


def _spell(value: Fraction) -> str:
    return f"{float(value):g}"
