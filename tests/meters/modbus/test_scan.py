"""Scanning: who answers under which id, and which profiles fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from pymodbus.constants import ExcCodes

from gateway.errors import MeterError
from gateway.meters.endpoint import Line, SerialSettings, Tcp
from gateway.meters.modbus.bus import Bus, NotReached
from gateway.meters.modbus.model import ModbusModel
from gateway.meters.modbus.scan import Found, scan
from gateway.meters.modbus.sunspec_model import SunSpecModel
from gateway.meters.profile import load_profile, profile_ids
from gateway.simulate.home import Home
from gateway.simulate.modbus import Display, devices, requests
from gateway.simulate.modbus_registers import sheet_of
from tests.meters.bench import (
    NOON_S,
    DrivenClock,
    device,
    f32,
    raw_server,
    sdm630,
    serial_line,
    serial_server,
    tcp_server,
)

MODELS: Mapping[str, ModbusModel | SunSpecModel] = {
    profile_id: model
    for profile_id in profile_ids()
    if isinstance(model := load_profile(profile_id).model, ModbusModel | SunSpecModel)
}


async def found(buses: Sequence[Bus], ids: Sequence[int]) -> list[Found]:
    return [one async for one in scan(buses, ids, MODELS, DrivenClock())]


def profiles(one: Found) -> set[str]:
    return {candidate.profile for candidate in one.candidates}


@pytest.mark.parametrize("profile_id", MODELS)
async def test_every_profile_is_found(profile_id: str) -> None:
    sheet = sheet_of(MODELS[profile_id])
    display = Display(Home(3, NOON_S), sheet, DrivenClock())
    async with tcp_server(devices({5: display}), requests=requests(sheet)) as port:
        (one,) = await found([Bus(Tcp("127.0.0.1", port))], [4, 5, 6])
    assert one.device_id == 5
    assert profile_id in profiles(one)


async def test_what_fits_and_why() -> None:
    meters = [device(sdm630(), 3), device({0x5000: f32(0.0, 231.5)}, 9), device({0: [0] * 100}, 20)]
    async with tcp_server(meters) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        sdm, unknown, zeros = await found([bus], [3, 9, 20])
    assert profiles(sdm) == {"eastron-sdm630", "eastron-sdm72"}
    (why,) = (one.sentence for one in sdm.candidates if one.profile == "eastron-sdm630")
    assert why == "shows 230 V as its voltage, within 180 to 280 V"
    assert (unknown.device_id, unknown.candidates) == (9, ())  # a voltage, and no lane
    assert (zeros.device_id, zeros.candidates) == (20, ())  # a total of 0, a power of 0: no meter's


async def test_a_refusal_is_an_answer_and_silence_is_none() -> None:
    async def refuse(*_: object) -> ExcCodes:
        return ExcCodes.ILLEGAL_FUNCTION

    def answer_id_2(request: bytes) -> list[bytes]:
        return [request[:4] + b"\x00\x03\x02" + bytes([request[7] | 0x80, 2])] if request[6] == 2 else []

    async with tcp_server(device(sdm630(), 8, refuse)) as port:
        (one,) = await found([Bus(Tcp("127.0.0.1", port))], [8])
        assert (one.device_id, one.candidates) == (8, ())
    async with raw_server(answer_id_2) as port:
        bus = Bus(Tcp("127.0.0.1", port), timeout_s=0.05)
        assert [one.device_id for one in await found([bus], [1, 2, 3])] == [2]


async def test_each_register_is_asked_for_once() -> None:
    asked: list[tuple[int, int, int]] = []

    async def note(function: int, start: int, address: int, count: int, *_: object) -> None:
        asked.append((function, address, count))

    async with tcp_server(device(sdm630(), action=note)) as port:
        await found([Bus(Tcp("127.0.0.1", port))], [1])
    assert asked.count((4, 0, 2)) <= 2  # whether it is there, and what it shows
    rest = [one for one in asked if one != (4, 0, 2)]
    assert len(rest) == len(set(rest))


async def test_the_settings_of_a_line_are_tried_until_somebody_answers() -> None:
    told: list[tuple[str, int]] = []

    def asking(bus: Bus, device_id: int) -> None:
        assert isinstance(bus.endpoint, Line)
        told.append((str(bus.endpoint.settings), device_id))

    async with serial_line() as (_, near), serial_line() as (far, other):
        lines = [(near, 2400), (other, 9600), (near, 19200)]  # a pty has no rate: the first does not answer
        buses = [Bus(Line(path, SerialSettings(baud, "none", 1)), timeout_s=0.1) for path, baud in lines]
        display = Display(Home(3, NOON_S), sheet_of(MODELS["eastron-sdm630"]), DrivenClock())
        async with serial_server(devices({2: display}), far):
            seen = [one async for one in scan(buses, [1, 2], MODELS, DrivenClock(), asking)]
    assert [(one.bus, one.device_id) for one in seen] == [(buses[1], 2)]
    assert told == [("2400 Bd, 8N1", 1), ("2400 Bd, 8N1", 2), ("9600 Bd, 8N1", 1), ("9600 Bd, 8N1", 2)]


async def test_what_cannot_be_opened_ends_it_at_once() -> None:
    with pytest.raises(NotReached, match="cannot open"):
        await found([Bus(Tcp("127.0.0.1", 1))], range(1, 248))
    with pytest.raises(MeterError, match="cannot open /dev/nothing"):
        await found([Bus(Line("/dev/nothing", SerialSettings(9600, "none", 1)))], range(1, 248))


async def test_the_bus_is_let_go_of() -> None:
    async with tcp_server(device(sdm630())) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        searching = scan([bus], [1, 2], MODELS, DrivenClock())
        assert (await anext(searching)).device_id == 1
        await searching.aclose()  # type: ignore[attr-defined]
        assert bus._link is None
