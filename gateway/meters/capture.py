"""A capture: a meter's answers in a file that becomes a test. Reading it must give the values noted in it.

A capture is one JSON object. For meters that are polled for Modbus registers:

    {"profile": "eastron-sdm630", "device_id": 1,
     "registers": [{"table": "input", "address": 52, "words": "c4002000"},
                   {"table": "input", "address": 74, "count": 2, "words": null}],     refused by the meter
     "shown": [{"import": 1234500000, "export": 67250000, "power": -512}]}

For meters that push, with what arrived at each moment (ms from the first on):

    {"profile": "sml-generic", "bytes": [[0, "1b1b1b1b"], [998, "0101"]], "shown": [...]}

`shown` are the readings in mWh and W, in order; none, where nothing of what came could be read. The serial
number of a SunSpec device is blanked out; what a meter pushes is kept as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gateway.errors import MeterError, UsageError
from gateway.host.clock import Clock
from gateway.meters.dlms.polled.model import DlmsModel
from gateway.meters.iec62056.model import TextModel
from gateway.meters.modbus.bus import NoSuchRegisters
from gateway.meters.modbus.meter import ModbusMeter, RegisterSource
from gateway.meters.modbus.model import ModbusModel, Table
from gateway.meters.modbus.sunspec import SunSpecMeter
from gateway.meters.modbus.sunspec_model import SunSpecModel
from gateway.meters.profile import load_profile
from gateway.meters.reading import Answering, Decoder, Reading, Telegram
from gateway.meters.secrets import Secrets

T = TypeVar("T")

_MS = 1_000_000  # ns

Request = tuple[Table, int, int]


@dataclass(slots=True)
class Tap:
    """A record of what passes from a meter's line to its reader: requests for registers with their answers
    (None where they were refused), bytes with the moments they came at (ms), the registers of the telegrams
    in them, and what was wrong with the last telegram that could not be read."""

    clock: Clock
    registers: dict[Request, Sequence[int] | None] = field(default_factory=dict)
    octets: list[tuple[int, bytes]] = field(default_factory=list)
    told: list[dict[str, int]] = field(default_factory=list)
    problem: str | None = None

    def bus(self, bus: RegisterSource) -> RegisterSource:
        """`bus`, tapped."""
        return _TappedBus(self, bus)

    def decoder(self, decoder: Decoder) -> Decoder:
        """`decoder`, tapped."""
        return _TappedDecoder(self, decoder)


class _TappedBus:
    def __init__(self, tap: Tap, bus: RegisterSource) -> None:
        self._tap, self._bus = tap, bus

    @property
    def connections(self) -> int:
        return self._bus.connections

    async def registers(
        self, device_id: int, table: Table, address: int, count: int, words: int | None = None
    ) -> list[int]:
        try:
            answer = await self._bus.registers(device_id, table, address, count, words)
        except NoSuchRegisters:
            self._tap.registers[table, address, count] = None
            raise
        self._tap.registers[table, address, count] = answer
        return answer

    async def aclose(self) -> None:
        await self._bus.aclose()


class _TappedDecoder:
    def __init__(self, tap: Tap, decoder: Decoder) -> None:
        self._tap, self._decoder = tap, decoder

    def cut(self) -> None:
        self._decoder.cut()

    def feed(self, data: bytes) -> Sequence[Telegram | MeterError]:
        self._tap.octets.append((self._tap.clock.monotonic() // _MS, data))
        items = self._decoder.feed(data)
        self._tap.told += _told(items)
        wrong = [str(item) for item in items if isinstance(item, MeterError)]
        self._tap.problem = wrong[-1] if wrong else self._tap.problem
        return items

    def answer(self) -> bytes:
        return self._decoder.answer() if isinstance(self._decoder, Answering) else b""


def _told(items: Sequence[Telegram | MeterError]) -> list[dict[str, int]]:
    return [dict(item.registers) for item in items if isinstance(item, Telegram) and item.registers]


def capture(profile: str, device_id: int, tap: Tap, reading: Reading | None) -> str:
    """The file's text; `reading` is the last one, None where nothing that a meter pushes could be read.
    UsageError for a meter whose answers no capture can hold."""
    document: dict[str, Any] = {"profile": profile}
    if tap.registers and reading is not None:
        blank = _blanked(reading.serial)
        requests = [_request(*asked, answer, blank) for asked, answer in sorted(tap.registers.items())]
        shown = [dict(reading.registers)]
        document |= {"device_id": device_id, "registers": requests}
    elif tap.octets:
        begin = tap.octets[0][0]
        shown = tap.told
        document["bytes"] = [[moment - begin, data.hex()] for moment, data in tap.octets]
    else:
        raise UsageError(f"{profile} is polled in a way that no capture can hold")
    return json.dumps(document | {"shown": shown}, indent=1) + "\n"


def _request(
    table: Table, address: int, count: int, answer: Sequence[int] | None, blank: Callable[[bytes], bytes]
) -> dict[str, Any]:
    if answer is None:
        return {"table": table, "address": address, "count": count, "words": None}
    octets = b"".join(word.to_bytes(2, "big") for word in answer)
    return {"table": table, "address": address, "words": blank(octets).hex()}


def _blanked(serial: str | None) -> Callable[[bytes], bytes]:
    number = (serial or "").encode()
    return lambda octets: octets.replace(number, b"X" * len(number)) if number else octets


async def replay(text: str, clock: Clock) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
    """The registers that today's reader makes of a capture, and those noted in it. UsageError where `text` is
    not a capture."""
    try:
        document = _Fields(json.loads(text), "the capture")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"this is not a capture of a meter: it is not JSON ({error})") from None
    profile = document.take("profile", str, "the profile's name")
    model = load_profile(profile).model
    shown = [_registers(entry) for entry in document.each("shown", dict, "the registers of a reading")]
    if isinstance(model, ModbusModel | SunSpecModel):
        if len(shown) != 1:
            raise UsageError(f"this is not a capture of a meter: {profile} is polled, and shown once")
        device_id = document.take("device_id", int, "a number")
        record = _Record(document.each("registers", dict, "a request"))
        return [await _polled(model, record, device_id, shown[0], clock)], shown
    if isinstance(model, DlmsModel | TextModel):
        raise UsageError(f"{profile} does not push: this is not a capture of it")
    chunks = [_chunk(entry) for entry in document.each("bytes", list, "a moment in ms, and hex")]
    decoder = model.decoder(Secrets())
    return _told([item for chunk in chunks for item in decoder.feed(chunk)]), shown


class _Fields:
    """The fields of a JSON object. One that is missing, or of a wrong type, is a UsageError that names it."""

    def __init__(self, document: object, what: str) -> None:
        if not isinstance(document, dict):
            raise UsageError(f"this is not a capture of a meter: {what} is not a JSON object")
        self._document, self._what = document, what

    def take(self, key: str, kind: type[T], right: str) -> T:
        value = self._document.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.fault(key, f"must be {right}")
        return value

    def each(self, key: str, kind: type[T], right: str) -> list[T]:
        values = self.take(key, list, "a list")
        if not all(isinstance(value, kind) for value in values):
            raise self.fault(key, f"must be a list, each of {right}")
        return values

    def fault(self, key: str, problem: str) -> UsageError:
        return UsageError(f"this is not a capture of a meter: {key} of {self._what} {problem}")

    def hex(self, key: str) -> bytes:
        """The bytes that are written in hex; none for null."""
        if self._document.get(key, "") is None:
            return b""
        try:
            return bytes.fromhex(self.take(key, str, "hex, or null"))
        except ValueError:
            raise self.fault(key, "must be hex, or null") from None


def _registers(entry: dict[str, object]) -> dict[str, int]:
    fields = _Fields(entry, "a reading in shown")
    return {lane: fields.take(lane, int, "a whole number") for lane in entry}


def _chunk(entry: list[object]) -> bytes:
    return _Fields(dict(zip(("moment", "content"), entry, strict=False)), "an entry of bytes").hex("content")


async def _polled(
    model: ModbusModel | SunSpecModel, record: _Record, device_id: int, shown: Mapping[str, int], clock: Clock
) -> dict[str, int]:
    lanes = model.lanes
    meter: ModbusMeter | SunSpecMeter
    if isinstance(model, SunSpecModel):
        meter = SunSpecMeter("main", model, record, lanes=lanes, device_id=device_id, clock=clock)
    else:
        meter = ModbusMeter("main", model, record, lanes=lanes, device_id=device_id, clock=clock)
    registers = (await meter.read()).registers
    return {lane: value for lane, value in registers.items() if lane in shown}


class _Record:
    """The registers of a capture, served like a bus."""

    connections = 1

    def __init__(self, requests: Sequence[dict[str, object]]) -> None:
        self._words: dict[tuple[str, int], int] = {}
        for request in requests:
            fields = _Fields(request, "a request")
            table = fields.take("table", str, "input or holding")
            address = fields.take("address", int, "a number")
            octets = fields.hex("words")
            for at in range(0, len(octets), 2):
                self._words[table, address + at // 2] = int.from_bytes(octets[at : at + 2], "big")

    async def registers(
        self, device_id: int, table: Table, address: int, count: int, words: int | None = None
    ) -> list[int]:
        try:
            return [self._words[table, at] for at in range(address, address + (words or count))]
        except KeyError:
            raise NoSuchRegisters(f"the capture has no {table} registers {address} and on") from None

    async def aclose(self) -> None:
        pass
