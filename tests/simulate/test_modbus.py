"""The simulated meter shows what its truth file says, to the mWh, on real connections."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient

from gateway.config import MeterSection
from gateway.config.meter import LANE_NAMES
from gateway.config.wiring import open_meters
from gateway.errors import MeterError, UsageError
from gateway.host.clock import Clock
from gateway.meters.endpoint import Line, SerialSettings, Tcp
from gateway.meters.modbus.bus import Bus
from gateway.meters.modbus.meter import ModbusMeter
from gateway.meters.modbus.model import ModbusModel, Register, WordOrder
from gateway.meters.modbus.sunspec import SunSpecMeter
from gateway.meters.modbus.sunspec_model import SunSpecModel
from gateway.meters.profile import load_profile, profile_ids
from gateway.meters.reader import read_forever
from gateway.meters.reading import Reading
from gateway.simulate import truth as simulation
from gateway.simulate.home import Home
from gateway.simulate.modbus import Display, devices, serve
from gateway.simulate.modbus_registers import SERIAL, sheet_of, sunspec_sheet, words_of
from tests.meters.bench import (
    NOON_S,
    NS,
    FastClock,
    StillClock,
    modbus_model,
    serial_line,
    serial_server,
    tcp_server,
    until,
)

SDM630 = modbus_model("eastron-sdm630")


@asynccontextmanager
async def simulated(
    home: Home,
    clock: Clock,
    model: ModbusModel | SunSpecModel = SDM630,
    port: int = 0,
    truth: Path | None = None,
) -> AsyncIterator[int]:
    """The simulator's port; at the end it is stopped as Ctrl-C would."""
    ports: list[int] = []
    server = asyncio.create_task(serve(home, model, "127.0.0.1", port, clock, truth, ports.append))
    try:
        await until(lambda: bool(ports))
        yield ports[0]
    finally:
        server.cancel()
        with pytest.raises(asyncio.CancelledError):
            await server


def lines(truth: Path) -> list[dict[str, int]]:
    return [json.loads(line) for line in truth.read_text().splitlines()]


def meter(port: int, clock: Clock, model: ModbusModel = SDM630, device_id: int = 1) -> ModbusMeter:
    bus = Bus(Tcp("127.0.0.1", port))
    return ModbusMeter("main", model, bus, lanes=model.lanes, device_id=device_id, clock=clock)


def display_of(kind: str, order: WordOrder, scale: Fraction) -> ModbusModel:
    """The SDM630 with its energies at other addresses, in another type."""

    def other(register: Register) -> Register:
        if register.unit != "kWh":
            return register
        return replace(
            register,
            table="holding",
            address=2 * register.address,
            type=kind,
            word_order=order,
            scale=scale,
            unit="Wh",
        )

    return replace(SDM630, registers=tuple(other(register) for register in SDM630.registers))


ASKED = [i for i in profile_ids() if isinstance(load_profile(i).model, ModbusModel | SunSpecModel)]


@pytest.mark.parametrize("profile_id", ASKED)
async def test_each_profile_reads_the_home(profile_id: str) -> None:
    """Every profile end to end: opened as configured, probed, and read to what its registers can show."""
    clock, model = StillClock(), load_profile(profile_id).model
    assert isinstance(model, ModbusModel | SunSpecModel)
    home = Home(3, NOON_S)
    async with simulated(home, clock, model) as port:
        (main,) = open_meters((section(profile_id, port),), clock).values()
        found = await main.probe()
        assert found.plausible, found.sentence
        before = await main.read()
        clock.pass_s(3_600)
        after = await main.read()
        await main.aclose()
    assert home.second == NOON_S + 3_600
    finest = coarseness(model)
    for reading, one in ((before, Home(3, NOON_S)), (after, home)):
        truth = {"import": one.import_mwh, "export": one.export_mwh, "power": one.power}
        truth = {lane: value for lane, value in truth.items() if lane in model.lanes}
        assert set(reading.registers) == set(truth)
        for lane, value in truth.items():
            assert abs(reading.registers[lane] - value) <= finest[lane], lane
    assert "export" not in model.lanes or after.registers["export"] > before.registers["export"]


def section(profile_id: str, port: int) -> MeterSection:
    return MeterSection.model_validate(
        {
            "name": "main",
            "profile": profile_id,
            "lanes": [lane for lane in LANE_NAMES if lane in (*load_profile(profile_id).lanes, "count")],
            line_of(profile_id): {"host": "127.0.0.1", "port": port},
        }
    )


def line_of(profile_id: str) -> str:
    model = load_profile(profile_id).model
    return "udp" if isinstance(model, ModbusModel) and model.udp else "tcp"


