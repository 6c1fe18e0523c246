"""The load monitoring centre: taking in from memory, beside the bare signatures; a day's blind sums, beside
DuckDB's plaintext sums of the same table; its words and the summing service's; and sums by Dask.

The homes are a simulated fleet's, with windows and chunks of a quarter hour. Sides that are compared take
turns.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from gateway.bench.figure import Figure
from gateway.bench.memory import MemoryBucket
from gateway.centre.cluster import connected
from gateway.centre.columns import Block, write
from gateway.centre.engine import Chosen, DuckDB, Engine
from gateway.centre.homes import Home
from gateway.centre.ingest import HOMES, ingest
from gateway.centre.kept import Kept
from gateway.centre.runs import packed
from gateway.centre.state import State
from gateway.chain.keys import KeyChain
from gateway.chain.layout import DAY_MS
from gateway.chain.seal import U64
from gateway.chain.token import Sealed, masks
from gateway.host.collector import collect_seldom
from gateway.provider.homes import Listed
from gateway.provider.identity import generate_identity
from gateway.provider.load import Windows
from gateway.simulate.fleet.energy import energy
from gateway.simulate.fleet.objects import HomeObjects, Object, Parties
from gateway.simulate.fleet.plan import Plan
from gateway.wire import cose, names
from gateway.wire.kinds import class_at
from gateway.wire.stream import Descriptor

LANES = ("import", "export")
_QUARTER_MS = 900_000
_QUARTERS = DAY_MS // _QUARTER_MS
_FIRST = date(2026, 11, 26)
_BEGIN_MS = 20_000 * DAY_MS
_MILLION = 10**6
_A_REGION = 1000
_REPEAT = 5
_IN_MEMORY = 2000  # homes
_PASSES = 3  # of whole days, of so much fewer homes:
_FEWER = 20
_LATE = 0.01  # of the homes, by so many windows at most:
_LATE_WINDOWS = 24
_DAYS = 128  # of a region, for Dask, each added up so often, so that sending the sets does not count:
_OFTEN = 16
_WORKERS = 4
_KEY_BYTES = 3 * 1024  # of a public key that is kept ready, with its name


def figures(homes: int) -> Iterator[Figure]:
    """All figures; a hundred thousand homes take two minutes."""
    with tempfile.TemporaryDirectory() as name:
        yield from _ingest(Path(name), min(homes, _IN_MEMORY))
        yield from _sums(Path(name), homes)
        yield from _words(min(homes, _IN_MEMORY))
        yield _by_dask(Path(name), min(homes, _A_REGION))


# --- taking in


class _Street:
    """Homes and their objects in memory, a centre, and its folder."""

    def __init__(self, folder: Path, homes: int) -> None:
        self._centre, centre, _ = generate_identity("bench", 0)
        parties = Parties(centre, generate_identity("bench", 0)[1])
        plan = self._plan = Plan(
            homes=homes,
            days=1,
            first=_FIRST,
            regions=-(-homes // _A_REGION),
            seed=1,
            unit_ms=_QUARTER_MS,
            chunk_ms=_QUARTER_MS,
            windows_ms=(_QUARTER_MS,),
            outages=0,
            late=0,
            broken=0,
        )
        self.bucket, self.kept = MemoryBucket(), Kept()
        self._homes: list[tuple[HomeObjects, Iterator[Object]]] = []
        listed = []
        for region in range(plan.regions):
            numbers = plan.region_of(region)
            for number, d in zip(numbers.tolist(), energy(plan, region, numbers, 0), strict=True):
                home = HomeObjects(plan, number, parties, "", plan.end)
                self.bucket.add(home.begin())
                self._homes.append((home, home.day(0, d, 1, (0, 0))))
                one = Listed(home.stream, home.signer, home.grants[0])
                listed.append(Home(one, plan.region_name(region)))
        self._state = State.open(folder, make=True)
        self._state.list_homes(listed)

    def __len__(self) -> int:
        return len(self._homes)

    def quarter(self) -> None:
        """All seal one more quarter hour: a chunk, its tokens, and the head."""
        for home, day in self._homes:
            self.bucket.add((next(day), next(day), *home.end()))

    def rest(self) -> None:
        """All seal the rest of the day: its tokens are folded, and it has a page."""
        for home, day in self._homes:
            self.bucket.add((*day, *home.end()))

    def take_in(self) -> int:
        """One pass; how many windows it took in. AssertionError where a home was passed over."""
        self.bucket.read.clear()
        now_ms = self._plan.end * _QUARTER_MS
        done = asyncio.run(ingest(self._state, self.bucket, self._centre, now_ms, kept=self.kept))
        if done.passed_over:
            raise AssertionError(str(done.passed_over[0]))
        return done.windows

    def signatures(self) -> list[_Signature]:
        """The signatures of the objects that the last pass read, each of which it has verified."""
        keys: dict[str, ec.EllipticCurvePublicKey] = {}
        for home, _ in self._homes:
            key = names.descriptor(home.stream)
            spki = Descriptor.read_pinned(key, self.bucket[key], home.signer).signing_key
            keys[names.stream_prefix(home.stream)] = cose.load_public_key(spki, "its key")
        found = []
        for where in self.bucket.read:
            kid, payload, signature = cose.payload_unchecked(self.bucket[where], where)
            r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
            message = cose.to_be_signed(class_at(where).TYPE, kid, payload)
            its = keys[where[: len(names.stream_prefix(bytes(16)))]]
            found.append(_Signature(its, encode_dss_signature(r, s), message))
        return found

    def close(self) -> None:
        """Close the state."""
        self._state.close()


@dataclass(frozen=True, slots=True)
class _Signature:
    key: ec.EllipticCurvePublicKey
    signature: bytes
    message: bytes

    def verify(self) -> None:
        """By `cryptography` alone."""
        self.key.verify(self.signature, self.message, ec.ECDSA(hashes.SHA256()))


def _ingest(folder: Path, homes: int) -> Iterator[Figure]:
    collect_seldom()  # as `gateway centre ingest` does
    memory = _memory_mib(folder / "memory", min(homes, _A_REGION))
    street = _Street(folder / "quarters", homes)
    street.quarter()
    street.take_in()
    quarters = []
    for _ in range(_REPEAT):
        street.quarter()
        quarters.append(_Pass.of(street))
    street.close()
    yield _signatures("ingest_quarter", quarters)
    rate = statistics.median(len(street) / one.ours_s for one in quarters)
    wanted = _MILLION / (_QUARTER_MS / 1000)
    yield Figure("ingest_rate", rate, wanted, "homes/s and core", "10^6 homes, all 15 min", "at least 1")
    yield Figure("ingest_memory", memory, 1024, "MiB", "1 GiB, for 10^6 homes", "at most 1")
    days = []
    for number in range(_PASSES):
        street = _Street(folder / f"days {number}", -(-homes // _FEWER))
        street.quarter()
        street.take_in()
        street.rest()
        days.append(_Pass.of(street, _QUARTERS - 1))
        street.close()
    yield _signatures("ingest_day", days)


@dataclass(frozen=True, slots=True)
class _Pass:
    """The processor time of a pass, and of its bare signatures, and how many these are."""

    ours_s: float
    bare_s: float
    signatures: int

    @classmethod
    def of(cls, street: _Street, windows: int = 1) -> _Pass:
        """One pass over homes with so many new windows each."""
        begin = time.process_time()
        taken = street.take_in()
        ours = time.process_time() - begin
        if taken != windows * len(street):
            raise AssertionError(f"{taken} windows of {len(street)} homes were taken in")
        signatures = street.signatures()
        begin = time.process_time()
        for one in signatures:
            one.verify()
        return cls(ours, time.process_time() - begin, len(signatures))


def _signatures(name: str, passes: Sequence[_Pass]) -> Figure:
    ours = statistics.median(one.signatures / one.ours_s for one in passes)
    bare = statistics.median(one.signatures / one.bare_s for one in passes)
    return Figure(name, ours, bare, "signatures/s and core", "bare P-256 of as many", "at least 0.5")


def _memory_mib(folder: Path, homes: int) -> float:
    """The memory of a process that takes 10^6 homes in: itself, with all libraries; what it keeps of each;
    the batch that it works on; and the public keys that it has ready."""
    first = _Street(folder / "first", 1)  # all libraries are loaded with it
    first.quarter()
    first.take_in()
    first.close()
    own = _resident_bytes()
    street = _Street(folder / "homes", homes)
    street.quarter()
    _forget_keys()
    tracemalloc.start()
    street.take_in()
    street.bucket.read.clear()
    _forget_keys()
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    street.close()
    batch = (most - kept) / homes * (HOMES + _A_REGION)
    return (own + kept / homes * _MILLION + batch + cose.KEYS_KEPT * _KEY_BYTES) / 2**20


def _forget_keys() -> None:
    cose.load_public_key.cache_clear()
    cose.kid_of.cache_clear()
    gc.collect()


def _resident_bytes() -> int:
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.partition("VmRSS:")[2].split()[0])


# --- adding up


@dataclass(frozen=True, slots=True)
class _Table:
    """Some days of a region in the centre's layout: its files, their windows, the set of each window, and the
    sums, [window, lane]."""

    files: list[Path]
    windows: Windows
    chosen: Chosen
    truth: U64

    @classmethod
    def new(cls, folder: Path, number: int, homes: int, days: int = 1) -> _Table:
        """Random parts, as ciphertexts are, of homes of which one in a hundred is late by hours. The set of a
        window is the homes that are there."""
        rng = np.random.default_rng(number)
        edges = _BEGIN_MS + _QUARTER_MS * np.arange(days * _QUARTERS + 1, dtype=np.int64)
        late = rng.random(homes) < _LATE
        counts = days * _QUARTERS - np.where(late, rng.integers(1, _LATE_WINDOWS + 1, homes), 0)
        truth = np.zeros((days * _QUARTERS, len(LANES)), dtype=np.uint64)
        keys = sorted((rng.bytes(16), rng.bytes(16)) for _ in range(homes))
        blocks = []
        for count, key in zip(counts.tolist(), keys, strict=True):
            parts = rng.integers(0, 2**64, (count, len(LANES)), dtype=np.uint64)
            home = Home(Listed(key[0], bytes(16), key[1]), f"r{number:04d}")
            blocks.append(Block(home, LANES, edges[: count + 1], np.ones(count, dtype=np.uint64), parts))
            truth[:count] += parts
        files = [folder / file.name for file in write(folder, blocks, 1)]
        ends = np.unique(counts)
        sets = [[key for key, count in zip(keys, counts, strict=True) if count >= end] for end in ends]
        of = np.searchsorted(ends, np.arange(1, days * _QUARTERS + 1)).tolist()
        chosen = Chosen([packed(some) for some in sets], of)
        return cls(files, Windows(LANES, tuple(pairwise(edges.tolist()))), chosen, truth)

    def check(self, sums: tuple[U64, list[int]], often: int = 1) -> None:
        """AssertionError where these are not the sums of the sets, each file added up so often."""
        sizes = [0 if one is None else often * len(self.chosen.sets[one]) // 32 for one in self.chosen.of]
        if not np.array_equal(sums[0], self.truth * np.uint64(often)) or sums[1] != sizes:
            raise AssertionError("the sums are not those of what was written")


def _sums(folder: Path, homes: int) -> Iterator[Figure]:
    """A day of all regions: region by region, as `gateway centre load` is asked for them."""
    import duckdb  # noqa: PLC0415

    sizes = [len(range(region, homes, -(-homes // _A_REGION))) for region in range(-(-homes // _A_REGION))]
    tables = [_Table.new(folder / "day", region, size) for region, size in enumerate(sizes)]
    engine = DuckDB()
    with duckdb.connect(config={"threads": 1}) as db:
        select = ", ".join(["start_ms", *(f'sum("{lane}")' for lane in LANES)])

        found: list[tuple[U64, list[int]]] = []

        def ours() -> None:
            found[:] = [engine.sums(one.files, one.windows, one.chosen) for one in tables]

        def each() -> None:
            for one in tables:
                files = [str(path) for path in one.files]
                db.execute(f"SELECT {select} FROM read_parquet(?) GROUP BY start_ms", [files]).fetchall()  # noqa: S608

        def at_once() -> None:
            files = str(folder / "day/windows/*/*/*.parquet")
            query = f"SELECT region, {select} FROM read_parquet(?, hive_partitioning = true) GROUP BY ALL"  # noqa: S608
            db.execute(query, [files]).fetchall()

        mine, one_by_one, together = (1000 / len(tables) * s for s in _medians_s([ours, each, at_once]))
    for one, sums in zip(tables, found, strict=True):
        one.check(sums)
    yield Figure(
        "day_sums", mine, one_by_one, "ms a region and core", "DuckDB's plaintext sums", "at most 1.2"
    )
    against = "DuckDB's, all regions in one query"
    yield Figure("day_sums_at_once", mine, together, "ms a region and core", against, "at most 1.2")


def _medians_s(works: Sequence[Callable[[], None]]) -> list[float]:
    """The median processor time of each, which take turns, after a first one that does not count."""
    times: list[list[float]] = [[] for _ in works]
    for number in range(_REPEAT + 1):
        for work, found in zip(works, times, strict=True):
            begin = time.process_time()
            work()
            if number:
                found.append(time.process_time() - begin)
    return [statistics.median(found) for found in times]


def _words(homes: int) -> Iterator[Figure]:
    """A day's words of a million homes: the centre's, which keeps the key chains, and the service's, which
    begins at K_0."""
    keys = [index.to_bytes(32, "big") for index in range(homes)]
    chains, sealed = [KeyChain(key) for key in keys], [Sealed(0, 1)]

    def centre() -> None:
        for chain in chains:
            masks(chain, sealed, 0, _QUARTERS, len(LANES))

    def service() -> None:
        for key in keys:
            masks(KeyChain(key), sealed, 0, _QUARTERS, len(LANES))

    for name, seconds in zip(("centre", "service"), _medians_s([centre, service]), strict=True):
        scaled = seconds / homes * _MILLION
        yield Figure(f"words_{name}", scaled, 10, "s a core", "10 s, for 10^6 homes", "at most 1")


# --- several workers


def _by_dask(folder: Path, homes: int) -> Figure:
    """A region over five and a half years, added up by one worker and by several: four months, 16 times."""
    import distributed  # noqa: PLC0415

    table = _Table.new(folder / "months", 0, homes, _DAYS)
    times: dict[int, list[float]] = {1: [], _WORKERS: []}
    with ExitStack() as stack:
        engines: dict[int, Engine] = {}
        for count in times:
            make: Any = distributed.LocalCluster
            options = {"threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
            cluster = stack.enter_context(make(n_workers=count, local_directory=folder / "dask", **options))
            engines[count] = stack.enter_context(connected(cluster.scheduler_address))
        for number in range(_REPEAT + 1):
            for count, engine in engines.items():
                begin = time.perf_counter()
                sums = engine.sums(_OFTEN * table.files, table.windows, table.chosen)
                if number:
                    times[count].append(time.perf_counter() - begin)
                table.check(sums, _OFTEN)
    many, one = (1 / statistics.median(times[count]) for count in (_WORKERS, 1))
    return Figure("dask", many, one, "sums/s", f"1 worker instead of {_WORKERS}", "at least 1.7")
