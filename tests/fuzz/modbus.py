"""Modbus: answers as they come, through pymodbus' framers to a reading."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Coroutine
from fractions import Fraction
from typing import Any

from pymodbus.framer.rtu import FramerRTU

from gateway.errors import MeterError
from gateway.host.clock import SystemClock
from gateway.meters.endpoint import Endpoint, Tcp, Udp
from gateway.meters.modbus.bus import Bus, Framing, _Link
from gateway.meters.modbus.meter import ModbusMeter
from gateway.meters.modbus.model import ModbusModel, Table
from gateway.meters.modbus.sunspec import SunSpecMeter
from gateway.meters.modbus.sunspec_model import COMMON, END, MARKER, SERIAL_WORDS, SunSpecModel
from gateway.meters.profile import load_profile
from tests.fuzz import streams
from tests.fuzz.engine import Target

_TCP, _UDP = Tcp("127.0.0.1", 502), Udp("127.0.0.1", 502)
_TIMEOUT_S = 5.0  # never reached: the connection ends when the input does


class _Answering:
    """A transport whose other end answers a request with the pieces of an input, and hangs up."""

    def __init__(self, link: _Link, answer: bytes) -> None:
        self._link = link
        self._answer = answer

    def write(self, request: bytes) -> None:
        """Send, over TCP."""
        asyncio.get_running_loop().call_soon(self._say)

    def _say(self) -> None:
        for piece in streams.pieces(self._answer):
            self._link.data_received(piece)
        self._link.callback_disconnected(None)

    sendto = write  # the same over UDP, where each piece is a datagram

    def close(self) -> None:
        """Nothing to close."""

    abort = close


class _Reader:
    """Reads a simulated meter over a bus; one event loop for all inputs."""

    def __init__(
        self,
        framing: Framing,
        answer: Callable[[bytes], bytes],
        profile: str = "eastron-sdm630",
        endpoint: Endpoint = _TCP,
    ) -> None:
        model = load_profile(profile).model
        assert isinstance(model, ModbusModel)
        self._model = model
        self._framing: Framing = framing
        self._answer = answer
        self._endpoint = endpoint
        self._loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, data: bytes) -> None:
        self._loop = self._loop or asyncio.new_event_loop()
        self._loop.run_until_complete(self._read(self._answer(data)))

    async def _read(self, answer: bytes) -> None:
        bus = Bus(self._endpoint, self._framing, _TIMEOUT_S)
        link: Any = _Link(self._endpoint, self._framing, _TIMEOUT_S)
        link.transport = _Answering(link, answer)
        bus._link = link
        clock = SystemClock("host")
        meter = ModbusMeter("main", self._model, bus, lanes=self._model.lanes, device_id=1, clock=clock)
        try:
            await meter.read()
        finally:
            await meter.aclose()


class _Words:
    """A device whose registers are the input's words, one after the other as they are asked for."""

    connections = 1

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    async def registers(
        self, device_id: int, table: Table, address: int, count: int, words: int | None = None
    ) -> list[int]:
        end = self._at + 2 * (words or count)
        if end > len(self._data):
            raise MeterError("the answers end")
        answer = list(struct.unpack_from(f">{words or count}H", self._data, self._at))
        self._at = end
        return answer

    async def aclose(self) -> None:
        """Nothing to close."""


def _discover(data: bytes) -> None:
    """A SunSpec meter is found and read, then judged."""
    model = SunSpecModel((40_000, 0), Fraction(180), Fraction(280))
    meter = SunSpecMeter(
        "main", model, _Words(data), lanes=model.lanes, device_id=1, clock=SystemClock("host")
    )
    at_once(meter.read())
    at_once(meter.probe())


def at_once(work: Coroutine[Any, Any, object]) -> None:
    """Run what never waits."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


def _sunspec() -> list[bytes]:
    """A device with a common model and a meter's, integers and floats; then what its registers hold."""
    found = []
    for number, points in ((203, 105), (213, 124)):
        walk = [*MARKER, COMMON, 66, *range(0x3131, 0x3131 + SERIAL_WORDS), number, points]
        read = [5] * 36 + [0xFFFF] + [7] * 60
        found.append(struct.pack(f">{len(walk + read)}H", *walk, *read))
    return [*found, struct.pack(">6H", *MARKER, 1, 4, END, 0), struct.pack(">4H", *MARKER, 7, 0) * 40]


def _socket(pdu: bytes, device_id: int = 1) -> bytes:
    return bytes((0, 1, 0, 0)) + (len(pdu) + 1).to_bytes(2, "big") + bytes((device_id,)) + pdu


def _rtu(pdu: bytes) -> bytes:
    frame = b"\x01" + pdu
    return frame + FramerRTU.compute_CRC(frame).to_bytes(2, "big")


def _one_frame(pdu: bytes) -> bytes:
    return streams.as_input(_rtu(pdu))


# 24 input registers from 0x34 on: -512.5 W, and further on 1234.5 and 67.25 kWh.
_PDUS = [
    b"\x04\x30" + bytes.fromhex("c4002000") + bytes(36) + bytes.fromhex("449a500042868000"),
    *(bytes((0x84, code)) for code in (1, 4, 11, 99)),
    b"\x03\x02\x00\x07",
    b"\x2b\x0e\x01\x01\x00\x00\x01\x00\x02\x41\x42",
    b"\x17\x04\x00\x01\x00\x02",
    b"\x18\x00\x06\x00\x02\x00\x01\x00\x02",
    b"\x14\x07\x06\x06\x00\x01\x00\x02\x00",
]


def _seeds(frame: Callable[[bytes], bytes]) -> list[bytes]:
    frames = [frame(pdu) for pdu in _PDUS]
    whole = [streams.as_input(one) for one in frames]
    return [*whole, streams.as_input(frames[0], 0, 5), streams.as_input(frames[1] + frames[0], 30, 2)]


def _other_ids() -> list[bytes]:
    """Answers of other devices, and under the ids that say nothing."""
    return [streams.as_input(_socket(pdu, number)) for pdu in _PDUS[:2] for number in (0, 3, 255)]


def _values() -> list[bytes]:
    """Two values of two words each, from an address of whole values; and half of that."""
    pdus = [b"\x04\x08" + bytes.fromhex("00bc614e00000007"), b"\x04\x04" + bytes.fromhex("00bc614e")]
    return [streams.as_input(_rtu(pdu)) for pdu in pdus]


TARGETS = (
    Target(
        "modbus-tcp",
        MeterError,
        _Reader("tcp", lambda data: data),
        lambda: [*_seeds(_socket), *_other_ids()],
    ),
    Target(
        "modbus-udp",
        MeterError,
        _Reader("tcp", lambda data: data, endpoint=_UDP),
        lambda: [*_seeds(_socket), *_other_ids()],
    ),
    Target(
        "modbus-values",
        MeterError,
        _Reader("rtu", lambda data: data, "eredes-han"),
        lambda: [*_values(), *_seeds(_rtu)],
    ),
    Target("modbus-rtu", MeterError, _Reader("rtu", lambda data: data), lambda: _seeds(_rtu)),
    Target("sunspec", MeterError, _discover, _sunspec),
    Target(
        "modbus-rtu-sealed",
        MeterError,
        _Reader("rtu", lambda data: streams.as_input(_rtu(data))),
        lambda: _PDUS,
    ),
)
