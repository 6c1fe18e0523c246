"""A Modbus meter on real connections (TCP, RTU over TCP, a serial line), and what goes wrong there."""

from __future__ import annotations

import asyncio
import gc
import logging
import struct
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType

from gateway.errors import MeterError, UsageError
from gateway.meters.endpoint import Line, SerialSettings, Tcp
from gateway.meters.modbus.bus import Bus
from gateway.meters.modbus.meter import ModbusMeter, plan
from gateway.meters.modbus.model import BlockLimits, Register, Table
from tests.meters.bench import (
    NOON_S,
    NS,
    DrivenClock,
    device,
    f32,
    modbus_model,
    raw_server,
    sdm630,
    serial_line,
    serial_server,
    tcp_server,
    until,
)

SDM630 = modbus_model("eastron-sdm630")
SETTINGS = SerialSettings(9600, "none", 1)
LANES = ("import", "export", "power")
EXPECTED = {"import": 1_234_500_000, "export": 67_250_000, "power": -512}  # -512.5 W, to even


def meter(bus: Bus, lanes: Collection[str] = LANES, device_id: int = 1) -> ModbusMeter:
    return ModbusMeter("main", SDM630, bus, lanes=lanes, device_id=device_id, clock=DrivenClock())


async def fault_of(bus: Bus, device_id: int = 1) -> str:
    """The sentence that a failing read says, without the meter's name, which must stand first."""
    with pytest.raises(MeterError) as caught:
        await meter(bus, device_id=device_id).read()
    sentence = str(caught.value)
    assert sentence.startswith("meter main: ")
    return sentence.removeprefix("meter main: ")


@pytest.fixture(autouse=True)
def _silent_libraries(caplog: pytest.LogCaptureFixture) -> Iterable[None]:
    """Whatever happens, neither pymodbus nor asyncio has anything to log: no frames, no tracebacks."""
    caplog.set_level(logging.WARNING)
    yield
    assert not [record for record in caplog.get_records("call") if not record.name.startswith("gateway")]


async def test_tcp() -> None:
    async with tcp_server(device(sdm630())) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        reading = await meter(bus).read()
        await bus.aclose()
        await bus.aclose()
    assert reading.registers == EXPECTED
    assert (reading.meter, reading.wall, reading.monotonic) == ("main", NOON_S * NS, 5_000 * NS)


async def test_rtu_frames_over_tcp() -> None:
    async with tcp_server(device(sdm630()), framer=FramerType.RTU) as port:
        bus = Bus(Tcp("127.0.0.1", port), "rtu")
        assert (await meter(bus).read()).registers == EXPECTED
        assert (await meter(bus).read()).registers == EXPECTED
        await bus.aclose()


async def test_a_serial_line_unplugged_and_plugged_in_again() -> None:
    async with serial_line() as (far, near):
        bus = Bus(Line(near, SETTINGS), timeout_s=0.2)
        async with serial_server(device(sdm630()), far):
            assert (await meter(bus).read()).registers == EXPECTED
            assert (await meter(bus).probe()).plausible
        assert await fault_of(bus) == f"device 1 at {near} does not answer within 0.2 s"
        async with serial_server(device(sdm630(imported=1235)), far):
            assert (await meter(bus).read()).registers["import"] == 1_235_000_000
        await bus.aclose()
    assert await fault_of(bus) == f"cannot open {near}: No such file or directory"


async def test_a_serial_port_that_another_program_uses() -> None:
    async with serial_line() as (far, near), serial_server(device(sdm630()), far):
        first, second = Bus(Line(near, SETTINGS)), Bus(Line(near, SETTINGS))
        await meter(first).read()
        assert await fault_of(second) == f"cannot open {near}: another program uses it"
        await first.aclose()
        await meter(second).read()
        await second.aclose()


async def test_a_reading_shows_no_values() -> None:
    async with tcp_server(device(sdm630())) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        assert "1234" not in repr(await meter(bus).read())
        await bus.aclose()


async def test_neighbours_come_in_one_request_and_only_wanted_lanes_are_asked_for() -> None:
    asked: list[tuple[int, int]] = []

    async def note(function: int, start: int, address: int, count: int, *_: object) -> None:
        assert function == 4
        asked.append((address, count))

    async with tcp_server(device(sdm630(), action=note)) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        await meter(bus).read()
        assert (await meter(bus, ("import",)).read()).registers == {"import": EXPECTED["import"]}
        await bus.aclose()
    assert asked == [(0x34, 24), (0x48, 2)]