def coarseness(model: ModbusModel | SunSpecModel) -> dict[str, int]:
    """By how much a lane can be off because of what its registers can show, in mWh and W: a step of an
    integer, half a step of a float (of 1100 to 1500 kWh) and of the rounding to whole mWh."""
    if isinstance(model, SunSpecModel):
        return {"import": 1_000, "export": 1_000, "power": 0}  # integers of Wh and of W
    most: dict[str, int] = {}
    for lane in model.lanes:
        off = Fraction(0)
        for register in model.of(lane):
            step = register.scale
            if register.type == "f32":
                step = Fraction(1, 2**14) if register.unit == "kWh" else Fraction(1, 2**4)
                step = Fraction(1, 2**13) if register.unit == "kW" else step
                step = step * register.scale
            elif register.type == "f64":
                step = Fraction(1, 2**33)
            off += abs(step) * register.factor
        most[lane] = math.ceil(off) if lane != "power" else round(off)
    return most


@pytest.mark.parametrize("kind", [*range(201, 205), *range(211, 215)])
@pytest.mark.parametrize("spare", [0, 1, 3])
async def test_each_sunspec_model(kind: int, spare: int) -> None:
    clock, model = StillClock(), load_profile("sunspec-meter").model
    assert isinstance(model, SunSpecModel)
    display = Display(Home(3, NOON_S), sunspec_sheet(model, kind, spare), clock)
    async with tcp_server(devices({240: display})) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        main = SunSpecMeter("main", model, bus, lanes=model.lanes, device_id=240, clock=clock)
        assert (await main.probe()).plausible
        reading = await main.read()
        await main.aclose()
    home, most = Home(3, NOON_S), 1_000 if kind < 211 else 62_500  # a float32 of 1.5 MWh has steps of 1/8 Wh
    assert abs(reading.registers["import"] - home.import_mwh) <= most
    assert abs(reading.registers["export"] - home.export_mwh) <= most
    assert reading.registers["power"] == home.power
    assert reading.serial == SERIAL


@pytest.mark.parametrize(
    ("kind", "order", "scale", "step"),
    [
        ("u32", "high-first", Fraction(1), 1_000),
        ("i32", "low-first", Fraction(1, 10), 100),
        ("u64", "low-first", Fraction(1, 1000), 1),
        ("i64", "high-first", Fraction(1, 100), 10),
        ("f64", "low-first", Fraction(1), 1),
    ],
)
async def test_any_type_of_register(kind: str, order: WordOrder, scale: Fraction, step: int) -> None:
    clock, model = StillClock(), display_of(kind, order, scale)
    home = Home(3, NOON_S, import_mwh=123_456_789, export_mwh=98_765_432)
    async with simulated(home, clock, model) as port:
        main = meter(port, clock, model)
        reading = await main.read()
        await main.aclose()
    assert reading.registers["import"] == 123_456_789 // step * step
    assert reading.registers["export"] == 98_765_432 // step * step


