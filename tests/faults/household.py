"""A simulated home with its gateway as a process on a faster clock, its store, its TPM, and the checks that
what a provider opens is what the meter showed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.chain.keys import link_key
from gateway.chain.seal import unseal, words
from gateway.simulate.home import Home
from gateway.simulate.modbus import serve
from gateway.store.opening import open_bucket
from gateway.trust.keyring import KeyRing
from gateway.trust.opening import open_root
from gateway.wire import names
from gateway.wire.stream import Chunk, Descriptor
from tests.faults.scaled import ScaledClock
from tests.meters.bench import modbus_model
from tests.support import servers
from tests.support.tpm import swtpm

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


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulated meter: its [[meter]] as TOML, where PORT stands for its port, and what serves a home as
    this meter (home, port 0, clock, truth file, told the port). `every_s` is how often it is read."""

    name: str
    section: str
    serve: Callable[[Home, ScaledClock, Path, Callable[[int], None]], Coroutine[Any, Any, None]]
    every_s: int = 1
    late_s: int = 0


def _modbus(
    home: Home, clock: ScaledClock, truth: Path, listening: Callable[[int], None]
) -> Coroutine[Any, Any, None]:
    return serve(home, modbus_model("eastron-sdm630"), "127.0.0.1", 0, clock, truth, listening)


MODBUS = Simulated("main", 'profile = "eastron-sdm630"\ntcp = { host = "127.0.0.1", port = PORT }', _modbus)


@dataclass(slots=True)
class Running:
    """A meter while the home lives; its stream begins at second `begins`."""

    simulated: Simulated
    port: int
    truth: Path
    stream: str = ""
    begins: int = 0


