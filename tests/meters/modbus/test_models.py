"""What single models need: addresses of whole values, patience, and what stands for no value."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient

from gateway.errors import MeterError, UsageError
from gateway.meters.endpoint import Tcp
from gateway.meters.modbus.bus import Bus
from gateway.meters.modbus.meter import ModbusMeter, plan
from gateway.meters.modbus.model import BlockLimits, Pace, Register
from gateway.meters.profile import parse_profile
from gateway.simulate.home import Home
from gateway.simulate.modbus import Display, devices, requests
from gateway.simulate.modbus_registers import sheet_of
from tests.meters.bench import (
    NOON_S,
    DrivenClock,
    device,
    f32,
    modbus_model,
    raw_server,
    sdm630,
    tcp_server,
)
from tests.meters.modbus.test_faults import framed
from tests.meters.test_profile import GOOD

EREDES, SUN2000 = modbus_model("eredes-han"), modbus_model("huawei-sun2000")


def meter(port: int, profile_id: str, framing: str = "tcp") -> ModbusMeter:
    model = modbus_model(profile_id)
    bus = Bus(Tcp("127.0.0.1", port), "rtu" if framing == "rtu" else "tcp", 0.5)
    return ModbusMeter("main", model, bus, lanes=model.lanes, device_id=1, clock=DrivenClock())


ANSWERS = {  # as the E-REDES meter sends them: two values of four bytes for a count of 2
    bytes.fromhex("010400160002"): bytes.fromhex("0408 00bc614e 00000007"),
    bytes.fromhex("010400790002"): bytes.fromhex("0408 00000000 000004d2"),
}


async def test_two_values_are_asked_for_and_four_words_come() -> None:
    async with raw_server(lambda request: [framed(ANSWERS[request[:6]])]) as port:
        main = meter(port, "eredes-han", "rtu")
        reading = await main.read()
        await main.aclose()
    assert reading.registers == {"import": 12_345_678_000, "export": 7_000, "power": -1_234}


async def test_a_converter_that_counts_words_gives_no_reading() -> None:
    """Two words for two values are half of them."""
    async with raw_server(lambda request: [framed(bytes.fromhex("0404 00bc614e"))]) as port:
        main = meter(port, "eredes-han", "rtu")
        with pytest.raises(MeterError, match="answered a different request"):
            await main.read()
        await main.aclose()


async def test_the_simulated_one_has_no_values_between_its_own() -> None:
    sheet = sheet_of(EREDES)
    display = Display(Home(3, NOON_S), sheet, DrivenClock())
    async with (
        tcp_server(devices({1: display}), requests=requests(sheet)) as port,
        AsyncModbusTcpClient("127.0.0.1", port=port) as client,
    ):
        answers: list[Any] = [
            await client.read_input_registers(at, count=count)
            for at, count in ((22, 2), (23, 1), (23, 2), (24, 1), (108, 1), (0, 1), (9_000, 1))
        ]
    assert [answer.exception_code for answer in answers] == [0, 0, 2, 2, 0, 2, 2]
    assert [len(answer.registers) for answer in answers] == [4, 2, 0, 0, 1, 0, 0]


VALUES = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from(["u16", "i32", "u64"])),
    min_size=1,
    unique_by=lambda one: one[0],
)


@given(VALUES, st.integers(4, 12))
def test_the_words_of_whole_values_follow_each_other(values: list[tuple[int, str]], most: int) -> None:
    registers = [
        Register(f"at{at}", "1-0:1.8.0", "input", at, kind, "high-first", Fraction(1), "Wh")
        for at, kind in values
    ]
    held = {register: [register.address * 10 + n for n in range(register.words)] for register in registers}
    by_address = {register.address: register for register in registers}
    seen = []
    for block in plan(registers, BlockLimits(most, 0, whole_values=True)):
        assert block.count == len(block.registers) <= most
        answer = [
            word for at in range(block.address, block.address + block.count) for word in held[by_address[at]]
        ]
        assert len(answer) == block.length
        for register in block.registers:
            assert list(block.words(register, answer)) == held[register]
            seen.append(register)
    assert sorted(seen, key=lambda one: one.address) == sorted(registers, key=lambda one: one.address)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "gap = 0",
            'gap = 2\naddresses = "values"',
            "gap is 2; it must be 0 where addresses are those of values",
        ),
        ("gap = 0", 'gap = 0\naddresses = "bytes"', "addresses is 'bytes'"),
        ("[block]", "[pace]\npause_s = 1\nanswer_s = 31\n[block]", "answer_s"),
        ("[block]", "[pace]\npause_s = 1\n[block]", "answer_s is missing"),
        ("caveats = []", 'caveats = []\nudp = "yes"', "udp"),
    ],
)
def test_mistakes_in_these_keys_are_named(old: str, new: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_profile(GOOD.replace(old, new, 1), "some-meter.toml")
    assert str(caught.value).startswith("some-meter.toml")
    assert sentence in str(caught.value)


async def test_a_slow_meter_is_asked_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once in each connection: what comes within that second, an inverter does not hear."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with tcp_server(device({37113: [0, 5]})) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        bus.allow(Pace(1, 3))
        bus.allow(Pace(0, 1))  # of another meter on the bus, which is faster
        monkeypatch.setattr("gateway.meters.modbus.bus.asyncio.sleep", sleep)
        for _ in range(2):
            for _ in range(2):
                assert await bus.registers(1, "holding", 37113, 2) == [0, 5]
            await bus.aclose()
        monkeypatch.undo()
    assert [seconds for seconds in slept if seconds] == [1, 1]


async def test_a_slow_meter_is_waited_for() -> None:
    async with raw_server(lambda request: []) as port:
        bus = Bus(Tcp("127.0.0.1", port), timeout_s=0.02)
        bus.allow(Pace(0, 0.05))
        bus.allow(Pace(0, 0.01))
        with pytest.raises(MeterError, match=r"does not answer within 0\.05 s"):
            await bus.registers(1, "holding", 0, 2)
        await bus.aclose()


def test_the_inverter_is_given_its_time() -> None:
    assert SUN2000.pace == Pace(1, 5)
    assert modbus_model("eastron-sdm630").pace == Pace(0, 2)


NONE_32 = [[0x7FFF, 0xFFFF], [0x8000, 0]]


@pytest.mark.parametrize("none", NONE_32)
@pytest.mark.parametrize("at", [37113, 37119, 37121])
async def test_what_the_inverter_does_not_know_is_no_reading(at: int, none: list[int]) -> None:
    words = {37101: [0, 2300], 37113: [0, 100, *[0] * 4, 0, 5, 0, 7]}
    words[37113][at - 37113 : at - 37111] = none
    async with tcp_server(device(words)) as port:
        main = meter(port, "huawei-sun2000")
        with pytest.raises(MeterError, match="says that it has no value"):
            await main.read()
        await main.aclose()


async def test_the_inverters_sign_is_turned_around_and_a_negative_total_is_refused() -> None:
    words = {37101: [0, 2300], 37113: [0, 100, *[0] * 4, 0, 5, 0, 7]}
    async with tcp_server(device(words)) as port:
        main = meter(port, "huawei-sun2000")
        assert (await main.read()).registers == {"power": -100, "export": 50_000, "import": 70_000}
        await main.aclose()
    words[37113][6:8] = [0xFFFF, 0xFFFB]
    async with tcp_server(device(words)) as port:
        main = meter(port, "huawei-sun2000")
        with pytest.raises(MeterError, match="export holds a negative energy"):
            await main.read()
        await main.aclose()


@pytest.mark.parametrize("at", [0x3034, 0x3036])
async def test_a_victron_meter_that_has_no_total_yet_gives_no_reading(at: int) -> None:
    model = modbus_model("victron-vm-3p75ct")
    words = {0x3034: [0, 5, 0, 7], 0x3040: [23_000], 0x3080: [0xFFFF, 0xFF9C]}
    words[0x3034][at - 0x3034 : at - 0x3032] = [0xFFFF, 0xFFFF]
    async with tcp_server(device(words)) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        main = ModbusMeter("main", model, bus, lanes=model.lanes, device_id=1, clock=DrivenClock())
        with pytest.raises(MeterError, match="says that it has no value"):
            await main.read()
        await main.aclose()


async def test_two_tariffs_are_one_import() -> None:
    words = {27: [0, 100, 0, 1, 0, 20, 0, 2, 230], 50: [0xFFFF]}
    async with tcp_server(device(words)) as port:
        main = meter(port, "saia-ale3-tariffs")
        assert (await main.read()).registers == {"import": 1_200_000, "power": -10}
        await main.aclose()


async def test_infinity_in_a_float_is_no_energy() -> None:
    for odd in (float("nan"), float("inf"), float("-inf")):
        registers = sdm630()
        registers[0x34][20:22] = f32(odd)
        async with tcp_server(device(registers)) as port:
            main = meter(port, "eastron-sdm630")
            with pytest.raises(MeterError, match="holds no number"):
                await main.read()
            await main.aclose()
