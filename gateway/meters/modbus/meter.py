"""A meter on a Modbus bus, read by its profile: neighbouring registers in one request."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from gateway.clock import Clock
from gateway.errors import MeterError, UsageError
from gateway.meters.modbus.bus import Bus
from gateway.meters.modbus.model import BlockLimits, ModbusModel, Register, Table
from gateway.meters.modbus.value import lane_value, number
from gateway.meters.reading import Plausibility, Reading


@dataclass(frozen=True, slots=True)
class Block:
    """Registers asked for in one request, in the order of their addresses."""

    table: Table
    address: int
    count: int
    registers: tuple[Register, ...]

    def words(self, register: Register, answer: list[int]) -> list[int]:
        """The register's own words of the request's answer."""
        at = register.address - self.address
        return answer[at : at + register.words]


class ModbusMeter:
    """The meter `name`, read as its `model` says for `lanes` (import, export, power)."""

    pushes = False

    def __init__(
        self,
        name: str,
        model: ModbusModel,
        bus: Bus,
        *,
        lanes: Collection[str],
        device_id: int,
        clock: Clock,
    ) -> None:
        for lane in lanes:
            if lane not in model.lanes:
                has = ", ".join(model.lanes)
                raise UsageError(f"meter {name}: its profile has no lane {lane!r}; it has {has}")
        self.rollover: Mapping[str, int] = {}
        self._name = name
        self._model = model
        self._blocks = plan((r for r in model.registers if r.name in lanes), model.block)
        self._bus = bus
        self._device_id = device_id
        self._clock = clock

    async def read(self) -> Reading:
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        values = {}
        try:
            for block in self._blocks:
                answer = await self._ask(block)
                for register in block.registers:
                    values[register.name] = lane_value(register, block.words(register, answer))
        except MeterError as error:
            raise MeterError(f"meter {self._name}: {error}") from None
        return Reading(self._name, values, wall, monotonic)

    async def probe(self) -> Plausibility:
        probe = self._model.probe
        (block,) = plan([probe.register], self._model.block)
        try:
            value = number(probe.register, await self._ask(block))
        except MeterError as error:
            raise MeterError(f"meter {self._name}: {error}") from None
        shown = f"meter {self._name} shows {_spell(value)} {probe.register.unit} as its {probe.register.name}"
        between = f"{_spell(probe.low)} to {_spell(probe.high)} {probe.register.unit}"
        if probe.low <= value <= probe.high:
            return Plausibility(True, f"{shown}, within {between}")
        return Plausibility(False, f"{shown}, not within {between}: is it the profile's model?")

    async def aclose(self) -> None:
        await self._bus.aclose()

    async def _ask(self, block: Block) -> list[int]:
        return await self._bus.registers(self._device_id, block.table, block.address, block.count)


def plan(registers: Iterable[Register], limits: BlockLimits) -> tuple[Block, ...]:
    """The fewest requests for the registers, none longer or with a wider gap than `limits` allow."""
    planned: list[Block] = []
    for register in sorted(registers, key=lambda register: (register.table, register.address)):
        last = planned[-1] if planned else None
        if (
            last is not None
            and last.table == register.table
            and register.address - (last.address + last.count) <= limits.gap
            and register.end - last.address <= limits.most
        ):
            together = (*last.registers, register)
            planned[-1] = Block(last.table, last.address, register.end - last.address, together)
        else:
            planned.append(Block(register.table, register.address, register.words, (register,)))
    return tuple(planned)


def _spell(value: Fraction) -> str:
    return f"{float(value):g}"
