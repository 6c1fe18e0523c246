"""What a line does to frames: cuts, noise, echo, resets, adapters that are pulled out and come back."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

from gateway.errors import MeterError
from gateway.meters.endpoint import Line, SerialSettings, Tcp
from gateway.meters.modbus.bus import Bus, Framing, NoSuchRegisters, _RtuAnswers
from gateway.meters.modbus.meter import ModbusMeter
from gateway.meters.reading import Reading
from tests.meters.bench import (
    DrivenClock,
    device,
    f32,
    modbus_model,
    raw_server,
    sdm630,
    serial_line,
    serial_server,
    server_of,
)

SDM630 = modbus_model("eastron-sdm630")
SETTINGS = SerialSettings(9600, "none", 1)
WORDS = [*f32(-512.5), *[0] * 18, *f32(1234.5, 67.25)]
EXPECTED = {"import": 1_234_500_000, "export": 67_250_000, "power": -512}
BODY = bytes([4, 48]) + struct.pack(">24H", *WORDS)


def framed(pdu: bytes, device_id: int = 1) -> bytes:
    frame = bytes([device_id]) + pdu
    return frame + FramerRTU.compute_CRC(frame).to_bytes(2, "big")


RTU = framed(BODY)


def mbap(request: bytes) -> bytes:
    return request[:4] + struct.pack(">H", len(BODY) + 1) + request[6:7] + BODY


async def read_once(port: int, framing: Framing, timeout_s: float = 2.0) -> Reading:
    bus = Bus(Tcp("127.0.0.1", port), framing, timeout_s)
    main = ModbusMeter("main", SDM630, bus, lanes=SDM630.lanes, device_id=1, clock=DrivenClock())
    try:
        return await main.read()
    finally:
        await main.aclose()


NOISE = [
    b"\x00",
    b"\xff" * 3,
    b"\x01",
    b"\x01\x04",
    b"\x01\x04\x30",
    RTU[:-1],
    RTU[3:],
    framed(BODY, 2),
    b"\x01\x84",
]


@pytest.mark.parametrize("noise", NOISE, ids=range(len(NOISE)))
@pytest.mark.parametrize("behind", [False, True])
async def test_noise_beside_an_answer_does_not_take_it_along(noise: bytes, behind: bool) -> None:
    answer = RTU + noise if behind else noise + RTU
    async with raw_server(lambda request: [answer]) as port:
        assert (await read_once(port, "rtu")).registers == EXPECTED


async def test_noise_in_pieces_between_answers() -> None:
    async with raw_server(lambda request: [b"\x55\xaa", RTU[:20], b"", RTU, b"\x01"]) as port:
        bus = Bus(Tcp("127.0.0.1", port), "rtu")
        main = ModbusMeter("main", SDM630, bus, lanes=SDM630.lanes, device_id=1, clock=DrivenClock())
        for _ in range(3):
            assert (await main.read()).registers == EXPECTED
        assert bus.connections == 1
        await main.aclose()


@pytest.mark.slow
@pytest.mark.parametrize("framing", ["rtu", "tcp"])
@pytest.mark.parametrize("hang_up", [False, True])
async def test_an_answer_cut_at_every_byte(framing: Framing, hang_up: bool) -> None:
    """Cut off, it is a fault and never a reading; the next one is whole again."""
    most: list[int | None] = [None]  # bytes of the answer that are sent

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(4096):
            answer = RTU if framing == "rtu" else mbap(request)
            writer.write(answer[: most[0]])
            if most[0] is not None and hang_up:
                break

    async with server_of(talk) as port:
        bus = Bus(Tcp("127.0.0.1", port), framing, timeout_s=5 if hang_up else 0.02)
        main = ModbusMeter("main", SDM630, bus, lanes=SDM630.lanes, device_id=1, clock=DrivenClock())
        for cut in range(len(RTU) if framing == "rtu" else len(BODY) + 7):
            most[0] = cut
            with pytest.raises(MeterError):
                await main.read()
        await main.aclose()
        most[0] = None
        assert (await read_once(port, framing)).registers == EXPECTED


async def test_a_reset_in_the_middle_of_an_answer() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(RTU[:10])
        at_close = struct.pack("ii", 1, 0)  # linger for 0 s: what is left is a reset
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_close)

    async with server_of(reset) as port:
        with pytest.raises(MeterError, match="ended the connection"):
            await read_once(port, "rtu")


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (framed(BODY, 2), "does not answer"),  # another device's
        (framed(bytes([3]) + BODY[1:]), "does not answer"),  # to another question
        (framed(bytes([4, 2, 0, 1])), "answered a different request"),  # shorter
        (framed(bytes([4, 50]) + bytes(50)), "answered a different request"),  # longer
        (framed(bytes([0x84, 2])), "has no such registers (exception 2)"),
        (RTU[:-2] + b"\x00\x00", "does not answer"),  # a wrong check sum
    ],
    ids=["other device", "other table", "shorter", "longer", "refusal", "check sum"],
)
async def test_what_is_no_answer_to_the_question(answer: bytes, part: str) -> None:
    async with raw_server(lambda request: [answer]) as port:
        with pytest.raises(MeterError) as caught:
            await read_once(port, "rtu", 0.1)
    assert part in str(caught.value)


@pytest.mark.parametrize("address", [0x34, 0x300, 0x400])
@pytest.mark.parametrize("pieces", [1, 3, 8])
async def test_an_adapter_that_sends_back_what_it_sends(address: int, pieces: int) -> None:
    """The echo of a question for 0x0300 looks like an answer of three bytes, with a right check sum."""

    def answer(request: bytes) -> Iterable[bytes]:
        assert len(request) == 8
        both = request + framed(bytes([4, 4, 1, 2, 3, 4]))
        return [both[at : at + pieces] for at in range(0, len(both), pieces)]

    async with raw_server(answer) as port:
        bus = Bus(Tcp("127.0.0.1", port), "rtu")
        for _ in range(3):
            assert await bus.registers(1, "input", address, 2) == [0x0102, 0x0304]
        await bus.aclose()


def test_a_part_of_an_answer_with_a_right_check_sum_waits_for_the_rest() -> None:
    framer = _RtuAnswers(DecodePDU(False))
    framer.asked = b"\x01\x04"
    assert framer.decode(framed(b"\x04\x04")) == (0, 0, 0, b"")


@pytest.mark.parametrize("function", [3, 4])
def test_no_echo_looks_like_an_answer_without_registers(function: int) -> None:
    """For some device ids the first five bytes of a question have the check sum of such an answer."""
    framer = _RtuAnswers(DecodePDU(False))
    for device_id in range(1, 248):
        low, high = framed(bytes([function, 0]), device_id)[-2:]
        framer.asked = bytes([device_id, function])
        question = framed(bytes([function, 0, low, high, 2]), device_id)
        assert framer.decode(question) == (0, 0, 0, b"")


async def test_holding_registers_behind_an_echo_and_a_refusal() -> None:
    answers = [framed(bytes([3, 4, 1, 2, 3, 4])), framed(bytes([0x83, 2]))]
    async with raw_server(lambda request: [request, answers.pop(0)]) as port:
        bus = Bus(Tcp("127.0.0.1", port), "rtu")
        assert await bus.registers(1, "holding", 0x5000, 2) == [0x0102, 0x0304]
        with pytest.raises(NoSuchRegisters):
            await bus.registers(1, "holding", 0x5000, 2)
        await bus.aclose()


async def test_nothing_but_the_echo_is_no_answer() -> None:
    async with raw_server(lambda request: [request]) as port:
        with pytest.raises(MeterError, match="does not answer"):
            await read_once(port, "rtu", 0.1)


@pytest.mark.slow
@settings(max_examples=50)
@given(st.lists(st.binary(max_size=300), max_size=4), st.booleans())
def test_whatever_comes_is_a_reading_or_a_meter_error(parts: list[bytes], rtu: bool) -> None:
    async def run() -> None:
        async with raw_server(lambda request: parts) as port:
            with suppress(MeterError):
                await read_once(port, "rtu" if rtu else "tcp", 0.02)

    asyncio.run(run())


async def test_an_adapter_pulled_out_comes_back_under_another_name(tmp_path: Path) -> None:
    """As under /dev/serial/by-id: the link stays, what it points to does not."""
    by_id = tmp_path / "usb-adapter"
    bus = Bus(Line(str(by_id), SETTINGS), timeout_s=0.5)
    main = ModbusMeter("main", SDM630, bus, lanes=SDM630.lanes, device_id=1, clock=DrivenClock())

    async def plugged(stack: AsyncExitStack, imported: float) -> str:
        far, near = await stack.enter_async_context(serial_line())
        await stack.enter_async_context(serial_server(device(sdm630(imported)), far))
        return near

    async with AsyncExitStack() as first:
        near = await plugged(first, 1.0)
        by_id.symlink_to(near)
        assert (await main.read()).registers["import"] == 1_000_000
        by_id.unlink()
    for _ in range(2):
        with pytest.raises(MeterError, match=f"ended the connection|cannot open {by_id}: No such file"):
            await main.read()
    async with AsyncExitStack() as held, AsyncExitStack() as second:
        await held.enter_async_context(serial_line())  # what takes the old name
        other = await plugged(second, 2.0)
        assert os.path.realpath(other) != near
        by_id.symlink_to(other)
        assert (await main.read()).registers["import"] == 2_000_000
        await main.aclose()


async def test_an_echo_on_a_serial_line() -> None:
    async with serial_line() as (far, near):
        loop, handle = asyncio.get_running_loop(), os.open(far, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

        def echo_and_answer() -> None:
            os.write(handle, os.read(handle, 4096) + RTU)

        loop.add_reader(handle, echo_and_answer)
        try:
            bus = Bus(Line(near, SETTINGS))
            main = ModbusMeter("main", SDM630, bus, lanes=SDM630.lanes, device_id=1, clock=DrivenClock())
            for _ in range(2):
                assert (await main.read()).registers == EXPECTED
            await main.aclose()
        finally:
            loop.remove_reader(handle)
            os.close(handle)
