"""A simulated meter has what the real one has, and other programs read it: here pymodbus' own client."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient, AsyncModbusUdpClient

from gateway.meters.modbus.model import ModbusModel, Register
from gateway.meters.modbus.value import lane_value
from gateway.meters.profile import load_profile, profile_ids
from gateway.simulate.home import Home
from gateway.simulate.modbus import Display, devices
from gateway.simulate.modbus_registers import sheet_of, words_of
from gateway.simulate.modbus_tables import RESTS
from tests.meters.bench import NOON_S, DrivenClock, modbus_model, tcp_server, udp_server

NIGHT_S = NOON_S - 43_200 + 60


def test_they_are_of_profiles_that_exist() -> None:
    assert set(RESTS) <= set(profile_ids())


@pytest.mark.parametrize("profile_id", RESTS)
def test_no_two_registers_overlap(profile_id: str) -> None:
    sheet = sheet_of(modbus_model(profile_id), profile_id)
    assert sheet.rest
    registers = sorted((*sheet.registers, *sheet.rest), key=lambda one: (one.table, one.address))
    for one, other in pairwise(registers):
        assert one.table != other.table or one.end <= other.address, (one, other)


@pytest.mark.parametrize("profile_id", RESTS)
def test_what_the_gateway_reads_stays_as_it_was(profile_id: str) -> None:
    model, home = modbus_model(profile_id), Home(3, NOON_S)
    with_rest = words_of(sheet_of(model, profile_id), home)
    alone = words_of(sheet_of(model), home)
    assert {register: with_rest[register] for register in alone} == alone


def asked(client: Any, register: Register) -> Any:
    ask = client.read_input_registers if register.table == "input" else client.read_holding_registers
    return ask(register.address, count=register.words)


def number(register: Register, words: list[int]) -> float:
    ordered = words if register.word_order == "high-first" else words[::-1]
    (raw,) = struct.unpack(register.format, struct.pack(f">{len(words)}H", *ordered))
    return float(raw * register.scale)


@pytest.mark.parametrize("second", [NOON_S, NIGHT_S], ids=["sun", "night"])
@pytest.mark.parametrize("profile_id", RESTS)
async def test_another_program_reads_each_of_them_and_they_add_up(profile_id: str, second: int) -> None:
    model, home = modbus_model(profile_id), Home(3, second)
    sheet = sheet_of(model, profile_id)
    served = devices({1: Display(home, sheet, DrivenClock(second))})
    seen: dict[str, list[float]] = {}
    steps: dict[str, float] = {}
    async with (
        udp_server(served) if model.udp else tcp_server(served) as port,
        (AsyncModbusUdpClient if model.udp else AsyncModbusTcpClient)("127.0.0.1", port=port) as client,
    ):
        for register, (quantity, phases) in sheet.rest.items():
            answer = await asked(client, register)
            assert not answer.isError(), (register.name, hex(register.address))
            key = f"{quantity} of {phases}"
            seen.setdefault(key, []).append(number(register, answer.registers))
            steps[key] = abs(float(register.scale))
    truth = {
        "power": home.power,
        "current": abs(home.power) / 230,
        "import": home.import_mwh / 1000,
        "export": home.export_mwh / 1000,
        "sum": (home.import_mwh + home.export_mwh) / 1000,
    }
    for quantity, total in truth.items():
        for phases in (1, 3):
            key = f"{quantity} of {phases}"
            for one in seen.get(key, ()):
                assert one == pytest.approx(total / phases, abs=1.01 * steps[key], rel=1e-6), key
    for phases in (1, 3):
        assert all(abs(one - 230) <= 1 for one in seen.get(f"voltage of {phases}", ()))
        assert all(abs(one - 50) <= 0.1 for one in seen.get(f"frequency of {phases}", ()))


async def test_an_sdm630_answers_where_mbmd_asks_it() -> None:
    """It probes the second phase's import, 0x15C, and gave up at exception 2."""
    home = Home(3, NOON_S)
    display = Display(home, sheet_of(modbus_model("eastron-sdm630"), "eastron-sdm630"), DrivenClock())
    async with (
        tcp_server(devices({1: display})) as port,
        AsyncModbusTcpClient("127.0.0.1", port=port) as client,
    ):
        answers: list[Any] = [await client.read_input_registers(at, count=2) for at in range(0, 0x17E, 2)]
        beyond = await client.read_input_registers(0x17E, count=2)
    assert not any(answer.isError() for answer in answers)
    assert beyond.exception_code == 2
    (imported,) = struct.unpack(">f", struct.pack(">2H", *answers[0x15C // 2].registers))
    assert imported == pytest.approx(home.import_mwh / 3_000_000)


def test_the_lanes_of_a_meter_are_not_among_the_rest() -> None:
    """Or its truth would be of both."""
    for profile_id in RESTS:
        model = load_profile(profile_id).model
        assert isinstance(model, ModbusModel)
        sheet = sheet_of(model, profile_id)
        words, home = words_of(sheet, Home(3, NOON_S)), Home(3, NOON_S)
        parts = {register: words[register] for register in model.of("import")}
        assert abs(lane_value(parts) - home.import_mwh) <= 100_000
