"""`gateway meters` as a person runs it: against simulated meters on real ports, ended by a signal."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import click
import pytest
from rich.console import Console

from gateway.cli.main import main
from gateway.cli.meters.options import HostPort
from gateway.cli.meters.read import _Screen, _table
from gateway.config import example
from gateway.host.clock import SystemClock
from gateway.meters.capture import replay
from gateway.meters.modbus.model import ModbusModel
from gateway.meters.profile import load_profile, profile_ids
from gateway.meters.reader import ReaderState
from gateway.meters.reading import Reading
from gateway.simulate.home import Home
from gateway.simulate.modbus import Display, devices
from gateway.simulate.modbus_registers import sheet_of
from tests.meters.bench import (
    NOON_S,
    DrivenClock,
    device,
    modbus_model,
    sdm630,
    serial_line,
    serial_server,
    tcp_server,
    until,
)

pytestmark = pytest.mark.slow

GATEWAY = str(Path(sys.executable).with_name("gateway"))
CLOCK = SystemClock("host")
SDM = ("--profile", "eastron-sdm630")


@asynccontextmanager
async def running(
    *args: str, stdout: int = asyncio.subprocess.PIPE
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        GATEWAY, "meters", *args, stdout=stdout, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def run(*args: str) -> tuple[int | None, str, str]:
    """A command's exit code, stdout and stderr."""
    async with running(*args) as process:
        out, err = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode, out.decode(), err.decode()


def at(port: int) -> tuple[str, str]:
    return "--tcp", f"127.0.0.1:{port}"


