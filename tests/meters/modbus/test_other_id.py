"""Answers under another device id than was asked, and what a person is told about them."""

from __future__ import annotations

import struct

import pytest

from gateway.errors import MeterError
from gateway.meters.endpoint import Tcp
from gateway.meters.modbus.bus import Bus, NoSuchRegisters, NotReached
from gateway.meters.modbus.scan import scan
from tests.meters.bench import DrivenClock, raw_server
from tests.meters.modbus.test_faults import BODY, EXPECTED, RTU, framed, read_once


def under(device_id: int, request: bytes, pdu: bytes = BODY, transaction: int = 0) -> bytes:
    """The answer to `request` under another id, `transaction` ahead of the request's."""
    number = (int.from_bytes(request[:2], "big") + transaction) % 0x1_0000
    return struct.pack(">HHHB", number, 0, len(pdu) + 1, device_id) + pdu


@pytest.mark.parametrize("device_id", [0, 255])
async def test_a_unit_id_that_says_nothing_is_the_meters_own(device_id: int) -> None:
    async with raw_server(lambda request: [under(device_id, request)]) as port:
        assert (await read_once(port, "tcp")).registers == EXPECTED


@pytest.mark.parametrize("device_id", [0, 255])
async def test_a_refusal_under_such_an_id_is_the_meters_own(device_id: int) -> None:
    async with raw_server(lambda request: [under(device_id, request, bytes([0x84, 2]))]) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        with pytest.raises(NoSuchRegisters):
            await bus.registers(1, "input", 0, 2)
        assert bus.connections == 1
        await bus.aclose()


@pytest.mark.parametrize("device_id", [2, 3, 247])
async def test_another_unit_id_is_named_at_once(device_id: int) -> None:
    async with raw_server(lambda request: [under(device_id, request)]) as port:
        with pytest.raises(MeterError) as caught:
            await read_once(port, "tcp", timeout_s=60)
    assert str(caught.value) == (
        f"meter main: device 1 at 127.0.0.1:{port} answers as device {device_id}: "
        f"set unit_id = {device_id} (--id {device_id}) if that is the meter"
    )


@pytest.mark.parametrize("device_id", [0, 3, 255])
async def test_an_answer_to_another_request_is_not_taken_for_this_one(device_id: int) -> None:
    async with raw_server(lambda request: [under(device_id, request, transaction=1)]) as port:
        with pytest.raises(MeterError, match=r"does not answer within 0\.1 s$"):
            await read_once(port, "tcp", 0.1)


async def test_on_a_line_the_other_device_is_named_after_the_wait() -> None:
    async with raw_server(lambda request: [framed(BODY, 3)]) as port:
        with pytest.raises(MeterError) as caught:
            await read_once(port, "rtu", 0.1)
    assert str(caught.value) == (
        f"meter main: device 1 at 127.0.0.1:{port} does not answer within 0.1 s, but device 3 does: "
        "set unit_id = 3 (--id 3) if that is the meter"
    )


async def test_the_other_device_of_an_earlier_request_is_forgotten() -> None:
    answers = [[framed(BODY, 3), RTU], []]
    async with raw_server(lambda request: answers.pop(0)) as port:
        bus = Bus(Tcp("127.0.0.1", port), "rtu", 0.1)
        assert len(await bus.registers(1, "input", 0x34, 24)) == 24
        with pytest.raises(NotReached, match=r"does not answer within 0\.1 s$"):
            await bus.registers(1, "input", 0x34, 24)
        await bus.aclose()


async def test_a_scan_finds_a_server_that_has_one_id_under_that_id_only() -> None:
    words = bytes([4, 4]) + bytes(4)
    async with raw_server(lambda request: [under(3, request, words)]) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        found = [one.device_id async for one in scan([bus], range(1, 6), {}, DrivenClock())]
    assert found == [3]


@pytest.mark.parametrize(
    ("code", "part"),
    [
        (1, "cannot read this table at all (exception 1)"),
        (2, "has no such registers (exception 2)"),
        (3, "refuses this number of registers (exception 3)"),
        (4, "reports an internal failure (exception 4)"),
        (5, "needs longer for the answer (exception 5)"),
        (6, "is busy (exception 6)"),
        (10, "cannot be reached by the converter (exception 10)"),
        (11, "does not answer the converter (exception 11)"),
        (99, "refuses with exception 99"),
    ],
)
async def test_each_exception_has_its_sentence(code: int, part: str) -> None:
    async with raw_server(lambda request: [under(1, request, bytes([0x84, code]))]) as port:
        with pytest.raises(MeterError) as caught:
            await read_once(port, "tcp")
    assert part in str(caught.value)
