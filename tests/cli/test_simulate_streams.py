"""`gateway simulate sml` and `gateway simulate p1` as a person runs them, for readers of another make."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from dsmr_parser import telegram_specifications
from dsmr_parser.parsers import TelegramParser
from smllib.reader import SmlStreamReader

from tests.meters.speedwire.group import free_group

pytestmark = pytest.mark.slow

GATEWAY = str(Path(sys.executable).with_name("gateway"))


@asynccontextmanager
async def simulated(expected: str, *options: str) -> AsyncIterator[re.Match[str]]:
    """The command, running; at its end, by Ctrl-C, it must be well."""
    process = await asyncio.create_subprocess_exec(
        GATEWAY, "simulate", *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        found = re.fullmatch(rf"{expected}\. Ctrl-C ends it\.\n", line)
        assert found is not None, line
        yield found
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 30)
        assert (process.returncode, err) == (0, b""), out
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def up_to(port: str, end: bytes, more: int) -> bytes:
    """What the meter says until `end`, and `more` bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    try:
        said = await asyncio.wait_for(reader.readuntil(end), 30)
        return said + await asyncio.wait_for(reader.readexactly(more), 30)
    finally:
        writer.close()
        await writer.wait_closed()


def shown(truth: Path, key: str) -> list[int]:
    return [json.loads(line)[key] for line in truth.read_text().splitlines()]


async def test_sml(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    options = ["sml", "--port", "0", "--start-import-kwh", "64", "--truth", str(truth)]
    async with simulated(r"sml-generic on 127\.0\.0\.1:(\d+)", *options) as found:
        said = await up_to(found[1], b"\x1b\x1b\x1b\x1b\x1a", 3)
    reader = SmlStreamReader()
    reader.add(said)
    frame = reader.get_frame()
    assert frame is not None
    values: dict[str, Any] = {entry.obis.obis_code: entry.get_value() for entry in frame.get_obis()}
    assert 64_000 <= values["1-0:1.8.0*255"] < 65_000
    assert round(values["1-0:1.8.0*255"] * 1000) in shown(truth, "import_mwh")
    assert values["1-0:16.7.0*255"] in shown(truth, "power_w")


async def test_p1(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    options = ["p1", "--port", "0", "--start-import-kwh", "64", "--truth", str(truth)]
    async with simulated(r"dsmr-5 on 127\.0\.0\.1:(\d+), every 1 s", *options) as found:
        said = await up_to(found[1], b"!", 6)
    telegram = TelegramParser(telegram_specifications.V5).parse(said.decode("ascii"))
    kwh = telegram.ELECTRICITY_USED_TARIFF_1.value + telegram.ELECTRICITY_USED_TARIFF_2.value
    assert 64 <= kwh < 65
    assert round(kwh * 10**6) in shown(truth, "import_mwh")


async def test_p1_encrypted(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text('encryption_key = "000102030405060708090a0b0c0d0e0f"\n')
    keys.chmod(0o600)
    options = ["p1", "--port", "0", "--profile", "luxembourg-smarty", "--keys", str(keys)]
    where = r"luxembourg-smarty on 127\.0\.0\.1:(\d+), every 10 s, encrypted"
    async with simulated(where, *options) as found:
        assert int(found[1]) > 0


async def test_on_a_serial_port() -> None:
    ours, theirs = os.openpty()
    try:
        tty.setraw(ours)
        path = os.ttyname(theirs)
        async with simulated(rf"sml-generic on {path}, 9600 Bd, 8N1", "sml", "--serial", path):
            said = await asyncio.to_thread(os.read, ours, 8)
            second = await asyncio.create_subprocess_exec(
                GATEWAY, "simulate", "sml", "--serial", path, stderr=asyncio.subprocess.PIPE
            )
            _, err = await asyncio.wait_for(second.communicate(), 30)
        assert (second.returncode, err.decode()) == (
            2,
            f"gateway: cannot open {path}: another program uses it\n",
        )
        assert said == b"\x1b\x1b\x1b\x1b\x01\x01\x01\x01"
    finally:
        os.close(ours)
        os.close(theirs)


async def test_speedwire_is_read_by_multicast(tmp_path: Path) -> None:
    truth, port = tmp_path / "truth.jsonl", str(free_group().port)
    options = ["speedwire", "--port", port, "--serial-number", "7", "--truth", str(truth)]
    where = rf"sma-energy-meter 7 to 239\.12\.255\.254:{port} \(multicast\) on 127\.0\.0\.1"
    command = ["meters", "read", "--profile", "sma-energy-meter", "--multicast", f"127.0.0.1:{port}"]
    async with simulated(where, *options):
        for more in ([], ["--serial-number", "7"]):
            reader = await asyncio.create_subprocess_exec(
                GATEWAY, *command, *more, "--once", "--json", stdout=asyncio.subprocess.PIPE
            )
            out, _ = await asyncio.wait_for(reader.communicate(), 30)
            assert reader.returncode == 0
            assert json.loads(out)["import_mwh"] in shown(truth, "import_mwh")
