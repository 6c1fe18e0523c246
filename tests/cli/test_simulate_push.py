"""`gateway simulate push` as a person runs it: heard over a socket, ended by a signal."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from pathlib import Path

import pytest

from gateway.meters.dlms.push.model import DlmsPushModel
from gateway.meters.profile import load_profile
from gateway.meters.reading import Telegram
from gateway.meters.secrets import read_secrets

pytestmark = pytest.mark.slow

GATEWAY = str(Path(sys.executable).with_name("gateway"))


async def test_it_pushes_until_it_is_told_to_end(tmp_path: Path) -> None:
    truth, keys = tmp_path / "truth.jsonl", tmp_path / "keys.toml"
    keys.write_text(f'encryption_key = "{bytes(range(16)).hex()}"\n')
    keys.chmod(0o600)
    command = ["simulate", "push", "--profile", "kaifa-ma309", "--port", "0", "--keys", str(keys)]
    command += ["--truth", str(truth)]
    process = await asyncio.create_subprocess_exec(
        GATEWAY,
        *command,
        "--truth",
        str(truth),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        found = re.fullmatch(rb"kaifa-ma309 on 127\.0\.0\.1:(\d+), encrypted\. Ctrl-C ends it\.\n", line)
        assert found is not None, line
        model = load_profile("kaifa-ma309").model
        assert isinstance(model, DlmsPushModel)
        decoder = model.decoder(read_secrets(keys))
        reader, writer = await asyncio.open_connection("127.0.0.1", int(found[1]))
        heard: list[Telegram] = []
        async with asyncio.timeout(30):
            while not heard:
                items = decoder.feed(await reader.read(4096))
                heard += [item for item in items if isinstance(item, Telegram)]
        writer.close()
        await writer.wait_closed()
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert err == b""
    (telegram,) = heard
    assert telegram.meter_time is not None
    lines = {line["unit"]: line for line in map(json.loads, truth.read_text().splitlines())}
    shown = lines[telegram.meter_time // 1_000_000_000]
    assert telegram.registers["import"] == shown["import_mwh"]
    assert telegram.registers["power"] == shown["power_w"]


async def test_a_file_without_a_key_makes_no_meter_encrypt(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.touch(0o600)
    options = ["--profile", "kamstrup-han", "--port", "0", "--keys", str(keys)]
    process = await asyncio.create_subprocess_exec(
        GATEWAY, "simulate", "push", *options, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        assert re.fullmatch(rb"kamstrup-han on 127\.0\.0\.1:\d+\. Ctrl-C ends it\.\n", line), line
    finally:
        process.terminate()
        await process.communicate()
