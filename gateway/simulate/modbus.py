"""The simulated home's meter: a Modbus server whose registers show the home at each second.

Any profile will do. A register shows what its type can show (a float32 of kWh, say), the same for a
whole second and in every register of one answer. The truth file tells what was shown.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimAction, SimData, SimDevice

from gateway.clock import Clock
from gateway.errors import UsageError
from gateway.meters.profile import LANES, Profile, Register, Table
from gateway.meters.value import lane_value
from gateway.simulate.household import Home

# pymodbus logs a traceback for what a meter answers with an exception.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

_NS = 1_000_000_000
_TABLES: tuple[Table, ...] = ("holding", "input")
_TRUTH_KEYS = {"import": "import_mwh", "export": "export_mwh", "power": "power_w"}


class Display:
    """The registers of `profile`, showing `home` at the current second of `clock`. A clock that steps
    back shows the last second until it is past it. With `keep_truth`, `truth` gains a JSON line for each
    second from the first one shown: what the registers show, as the gateway reads it."""

    def __init__(self, home: Home, profile: Profile, clock: Clock, *, keep_truth: bool = False) -> None:
        self._home = home
        self._profile = profile
        self._clock = clock
        self._keep_truth = keep_truth
        self.truth: list[str] = []
        home.advance_to(self._now())
        self._show()

    def registers(self, table: Table) -> tuple[int, list[int]]:
        """The first address of a table, and its registers up to the last; between the profile's own
        registers there are zeros."""
        self.catch_up()
        mine = [(register, words) for register, words in self._words.items() if register.table == table]
        low = min((register.address for register, _ in mine), default=0)
        shown = [0] * (max((register.end for register, _ in mine), default=low) - low)
        for register, words in mine:
            shown[register.address - low : register.end - low] = words
        return low, shown

    def catch_up(self) -> None:
        """Let the home's time pass up to now."""
        now = self._now()
        while self._home.second < now:
            self._home.advance_to(self._home.second + 1 if self._keep_truth else now)
            self._show()

    def _now(self) -> int:
        return self._clock.wall() // _NS

    def _show(self) -> None:
        self._words = {register: self._encoded(register) for register in self._profile.registers}
        if self._keep_truth:
            line = {"unit": self._home.second}
            for register, words in self._words.items():
                if register.name in LANES:
                    line[_TRUTH_KEYS[register.name]] = lane_value(register, words)
            self.truth.append(json.dumps(line) + "\n")

    def _encoded(self, register: Register) -> list[int]:
        value = self._value(register) / register.scale
        raw = float(value) if register.type.startswith("f") else math.floor(value)
        words = struct.unpack(f">{register.words}H", struct.pack(register.format, raw))
        return list(words if register.word_order == "high-first" else words[::-1])

    def _value(self, register: Register) -> Fraction:
        """What the home has for this register, in its unit; the probe shows the middle of its range."""
        probe = self._profile.probe
        if register.name in LANES:
            of = {"import": self._home.import_mwh, "export": self._home.export_mwh, "power": self._home.power}
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
    profile: Profile,
    host: str,
    port: int,
    clock: Clock,
    truth: Path | None = None,
    listening: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve `home` as a meter of `profile`, device id 1, until cancelled. `listening` is told the port once
    it is open (for `port` 0 the system chooses one). To `truth` a line is appended for each second:
    {"unit": second, "import_mwh": .., "export_mwh": .., "power_w": ..}. UsageError where it cannot
    listen, or cannot write."""
    display = Display(home, profile, clock, keep_truth=truth is not None)
    server = _Server(devices(display), address=(host, port))
    try:
        await server.serve_forever(background=True)
    except OSError as error:
        server.close()
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    try:
        listening(server.port)
        with ThreadPoolExecutor(1) as pen:  # one thread, so that lines keep their order to the last
            await _tick(display, clock, truth, pen)
    finally:
        server.close()
        if truth is not None and display.truth:
            _append(truth, display.truth)


async def _tick(display: Display, clock: Clock, truth: Path | None, pen: Executor) -> None:
    loop = asyncio.get_running_loop()
    while True:
        display.catch_up()
        if truth is not None and display.truth:
            lines, display.truth = display.truth, []
            await loop.run_in_executor(pen, _append, truth, lines)
        else:
            await clock.sleep((_NS - clock.wall() % _NS) / _NS)


def _append(truth: Path, lines: Sequence[str]) -> None:
    try:
        with truth.open("a", encoding="ascii") as file:
            file.writelines(lines)
    except OSError as error:
        raise UsageError(f"cannot write the truth to {truth}: {error.strerror}") from None


class _Server(ModbusTcpServer):
    """pymodbus' server, with the reason when it cannot listen instead of a log line."""

    port = 0

    async def listen(self) -> bool:
        self.is_listener = True
        self.transport = listener = await self.call_create()
        self.port = listener.sockets[0].getsockname()[1]
        return True
