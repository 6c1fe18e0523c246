#!/bin/sh
# pymodbus 3.16.1, RTU frames over TCP: after one answer that is later than its timeout, each request gets the answer
# to the request before it, without an error and for as long as the connection lasts. The retry of the late request is
# answered too, RTU frames do not say what they answer, and the surplus answer stays in front of all others. On an
# energy meter import and export change places. (Modbus TCP has transaction ids, and is not affected.)
#
# Exits with 0 while that is so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pymodbus==3.16.1
cat > "$folder/late.py" <<'PYTHON'
import asyncio
import struct

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.framer import FramerRTU, FramerType


async def main() -> None:
    first = True

    async def meter(reader, writer):
        """Register n holds n. The first answer takes 0.7 s, all others are immediate."""
        nonlocal first
        while True:
            unit, function, address, count = struct.unpack(">BBHH", (await reader.readexactly(8))[:6])
            values = struct.pack(f">{count}H", *range(address, address + count))
            frame = bytes([unit, function, 2 * count]) + values
            if first:
                first = False
                await asyncio.sleep(0.7)
            writer.write(frame + FramerRTU.compute_CRC(frame).to_bytes(2, "big"))
            await asyncio.sleep(0.05)

    server = await asyncio.start_server(meter, "127.0.0.1", 0)
    client = AsyncModbusTcpClient(
        "127.0.0.1", port=server.sockets[0].getsockname()[1], framer=FramerType.RTU, timeout=0.5, retries=3
    )
    await client.connect()
    found = []
    for address in (72, 74, 72, 74):
        answer = await client.read_input_registers(address, count=1, device_id=1)
        assert not answer.isError()
        found.append(answer.registers[0])
    client.close()
    print("asked for 72, 74, 72, 74; answered:", *found)
    assert found == [72, 72, 74, 72]


asyncio.run(main())
PYTHON
"$folder/venv/bin/python" "$folder/late.py" 2>/dev/null