def test_list_has_every_profile(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["meters", "list", "--json"]) == 0
    listed = json.loads(capfd.readouterr().out)
    assert tuple(one["profile"] for one in listed) == profile_ids()
    assert set(listed[0]) == {"profile", "protocol", "products", "also", "reached_by", "lanes", "status"}
    assert main(["meters", "list"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == len(profile_ids()) + 1
    assert all(line.startswith(f"{profile} ") for line, profile in zip(lines[1:], profile_ids(), strict=True))


def test_show_has_all_of_a_profile(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["meters", "show", "siemens-pac2200", "--json"]) == 0
    shown = json.loads(capfd.readouterr().out)
    profile = load_profile("siemens-pac2200")
    assert (shown["source"], shown["caveats"]) == (list(profile.source), list(profile.caveats))
    assert isinstance(profile.model, ModbusModel)
    assert [one["address"] for one in shown["registers"]] == [one.address for one in profile.model.registers]
    for profile_id in profile_ids():
        assert main(["meters", "show", profile_id]) == 0
        assert capfd.readouterr().out.startswith(f"{profile_id}: ")


async def test_a_reading() -> None:
    async with tcp_server(device(sdm630(), 7)) as port:
        code, out, err = await run("read", *SDM, *at(port), "--id", "7", "--once")
        assert (code, err) == (0, "")
        assert (
            out.split("  ", 1)[1]
            == "eastron-sdm630  power -512 W  import 1234.500000 kWh  export 67.250000 kWh\n"
        )
        code, out, err = await run("read", *SDM, *at(port), "--id", "7", "--once", "--json")
        reading = json.loads(out)
        assert reading.pop("time_ms") > 1_700_000_000_000
        assert reading == {
            "meter": "eastron-sdm630",
            "power_w": -512,
            "import_mwh": 1_234_500_000,
            "export_mwh": 67_250_000,
        }
        code, _, err = await run("read", *SDM, *at(port), "--once")
    assert code == 4
    assert err.startswith("gateway: meter eastron-sdm630: device 1 at ")


async def test_a_line_for_each_reading_until_it_is_told_to_end() -> None:
    async with tcp_server(device(sdm630())) as port, running("read", *SDM, *at(port), "--json") as process:
        assert process.stdout is not None
        for _ in range(2):
            line = await asyncio.wait_for(process.stdout.readline(), 30)
            assert json.loads(line)["power_w"] == -512
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 30)
        assert (process.returncode, err) == (0, b"")


def test_registers_of_another_scale_than_the_power_are_told_once() -> None:
    screen = _Screen({"main": ReaderState()})
    told = []
    for second in range(600):
        registers = {"import": second * 10 * 416_667 // 1000, "power": 1_500}
        told.append(screen.take(Reading("main", registers, second * 10**9, second * 10**9)))
    (sentence,) = [one for one in told if one is not None]
    assert told.index(sentence) < 200
    assert "factor = { energy = 0.1 } in its [[meter]] section" in sentence
    console = Console(width=200)
    with console.capture() as captured:
        console.print(_table(screen, CLOCK, 200))
    assert "factor = { energy = 0.1 }" in " ".join(captured.get().split())


async def test_a_fault_is_said_once_and_reading_goes_on() -> None:
    async with tcp_server(device(sdm630())) as port:
        pass
    async with running("read", *SDM, *at(port)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = await asyncio.wait_for(process.stderr.readline(), 30)
        assert b"Connection refused" in said
        async with tcp_server(device(sdm630()), port):
            assert b"power -512 W" in await asyncio.wait_for(process.stdout.readline(), 60)
            process.send_signal(signal.SIGTERM)
            _, err = await asyncio.wait_for(process.communicate(), 30)
            assert (process.returncode, err) == (0, b"")


async def test_on_a_terminal_it_is_a_table_that_keeps_itself_up_to_date() -> None:
    ours, theirs = pty.openpty()
    seen = bytearray()
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, lambda: seen.extend(os.read(ours, 65_536)))
    try:
        async with (
            tcp_server(device(sdm630())) as port,
            running("read", *SDM, *at(port), stdout=theirs) as process,
        ):
            await until(lambda: b"1234.500000" in seen, 30)
            assert b"import kWh" in seen
            count = seen.count(b"1234.500000")
            await until(lambda: seen.count(b"1234.500000") > count + 1, 30)
            process.send_signal(signal.SIGINT)
            await asyncio.wait_for(process.communicate(), 30)
            assert process.returncode == 0
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)


@asynccontextmanager
async def babbling() -> AsyncIterator[int]:
    """The port of a meter whose P1 telegram breaks on its way."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"/ISK5\\x\r\n\r\n!0000\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("options", [(), ("--once",), ("--json",)])
async def test_what_cannot_be_read_is_told_before_the_meter_counts_as_silent(
    options: tuple[str, ...],
) -> None:
    async with babbling() as port, running("read", "--profile", "dsmr-5", *at(port), *options) as process:
        assert process.stderr is not None
        said = await asyncio.wait_for(process.stderr.readline(), 30)
        assert said.startswith(b"gateway: meter dsmr-5: a telegram is skipped: a P1 telegram")


async def test_the_table_tells_what_cannot_be_read_until_something_can() -> None:
    ours, theirs = pty.openpty()
    seen = bytearray()
    asyncio.get_running_loop().add_reader(ours, lambda: seen.extend(os.read(ours, 65_536)))
    try:
        async with (
            babbling() as port,
            running("read", "--profile", "dsmr-5", *at(port), stdout=theirs) as process,
        ):
            await until(lambda: b"meter dsmr-5: a telegram is skipped" in seen, 30)
            process.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(process.wait(), 30) == 0
    finally:
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)
        os.close(theirs)


async def test_the_meters_of_a_configuration(tmp_path: Path) -> None:
    async with tcp_server([device(sdm630(imported=float(number)), number) for number in (1, 2)]) as port:
        config = tmp_path / "gateway.toml"
        config.write_text(
            f'store = {{ url = "{tmp_path}" }}\n'
            + "".join(
                f'[[meter]]\nname = "{name}"\nprofile = "eastron-sdm630"\nunit_id = {number}\n'
                f'tcp = {{ host = "127.0.0.1", port = {port} }}\n'
                for number, name in enumerate(("main", "flat"), 1)
            )
        )
        code, out, _ = await run("read", "--config", str(config), "--once", "--json")
        both = [json.loads(line) for line in out.splitlines()]
        assert [(one["meter"], one["import_mwh"]) for one in both] == [
            ("main", 1_000_000),
            ("flat", 2_000_000),
        ]
        code, out, _ = await run("read", "flat", "--config", str(config), "--once", "--json")
    assert (code, json.loads(out)["meter"]) == (0, "flat")


async def test_a_port_that_the_gateway_holds() -> None:
    hint = (
        "another program uses it: a running gateway keeps its meters' serial ports open. Stop it "
        "(systemctl stop gateway) and start it again afterwards, or reach the meter over tcp\n"
    )
    async with (
        serial_line() as (far, near),
        serial_server(device(sdm630()), far),
        running("read", *SDM, "--serial", near, "--json") as holder,
    ):
        assert holder.stdout is not None
        await asyncio.wait_for(holder.stdout.readline(), 30)
        for command in (["read", "--once"], ["capture", "--output", "x.json"]):
            code, _, err = await run(*command, *SDM, "--serial", near)
            assert (code, err) == (4, f"gateway: meter eastron-sdm630: cannot open {near}: {hint}")
        code, _, err = await run("scan", "--serial", near, "--ids", "1", "--profile", "eastron-sdm630")
        assert (code, err) == (4, f"gateway: cannot open {near}: {hint}")


async def test_scan_finds_ids_and_profiles() -> None:
    display = Display(Home(3, NOON_S), sheet_of(modbus_model("carlo-gavazzi-em111")), DrivenClock())
    async with tcp_server(devices({2: display})) as port:
        code, out, err = await run("scan", *at(port), "--ids", "1-3", "--json")
        assert code == 0  # it listens shortly, and again once the first id has not answered
        assert err == f"listening at 127.0.0.1:{port} for 3 s\nlistening at 127.0.0.1:{port} for 11 s\n"
        (found,) = json.loads(out)["found"]
        assert (found["at"], found["settings"], found["device_id"]) == (f"127.0.0.1:{port}", None, 2)
        assert "carlo-gavazzi-em111" in found["profiles"]
        code, out, _ = await run("scan", *at(port), "--ids", "2", "--profile", "eastron-sdm630")
        assert (code, out.splitlines()[1].split()) == (
            0,
            ["2", f"127.0.0.1:{port}", "-", "answers,", "but", "no", "profile", "fits"],
        )
        code, out, _ = await run("scan", *at(port), "--ids", "4-6")
    assert (code, out) == (
        4,
        "nothing answers, and nothing is heard: check the wiring, and the meter's own settings\n",
    )


async def test_scan_of_a_serial_port_that_nobody_speaks_on() -> None:
    display = Display(Home(3, NOON_S), sheet_of(modbus_model("eastron-sdm630")), DrivenClock())
    async with serial_line() as (far, near), serial_server(devices({3: display}), far):
        only = ("--profile", "eastron-sdm630", "--profile", "eastron-sdm120")
        code, out, _ = await run("scan", "--serial", near, "--ids", "3", *only, "--json")
    assert code == 0
    (found,) = json.loads(out)["found"]
    assert (found["at"], found["device_id"]) == (near, 3)
    assert found["settings"] in {"9600 Bd, 8N1", "2400 Bd, 8N1"}


async def test_scan_hears_what_speaks_by_itself() -> None:
    async with serial_line() as (far, near):
        speaker = await asyncio.create_subprocess_exec(
            GATEWAY, "simulate", "sml", "--serial", far, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            code, out, _ = await run("scan", "--serial", near, "--profile", "sml-generic")
        finally:
            speaker.terminate()
            await speaker.wait()
    heard = (
        "at 9600 Bd, 8N1 this port receives import, export, power, decoded by these profiles: sml-generic\n"
    )
    assert (code, out) == (0, heard)


@asynccontextmanager
async def simulated(*args: str) -> AsyncIterator[int]:
    """The port of `gateway simulate`."""
    simulator = await asyncio.create_subprocess_exec(
        GATEWAY, "simulate", *args, "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert simulator.stdout is not None
        said = re.search(rb":(\d+)", await asyncio.wait_for(simulator.stdout.readline(), 30))
        assert said is not None
        yield int(said[1])
    finally:
        simulator.terminate()
        await simulator.communicate()


async def test_scan_hears_what_a_converter_passes_on() -> None:
    async with simulated("sml") as port:
        several = ("--profile", "sml-generic", "--profile", "emh-ehzb", "--profile", "dsmr-5")
        code, out, err = await run("scan", *at(port), *several)  # with no device id tried
        assert err == f"listening at 127.0.0.1:{port} for 3 s\n"
        assert (code, out.splitlines()) == (
            0,
            [
                "this port receives import, export, power, decoded by these profiles: sml-generic, emh-ehzb",
                "Where several profiles fit, the name on the meter decides.",
            ],
        )
        code, out, _ = await run("scan", *at(port), "--ids", "1", "--profile", "sml-generic", "--json")
    (heard,) = json.loads(out)["heard"]
    assert (code, heard["settings"], list(heard["profiles"])) == (0, None, ["sml-generic"])


def test_scan_tells_what_it_lacks_to_understand(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "dsmr_parser.parsers", None)
    monkeypatch.setattr("gateway.meters.search.LISTEN_S", 2)
    with subprocess.Popen([GATEWAY, "simulate", "p1", "--port", "0"], stdout=subprocess.PIPE) as simulator:
        try:
            assert simulator.stdout is not None
            said = re.search(rb":(\d+)", simulator.stdout.readline())
            assert said is not None
            only = ["--profile", "dsmr-5", "--profile", "sml-generic"]
            assert main(["meters", "scan", *at(int(said[1])), "--ids", "1", *only]) == 0
        finally:
            simulator.terminate()
    out = capfd.readouterr().out.splitlines()
    assert out[0].endswith(" bytes arrived, which no profile can decode without keys")
    assert out[1:] == [
        "P1 needs dsmr-parser, which the gateway's extra p1 brings: run `provisioning/install.sh --p1`"
    ]


async def test_an_interrupted_scan_shows_what_it_found() -> None:
    asked: list[int] = []

    async def slow(*_: object) -> None:
        asked.append(1)

    async def silent(*_: object) -> None:
        asked.append(2)
        await asyncio.sleep(3600)

    meters = [device(sdm630(), 1, slow), device(sdm630(), 2, silent)]
    async with (
        tcp_server(meters) as port,
        running("scan", *at(port), "--ids", "1,2", *SDM, "--json") as process,
    ):
        await until(lambda: 2 in asked, 30)
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, err) == (130, f"listening at 127.0.0.1:{port} for 3 s\n".encode())
    assert [one["device_id"] for one in json.loads(out)["found"]] == [1]


async def test_a_capture_becomes_a_test(tmp_path: Path) -> None:
    path = tmp_path / "sdm630.json"
    async with tcp_server(device(sdm630())) as port:
        code, out, _ = await run("capture", *SDM, *at(port), "--output", str(path))
    assert code == 0
    assert (
        "power -512 W, import 1234.500000 kWh, export 67.250000 kWh. Does the meter's display show the" in out
    )
    assert path.stat().st_mode & 0o777 == 0o600
    told, shown = await replay(path.read_text(), CLOCK)
    assert told == shown == [{"power": -512, "import": 1_234_500_000, "export": 67_250_000}]


async def test_a_capture_of_what_speaks_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "sml.json"
    async with serial_line() as (far, near):
        speaker = await asyncio.create_subprocess_exec(
            GATEWAY, "simulate", "sml", "--serial", far, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            line = ("--profile", "sml-generic", "--serial", near)
            code, _, err = await run("capture", *line, "--seconds", "4", "--output", str(path))
            assert (code, err) == (0, "")
        finally:
            speaker.terminate()
            await speaker.wait()
        code, _, err = await run(
            "capture", *line, "--seconds", "1", "--output", str(tmp_path / "nothing.json")
        )
    told, shown = await replay(path.read_text(), CLOCK)
    assert told == shown
    assert shown
    assert (code, err) == (
        4,
        "gateway: nothing that can be read arrived within 1 s: give it more --seconds\n",
    )


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("show eastron-sdm63", "there is no meter profile 'eastron-sdm63'; did you mean eastron-sdm630?"),
        ("show finder", "there is no meter profile 'finder'; did you mean finder-7m?"),
        (
            "show Sunspec",
            "there is no meter profile 'Sunspec'; did you mean sunspec-meter?",
        ),
        (
            "show kaifa-ma309-",
            "there is no meter profile 'kaifa-ma309-'; did you mean kaifa-ma309-tcp?",
        ),
        (
            "show sma",
            "there is no meter profile 'sma'; did you mean sma-energy-meter or sma-home-manager?",
        ),
        (
            "show eastron-sdm",
            "there is no meter profile 'eastron-sdm'; did you mean eastron-sdm120 or eastron-sdm230 or "
            "eastron-sdm630 or eastron-sdm72?",
        ),
        ("scan --tcp a --serial /dev/b", "say where the meter is: --tcp HOST[:PORT], or --serial DEVICE"),
        ("scan --tcp a --baud 9600", "--baud and --parity belong to --serial"),
        ("scan --tcp a --parity E", "--baud and --parity belong to --serial"),
        ("scan --tcp a --profile zz", "there is no meter profile 'zz'; `gateway meters list` shows them all"),
        (
            "read --profile eastron-sdm630 --serial /dev/a --rtu",
            "--rtu belongs to --tcp: a serial port always uses such frames",
        ),
        ("read --tcp a", "give the meter's model with --profile: `gateway meters scan` finds it"),
        (
            "read --profile victron-gx --serial /dev/a --once",
            "meter victron-gx: victron-gx is reached over the network: give tcp instead of serial",
        ),
        (
            "read --profile sml-generic --tcp a --once",
            "meter sml-generic: tcp needs the port at which the meter is reached",
        ),
        (
            "read --profile sml-generic --tcp a:1 --id 4 --once",
            "meter sml-generic: unit_id (--id) is for Modbus, which sml-generic does not speak",
        ),
        (
            "read --profile sma-energy-meter --once",
            "sma-energy-meter sends to a multicast group: give --multicast",
        ),
        (
            "read --profile sma-energy-meter --multicast 10.0.0.1 --udp a --once",
            "--multicast says where the meter is: leave the options that name another place out",
        ),
        (
            "read --profile eastron-sdm630 --udp a --tcp b --once",
            "--udp says where the meter is: leave the options that name another place out",
        ),
        (
            "read --profile eastron-sdm630 --tcp a --serial-number 7 --once",
            "--serial-number belongs to --multicast",
        ),
        (
            "read --profile dsmr-5 --multicast --once",
            "meter dsmr-5: multicast (--multicast) is for SMA's Speedwire, which dsmr-5 does not speak",
        ),
        ("read --multicast", "give the meter's model with --profile: `gateway meters scan` finds it"),
        ("read main --baud 9600", "give the meter's model with --profile: `gateway meters scan` finds it"),
        ("read main --id 4", "give the meter's model with --profile: `gateway meters scan` finds it"),
        (
            "read main --profile eastron-sdm630 --tcp a",
            "NAME is a meter of the configuration, and --profile describes another: give only one of them",
        ),
        (
            "read --profile idis-tcp --tcp a --once",
            "idis-tcp needs numbered messages, and no number may come twice under its keys: put the "
            "meter into the configuration, where all its readers share one counter, and read it by its name",
        ),
        (
            "capture --tcp a --output new.json",
            "give the meter's model with --profile: `gateway meters scan` finds it",
        ),
        (
            "capture --profile eastron-sdm630 --tcp a --output /dev/null",
            "/dev/null already exists: name a new file",
        ),
    ],
)
def test_each_mistake_is_a_sentence(command: str, sentence: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["meters", *command.split()]) == 2
    assert capfd.readouterr() == ("", f"gateway: {sentence}\n")


def test_ids_that_are_none(capfd: pytest.CaptureFixture[str]) -> None:
    for typed in ("0-9", "5-3", "248", "a", ""):
        assert main(["meters", "scan", "--tcp", "a", "--ids", typed]) == 2
        assert "it must be ids such as 1-247 or 1,5,10-20" in capfd.readouterr().err


def test_a_meter_that_the_configuration_has_not(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(example())
    assert main(["meters", "read", "cellar", "--config", str(config)]) == 2
    assert capfd.readouterr().err == f"gateway: {config} has no meter 'cellar'; it has main\n"


def test_a_port_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    port = ("--serial", "/dev/absent")
    said = "cannot open /dev/absent: No such file or directory\n"
    assert main(["meters", "read", *SDM, *port, "--once"]) == 4
    assert capfd.readouterr().err == f"gateway: meter eastron-sdm630: {said}"
    assert main(["meters", "scan", "--profile", "eastron-sdm630", *port]) == 4
    assert capfd.readouterr().err == f"gateway: {said}"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("192.168.1.50", ("192.168.1.50", None)),
        ("meter.local:1502", ("meter.local", 1502)),
        ("[fe80::1]:502", ("fe80::1", 502)),
        ("fe80::1", ("fe80::1", None)),
        ("host:0", None),
        ("host:65536", None),
        ("a b", None),
        ("", None),
    ],
)
def test_addresses(typed: str, meant: Any) -> None:
    if meant is None:
        with pytest.raises(click.BadParameter, match="it must be a host such as"):
            HostPort().convert(typed, None, None)
    else:
        assert HostPort().convert(typed, None, None) == meant
