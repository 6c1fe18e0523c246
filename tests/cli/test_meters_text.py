"""`gateway meters` on simulated meters that speak text, TIC and encrypted M-Bus, as a person runs it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.meters.bench import serial_line
from tests.meters.iec62056.public import LOGAREX, Q3D, with_even_parity

pytestmark = pytest.mark.slow

GATEWAY = str(Path(sys.executable).with_name("gateway"))


@asynccontextmanager
async def simulated(expected: str, *options: str) -> AsyncIterator[str]:
    """The port of `gateway simulate`, running; at its end, by Ctrl-C, it must be well."""
    process = await asyncio.create_subprocess_exec(
        GATEWAY, "simulate", *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        found = re.fullmatch(rf"{expected}\. Ctrl-C ends it\.\n", line)
        assert found is not None, line
        yield found[1]
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert (process.returncode, err) == (0, b""), out
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def meters(*args: str) -> tuple[int | None, str, str]:
    """The exit code, stdout and stderr of `gateway meters`."""
    process = await asyncio.create_subprocess_exec(
        GATEWAY, "meters", *args, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode, out.decode(), err.decode()


def holds(reading: str, truth: Path) -> None:
    """A second of the truth file has each register of the reading."""
    found = {key: value for key, value in json.loads(reading).items() if re.search("_mwh$|_w$", key)}
    assert found
    assert any(found.items() <= json.loads(line).items() for line in truth.read_text().splitlines()), reading


@pytest.mark.parametrize(
    ("kind", "profile", "when"),
    [
        ("text", "logarex-lk13be", ", every 2 s"),
        ("text", "iskra-mt174", ", on request"),
        ("tic", "linky-historique", ""),
        ("tic", "linky-standard", ""),
    ],
)
async def test_a_reading(kind: str, profile: str, when: str, tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    expected = rf"{profile} on 127\.0\.0\.1:(\d+){when}"
    options = [kind, "--profile", profile, "--port", "0", "--truth", str(truth)]
    async with simulated(expected, *options) as port:
        code, out, err = await meters(
            "read", "--profile", profile, "--tcp", f"127.0.0.1:{port}", "--once", "--json"
        )
    assert (code, err) == (0, "")
    holds(out, truth)


async def test_a_reading_of_a_meter_that_encrypts(tmp_path: Path) -> None:
    truth, keys = tmp_path / "truth.jsonl", tmp_path / "keys.toml"
    keys.touch(0o600)
    keys.write_text('encryption_key = "000102030405060708090a0b0c0d0e0f"\n')
    options = ["mbus", "--port", "0", "--keys", str(keys), "--truth", str(truth)]
    async with simulated(r"siemens-td3511 on 127\.0\.0\.1:(\d+), encrypted", *options) as port:
        place = ("read", "--profile", "siemens-td3511", "--tcp", f"127.0.0.1:{port}", "--once", "--json")
        code, out, err = await meters(*place, "--keys", str(keys))
        without = await meters(*place)
    assert (code, err) == (0, "")
    holds(out, truth)
    assert without[0] == 2
    assert "this meter encrypts: encryption_key is needed" in without[2]


@pytest.mark.parametrize(
    ("kind", "profile", "fitting", "lanes"),
    [
        ("text", "logarex-lk13be", {"logarex-lk13be", "iec62056-pushed"}, ["export", "import", "power"]),
        ("tic", "linky-historique", {"linky-historique"}, ["import"]),
        ("tic", "linky-standard", {"linky-standard"}, ["export", "import"]),
    ],
)
async def test_scan_hears_it(kind: str, profile: str, fitting: set[str], lanes: list[str]) -> None:
    expected = rf"{profile} on 127\.0\.0\.1:(\d+).*"
    async with simulated(expected, kind, "--profile", profile, "--port", "0") as port:
        code, out, _ = await meters("scan", "--tcp", f"127.0.0.1:{port}", "--ids", "1", "--json")
    (heard,) = json.loads(out)["heard"]
    assert code == 0
    assert {name for name, found in heard["profiles"].items() if found == lanes} == fitting


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (Q3D, 0, '"import_mwh": 1013036809, "export_mwh": 376012851, "power_w": 3'),
        (with_even_parity(Q3D), 4, "characters of seven bits with even parity (7E1), but its line is set to"),
        (LOGAREX, 4, "another meter sends: it identifies itself as 'LOG5LK13BE803049'"),
    ],
)
async def test_a_serial_line(text: bytes, code: int, said: str, tmp_path: Path) -> None:
    """The line is a pty, which has characters of eight bits only."""
    config = tmp_path / "gateway.toml"
    async with serial_line() as (far, near):
        config.write_text(
            f'store = {{ url = "{tmp_path}" }}\n'
            '[[meter]]\nname = "main"\nprofile = "easymeter-q3d"\n'
            f'serial = {{ device = "{near}", databits = 8, parity = "N" }}\n'
        )
        port = os.open(far, os.O_RDWR | os.O_NOCTTY)
        reading = asyncio.create_task(meters("read", "main", "--config", str(config), "--once", "--json"))
        try:
            while not reading.done():
                os.write(port, text)
                await asyncio.wait([reading], timeout=0.2)
        finally:
            os.close(port)
        found, out, err = await reading
    assert (found, said in out + err) == (code, True), out + err
