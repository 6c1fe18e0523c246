"""`gateway simulate dlms` as a person runs it: read by a client of another make, ended by a signal."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from pathlib import Path

import pytest

from gateway.meters.dlms.application.association import HLS5, LLS, NONE
from gateway.simulate.dlms import Framing
from gateway.simulate.dlms_server import Policy
from tests.meters.dlms.gurux import gurux
from tests.meters.dlms.peers import KEYS, PASSWORD

pytestmark = pytest.mark.slow

GATEWAY = str(Path(sys.executable).with_name("gateway"))


@pytest.mark.parametrize(
    ("framing", "authentication", "mechanism", "ciphered"),
    [("wrapper", "none", NONE, False), ("hdlc", "lls", LLS, False), ("hdlc", "hls5", HLS5, True)],
)
async def test_it_is_a_meter_until_it_is_told_to_end(
    framing: Framing, authentication: str, mechanism: int, ciphered: bool, tmp_path: Path
) -> None:
    truth, keys = tmp_path / "truth.jsonl", tmp_path / "keys.toml"
    assert KEYS.authentication is not None
    lines = {"encryption_key": KEYS.encryption.hex(), "authentication_key": KEYS.authentication.hex()}
    lines = (lines if ciphered else {}) | {"password": PASSWORD.decode()}
    keys.write_text("".join(f'{key} = "{value}"\n' for key, value in lines.items()))
    keys.chmod(0o600)
    command = ["simulate", "dlms", "--port", "0", "--start-import-kwh", "64", "--framing", framing]
    command += ["--authentication", authentication, "--keys", str(keys), "--truth", str(truth)]
    process = await asyncio.create_subprocess_exec(
        GATEWAY, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    policy = Policy(mechanism, 0x30 if ciphered else 0, KEYS if ciphered else None, PASSWORD)
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        found = re.fullmatch(
            rf"A DLMS meter on 127\.0\.0\.1:(\d+), {framing}, client 1: (.*)\. Ctrl-C .*\n", line
        )
        assert found is not None, line
        assert found[2] == authentication + (", ciphered" if ciphered else "")
        async with gurux(policy, framing, int(found[1])) as client:
            await client.associate()
            assert len(await client.objects()) == 12
            imported, _, unit = await client.register("1.0.1.8.0.255")
            await client.release()
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, err) == (0, b""), out
    assert unit == 30
    assert 64_000 <= imported < 65_000
    shown = [json.loads(line)["import_mwh"] for line in truth.read_text().splitlines()]
    assert imported * 1000 in shown