class Household:
    """The simulated home, its gateway as a process, and the commands a person would give."""

    def __init__(
        self,
        folder: Path,
        store: servers.S3Server,
        tpm: swtpm,
        clock: ScaledClock,
        meters: Sequence[Running],
    ) -> None:
        self.folder = folder
        self.meters = meters
        self.server = store
        self.tpm = tpm
        self.tcti = tcti = tpm.tcti
        self.clock = clock
        self.signer = ""
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
            """
            + "".join(
                f'[[meter]]\nname = "{one.simulated.name}"\n'
                + one.simulated.section.replace("PORT", str(one.port))
                + "\n"
                for one in meters
            )
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

    async def command(self, *args: str, codes: Collection[int] = (0,)) -> str:
        """What `gateway ARGS` prints; it must end with one of `codes`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import sys; from gateway.cli.main import main; sys.exit(main())", *args,
            cwd=self.folder, env=self.environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode in codes, (
            f"gateway {' '.join(args)}: {err.decode()}{out.decode()}\n{self.log()}"
        )
        return out.decode()

    async def status(self) -> dict[str, Any] | None:
        """The running gateway's status, None while none answers."""
        try:
            said = await self.command("status", "--config", str(self.config), "--json", codes=(0, 1))
            return dict(json.loads(said))
        except AssertionError:
            return None

    async def begin(self) -> None:
        """Start the gateway, wait until its streams have begun, and grant minutes from their start."""
        await self.command("provider", "new", "utility", "--name", "Utility")
        card = json.loads(await self.command("card", "show", "utility/card.cose", "--json"))
        await self.start()

        async def begun() -> bool:
            status = await self.status()
            return status is not None and all(meter["stream"] is not None for meter in status["meters"])

        await until("the streams begin", begun)
        status = await self.status()
        assert status is not None
        self.signer = status["signer"]
        for meter, said in zip(self.meters, status["meters"], strict=True):
            meter.stream, meter.begins = said["stream"], said["start_ms"] // 1000
            from_begin = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(meter.begins))
            await self.command(
                "grant", "new", "--config", str(self.config), "--to", "utility/card.cose",
                "--meter", meter.simulated.name, "--fingerprint", card["fingerprint"],
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
            chunked = [meter.get("chunked_until_ms") or 0 for meter in status["meters"]]
            return min(chunked) >= wanted and status["store"]["waiting"] == 0

        await until("all is sealed and sent", sent, 120)

    async def check(self, often: float = 0.5) -> list[Units]:
        """All that the provider opens is what each meter showed, the whole chains verify, no unit is in
        doubt, and more than that share of what could be read was; then stop."""
        status = await self.status()
        assert status is not None
        assert status["doubts"] == [], self.log()
        answers = [await self._provider("read", meter, "--key", "utility") for meter in self.meters]
        verified = [await self._provider("verify", meter) for meter in self.meters]
        await self.end(signal.SIGTERM)
        assert self.process is not None
        assert self.process.returncode == 0, self.log()
        all_units = []
        for meter, answer, verdict in zip(self.meters, answers, verified, strict=True):
            units = await opened(self, meter.stream)
            lines = (await asyncio.to_thread(meter.truth.read_text)).splitlines()
            truth = {line["unit"]: line for line in map(json.loads, lines)}
            assert len(answer["rows"]) >= (self.settled_ms // 1000 - meter.begins) // 60
            assert (answer["missing"], verdict["problems"]) == ([], [])
            most = len(units[1]["count"]) // meter.simulated.every_s
            assert units[1]["count"].sum() > most * often, "the gateway hardly ever read the meter"
            check_units(units, truth, meter.simulated)
            check_windows(answer["rows"], units)
            all_units.append(units)
        return all_units

    async def _provider(self, what: str, meter: Running, *args: str) -> dict[str, Any]:
        place = (*self.store, "--stream", meter.stream, "--signer", self.signer, "--json")
        return dict(json.loads(await self.command("provider", what, *args, *place)))


async def opened(home: Household, stream_hex: str) -> Units:
    """The stream's first unit, and each lane's units, opened as only the root can."""
    stream = bytes.fromhex(stream_hex)
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
async def household(folder: Path, simulated: Sequence[Simulated] = (MODBUS,)) -> AsyncIterator[Household]:
    """A home with everything it needs, each meter of it with a home of its own."""
    # Ahead of the real time, so that the provider's card is valid; shortly before a full minute.
    begins = int(time.time()) // 60 * 60 + 112
    clock = ScaledClock(begins * 10**9, time.time_ns(), SCALE)
    async with AsyncExitStack() as stack:
        tpm = stack.enter_context(swtpm(folder / "tpm"))
        store = stack.enter_context(servers.seaweedfs(folder / "store"))
        meters = []
        for number, one in enumerate(simulated):
            port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            truth = folder / f"{one.name}.jsonl"
            home = Home(7 + number, start_s=begins)
            simulator = asyncio.create_task(one.serve(home, clock, truth, port.set_result))
            stack.push_async_callback(_end, simulator)
            meters.append(Running(one, await port, truth))
        here = Household(folder, store, tpm, clock, meters)
        try:
            yield here
        finally:
            if here.process is not None and here.process.returncode is None:
                await here.end(signal.SIGKILL)


async def _end(simulator: asyncio.Task[None]) -> None:
    simulator.cancel()
    await asyncio.gather(simulator, return_exceptions=True)


def check_units(units: Units, shown: Truth, meter: Simulated) -> None:
    """Where the meter was read, the sum of all units is what its register showed, and the power is (at that
    second, or up to `late_s` before: a telegram takes its time; or until the next reading: several questions
    do); between, floor by time. A lane that the meter does not show, or that `units` lack, is left out."""
    first, lanes = units
    was_read = np.flatnonzero(lanes["count"]).tolist()
    measured = next(iter(shown.values()))

    def near(unit: int) -> list[int]:
        seconds = range(first + unit - meter.late_s, first + unit + meter.every_s)
        return [second for second in seconds if second in shown]

    for lane in (lane for lane in ("import", "export") if lane in lanes and f"{lane}_mwh" in measured):
        register = np.cumsum(lanes[lane])
        register -= register[was_read[0]]

        def misfit(zero: int, lane: str = lane, register: NDArray[np.int64] = register) -> int | None:
            """The first unit that is not what was shown, if the register stood at `zero` at the first."""
            for unit in was_read:
                showed = {shown[second][f"{lane}_mwh"] - zero for second in near(unit)}
                if register[unit] not in showed:
                    return unit
            return None

        misfits = [misfit(shown[second][f"{lane}_mwh"]) for second in near(was_read[0])]
        assert None in misfits, f"{meter.name}: {lane} of units {misfits} from {first} is not what it showed"
        for x, y in pairwise(was_read):
            a, b = int(register[x]), int(register[y])
            expected = [a + (b - a) * k // (y - x) for k in range(1, y - x + 1)]
            assert register[x + 1 : y + 1].tolist() == expected, f"{meter.name} between {x} and {y}"
    for unit in was_read if "power" in lanes and "power_w" in measured else ():
        showed = {shown[second]["power_w"] for second in near(unit)}
        assert lanes["power"][unit] in showed, f"{meter.name}: power of unit {unit} is not what it showed"


def check_windows(windows: list[dict[str, Any]], units: Units) -> None:
    """The provider's windows are the sums of the units, minute after minute from the stream's start."""
    first, lanes = units
    for number, window in enumerate(windows):
        a = first + 60 * number
        assert datetime.fromisoformat(window["from"]).timestamp() == a
        for lane, name in (("import", "import_mwh"), ("export", "export_mwh"), ("count", "count")):
            assert window["sums"][name] == lanes[lane][a - first : a + 60 - first].sum(), window
