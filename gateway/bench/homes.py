"""The provider's side: many homes' yesterdays at quarter hours, verified and opened.

From memory, beside the bare signatures and decapsulations of the same objects; and from a local S3 server by
two processes, beside bare GETs of the same objects by two processes, and beside DuckDB on the same days in
plaintext Parquet. The sides take turns.
"""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import aclosing, contextmanager
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from gateway.bench.figure import Figure, children_s
from gateway.bench.fleet import LAYOUT, QUARTER, Fleet, FleetHome
from gateway.bench.memory import MemoryBucket
from gateway.bench.provider import Rival
from gateway.bench.server import server
from gateway.chain.grant import open_k0
from gateway.host.collector import collect_seldom
from gateway.provider.identity import open_identity
from gateway.provider.many import Answer, Ask, HomeReader, Readers, Terms
from gateway.provider.query import Query
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.store.s3_many import open_for_many
from gateway.wire import cose, names
from gateway.wire.grant import GrantObject
from gateway.wire.kinds import class_at
from gateway.wire.stream import Descriptor

_PROCESSES = 2
_IN_MEMORY = 1000  # homes, 45 MB
_REPEAT = 5
_READ = 2000  # homes, in all repetitions through S3, of which there are from 1 to _REPEAT
_PUTS = 8
_GETS = 16  # at a time, with which the rival is the quickest
_PARQUET = "plain"  # the folder of the days in plaintext
_MOST_AGE_MS = 86_400_000
_FIRST_AND_AGAIN = ("first", "again")

T = TypeVar("T")


