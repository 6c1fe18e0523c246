"""A simulated home with its gateway as a process on a faster clock, its store, its TPM, and the checks that
what a provider opens is what the meter showed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.chain.keys import link_key
from gateway.chain.seal import unseal, words
from gateway.keyring import KeyRing
from gateway.simulate.household import Home
from gateway.simulate.modbus import serve
from gateway.store.bucket import open_bucket
from gateway.trust.root import open_root
from gateway.wire import names
from gateway.wire.objects import Chunk, Descriptor
from tests import servers
from tests.faults.scaled import ScaledClock
from tests.meters.bench import modbus_model
from tests.tpm import swtpm

ROOT = Path(__file__).parents[2]
SCALE = 20
GRANTED = "import,export,count"

Units = tuple[int, dict[str, NDArray[np.int64]]]
Truth = dict[int, dict[str, int]]


async def until(what: str, condition: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"in {seconds} s it did not happen that {what}"
        await asyncio.sleep(0.05)


class Household:
    """The simulated home, its gateway as a process, and the commands a person would give."""

    def __init__(
        self, folder: Path, store: servers.S3Server, tpm: swtpm, clock: ScaledClock, port: int
    ) -> None:
        self.folder = folder
        self.server = store
        self.tcti = tcti = tpm.tcti
        self.clock = clock
        self.stream, self.signer, self.begins = "", "", 0
        self.settled_ms = 0  # all windows that end before this are in the store
        self.process: asyncio.subprocess.Process | None = None
        credentials = folder / "s3.credentials"
        credentials.touch(0o600)
        credentials.write_text(f"access_key_id={store.access_key}\nsecret_access_key={store.secret_key}\n")
        self.config = folder / "gateway.toml"
        self.config.write_text(
            f"""
            [gateway]
            state = "state"
            socket = "control.sock"
            commit_seconds = 3
            [trust]
            tcti = "{tcti}"
            [stream]
            link_units = 60
            chunk_units = 30
            [store]
            url = "s3://meters"
            endpoint = "{store.endpoint}"
            region = "us-east-1"
            credentials = "./s3.credentials"
            [[meter]]
            name = "main"
            profile = "eastron-sdm630"
            tcp = {{ host = "127.0.0.1", port = {port} }}
            """
        )
        self.environment = os.environ | {
            "AWS_ACCESS_KEY_ID": store.access_key,
            "AWS_SECRET_ACCESS_KEY": store.secret_key,
            "TZ": "UTC",
        }
        self.store = ["--store", "s3://meters", "--endpoint", store.endpoint, "--region", "us-east-1"]

    async def start(self) -> None:
        clock = self.clock
        with (self.folder / "gateway.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.faults.scaled", str(self.config),
                str(clock.base_ns), str(clock.real_ns), str(clock.scale),
                cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip

    async def end(self, how: signal.Signals) -> None:
        assert self.process is not None
        assert self.process.returncode is None, self.log()
        self.process.send_signal(how)
        await self.process.wait()

    def log(self) -> str:
        return (self.folder / "gateway.log").read_text()

    async def command(self, *args: str, code: int = 0) -> str:
        """What `gateway ARGS` prints; it must end with `code`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())", *args,
            cwd=self.folder, env=self.environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == code, (
            f"gateway {' '.join(args)}: {err.decode()}{out.decode()}\n{self.log()}"
        )
        return out.decode()

    async def status(self) -> dict[str, Any] | None:
        """The running gateway's status, None while none answers."""
        try:
            return dict(json.loads(await self.command("status", "--config", str(self.config), "--json")))
        except AssertionError:
            return None

    async def begin(self) -> None:
        """Start the gateway, wait until its stream has begun, and grant minutes from its start."""
        await self.command("provider", "new", "utility", "--name", "Utility")
        await self.start()

        async def begun() -> bool:
            status = await self.status()
            return status is not None and status["meters"][0]["stream"] is not None

        await until("the stream begins", begun)
        status = await self.status()
        assert status is not None
        self.stream, self.signer = status["meters"][0]["stream"], status["signer"]
        self.begins = status["meters"][0]["start_ms"] // 1000
        from_begin = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(self.begins))
        await self.command(
            "grant", "new", "--config", str(self.config), "--to", "utility/card.cose",
            "--granularity", "1min", "--lanes", GRANTED, "--purpose", "test", "--from", from_begin,
        )  # fmt: skip

    async def live(self, seconds: float) -> None:
        """Let so many simulated seconds pass."""
        await self.clock.sleep(seconds)

    async def settle(self) -> None:
        """Two minutes more, until all of it is sealed and has reached the store."""
        wanted = self.settled_ms = self.clock.wall() // 1_000_000 + 120_000

        async def sent() -> bool:
            status = await self.status()
            if status is None:
                return False
            chunked = status["meters"][0].get("chunked_until_ms") or 0
            return chunked >= wanted and status["store"]["waiting"] == 0

        await until("all is sealed and sent", sent, 120)

    async def check(self, truth_file: Path) -> Units:
        """All that the provider opens is what the meter showed, and the whole chain verifies; then stop."""
        place = (*self.store, "--stream", self.stream, "--signer", self.signer, "--json")
        answer = json.loads(await self.command("provider", "read", "--key", "utility", *place))
        verified = json.loads(await self.command("provider", "verify", *place))
        await self.end(signal.SIGTERM)
        assert self.process is not None
        assert self.process.returncode == 0, self.log()
        units = await opened(self)
        lines = (await asyncio.to_thread(truth_file.read_text)).splitlines()
        truth = {line["unit"]: line for line in map(json.loads, lines)}
        assert len(answer["rows"]) >= (self.settled_ms // 1000 - self.begins) // 60
        assert (answer["missing"], verified["problems"]) == ([], [])
        check_units(units, truth)
        check_windows(answer["rows"], units, truth)
        return units


async def opened(home: Household) -> Units:
    """The stream's first unit, and each lane's units, opened as only the root can."""
    stream = bytes.fromhex(home.stream)
    async with AsyncExitStack() as stack:
        root = await open_root("tpm", home.folder / "state" / "trust", home.tcti)
        stack.push_async_callback(root.aclose)
        bucket = open_bucket(home.server.location())
        stack.push_async_callback(bucket.aclose)
        ring = await KeyRing.open(root, stream)
        descriptor = Descriptor.read(
            await bucket.get(names.descriptor(stream)), root.public_key, "descriptor"
        )
        parts = []
        async for key in bucket.list(names.chunks(stream)):
            chunk = Chunk.read(await bucket.get(key), root.public_key, key)
            await ring.load([chunk.incarnation])
            n, p = divmod(chunk.first, 60)
            rows = [
                unseal(words(link_key(ring(chunk.incarnation), n, lane.name), 60), p, chunk.c(row))
                for row, lane in enumerate(descriptor.lanes)
            ]
            parts.append(np.stack(rows).view(np.int64))
        whole = np.concatenate(parts, axis=1)
        return descriptor.start, {lane.name: whole[row] for row, lane in enumerate(descriptor.lanes)}


@asynccontextmanager
async def household(folder: Path) -> AsyncIterator[tuple[Household, Path]]:
    """A home with everything it needs, and the file of what its meter showed each second."""
    # Ahead of the real time, so that the provider's card is valid; shortly before a full minute.
    begins = int(time.time()) // 60 * 60 + 112
    clock = ScaledClock(begins * 10**9, time.time_ns(), SCALE)
    async with AsyncExitStack() as stack:
        tpm = stack.enter_context(swtpm(folder / "tpm"))
        store = stack.enter_context(servers.seaweedfs(folder / "store"))
        truth_file = folder / "truth.jsonl"
        port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        model = modbus_model("eastron-sdm630")
        home = Home(7, start_s=begins)
        simulator = asyncio.create_task(
            serve(home, model, "127.0.0.1", 0, clock, truth_file, port.set_result)
        )
        stack.callback(simulator.cancel)
        here = Household(folder, store, tpm, clock, await port)
        try:
            yield here, truth_file
        finally:
            if here.process is not None and here.process.returncode is None:
                await here.end(signal.SIGKILL)


def check_units(units: Units, shown: Truth) -> None:
    """Where the meter was read, the sum of all units is what its register shows; between, floor by time."""
    first, lanes = units
    was_read = np.flatnonzero(lanes["count"]).tolist()
    assert set(lanes["count"].tolist()) == {0, 1}, "no kill cost a reading: the test tests nothing"
    assert len(was_read) > len(lanes["count"]) // 2, "the gateway hardly ever read the meter"
    for lane in ("import", "export"):
        register = np.cumsum(lanes[lane])
        register += shown[first + was_read[0]][f"{lane}_mwh"] - register[was_read[0]]
        for x, y in pairwise(was_read):
            a, b = shown[first + x][f"{lane}_mwh"], shown[first + y][f"{lane}_mwh"]
            expected = [a + (b - a) * k // (y - x) for k in range(1, y - x + 1)]
            assert register[x + 1 : y + 1].tolist() == expected, f"{lane} between {first + x} and {first + y}"
    for unit in was_read:
        assert lanes["power"][unit] == shown[first + unit]["power_w"]


def check_windows(windows: list[dict[str, Any]], units: Units, shown: Truth) -> None:
    """The provider's windows are the sums of the units, minute after minute from the stream's start, and,
    where the meter was read at both their ends, the difference of what its registers showed."""
    first, lanes = units
    for number, window in enumerate(windows):
        a = first + 60 * number
        assert datetime.fromisoformat(window["from"]).timestamp() == a
        for lane in ("import", "export", "count"):
            assert window["sums"][lane] == lanes[lane][a - first : a + 60 - first].sum(), window
        if number and lanes["count"][a - 1 - first] and lanes["count"][a + 59 - first]:
            for lane in ("import", "export"):
                assert window["sums"][lane] == shown[a + 59][f"{lane}_mwh"] - shown[a - 1][f"{lane}_mwh"]
