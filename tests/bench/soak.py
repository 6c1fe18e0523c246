"""Many simulated meters on one real gateway, in real time: `python -m tests.bench.soak`.

The meters live in this process, the gateway in its own, with its root in software and a folder, or a real S3
server (SeaweedFS), as its store. Chunks are of one minute instead of fifteen, so that streams begin within a
minute: the gateway has more to do than it has by default. It fails when a figure of the gateway's process
grows after the first third of the run, or when readings or units are missing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from gateway.chain.keys import incarnation_message, link_key
from gateway.chain.seal import unseal, words
from gateway.host.clock import SystemClock
from gateway.ledger import records as ledger_records
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import Stream
from gateway.simulate.home import Home
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.trust.opening import open_root
from gateway.trust.root import Root
from tests.bench.meters import KINDS, SECRETS, Kind
from tests.bench.trend import Trend, trend
from tests.support import servers
from tests.support.stored import read_stored

LEAST_READ = 0.99  # of the readings that a meter gives: one asked too late counts for no second
MOST_BEHIND_S = 12  # a meter that speaks every 5 s, another interval, and the end of the run
# What each figure may rise over two thirds of a run beside noise: MiB of anonymous memory (SQLite fills its
# page cache to 2 MiB in the first half hour), threads, files.
ALLOWED = {"memory": 4.0, "threads": 1.0, "files": 2.0}
_TICKS = os.sysconf("SC_CLK_TCK")
_MIB = 1 << 20


class SoakFailed(Exception):
    """The gateway did not run to the end; the text has the end of its log."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`link_units` is the seconds of a link, and of a chunk."""

    meters: int
    seconds: float
    sample_s: float = 2.0
    link_units: int = 60
    s3: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """The gateway's process at `seconds` from the first sample: CPU seconds so far, MiB of anonymous memory,
    threads, open files."""

    seconds: float
    cpu: float
    memory: float
    threads: int
    files: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """A meter's stream: its units, in how many of them it was read, and in how many it should have been.
    `behind` is the seconds from the last one to the end of the run."""

    meter: str
    units: int
    read: int
    expected: int
    behind: float

    def complaint(self) -> str | None:
        if self.behind > MOST_BEHIND_S:
            return f"{self.meter}: its units end {self.behind:.0f} s before the run"
        if self.read < LEAST_READ * self.expected:
            return f"{self.meter}: {self.read} readings of {self.expected}"
        return None


