"""The simulated home's meter: a Modbus server whose registers show the home at each second.

Any profile will do. A register shows what its type can show (a float32 of kWh, say), the same for a
whole second and in every register of one answer.
"""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimAction, SimData, SimDevice

from gateway.clock import Clock
from gateway.errors import UsageError
from gateway.meters.modbus.model import LANES, ModbusModel, Register, Table
from gateway.meters.modbus.value import lane_value
from gateway.simulate.household import Home
from gateway.simulate.truth import LiveHome

# pymodbus logs a traceback for what a meter answers with an exception.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

_TABLES: tuple[Table, ...] = ("holding", "input")


class Display:
    """The registers of `model`, showing `home` at the current second of `clock`, with its `truth`."""

    def __init__(self, home: Home, model: ModbusModel, clock: Clock, truth: Path | None = None) -> None:
        self._model = model
        self.live = LiveHome(home, clock, self._show, truth)

    def registers(self, table: Table) -> tuple[int, list[int]]:
        """The first address of a table, and its registers up to the last; between the model's own
        registers there are zeros."""
        self.live.catch_up()
        mine = [(register, words) for register, words in self._words.items() if register.table == table]
        low = min((register.address for register, _ in mine), default=0)
        shown = [0] * (max((register.end for register, _ in mine), default=low) - low)
        for register, words in mine:
            shown[register.address - low : register.end - low] = words
        return low, shown

    def _show(self, home: Home) -> dict[str, int]:
        self._words = {register: self._encoded(register, home) for register in self._model.registers}
        return {
            register.name: lane_value(register, words)
            for register, words in self._words.items()
            if register.name in LANES
        }

    def _encoded(self, register: Register, home: Home) -> list[int]:
        value = self._value(register, home) / register.scale
        raw = float(value) if register.type.startswith("f") else math.floor(value)
        words = struct.unpack(f">{register.words}H", struct.pack(register.format, raw))
        return list(words if register.word_order == "high-first" else words[::-1])

    def _value(self, register: Register, home: Home) -> Fraction:
        """What the home has for this register, in its unit; the probe shows the middle of its range."""
        probe = self._model.probe
        if register.name in LANES:
            of = {"import": home.import_mwh, "export": home.export_mwh, "power": home.power}
            return Fraction(of[register.name], register.factor)
        return (probe.low + probe.high) / 2 if register == probe.register else Fraction(0)


def devices(display: Display, device_id: int = 1) -> list[SimDevice]:
    """What pymodbus' servers serve: the meter under its own id, and under every other id a gateway's
    answer that nobody is there (exception 11)."""

    async def nobody(*_: object) -> ExcCodes:
        return ExcCodes.GATEWAY_NO_RESPONSE

    def device(number: int, action: SimAction) -> SimDevice:
        no_bits = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
        holding, inputs = (_block(*display.registers(table)) for table in _TABLES)
        return SimDevice(number, simdata=(no_bits, no_bits, holding, inputs), action=action)

    async def show(
        function: int, start: int, address: int, count: int, registers: list[int], written: object
    ) -> None:
        _, shown = display.registers("holding" if function == 3 else "input")
        registers[: len(shown)] = shown

    return [device(device_id, show), device(0, nobody)]


def _block(low: int, registers: list[int]) -> list[SimData]:
    if not registers:
        return [SimData(0, datatype=DataType.INVALID)]  # pymodbus wants one at least
    return [SimData(low, values=registers, datatype=DataType.REGISTERS, readonly=True)]


async def serve(
    home: Home,
    model: ModbusModel,
    host: str,
    port: int,
    clock: Clock,
    truth: Path | None = None,
    listening: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve `home` as a meter of `model`, device id 1, until cancelled. `listening` is told the port once
    it is open (for `port` 0 the system chooses one). What it shows is appended to `truth`. UsageError where
    it cannot listen, or cannot write."""
    display = Display(home, model, clock, truth)
    server = _Server(devices(display), address=(host, port))
    try:
        await server.serve_forever(background=True)
    except OSError as error:
        server.close()
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    try:
        listening(server.port)
        await display.live.keep()
    finally:
        server.close()


class _Server(ModbusTcpServer):
    """pymodbus' server, with the reason when it cannot listen instead of a log line."""

    port = 0

    async def listen(self) -> bool:
        self.is_listener = True
        self.transport = listener = await self.call_create()
        self.port = listener.sockets[0].getsockname()[1]
        return True
