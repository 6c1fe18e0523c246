"""A simulated Modbus meter: a server whose registers show a home at each second.

It takes any Modbus profile. A register shows what its type can show (a float32 of kWh, say); for a whole
second, all registers show the same moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import ReadInputRegistersRequest, ReadInputRegistersResponse
from pymodbus.server import ModbusTcpServer, ModbusUdpServer
from pymodbus.simulator import DataType, SimAction, SimData, SimDevice

from gateway.errors import UsageError
from gateway.host.clock import Clock
from gateway.meters.endpoint import why
from gateway.meters.modbus.model import ModbusModel, Table
from gateway.meters.modbus.sunspec_model import SunSpecModel
from gateway.simulate.home import Home
from gateway.simulate.modbus_registers import PLACES, Sheet, sheet_of, shown, table_of, words_of
from gateway.simulate.truth import LiveHome

# pymodbus logs a traceback for each exception that the meter answers with.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

_SHOWN: dict[int, Table] = {3: "holding", 4: "input"}  # by function code
_NO_LIMIT = 0xFFFF
_TABLES: tuple[Table, ...] = ("holding", "input")


class Display:
    """The registers of `sheet`, showing `home` at the current second of `clock`, with its `truth`."""

    def __init__(self, home: Home, sheet: Sheet, clock: Clock, truth: Path | None = None) -> None:
        self._sheet = sheet
        self.live = LiveHome(home, clock, self._show, truth)

    def registers(self, table: Table) -> tuple[int, list[int]]:
        """The first address of a table, and its registers up to the last, with zeros between the meter's
        own."""
        self.live.catch_up()
        return table_of(self._sheet, self._words, table)

    def _show(self, home: Home) -> dict[str, int]:
        self._words = words_of(self._sheet, home)
        return shown(self._words)


def devices(displays: Mapping[int, Display], limit: int | None = None) -> list[SimDevice]:
    """The devices for pymodbus' servers: each meter under its device id and, under every other id, a
    converter's answer that no device responds (exception 11). Each has 16 coils that can be written, and at
    the address `limit`, where one is given, two such holding registers."""

    async def nobody(*_: object) -> ExcCodes:
        return ExcCodes.GATEWAY_NO_RESPONSE

    def device(number: int, display: Display, action: SimAction) -> SimDevice:
        bits = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
        holding, inputs = (_block(*display.registers(table)) for table in _TABLES)
        if limit is not None:
            holding = [*holding, SimData(limit, values=[_NO_LIMIT] * 2, datatype=DataType.REGISTERS)]
        return SimDevice(number, simdata=(bits, bits, holding, inputs), action=action)

    def showing(display: Display) -> SimAction:
        async def show(
            function: int, start: int, address: int, count: int, registers: list[int], written: object
        ) -> None:
            if function in _SHOWN:
                _, current = display.registers(_SHOWN[function])
                registers[: len(current)] = current

        return show

    meters = [device(number, display, showing(display)) for number, display in displays.items()]
    anywhere = [SimData(0, count=0x1_0000, values=0, datatype=DataType.REGISTERS, readonly=True)]
    return [*meters, SimDevice(0, simdata=anywhere, action=nobody)]


def _block(low: int, registers: list[int]) -> list[SimData]:
    if not registers:
        return [SimData(0, datatype=DataType.INVALID)]  # pymodbus needs at least one
    return [SimData(low, values=registers, datatype=DataType.REGISTERS, readonly=True)]


async def serve(
    home: Home,
    model: ModbusModel | SunSpecModel,
    host: str,
    port: int,
    clock: Clock,
    truth: Path | None = None,
    listening: Callable[[int], None] = lambda port: None,
    neighbours: Sequence[Home] = (),
    profile_id: str = "",
    limit: int | None = None,
) -> None:
    """Serve `home` as a meter of `model` with device id 1 until cancelled; its `neighbours` have the next
    ids. With `profile_id`, it has all registers that are known of such a meter. `listening` is called with
    the port once it is open (for `port` 0 the system chooses one). What device 1 shows is appended to
    `truth`, what the others show to files next to it, truth-2.jsonl and so on. `limit` as for `devices`.
    UsageError where it cannot listen, or cannot write."""
    sheet = sheet_of(model, profile_id)
    displays = {1: Display(home, sheet, clock, truth)}
    for number, other in enumerate(neighbours, 2):
        beside = truth.with_stem(f"{truth.stem}-{number}") if truth is not None else None
        displays[number] = Display(other, sheet, clock, beside)
    kind = _UdpServer if isinstance(model, ModbusModel) and model.udp else _TcpServer
    server = kind(devices(displays, limit), address=(host, port), custom_pdu=requests(sheet))
    try:
        await server.serve_forever(background=True)
    except OSError as error:
        server.close()
        raise UsageError(f"cannot listen on {host}:{port}: {why(error)}") from None
    keeping = [asyncio.create_task(display.live.keep()) for display in displays.values()]
    try:
        listening(server.port)
        await asyncio.gather(*keeping)
    finally:
        server.close()
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)


class _TcpServer(ModbusTcpServer):
    """pymodbus' server, except that it raises the reason when it cannot listen instead of logging it."""

    port = 0

    async def listen(self) -> bool:
        self.is_listener = True
        self.transport = listener = await self.call_create()
        self.port = listener.sockets[0].getsockname()[1]
        return True


class _UdpServer(ModbusUdpServer):
    """The same over UDP."""

    port = 0

    async def listen(self) -> bool:
        self.is_listener = True
        self.transport, _ = await self.call_create()
        self.port = self.transport.get_extra_info("sockname")[1]
        return True


def requests(sheet: Sheet) -> list[type[ModbusPDU]]:
    """The requests that the meter understands in another way than Modbus: none, except where an address is
    that of a whole value."""
    if not sheet.whole_values:
        return []
    values = {register.address // PLACES: register for register in sheet.registers}

    class ReadWholeValues(ReadInputRegistersRequest):
        async def datastore_update(self, context: Any, device_id: int) -> ModbusPDU:
            words: list[int] = []
            for address in range(self.address, self.address + self.count):
                length = values[address].words if address in values else 1
                answer = await context.async_getValues(
                    device_id, self.function_code, PLACES * address, length
                )
                if isinstance(answer, ExcCodes):
                    return ExceptionResponse(self.function_code, answer)
                if address not in values:
                    return ExceptionResponse(self.function_code, ExcCodes.ILLEGAL_ADDRESS)
                words += answer
            return ReadInputRegistersResponse(
                registers=words, dev_id=device_id, transaction_id=self.transaction_id
            )

    return [ReadWholeValues]