@dataclass(frozen=True, slots=True)
class Report:
    """What a run showed."""

    plan: Plan
    machine: str
    samples: list[Sample]
    sealed: list[Sealed]

    @property
    def cpu_shares(self) -> list[float]:
        """Of one core, in percent: in all, and in each third."""
        return [
            100 * (part[-1].cpu - part[0].cpu) / (part[-1].seconds - part[0].seconds)
            for part in (self.samples, *self.thirds)
        ]

    @property
    def thirds(self) -> list[list[Sample]]:
        """The samples of each third; each begins with the last one of the third before."""
        count = len(self.samples) - 1
        borders = [count * third // 3 for third in range(4)]
        return [self.samples[a : b + 1] for a, b in pairwise(borders)]

    @property
    def trends(self) -> dict[str, Trend]:
        """Each figure's, from the first third's end on."""
        settled = [*self.thirds[1], *self.thirds[2][1:]]
        seconds = [sample.seconds for sample in settled]
        return {name: trend(seconds, [getattr(sample, name) for sample in settled]) for name in ALLOWED}

    @property
    def complaints(self) -> list[str]:
        """Why the run failed; empty where it did not."""
        growing = [name for name, found in self.trends.items() if found.grows(ALLOWED[name])]
        missing = [complaint for one in self.sealed if (complaint := one.complaint())]
        return [*(f"{name} grows" for name in growing), *missing]

    def lines(self) -> list[str]:
        """The report as a person reads it."""
        of_thirds = {
            name: [fmean(getattr(one, name) for one in part) for part in self.thirds] for name in ALLOWED
        }
        units = {"memory": "MiB", "threads": "", "files": ""}
        wanted = [one.expected for one in self.sealed]
        read = [one.read for one in self.sealed]
        worst = min(self.sealed, key=lambda one: one.read / max(one.expected, 1))
        return [
            f"{self.plan.meters} meters, {self.samples[-1].seconds / 60:.1f} minutes, {self.machine}",
            "{:18} {:>8} {:>8} {:>8} {:>8}   per hour".format("", "all", "third 1", "third 2", "third 3"),
            "{:18} {:8.1f} {:8.1f} {:8.1f} {:8.1f}".format("CPU, % of a core", *self.cpu_shares),
            *(
                "{:18} {:8.1f} {:8.1f} {:8.1f} {:8.1f}   {:+.2f} +- {:.2f}".format(
                    f"{name}{', ' if units[name] else ''}{units[name]}",
                    _mean(self.samples, name),
                    *of_thirds[name],
                    found.slope,
                    found.error,
                )
                for name, found in self.trends.items()
            ),
            f"readings sealed: {sum(read)} of {sum(wanted)};"
            f" fewest {worst.read} of {worst.expected} ({worst.meter})",
            *(f"FAILED: {complaint}" for complaint in self.complaints),
            *([] if self.complaints else ["nothing grows, no unit is missing"]),
        ]


def _mean(samples: Sequence[Sample], name: str) -> float:
    return fmean(getattr(sample, name) for sample in samples)


async def soak(plan: Plan, folder: Path, say: Callable[[str], None] = lambda line: None) -> Report:
    """Run it in `folder`."""
    async with AsyncExitStack() as stack:
        location, section = await _store(plan, folder, stack)
        meters = await stack.enter_async_context(_meters(plan.meters))
        process = await stack.enter_async_context(_gateway(plan, folder, section, meters))
        samples = await _watch(plan, folder, process, len(meters), say)
        process.send_signal(signal.SIGTERM)
        ended = time.time()
        code = await process.wait()
        if code:
            raise SoakFailed(f"the gateway ended with {code}:\n{(folder / 'log').read_text()[-4000:]}")
        sealed = await _sealed(folder, location, meters, ended)
    return Report(plan, machine(), samples, sealed)


def machine() -> str:
    """What the figures were taken on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{os.cpu_count()} cores {platform.machine()} {model}, Python {platform.python_version()}"


async def _store(plan: Plan, folder: Path, stack: AsyncExitStack) -> tuple[Location, str]:
    """Where the store is, and its part of the configuration."""
    if not plan.s3:
        (folder / "store").mkdir()
        return Location.parse(str(folder / "store")), f'[store]\nurl = "{folder / "store"}"\n'
    server = await asyncio.to_thread(stack.enter_context, servers.seaweedfs(folder / "s3"))
    credentials = folder / "s3.credentials"
    credentials.touch(0o600)
    credentials.write_text(f"access_key_id={server.access_key}\nsecret_access_key={server.secret_key}\n")
    section = f'[store]\nurl = "s3://{servers.BUCKET}"\nendpoint = "{server.endpoint}"\n'
    return server.location(), section + f'region = "us-east-1"\ncredentials = "{credentials}"\n'


Meters = dict[str, tuple[Kind, int]]  # by name, with its port


@asynccontextmanager
async def _meters(count: int) -> AsyncIterator[Meters]:
    """So many meters that listen."""
    clock = SystemClock("host")
    now = time.time_ns() // 1_000_000_000
    serving: list[asyncio.Task[Any]] = []
    meters: Meters = {}
    try:
        for number in range(count):
            kind = KINDS[number % len(KINDS)]
            port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            home = await asyncio.to_thread(Home, number, now)
            serving.append(asyncio.create_task(kind.serve(home, clock, port.set_result)))
            meters[f"{number + 1:02d}-{kind.name}"] = (kind, await port)
        yield meters
    finally:
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


@asynccontextmanager
async def _gateway(
    plan: Plan, folder: Path, store: str, meters: Meters
) -> AsyncIterator[asyncio.subprocess.Process]:
    keys = folder / "meter.keys"
    keys.touch(0o600)
    keys.write_text("".join(f'{name} = "{key.hex()}"\n' for name, key in SECRETS.items()))
    parts = [
        f'[gateway]\nstate = "{folder / "state"}"\nsocket = "{folder / "control.sock"}"\n',
        '[clock]\nsource = "host"\n[trust]\nroot = "software"\n',
        f"[stream]\nlink_units = {plan.link_units}\nchunk_units = {plan.link_units}\n",
        store,
        *(kind.section(name, port, str(keys)) for name, (kind, port) in meters.items()),
    ]
    config = folder / "gateway.toml"
    config.write_text("".join(parts))
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("gateway")),
            "run",
            "--config",
            str(config),
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _watch(
    plan: Plan,
    folder: Path,
    process: asyncio.subprocess.Process,
    meters: int,
    say: Callable[[str], None],
) -> list[Sample]:
    """Samples of `plan.seconds`, from when all meters' streams have begun and a link is over."""
    log = folder / "log"
    deadline = time.monotonic() + 3 * plan.link_units + 60
    while log.read_text().count(" begins") < meters:
        if process.returncode is not None or time.monotonic() > deadline:
            raise SoakFailed(f"not all streams begin:\n{log.read_text()[-4000:]}")
        await asyncio.sleep(0.2)
    say(f"all {meters} streams have begun")
    samples: list[Sample] = []
    begin = time.monotonic()
    while process.returncode is None:
        samples.append(sample(process.pid, time.monotonic() - begin))
        last = samples[-1]
        if len(samples) > 1:
            before = samples[-2]
            share = 100 * (last.cpu - before.cpu) / (last.seconds - before.seconds)
            say(
                f"{last.seconds:5.0f} s  CPU {share:5.1f} %  memory {last.memory:6.1f} MiB"
                f"  threads {last.threads}  files {last.files}"
            )
        if last.seconds >= plan.seconds and len(samples) > 6:
            return samples
        await asyncio.sleep(max(begin + len(samples) * plan.sample_s - time.monotonic(), 0))
    raise SoakFailed(f"the gateway ended by itself:\n{log.read_text()[-4000:]}")


def sample(pid: int, seconds: float) -> Sample:
    """What the kernel says of a process (proc(5))."""
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    times = (process / "stat").read_text().rpartition(")")[2].split()  # from the third field on
    return Sample(
        seconds,
        cpu=(int(times[11]) + int(times[12])) / _TICKS,
        memory=int(status["RssAnon"].split()[0]) * 1024 / _MIB,
        threads=int(status["Threads"]),
        files=len(list((process / "fd").iterdir())),
    )


async def _sealed(folder: Path, location: Location, meters: Meters, ended: float) -> list[Sealed]:
    """Each meter's stream as it lies in the store, and what follows in the ledger."""
    found = []
    async with AsyncExitStack() as stack:
        root = await open_root("software", folder / "state" / "trust", "")
        stack.push_async_callback(root.aclose)
        ledger = await Ledger.open(folder / "state" / "ledger.sqlite")
        stack.push_async_callback(ledger.close)
        bucket = open_bucket(location)
        stack.push_async_callback(bucket.aclose)
        for queued in await ledger.outbox(1 << 20):  # what was not sent yet when it was stopped
            await bucket.put(queued.object.key, queued.object.data, replace=True)
        for stream in await ledger.streams():
            kind, _ = meters[stream.meter]
            stored = await read_stored(bucket, root, stream.id, head=False)
            end, read = stored.end, int(stored.d["count"].sum())
            for part in await ledger.open_units(stream):
                if part.end > end:  # else the store has it, as a chunk
                    assert part.first == end, f"{stream.meter}: the ledger does not follow the store"
                    end = part.end
                    read += await _count(root, stream, part)
            expected = (end - stored.start) // kind.every_s
            found.append(Sealed(stream.meter, end - stored.start, read, expected, ended - end))
    return found


async def _count(root: Root, stream: Stream, part: ledger_records.Sealed) -> int:
    """In how many of a part's units the meter was read."""
    k_inc = await root.hmac(incarnation_message(stream.id, part.incarnation))
    n, p = stream.layout.link(part.first), stream.layout.position(part.first)
    words_of = words(link_key(k_inc, n, "count"), stream.layout.link_units)
    return int(unseal(words_of, p, part.c[stream.lanes.index("count")]).sum())


def main(arguments: list[str]) -> int:
    """0 where nothing grows and no unit is missing."""
    parser = argparse.ArgumentParser("python -m tests.bench.soak", description="A soak of the meters.")
    parser.add_argument("--meters", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--s3", action="store_true", help="a real S3 server (SeaweedFS), not a folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the samples and the result there")
    options = parser.parse_args(arguments)
    plan = Plan(options.meters, 60 * options.minutes, s3=options.s3)
    try:
        with tempfile.TemporaryDirectory() as folder:
            report = asyncio.run(
                soak(plan, Path(folder), lambda line: print(line, file=sys.stderr, flush=True))
            )
    except SoakFailed as failed:
        print(failed, file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(as_json(report), indent=1) + "\n")
    print("\n".join(report.lines()))
    return 1 if report.complaints else 0


def as_json(report: Report) -> dict[str, Any]:
    """All of a report."""
    trends = {name: asdict(found) for name, found in report.trends.items()}
    told = {"cpu_shares": report.cpu_shares, "trends": trends, "complaints": report.complaints}
    return asdict(report) | told


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