def test_a_lane_that_the_profile_has_not() -> None:
    with pytest.raises(UsageError, match="its profile has no lane 'gas'; it has power, import, export"):
        meter(Bus(Tcp("127.0.0.1", 502)), ("gas",))


async def test_meters_that_share_a_bus_are_asked_one_after_the_other() -> None:
    asked: list[int] = []
    release = asyncio.Event()

    async def wait(*_: object) -> None:
        asked.append(1)
        await release.wait()

    meters = [device(sdm630(imported=one), one, wait) for one in (1, 2, 3)]
    async with tcp_server(meters) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        reads = [asyncio.create_task(meter(bus, device_id=one).read()) for one in (1, 2, 3)]
        await until(lambda: bool(asked))
        assert len(asked) == 1
        release.set()
        readings = await asyncio.gather(*reads)
        await bus.aclose()
    assert [reading.registers["import"] for reading in readings] == [1_000_000, 2_000_000, 3_000_000]


async def test_a_cancelled_read_leaves_nothing_behind() -> None:
    asked: list[int] = []
    release = asyncio.Event()

    async def wait_once(*_: object) -> None:
        asked.append(1)
        if len(asked) == 1:
            await release.wait()

    async with tcp_server(device(sdm630(), action=wait_once)) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        read = asyncio.create_task(meter(bus).read())
        await until(lambda: bool(asked))
        read.cancel()
        with pytest.raises(asyncio.CancelledError):
            await read
        release.set()
        assert (await meter(bus).read()).registers == EXPECTED
        await bus.aclose()


@pytest.mark.parametrize(
    ("code", "part"),
    [
        (ExcCodes.ILLEGAL_FUNCTION, "cannot read this table at all (exception 1)"),
        (ExcCodes.ILLEGAL_ADDRESS, "has no such registers (exception 2): is it the profile's model?"),
        (ExcCodes.DEVICE_BUSY, "is busy (exception 6)"),
        (ExcCodes.GATEWAY_NO_RESPONSE, "does not answer the converter (exception 11): check unit_id"),
        (ExcCodes.MEMORY_PARITY_ERROR, "refuses with exception 8"),
    ],
)
async def test_exceptions_are_said_and_the_connection_stays(code: ExcCodes, part: str) -> None:
    answers = [code, None]

    async def action(*_: object) -> ExcCodes | None:
        return answers.pop(0)

    async with tcp_server(device(sdm630(), action=action)) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        assert part in await fault_of(bus)
        assert (await meter(bus).read()).registers == EXPECTED
        await bus.aclose()


async def test_a_wrong_device_id() -> None:
    async with tcp_server(device(sdm630())) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        assert "device 7 at 127.0.0.1" in await fault_of(bus, device_id=7)
        await bus.aclose()


async def test_a_slow_answer_is_given_up_and_never_taken_for_a_later_one() -> None:
    asked: list[int] = []
    late, sent = asyncio.Event(), asyncio.Event()

    async def slow_once(
        function: int, start: int, address: int, count: int, registers: list[int], _: object
    ) -> None:
        asked.append(address)
        if len(asked) == 1:
            await late.wait()
            registers[0x48:0x4A] = f32(1.0)
            asyncio.get_running_loop().call_soon(sent.set)  # once this answer is on its way
        else:
            late.set()
            await sent.wait()
            registers[0x48:0x4A] = f32(1234.5)

    async with tcp_server(device(sdm630(), action=slow_once), framer=FramerType.RTU) as port:
        bus = Bus(Tcp("127.0.0.1", port), "rtu", timeout_s=0.2)
        assert "does not answer within 0.2 s" in await fault_of(bus)
        assert (await meter(bus).read()).registers == EXPECTED
        await bus.aclose()


async def test_a_server_that_hangs_up_before_it_is_asked() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        bus = Bus(Tcp("127.0.0.1", server.sockets[0].getsockname()[1]), timeout_s=0.5)
        for _ in range(20):
            assert "ended the connection" in await fault_of(bus)
    gc.collect()  # what was lost without a word would say so now


