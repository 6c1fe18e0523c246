"""Finds the devices on a Modbus line or behind an address, and the profiles that fit them.

A device is there if it answers at all, even with the refusal that it has no such registers. A profile fits if
its probe register is in range and every lane can be read. Meters of one maker often share registers: then
several profiles fit, and the name on the meter decides.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.errors import MeterError
from gateway.host.clock import Clock
from gateway.meters.modbus.bus import Bus, NotReached
from gateway.meters.modbus.meter import ModbusMeter
from gateway.meters.modbus.model import ModbusModel, Table
from gateway.meters.modbus.sunspec import SunSpecMeter
from gateway.meters.modbus.sunspec_model import SunSpecModel
from gateway.meters.reading import LANES


@dataclass(frozen=True, slots=True)
class Candidate:
    """A profile that fits, and the reason."""

    profile: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Found:
    """A device that answers on `bus`; without candidates where no profile fits."""

    bus: Bus
    device_id: int
    candidates: tuple[Candidate, ...]


async def scan(
    buses: Sequence[Bus],
    device_ids: Iterable[int],
    models: Mapping[str, ModbusModel | SunSpecModel],
    clock: Clock,
    asking: Callable[[Bus, int], None] = lambda bus, device_id: None,
) -> AsyncIterator[Found]:
    """The devices that answer, as they are found. The buses are one line at different settings: once a device
    answers at one of them, the others are left out. `asking` is called before each device id. MeterError
    where a bus cannot be opened at all."""
    ids = tuple(device_ids)
    for bus in buses:
        answered = False
        try:
            for device_id in ids:
                asking(bus, device_id)
                if await _answers(bus, device_id):
                    answered = True
                    yield Found(bus, device_id, await _candidates(bus, device_id, models, clock))
        finally:
            await bus.aclose()
        if answered:
            return


async def _answers(bus: Bus, device_id: int) -> bool:
    try:
        await bus.registers(device_id, "input", 0, 2)  # where many meters have their voltage
    except NotReached:
        if not bus.connections:
            raise
        return False
    except MeterError:
        pass  # a refusal is an answer
    return True


async def _candidates(
    bus: Bus, device_id: int, models: Mapping[str, ModbusModel | SunSpecModel], clock: Clock
) -> tuple[Candidate, ...]:
    once = _Once(bus)
    fitting = []
    for profile, model in models.items():
        sentence = await _fits(once, device_id, model, clock)
        if sentence is not None:
            fitting.append(Candidate(profile, sentence))
    return tuple(fitting)


async def _fits(bus: _Once, device_id: int, model: ModbusModel | SunSpecModel, clock: Clock) -> str | None:
    meter: ModbusMeter | SunSpecMeter
    name = f"at id {device_id}"
    if isinstance(model, SunSpecModel):
        meter = SunSpecMeter(name, model, bus, lanes=model.lanes, device_id=device_id, clock=clock)
    else:
        meter = ModbusMeter(name, model, bus, lanes=model.lanes, device_id=device_id, clock=clock)
    try:
        seen = await meter.probe()
        reading = await meter.read()
    except MeterError:
        return None
    # A device whose registers are all 0 is not this meter; a voltage in range already rules that out.
    sure = isinstance(model, SunSpecModel) or model.probe.register.name not in LANES
    if not seen.plausible or not (sure or any(reading.registers.values())):
        return None
    return seen.sentence.removeprefix(f"meter {name} ")


class _Once:
    """A bus that reads the same registers only once: profiles have many in common."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._answers: dict[tuple[int, Table, int, int, int], list[int] | MeterError] = {}
        self.connections = 0

    async def registers(
        self, device_id: int, table: Table, address: int, count: int, words: int | None = None
    ) -> list[int]:
        asked = (device_id, table, address, count, words or count)
        if asked not in self._answers:
            try:
                self._answers[asked] = await self._bus.registers(*asked)
            except MeterError as error:
                self._answers[asked] = error
        answer = self._answers[asked]
        if isinstance(answer, MeterError):
            raise answer
        return answer

    async def aclose(self) -> None:
        """Its owner closes the bus."""
