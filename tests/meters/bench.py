"""A bench for meters: clocks that tests drive, Modbus servers on loopback, and a serial line of two ptys."""

from __future__ import annotations

import asyncio
import os
import struct
import time
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusSerialServer, ModbusTcpServer, ModbusUdpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gateway.meters.modbus.model import ModbusModel
from gateway.meters.profile import load_profile

NS = 1_000_000_000
NOON_S = 20_605 * 86_400 + 43_200  # a day in June, so that the sun shines


class DrivenClock:
    """Time stands still but for `sleep`, which passes it at once, and what the test sets."""

    def __init__(self, wall_s: float = NOON_S) -> None:
        self.now = round(wall_s * NS)
        self.since_boot = 5_000 * NS
        self.is_trusted = True
        self.slept: list[float] = []

    def wall(self) -> int:
        return self.now

    def monotonic(self) -> int:
        return self.since_boot

    def trusted(self) -> bool:
        return self.is_trusted

    def pass_s(self, seconds: float) -> None:
        self.now += round(seconds * NS)
        self.since_boot += round(seconds * NS)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.pass_s(seconds)
        await asyncio.sleep(0)


class StillClock(DrivenClock):
    """Time passes only when the test lets it; who sleeps waits for that."""

    def __init__(self, wall_s: float = NOON_S) -> None:
        super().__init__(wall_s)
        self._passed = asyncio.Event()

    def pass_s(self, seconds: float) -> None:
        super().pass_s(seconds)
        self._passed.set()
        self._passed = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        end = self.monotonic() + round(seconds * NS)
        while self.monotonic() < end:
            await self._passed.wait()


class FastClock:
    """The machine's time, `pace` times as fast, from `wall_s` on."""

    def __init__(self, wall_s: float = NOON_S, pace: float = 20) -> None:
        self._wall_s, self._pace = wall_s, pace
        self._since = time.monotonic_ns()

    def wall(self) -> int:
        return round(self._wall_s * NS) + self.monotonic()

    def monotonic(self) -> int:
        return round((time.monotonic_ns() - self._since) * self._pace)

    def trusted(self) -> bool:
        return True

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._pace)


def modbus_model(profile_id: str) -> ModbusModel:
    """The model of one of the package's Modbus profiles."""
    model = load_profile(profile_id).model
    assert isinstance(model, ModbusModel)
    return model


Action = Callable[..., Awaitable[ExcCodes | None]]


def f32(*values: float) -> list[int]:
    return [word for value in values for word in struct.unpack(">2H", struct.pack(">f", value))]


def sdm630(
    imported: float = 1234.5, exported: float = 67.25, power: float = -512.5, volts: float = 230.0
) -> dict[int, list[int]]:
    """An SDM630's input registers, with the ones between that it has too."""
    return {0x00: f32(volts), 0x34: [*f32(power), *[0] * 18, *f32(imported, exported)]}


def device(registers: dict[int, list[int]], device_id: int = 1, action: Action | None = None) -> SimDevice:
    """A meter that has these registers, and no others, in both tables."""
    blocks = [
        SimData(address, values=words, datatype=DataType.REGISTERS) for address, words in registers.items()
    ]
    return SimDevice(device_id, simdata=blocks, action=action)  # type: ignore[arg-type]


@asynccontextmanager
async def tcp_server(
    devices: SimDevice | list[SimDevice],
    port: int = 0,
    framer: FramerType = FramerType.SOCKET,
    requests: list[type[ModbusPDU]] | None = None,
) -> AsyncIterator[int]:
    """pymodbus' server, which may understand other `requests`; yields its port."""
    server = ModbusTcpServer(devices, address=("127.0.0.1", port), framer=framer, custom_pdu=requests)
    await server.serve_forever(background=True)
    listener: Any = server.transport
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def udp_server(devices: SimDevice | list[SimDevice]) -> AsyncIterator[int]:
    """The same over UDP."""
    server = ModbusUdpServer(devices, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    listener: Any = server.transport
    try:
        yield listener.get_extra_info("sockname")[1]
    finally:
        server.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def serial_server(devices: SimDevice | list[SimDevice], path: str) -> AsyncIterator[None]:
    server = ModbusSerialServer(devices, port=path, baudrate=9600)
    await server.serve_forever(background=True)
    try:
        yield
    finally:
        server.close()


@contextmanager
def _pty() -> Any:
    ours, theirs = os.openpty()
    try:
        tty.setraw(ours)
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        yield ours, os.ttyname(theirs)
    finally:
        os.close(ours)
        with suppress(OSError):
            os.close(theirs)


@asynccontextmanager
async def serial_line() -> AsyncIterator[tuple[str, str]]:
    """The paths of two serial ports joined by a cable."""
    loop = asyncio.get_running_loop()

    def pump(source: int, sink: int) -> None:
        os.write(sink, os.read(source, 4096))

    with _pty() as (a, a_path), _pty() as (b, b_path):
        loop.add_reader(a, pump, a, b)
        loop.add_reader(b, pump, b, a)
        try:
            yield a_path, b_path
        finally:
            loop.remove_reader(a)
            loop.remove_reader(b)


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server_of(talk: Talk) -> AsyncIterator[int]:
    """A server's port, each of whose connections is ended when `talk` returns. Its clients must be closed
    before it is left."""
    talks: list[asyncio.Task[None]] = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await talk(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(asyncio.create_task(hold(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.wait_for(asyncio.gather(*talks), 20)


@asynccontextmanager
async def raw_server(answer: Callable[[bytes], Iterable[bytes] | None]) -> AsyncIterator[int]:
    """A server that answers each request with whatever bytes `answer` makes of it; None hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(4096):
            parts = answer(request)
            if parts is None:
                return
            for part in parts:
                writer.write(part)

    async with server_of(talk) as port:
        yield port


async def until(condition: Callable[[], bool], within_s: float = 20) -> None:
    """Wait for a condition, failing when it does not come true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.002)