def mbap(request: bytes, pdu: bytes) -> bytes:
    """`pdu` as the answer to `request`, framed for TCP."""
    return request[:4] + struct.pack(">H", len(pdu) + 1) + request[6:7] + pdu


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (lambda request: None, "ended the connection"),
        (lambda request: [], "does not answer within 0.1 s"),
        (lambda request: [mbap(request, bytes([4, 48]) + bytes(48))[:-7]], "does not answer within 0.1 s"),
        (lambda request: [mbap(request, bytes([4, 8]) + bytes(8))], "answered a different request"),
        (lambda request: [mbap(request, bytes([3, 48]) + bytes(48))], "answered a different request"),
        (lambda request: [mbap(request, bytes([4, 48]) + bytes(4))], "answered something that is not Modbus"),
        (lambda request: [mbap(request, bytes([0x63, 1, 2, 3]))], "answered something that is not Modbus"),
        (lambda request: [mbap(request, bytes([0x84]))], "answered something that is not Modbus"),
        (lambda request: [b"HTTP/1.1 400 Bad Request\r\n\r\n"], "does not answer within 0.1 s"),
        (lambda request: [mbap(b"\xff" * 2 + request[2:], bytes([4, 48]) + bytes(48))], "does not answer"),
    ],
    ids=[
        "hang up",
        "silence",
        "part",
        "short",
        "other table",
        "lies",
        "unknown",
        "bare",
        "http",
        "other tid",
    ],
)
async def test_what_is_no_answer(answer: Callable[[bytes], list[bytes] | None], part: str) -> None:
    async with raw_server(answer) as port:
        bus = Bus(Tcp("127.0.0.1", port), timeout_s=0.1)
        for _ in range(2):
            assert part in await fault_of(bus)
        await bus.aclose()


async def test_an_answer_in_pieces() -> None:
    words = [*f32(-512.5), *[0] * 18, *f32(1234.5, 67.25)]
    body = bytes([4, 48]) + struct.pack(">24H", *words)
    async with raw_server(lambda request: [bytes([byte]) for byte in mbap(request, body)]) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        assert (await meter(bus).read()).registers == EXPECTED
        await bus.aclose()


async def test_a_connection_lost_between_two_reads_is_opened_again() -> None:
    async with tcp_server(device(sdm630())) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        await meter(bus).read()
    async with tcp_server(device(sdm630(imported=1235)), port):
        with suppress(MeterError):  # where the end of the old connection is noticed only now
            await meter(bus).read()
        assert (await meter(bus).read()).registers["import"] == 1_235_000_000
    with suppress(MeterError):
        await meter(bus).read()
    assert await fault_of(bus) == f"cannot open 127.0.0.1:{port}: Connection refused"


@pytest.mark.parametrize("imported", [float("nan"), float("inf"), -1.5, 1e30])
async def test_registers_without_a_meaning(imported: float) -> None:
    async with tcp_server(device(sdm630(imported))) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        assert (await fault_of(bus)).startswith("register import holds ")
        await bus.aclose()


@pytest.mark.parametrize(("volts", "plausible"), [(230.5, True), (0.0, False), (23050.0, False)])
async def test_the_probe(volts: float, plausible: bool) -> None:
    async with tcp_server(device(sdm630(volts=volts))) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        found = await meter(bus).probe()
        await bus.aclose()
    assert found.plausible is plausible
    assert f"meter main shows {volts:g} V as its voltage, " in found.sentence
    assert "180 to 280 V" in found.sentence
    with pytest.raises(MeterError, match="meter main: cannot open"):
        await meter(bus).probe()


def register(table: Table, address: int, kind: str) -> Register:
    return Register(f"r{address}", "1-0:1.8.0", table, address, kind, "high-first", Fraction(1), "kWh")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["input", "holding"]), st.integers(0, 10), st.sampled_from(["u16", "f32", "u64"])
        ),
        max_size=12,
    ),
    st.integers(4, 40),
    st.integers(0, 8),
)
def test_a_plan_asks_for_each_register_once_within_the_limits(
    entries: list[tuple[Table, int, str]], most: int, gap: int
) -> None:
    registers: list[Register] = []
    ends: dict[Table, int] = {"input": 0, "holding": 0}
    for table, space, kind in entries:
        registers.append(register(table, ends[table] + space, kind))
        ends[table] = registers[-1].end
    planned = plan(registers, BlockLimits(most, gap))
    assert sorted(r.name + r.table for block in planned for r in block.registers) == sorted(
        r.name + r.table for r in registers
    )
    for block in planned:
        assert block.count <= most
        end = block.address
        for one in block.registers:
            assert one.table == block.table
            assert 0 <= one.address - end <= gap
            end = one.end
        assert end == block.address + block.count
    for before, after in pairwise(planned):
        apart = after.address - (before.address + before.count)
        together = after.registers[0].end - before.address
        assert before.table != after.table or apart > gap or together > most
