"""Switches and limits on real connections: read, written where they are not as wanted, and read again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.framer import FramerType

from gateway.errors import MeterError
from gateway.meters.dlms.application.association import LLS
from gateway.meters.endpoint import Tcp
from gateway.meters.modbus.bus import Bus, Framing
from gateway.meters.switch import CoilSupply, DlmsSupply, LimitType, RegisterLimit, RegisterSupply
from gateway.simulate.home import Home
from gateway.simulate.modbus import Display, devices
from gateway.simulate.modbus_registers import sheet_of
from tests.meters.bench import NOON_S, StillClock, modbus_model, raw_server, tcp_server
from tests.meters.dlms.gurux import gurux
from tests.meters.dlms.peers import policy, simulated
from tests.meters.dlms.polled.test_meter import model, reader
from tests.meters.modbus.test_faults import framed

LIMIT = 0x9000
SDM630 = modbus_model("eastron-sdm630")


@asynccontextmanager
async def meter(framer: FramerType = FramerType.SOCKET) -> AsyncIterator[int]:
    """The port of a simulated meter with coils and a limit."""
    display = Display(Home(1, NOON_S), sheet_of(SDM630), StillClock())
    async with tcp_server(devices({1: display}, LIMIT), framer=framer) as port:
        yield port


@pytest.mark.parametrize(("framing", "framer"), [("tcp", FramerType.SOCKET), ("rtu", FramerType.RTU)])
async def test_a_coil_and_a_register_beside_another_client(framing: Framing, framer: FramerType) -> None:
    async with meter(framer) as port:
        bus = Bus(Tcp("127.0.0.1", port), framing)
        supply = CoilSupply(bus, 1, 5)
        limit = RegisterLimit(bus, 1, LIMIT, "u16", Fraction(10), 0xFFFF)
        async with AsyncModbusTcpClient("127.0.0.1", port=port, framer=framer) as other:
            for connected in (True, False, False, True):
                assert await supply.bring(connected) == ("connected" if connected else "disconnected")
                assert (await other.read_coils(4, count=3)).bits[:3] == [False, connected, False]
            assert await limit.bring(4209) == 4200  # rounded down to a step
            assert (await other.read_holding_registers(LIMIT, count=2)).registers == [420, 0xFFFF]
            assert await limit.bring(None) is None
            assert (await other.read_holding_registers(LIMIT, count=1)).registers == [0xFFFF]
            await other.write_coil(5, False)  # somebody else does, too
            assert await supply.bring(True) == "connected"
        await bus.aclose()


async def test_a_register_as_a_switch() -> None:
    async with meter() as port:
        bus = Bus(Tcp("127.0.0.1", port))
        supply = RegisterSupply(bus, 1, LIMIT, on=1, off=2)
        assert await supply.bring(True) == "connected"  # it held neither before
        assert await supply.bring(False) == "disconnected"
        assert await bus.registers(1, "holding", LIMIT, 1) == [2]
        await bus.aclose()


@given(
    watts=st.none() | st.integers(0, 2**32 - 1),
    type_=st.sampled_from(("u16", "i16", "u32", "i32")),
    scale=st.sampled_from((Fraction(1), Fraction(1, 1000), Fraction(1000), Fraction(7, 3))),
)
def test_no_register_ever_lets_more_through_than_the_limit(
    watts: int | None, type_: LimitType, scale: Fraction
) -> None:
    held = [0, 0]

    class Registers:
        async def registers(self, device_id: int, table: str, address: int, count: int) -> list[int]:
            return held[:count]

        async def write_registers(self, device_id: int, address: int, words: list[int]) -> None:
            held[: len(words)] = words

    limit = RegisterLimit(Registers(), 1, 0, type_, scale, -1 if type_[0] == "i" else 0x7FFF)  # type: ignore[arg-type]
    shown = asyncio.run(limit.bring(watts))
    if watts is None:
        assert shown is None
    else:
        assert shown is not None
        assert 0 <= shown <= watts
        assert watts - shown <= scale or shown == int(limit._most * scale)


def answers(*given: bytes) -> Callable[[bytes], list[bytes]]:
    left = list(given)
    return lambda request: [left.pop(0)] if left else []


COIL_OFF, COIL_ON = framed(bytes([1, 1, 0])), framed(bytes([1, 1, 1]))
WRITTEN = framed(bytes([5, 0, 5, 0xFF, 0]))


async def test_an_echo_of_a_written_coil_is_no_second_answer() -> None:
    """Two-wire adapters send the request back, and the answer to it has the same bytes."""
    async with raw_server(answers(COIL_OFF, WRITTEN + WRITTEN, COIL_ON)) as port:
        bus = Bus(Tcp("127.0.0.1", port), "rtu")
        assert await CoilSupply(bus, 1, 5).bring(True) == "connected"
        await bus.aclose()


async def test_what_is_as_it_is_wanted_is_not_written() -> None:
    asked: list[bytes] = []

    def answer(request: bytes) -> list[bytes]:
        asked.append(request)
        return [COIL_ON]

    async with raw_server(answer) as port:
        bus = Bus(Tcp("127.0.0.1", port), "rtu")
        assert await CoilSupply(bus, 1, 5).bring(True) == "connected"
        await bus.aclose()
    assert [request[1] for request in asked] == [1]  # the function: read coils


@pytest.mark.parametrize(
    ("came", "sentence"),
    [
        ((COIL_OFF, WRITTEN, COIL_OFF), "told to connect the home, and is disconnected"),
        ((COIL_OFF, framed(bytes([0x85, 4]))), "internal failure"),
        ((COIL_OFF, framed(bytes([5, 0, 6, 0xFF, 0]))), "answered a different request"),
        ((framed(bytes([0x81, 2])),), "has no such registers"),
    ],
)
async def test_a_coil_that_does_not_do_what_it_is_told(came: tuple[bytes, ...], sentence: str) -> None:
    async with raw_server(answers(*came)) as port:
        bus = Bus(Tcp("127.0.0.1", port), "rtu")
        with pytest.raises(MeterError, match=sentence):
            await CoilSupply(bus, 1, 5).bring(True)
        await bus.aclose()


async def test_a_limit_that_the_register_does_not_take() -> None:
    async with meter() as port:
        bus = Bus(Tcp("127.0.0.1", port))

        class Deaf(Bus):
            async def write_registers(self, device_id: int, address: int, words: list[int]) -> None:
                pass

        deaf = Deaf(Tcp("127.0.0.1", port))
        with pytest.raises(MeterError, match=r"does not show it: it holds \[65535\] instead of \[4200\]"):
            await RegisterLimit(deaf, 1, LIMIT, "u16", Fraction(1), 0).bring(4200)
        with pytest.raises(MeterError, match="no such registers"):
            await RegisterLimit(bus, 1, 0x7000, "u16", Fraction(1), 0).bring(4200)
        for one in (bus, deaf):
            await one.aclose()


async def test_a_dlms_meter_beside_another_client(tmp_path: Path) -> None:
    """In control mode 3 a meter that is reconnected from afar waits for its button (IEC 62056-6-2)."""
    clock, wanted = StillClock(), policy(LLS)
    async with (
        simulated(wanted, "wrapper", clock) as (simulation, port),
        reader(port, clock, tmp_path / "counter", model(wanted)) as read,
        gurux(wanted, "wrapper", port) as other,
    ):
        await other.associate()
        supply = DlmsSupply(read)
        assert await supply.bring(True) == "connected"
        assert await supply.bring(False) == "disconnected"
        assert await other.switch() == (False, 0, 4)
        assert await supply.bring(True) == "connected"
        simulation.objects.control_mode = 3
        await other.disconnect_home()
        assert await supply.bring(True) == "ready"
        assert await supply.bring(True) == "ready"  # and not told again
        assert await other.switch() == (False, 2, 3)
        simulation.objects.press()
        assert await supply.bring(True) == "connected"
        await supply.bring(False)
        await other.reconnect_home()
        assert await other.switch() == (False, 2, 3)
        assert await supply.bring(False) == "disconnected"
        await other.release()


async def test_a_dlms_switch_that_is_stuck(tmp_path: Path) -> None:
    clock, wanted = StillClock(), policy()
    async with (
        simulated(wanted, "wrapper", clock) as (simulation, port),
        reader(port, clock, tmp_path / "counter", model(wanted)) as read,
    ):
        simulation.objects.ready = True  # and closed
        with pytest.raises(MeterError, match="the meter's switch is closed, but its control state is ready"):
            await DlmsSupply(read).bring(False)
        with pytest.raises(MeterError):
            await DlmsSupply(read, bytes(6)).bring(False)
