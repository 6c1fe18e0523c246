"""Meters of the configuration, read on real Modbus: those on one line share its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.config import Config, MeterSection
from gateway.config.wiring import Buses, open_controls, open_meters
from gateway.errors import MeterError, UsageError
from gateway.meters.switch import CoilSupply, DlmsSupply, RegisterLimit, RegisterSupply
from tests.meters.bench import device, sdm630, serial_line, serial_server, tcp_server
from tests.support.clock import FakeClock


def section(name: str, **line: object) -> MeterSection:
    values = {"name": name, "profile": "eastron-sdm630", "lanes": ["import", "export", "power", "count"]}
    return MeterSection.model_validate(values | line)


async def test_meters_at_one_address_take_turns_on_one_connection() -> None:
    """A converter to RS-485 mixes up what two connections ask at the same time."""
    devices = [device(sdm630(imported=float(number)), number) for number in (1, 2)]
    async with tcp_server(devices) as port:
        tcp = {"host": "127.0.0.1", "port": port}
        sections = tuple(section(f"m{number}", tcp=tcp, unit_id=number) for number in (1, 2))
        meters = open_meters(sections, FakeClock())
        assert list(meters) == ["m1", "m2"]
        try:
            before = connections()
            readings = await asyncio.gather(*(meters[name].read() for name in ("m1", "m2") * 5))
            assert connections() == before + 1
            shown = {(reading.meter, reading.registers["import"]) for reading in readings}
            assert shown == {("m1", 1_000_000), ("m2", 2_000_000)}
            assert all(set(reading.registers) == {"import", "export", "power"} for reading in readings)
        finally:
            for meter in meters.values():
                await meter.aclose()


def connections() -> int:
    """How many TCP connections this process has as a client of port-bound loopback servers."""
    inodes = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            inodes.add(str(link.readlink()))
        except OSError:  # the folder's own handle
            continue
    lines = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    established = [line for line in lines if line[3] == "01" and f"socket:[{line[9]}]" in inodes]
    return len(established) // 2  # both ends are ours


async def test_meters_at_two_addresses_have_a_connection_each() -> None:
    async with tcp_server(device(sdm630(imported=1))) as one, tcp_server(device(sdm630(imported=2))) as two:
        sections = tuple(
            section(name, tcp={"host": "127.0.0.1", "port": port}) for name, port in (("a", one), ("b", two))
        )
        meters = open_meters(sections, FakeClock())
        try:
            before = connections()
            readings = await asyncio.gather(meters["a"].read(), meters["b"].read())
            assert connections() == before + 2
            assert [reading.registers["import"] for reading in readings] == [1_000_000, 2_000_000]
        finally:
            for meter in meters.values():
                await meter.aclose()


async def test_nothing_is_connected_before_it_is_read() -> None:
    meters = open_meters((section("gone", tcp={"host": "127.0.0.1", "port": 1}),), FakeClock())
    with pytest.raises(MeterError, match="meter gone: "):
        await meters["gone"].read()
    await meters["gone"].aclose()


async def test_a_serial_line_has_the_profiles_settings_or_the_configurations() -> None:
    async with serial_line() as (ours, theirs), serial_server([device(sdm630(imported=3), 7)], theirs):
        for line in (
            {"device": ours},
            {"device": ours, "baudrate": 9600, "parity": "N", "stopbits": 1},
        ):
            meters = open_meters((section("main", serial=line, unit_id=7),), FakeClock())
            try:
                assert (await meters["main"].read()).registers["import"] == 3_000_000
            finally:
                await meters["main"].aclose()


async def test_only_the_lanes_of_the_configuration_are_read() -> None:
    async with tcp_server(device(sdm630())) as port:
        wanted = section("main", tcp={"host": "127.0.0.1", "port": port}, lanes=["export", "count"])
        meters = open_meters((wanted,), FakeClock())
        try:
            assert set((await meters["main"].read()).registers) == {"export"}
        finally:
            await meters["main"].aclose()


DLMS = {"profile": "dlms-generic", "tcp": {"host": "127.0.0.1", "port": 4059}}
P1 = {"profile": "belgium-p1", "serial": {"device": "/dev/ttyUSB0"}}
LIMIT = {"register": {"address": 40, "off": 0}}
TOPIC = {"mqtt": {"topic": "a", "on": "1", "off": "0"}}


@pytest.mark.parametrize(
    ("line", "supply", "limit"),
    [
        ({}, None, None),
        ({"switch": {"coil": 5}}, CoilSupply, None),
        (
            {"switch": {"register": {"address": 4, "on": 1, "off": 0}}, "limit": LIMIT},
            RegisterSupply,
            RegisterLimit,
        ),
        ({"switch": TOPIC, "factor": 40}, None, None),
        (DLMS, DlmsSupply, None),
        (DLMS | {"factor": 2, "switch": {"obis": "0-0:96.3.11"}}, DlmsSupply, None),
        (DLMS | {"switch": TOPIC}, None, None),
        (P1 | {"switch": TOPIC}, None, None),
    ],
)
def test_what_a_meter_can_switch(
    line: dict[str, object], supply: type[object] | None, limit: type[object] | None
) -> None:
    line = line if "serial" in line else {"tcp": {"host": "127.0.0.1"}} | line
    sections = (section("main", **line),)
    buses: Buses = {}
    meters = open_meters(sections, FakeClock(), buses=buses)
    found = open_controls(sections, meters, buses)["main"]
    assert (type(found.supply), type(found.limit)) == (supply or type(None), limit or type(None))
    if isinstance(found.supply, CoilSupply):
        assert [found.supply.bus] == list(buses.values())  # the meter's own
    if isinstance(found.supply, DlmsSupply):
        assert found.supply.code[4] == (11 if "switch" in line else 10)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            DLMS | {"switch": {"coil": 5}},
            "switch: Modbus coils and registers are for meters on Modbus, which dlms",
        ),
        (
            DLMS | {"limit": LIMIT},
            "limit: Modbus coils and registers are for meters on Modbus, which dlms-generic",
        ),
        (
            {"switch": {"obis": "0-0:96.3.10"}},
            "switch.obis is for polled DLMS meters, which eastron-sdm630 is not",
        ),
    ],
)
def test_a_switch_that_the_meter_cannot_have(line: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_meters((section("main", **({"tcp": {"host": "127.0.0.1"}} | line)),), FakeClock())
    assert sentence in str(caught.value)


def test_the_example_has_a_meter_that_opens(tmp_path: Path) -> None:
    from gateway.config import example

    path = tmp_path / "gateway.toml"
    path.write_text(example())
    assert list(open_meters(Config.load(path).meter, FakeClock())) == ["main"]


def test_one_line_has_one_setting() -> None:
    line = {"device": "/dev/ttyUSB0"}
    same = (
        section("a", serial=line),
        section("b", serial={"device": "/dev/ttyUSB0", "baudrate": 9600}, unit_id=2),
    )
    assert set(open_meters(same, FakeClock())) == {"a", "b"}
    others = section("a", serial=line), section("b", serial=line, profile="eastron-sdm120")
    with pytest.raises(UsageError) as caught:
        open_meters(others, FakeClock())
    assert str(caught.value) == (
        "meter b: its serial port, /dev/ttyUSB0, is at 9600 Bd, 8N1 for another meter and cannot be at "
        "2400 Bd, 8N1 too: set all meters of a line to the same, and give those settings in serial"
    )
    elsewhere = (
        section("a", serial=line),
        section("b", serial={"device": "/dev/ttyUSB1"}, profile="eastron-sdm120"),
    )
    assert set(open_meters(elsewhere, FakeClock())) == {"a", "b"}


@pytest.mark.parametrize(
    ("profile", "line", "sentence"),
    [
        ("victron-vm-3p75ct", "tcp", "victron-vm-3p75ct answers over UDP only: give udp"),
        ("dsmr-5", "udp", "udp (--udp) is for Modbus, which dsmr-5 does not speak"),
    ],
)
def test_a_line_that_the_meter_does_not_answer_on(profile: str, line: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_meters(
            (section("main", profile=profile, **{line: {"host": "127.0.0.1", "port": 502}}),), FakeClock()
        )
    assert sentence in str(caught.value)


async def test_a_slow_meter_gets_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    words = {37101: [0, 2300], 37113: [0, 100, *[0] * 4, 0, 5, 0, 7]}
    async with tcp_server(device(words)) as port:
        inverter = section("main", profile="huawei-sun2000", tcp={"host": "127.0.0.1", "port": port})
        (meter,) = open_meters((inverter,), FakeClock()).values()
        monkeypatch.setattr("gateway.meters.modbus.bus.asyncio.sleep", sleep)
        try:
            assert (await meter.read()).registers["power"] == -100
        finally:
            monkeypatch.undo()
            await meter.aclose()
    assert max(slept) == 1


SMA = "sma-energy-meter"


@pytest.mark.parametrize(
    ("profile", "line", "sentence"),
    [
        (
            SMA,
            {"tcp": {"host": "127.0.0.1"}},
            "sends to a multicast group: give multicast (--multicast) instead",
        ),
        (
            SMA,
            {"serial": {"device": "/dev/x"}},
            "sends to a multicast group: give multicast (--multicast) instead",
        ),
        (
            SMA,
            {"udp": {"host": "127.0.0.1"}},
            "udp (--udp) is for Modbus, which sma-energy-meter does not speak",
        ),
        (SMA, {"multicast": {}, "keys": "sma.keys"}, "and sma-energy-meter does not"),
        (SMA, {"multicast": {}, "unit_id": 2}, "unit_id (--id) is for Modbus"),
        (
            "dsmr-5",
            {"multicast": {}},
            "multicast (--multicast) is for SMA's Speedwire, which dsmr-5 does not speak",
        ),
        ("eastron-sdm630", {"multicast": {}}, "is for SMA's Speedwire, which eastron-sdm630 does not speak"),
    ],
)
def test_multicast_is_for_meters_that_send_to_a_group(
    profile: str, line: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UsageError) as caught:
        open_meters((section("main", profile=profile, **line),), FakeClock())
    assert str(caught.value).startswith("meter main: ")
    assert sentence in str(caught.value)


def test_meters_of_one_group_are_told_apart_by_their_serial_numbers() -> None:
    def pair(one: Mapping[str, object], other: Mapping[str, object]) -> tuple[MeterSection, ...]:
        both = (("a", one), ("b", other))
        return tuple(section(name, profile=SMA, multicast=line) for name, line in both)

    assert set(open_meters(pair({"serial_number": 1}, {"serial_number": 2}), FakeClock())) == {"a", "b"}
    assert set(open_meters(pair({}, {"interface": "10.0.0.1"}), FakeClock())) == {"a", "b"}
    for one, other in (({}, {}), ({"serial_number": 1}, {}), ({}, {"serial_number": 1})):
        with pytest.raises(UsageError) as caught:
            open_meters(pair(one, other), FakeClock())
        assert str(caught.value) == (
            "meter b: meter a is heard in the same multicast group: give each its own serial_number"
        )
    with pytest.raises(
        UsageError, match=r"^meter b: at 239\.12\.255\.254:9522 \(multicast\) there is meter a"
    ):
        open_meters(pair({"serial_number": 1}, {"serial_number": 1}), FakeClock())