def figures(homes: int) -> Iterator[Figure]:
    """All figures; a thousand homes take a quarter of a minute."""
    with tempfile.TemporaryDirectory() as name:
        fleet = Fleet.new(Path(name) / "provider", time.time_ns() // 1_000_000)
        yield from asyncio.run(_from_memory(fleet, min(homes, _IN_MEMORY)))
        yield from asyncio.run(_from_s3(fleet, homes))


async def _from_memory(fleet: Fleet, count: int) -> list[Figure]:
    """Homes a second of processor time, read for the first time and once more."""
    made = [fleet.home(number) for number in range(count)]
    homes = [home for home, _ in made]
    objects = {key: data for _, some in made for key, data in some.items()}
    bucket = MemoryBucket()
    bucket.add(objects.items())
    asks = [Ask(home.stream, home.signer, (home.grant,)) for home in homes]
    times: dict[str, list[float]] = {}
    collect_seldom()  # as the processes of `Readers` do

    def since(begin: float, name: str) -> None:
        times.setdefault(name, []).append((time.process_time() - begin) / count)

    for _ in range(_REPEAT):
        reader = HomeReader(bucket, open_identity(fleet.folder))
        for name in _FIRST_AND_AGAIN:
            begin = time.process_time()
            answers = await reader.read_each(asks, _terms(fleet))
            since(begin, name)
            _check(homes, answers)
            bare = _Bare(fleet, homes, objects, first=name == "first")
            begin = time.process_time()
            bare.run()
            since(begin, f"{name} bare")
    return [
        Figure(
            f"homes_memory_{name}",
            1 / statistics.median(times[name]),
            1 / statistics.median(times[f"{name} bare"]),
            "homes/s and core",
            "the bare ES256 and HPKE of the same objects",
            "at least 1500 homes/s and core",
        )
        for name in _FIRST_AND_AGAIN
    ]


async def _from_s3(fleet: Fleet, count: int) -> list[Figure]:
    """Homes a second through S3 by two processes, read for the first time and once more; and how much memory
    a process takes at most."""
    async with server() as location:
        with _pool() as pool:
            parts = [range(count)[part::_PROCESSES] for part in range(_PROCESSES)]
            made = await _side_by_side(pool, _put, [(location, fleet, part) for part in parts])
        homes = sorted(chain.from_iterable(made), key=lambda home: home.number)
        with _pool() as pool:
            return await _measure_s3(location, fleet, homes, pool)


async def _measure_s3(
    location: Location, fleet: Fleet, homes: Sequence[FleetHome], pool: ProcessPoolExecutor
) -> list[Figure]:
    spent = _Spent(len(homes))
    peaks: list[float] = []
    rival = Rival.connect(location)
    rival.connection.execute("SET enable_external_file_cache = false")
    nobody = [FleetHome(secrets.token_bytes(16), secrets.token_bytes(16), b"", 0)] * 2 * _PROCESSES
    for _ in range(max(1, min(_REPEAT, _READ // len(homes)))):
        async with Readers(location, fleet.folder, _PROCESSES) as readers:
            await _answers(readers, fleet, nobody)  # so that the processes have begun
            for name in _FIRST_AND_AGAIN:
                with spent.on(name):
                    answers = await _answers(readers, fleet, homes)
                _check(homes, answers)
                keys = [_keys(home, first=name == "first") for home in homes]
                parts = [list(chain.from_iterable(keys[part::_PROCESSES])) for part in range(_PROCESSES)]
                await _side_by_side(pool, _get, [(location, some[:1]) for some in parts])
                with spent.on(f"{name} bare"):
                    await _side_by_side(pool, _get, [(location, some) for some in parts])
            peaks.append(_peak_mib("homes"))
        with spent.on("duckdb"):
            days = await asyncio.to_thread(rival.table, f"{_PARQUET}/*.parquet")
        assert len(days["import"]) == len(homes) * homes[0].d().shape[1]
    bare = "bare GETs of the same objects"
    found = []
    for name in _FIRST_AND_AGAIN:
        rates = spent.rate(name), spent.rate(f"{name} bare")
        found.append(Figure(f"homes_s3_{name}", *rates, "homes/s", bare, "at least 0.6"))
        rates = spent.rate_by_cpu(name), spent.rate_by_cpu(f"{name} bare")
        found.append(Figure(f"homes_s3_{name}_cpu", *rates, "homes/s of CPU", bare, "none"))
    rates = spent.rate("first"), spent.rate("duckdb")
    against = "DuckDB, a file of plaintext Parquet for each home"
    found.append(Figure("homes_s3_duckdb", *rates, "homes/s", against, "none"))
    gets = _peak_mib("SpawnProcess")
    found.append(Figure("homes_process", max(peaks), gets, "MiB", "a process of bare GETs", "none"))
    return found


class _Spent:
    """The time that work on some homes took: seconds, and processor seconds of this process and its children,
    of which the S3 server is one."""

    def __init__(self, homes: int) -> None:
        self._homes = homes
        self._spent: dict[str, list[tuple[float, float]]] = {}

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Time the block as one of those called `name`."""
        begin = time.perf_counter(), _cpu_s()
        yield
        self._spent.setdefault(name, []).append((time.perf_counter() - begin[0], _cpu_s() - begin[1]))

    def rate(self, name: str) -> float:
        """Homes a second."""
        return self._homes / statistics.median(wall for wall, _ in self._spent[name])

    def rate_by_cpu(self, name: str) -> float:
        """Homes a processor second."""
        return self._homes / statistics.median(cpu for _, cpu in self._spent[name])


def _cpu_s() -> float:
    return time.process_time() + children_s()


async def _answers(readers: Readers, fleet: Fleet, homes: Sequence[FleetHome]) -> list[Answer]:
    grants = {home.stream: [home.grant] for home in homes}
    terms = _terms(fleet, fleet.folder)
    async with aclosing(readers.read(homes, terms, grants)) as found:
        return [answer async for _, answer in found]


def _terms(fleet: Fleet, memory: Path | None = None) -> Terms:
    begin, end = fleet.yesterday_ms
    return Terms(Query(f"{QUARTER}s", None, begin, end), fleet.now_ms, _MOST_AGE_MS, memory)


def _keys(home: FleetHome, *, first: bool) -> tuple[str, ...]:
    """The keys of the objects that a reader needs, at first and once more."""
    return home.keys if first else home.keys[2:]


def _check(homes: Sequence[FleetHome], answers: Sequence[Answer]) -> None:
    """AssertionError unless each home opened to what was sealed."""
    for home, answer in zip(homes, answers, strict=True):
        if answer.error is not None:
            raise AssertionError(f"home {home.number}: {answer.error}")
        [rows] = answer.blocks
        if not all(np.array_equal(sums, d) for sums, d in zip(rows.sums.values(), home.d(), strict=True)):
            raise AssertionError(f"home {home.number} did not open to what was sealed")


class _Bare:
    """The signatures of some homes' objects and the decapsulations of their grants, ready to be checked."""

    def __init__(
        self, fleet: Fleet, homes: Sequence[FleetHome], objects: dict[str, bytes], *, first: bool
    ) -> None:
        identity = open_identity(fleet.folder)
        self._signed = []
        self._sealed = []
        for home in homes:
            data = objects[names.descriptor(home.stream)]
            spki = Descriptor.read_pinned(names.descriptor(home.stream), data, home.signer).signing_key
            key = cose.load_public_key(spki, "its key")
            for where in _keys(home, first=first):
                kid, payload, signature = cose.payload_unchecked(objects[where], where)
                kind = class_at(where)
                r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
                message = cose.to_be_signed(kind.TYPE, kid, payload)
                self._signed.append((key, encode_dss_signature(r, s), message))
            if first:
                found = GrantObject.read_at(
                    names.grant(home.stream, home.grant), objects[home.keys[1]], spki, 1000
                )
                self._sealed.append((found.sealed_k0, identity.xwing_seed, found.body))

    def run(self) -> None:
        """Check them all."""
        algorithm = ec.ECDSA(hashes.SHA256())
        for key, signature, message in self._signed:
            key.verify(signature, message, algorithm)
        for sealed, seed, body in self._sealed:
            open_k0(sealed, seed, body)


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(_PROCESSES, multiprocessing.get_context("spawn"))


async def _side_by_side(
    pool: ProcessPoolExecutor, work: Callable[..., T], arguments: Sequence[tuple[Any, ...]]
) -> list[T]:
    """What `work` returns for each of the arguments, in as many processes."""
    loop = asyncio.get_running_loop()
    return await asyncio.gather(*(loop.run_in_executor(pool, work, *some) for some in arguments))


def _put(location: Location, fleet: Fleet, numbers: Sequence[int]) -> list[FleetHome]:
    """Make homes and put their objects, and their days in plaintext."""

    async def put() -> list[FleetHome]:
        bucket = open_bucket(location)
        homes: list[FleetHome] = []
        left = iter(numbers)

        async def some() -> None:
            for number in left:
                home, objects = fleet.home(number)
                homes.append(home)
                objects[f"{_PARQUET}/{number:08}.parquet"] = _parquet(fleet, home)
                for key, data in objects.items():
                    await bucket.put(key, data, replace=True)

        await asyncio.gather(*(some() for _ in range(_PUTS)))
        await bucket.aclose()
        return homes

    return asyncio.run(put())


def _parquet(fleet: Fleet, home: FleetHome) -> bytes:
    """A home's yesterday in plaintext: its stream, the start of each quarter hour, and the mWh of each
    lane."""
    pa, pq = import_module("pyarrow"), import_module("pyarrow.parquet")
    imported, exported = home.d()
    starts = (fleet.begin + QUARTER * np.arange(len(imported), dtype=np.int64)) * LAYOUT.unit_ms
    columns = {
        "stream": [home.stream.hex()] * len(starts),
        "start": pa.array(starts, pa.timestamp("ms", "UTC")),
        "import": imported,
        "export": exported,
    }
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def _get(location: Location, keys: Sequence[str]) -> None:
    """GET the objects by the client of `Readers`, and nothing more."""

    async def get() -> None:
        bucket = open_for_many(location, _GETS)
        left = iter(keys)

        async def some() -> None:
            for key in left:
                await bucket.get(key)

        await asyncio.gather(*(some() for _ in range(_GETS)))
        await bucket.aclose()

    asyncio.run(get())


def _peak_mib(name: str) -> float:
    """The most memory that a child process of this name has taken, in MiB."""
    children = [one for one in multiprocessing.active_children() if one.name.startswith(name)]
    texts = [Path(f"/proc/{one.pid}/status").read_text() for one in children]
    return max(int(text.partition("VmHWM:")[2].split()[0]) for text in texts) / 1024