@pytest.mark.slow
async def test_what_is_read_is_the_truth_of_that_second(tmp_path: Path) -> None:
    clock, truth = FastClock(), tmp_path / "truth.jsonl"
    readings: list[Reading] = []
    async with simulated(Home(3, NOON_S - 500), clock, truth=truth) as port:
        reader = asyncio.create_task(read_forever(meter(port, clock), clock, 1, readings.append))
        await until(lambda: len(readings) >= 40)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
    shown = {line["unit"]: line for line in lines(truth)}
    for reading in readings:
        line = shown[reading.wall // NS]
        assert reading.registers == {
            "import": line["import_mwh"],
            "export": line["export_mwh"],
            "power": line["power_w"],
        }


@pytest.mark.slow
async def test_the_truth_has_a_line_for_each_second_whoever_asks_when(tmp_path: Path) -> None:
    clock, truth = StillClock(), tmp_path / "truth.jsonl"
    async with simulated(Home(3, NOON_S - 500), clock, truth=truth) as port:
        main = meter(port, clock)
        for seconds in (0.4, 1, 0, 7.5, 300):
            clock.pass_s(seconds)
            await main.read()
        await main.aclose()
        await until(lambda: truth.exists() and truth.read_text().count("\n") == 309)
    assert [line["unit"] for line in lines(truth)] == list(range(NOON_S, NOON_S + 309))
    assert set(lines(truth)[0]) == {"unit", "import_mwh", "export_mwh", "power_w"}


async def test_a_second_shows_the_same_to_its_end_and_a_step_back_shows_the_last(tmp_path: Path) -> None:
    clock = StillClock()
    display = Display(Home(3, NOON_S - 500), sheet_of(SDM630), clock)
    first = display.registers("input")
    clock.pass_s(0.999)
    assert display.registers("input") == first
    clock.pass_s(0.001)
    second = display.registers("input")
    assert second != first
    clock.pass_s(-1)
    assert display.registers("input") == second


async def test_it_stops_and_starts_again_with_the_same_home(tmp_path: Path) -> None:
    clock, home, truth = FastClock(), Home(3, NOON_S - 500), tmp_path / "truth.jsonl"
    async with simulated(home, clock, truth=truth) as port:
        main = meter(port, clock)
        before = await main.read()
    with pytest.raises(MeterError):
        await main.read()
    async with simulated(home, clock, port=port, truth=truth):
        after = await main.read()
        await main.aclose()
    assert after.registers["export"] >= before.registers["export"]
    shown = lines(truth)
    for one, other in pairwise(shown):
        assert other["unit"] > one["unit"] or other == one  # both may have shown the second between them


async def test_the_same_registers_on_a_serial_line() -> None:
    clock = StillClock()
    display = Display(Home(3, NOON_S), sheet_of(SDM630), clock)
    async with serial_line() as (far, near), serial_server(devices({5: display}), far):
        bus = Bus(Line(near, SerialSettings(9600, "none", 1)))
        main = ModbusMeter("main", SDM630, bus, lanes=["power"], device_id=5, clock=clock)
        assert (await main.read()).registers == {"power": Home(3, NOON_S).power}
        await main.aclose()


async def test_other_devices_other_registers_and_writing(caplog: pytest.LogCaptureFixture) -> None:
    clock = StillClock()
    async with simulated(Home(3, NOON_S), clock) as port:
        with pytest.raises(MeterError, match=r"device 9 at .* does not answer the converter "):
            await meter(port, clock, device_id=9).read()
        async with AsyncModbusTcpClient("127.0.0.1", port=port) as client:
            answers: list[Any] = [
                await client.read_input_registers(0x4B, count=2),
                await client.read_input_registers(0x200, count=2),
                await client.read_holding_registers(0x48, count=2),
                await client.write_register(0x48, 1),
            ]
    assert [answer.exception_code for answer in answers] == [2, 2, 2, 2]
    assert not caplog.records


async def test_nobody_can_write_its_registers() -> None:
    clock, model = StillClock(), display_of("u32", "high-first", Fraction(1))
    async with simulated(Home(3, NOON_S), clock, model) as port:
        async with AsyncModbusTcpClient("127.0.0.1", port=port) as client:
            written: Any = await client.write_register(2 * 0x48, 1)
        assert written.exception_code == 2


async def test_what_a_slow_disk_has_not_written_yet_is_written_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, truth = StillClock(), tmp_path / "truth.jsonl"
    disk, append = threading.Event(), simulation._append
    monkeypatch.setattr(simulation, "_append", lambda *what: (disk.wait(20), append(*what)))
    async with simulated(Home(3, NOON_S), clock, truth=truth) as port:
        main = meter(port, clock)
        for _ in range(3):
            clock.pass_s(1)
            await main.read()
        await main.aclose()
        assert not truth.exists()
        disk.set()
    assert [line["unit"] for line in lines(truth)] == list(range(NOON_S, NOON_S + 4))


async def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}: .*in use"):
            await serve(Home(3, NOON_S), SDM630, "127.0.0.1", port, StillClock())


async def test_a_truth_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write the truth to .*nowhere.*: No such file or directory"):
        await serve(
            Home(3, NOON_S), SDM630, "127.0.0.1", 0, StillClock(), tmp_path / "nowhere" / "truth.jsonl"
        )


async def test_neighbours_are_other_homes_under_the_ids_behind(tmp_path: Path) -> None:
    clock, ports, truth = StillClock(), list[int](), tmp_path / "truth.jsonl"
    homes = [Home(seed, NOON_S) for seed in (3, 4, 5)]
    serving = serve(homes[0], SDM630, "127.0.0.1", 0, clock, truth, ports.append, homes[1:])
    server = asyncio.create_task(serving)
    try:
        await until(lambda: bool(ports))
        bus = Bus(Tcp("127.0.0.1", ports[0]))
        shown = []
        for number in (1, 2, 3):
            main = ModbusMeter("main", SDM630, bus, lanes=["power"], device_id=number, clock=clock)
            shown.append((await main.read()).registers["power"])
        with pytest.raises(MeterError, match=r"device 4 at .* does not answer the converter "):
            await bus.registers(4, "input", 0, 2)
        await bus.aclose()
    finally:
        server.cancel()
        with pytest.raises(asyncio.CancelledError):
            await server
    assert shown == [home.power for home in homes]
    assert len(set(shown)) == 3
    written = [tmp_path / name for name in ("truth.jsonl", "truth-2.jsonl", "truth-3.jsonl")]
    assert [lines(one)[0]["power_w"] for one in written] == shown


def test_a_meter_that_counts_both_ways_shows_nothing_below_0() -> None:
    model = modbus_model("sma-home-manager")
    for home in (Home(3, NOON_S), Home(3, NOON_S - 43_200 + 60)):
        words = words_of(sheet_of(model), home)
        comes_in, goes_out = (words[register] for register in model.of("power"))
        assert (comes_in, goes_out) == (
            ([0, home.power], [0, 0]) if home.power > 0 else ([0, 0], [0, -home.power])
        )
    assert home.power > 0 > Home(3, NOON_S).power
