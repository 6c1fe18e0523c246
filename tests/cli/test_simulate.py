"""`gateway simulate modbus` as a person runs it: read by a client of another make, ended by a signal."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import struct
import sys
from pathlib import Path

import pytest
from pymodbus.client import AsyncModbusTcpClient

GATEWAY = str(Path(sys.executable).with_name("gateway"))
IMPORT = 0x48  # and export behind it, float32 kWh: SDM630's input registers


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
async def test_it_is_a_meter_until_it_is_told_to_end(ending: signal.Signals, tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    command = ["simulate", "modbus", "--port", "0", "--start-import-kwh", "64", "--truth", str(truth)]
    process = await asyncio.create_subprocess_exec(
        GATEWAY, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        found = re.fullmatch(rb"eastron-sdm630 on 127\.0\.0\.1:(\d+), device id 1\. Ctrl-C ends it\.\n", line)
        assert found is not None, line
        client = AsyncModbusTcpClient("127.0.0.1", port=int(found[1]))
        assert await client.connect()
        reply = await client.read_input_registers(IMPORT, count=4, device_id=1)
        client.close()
        imported, exported = struct.unpack(">ff", struct.pack(">4H", *reply.registers))
        assert 64 <= imported < 65
        assert exported >= 1000
        process.send_signal(ending)
        out, err = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, err) == (0, b""), out
    shown = [json.loads(line)["import_mwh"] for line in truth.read_text().splitlines()]
    assert shown
    assert round(imported * 1_000_000) in shown
