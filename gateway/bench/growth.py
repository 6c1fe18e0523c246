"""The paper's Figures 4 and 5 with today's numbers: delay and throughput by number of meters.

The delay is that of one window of a quarter of an hour, from its end to the loads of all regions at the load
monitoring centre, where all gateways seal and publish at the same moment: the worst case. Its stages follow
one another:

- `publication`    the gateways put their chunks, tokens and heads into the store
- `verification`   the centre reads them, verifies chains and signatures, and writes its Parquet
- `words`          the summing service reads and verifies the tokens, and adds its words up
- `load`           the centre adds its Parquet up, and the service's words to it

`authentication` is beside them: each gateway logs in at the registrar once, for a session of many windows.

A stage of a size is measured through a local S3 server, or on Parquet made for it, or it is modelled: each
point says which.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import numpy as np

from gateway.bench.registrar import login_times
from gateway.bench.server import server
from gateway.centre.columns import FOLDER, date_of
from gateway.centre.engine import DuckDB
from gateway.centre.homes import Home
from gateway.centre.ingest import ingest
from gateway.centre.query import load
from gateway.centre.state import File, Known, State
from gateway.chain.seal import U64
from gateway.provider.homes import Listed, read_homes
from gateway.provider.identity import new_identity, open_identity
from gateway.provider.load import Answer, Member, Windows, set_digest
from gateway.registrar.summing import SummingService
from gateway.simulate.fleet.objects import HomeObjects, Object, Parties
from gateway.simulate.fleet.plan import LANES, Plan
from gateway.store.bucket import Bucket
from gateway.store.s3_many import open_for_many
from gateway.stream.reader import StreamReader

Stage = Literal["authentication", "publication", "verification", "words", "load", "end to end"]
Kind = Literal["store", "parquet", "model"]
"""`store`: ran, through an S3 server; `parquet`: ran, on Parquet made for it; `model`: did not run."""

WINDOW_MS = 900_000
HOMES_A_REGION = 1000
_STORE, _PARQUET = (100, 300, 1000), (10_000, 100_000)
_STORE_FULL, _PARQUET_FULL = (100, 300, 1000, 3000, 10_000), (100_000, 1_000_000)
_MODEL = (10_000, 100_000, 1_000_000)
_CHAIN: tuple[Stage, ...] = ("publication", "verification", "words", "load")
STAGES: tuple[Stage, ...] = ("authentication", *_CHAIN, "end to end")
_AT_ONCE = 16  # puts
_UNITS = WINDOW_MS // 1000  # of a second, in a window and chunk
_FAR_MS = 2**62


@dataclass(frozen=True, slots=True)
class Point:
    """The time in s that a stage takes for a window of so many meters."""

    meters: int
    stage: Stage
    kind: Kind
    seconds: float

    @property
    def rate(self) -> float:
        """Meters a second."""
        return self.meters / self.seconds


Said = Callable[[str], None]
"""Is called with what is under way."""


def measured(full: bool, said: Said) -> list[Point]:
    """All points that ran: the store up to 1000 meters, Parquet up to 100 000; where it is to be `full`, ten
    times as many each."""
    store, parquet = (_STORE_FULL, _PARQUET_FULL) if full else (_STORE, _PARQUET)
    said("logins at a registrar")
    found = [
        Point(meters, "authentication", "store", seconds)
        for meters, seconds in zip(store, login_times(store), strict=True)
    ]
    for meters in store:
        said(f"{meters} meters through the store")
        found += asyncio.run(_through_store(meters))
    for meters in parquet:
        said(f"{meters} meters from Parquet")
        found.append(Point(meters, "load", "parquet", asyncio.run(_from_parquet(meters))))
    return found


def completed(ran: Sequence[Point], sizes: Sequence[int] = _MODEL) -> list[Point]:
    """The points that ran, with the end-to-end delay of each size, and models of the stages that did not run:
    each takes as long for a meter as in the largest size in which it ran."""
    stages = [stage for stage in STAGES if stage != "end to end"]
    known = {(one.meters, one.stage): one for one in ran}
    wanted = sorted({*sizes, *(one.meters for one in ran)})
    for stage in stages:
        largest = max((one for one in ran if one.stage == stage), key=lambda one: one.meters)
        for meters in wanted:
            seconds = meters * largest.seconds / largest.meters
            known.setdefault((meters, stage), Point(meters, stage, "model", seconds))
    for meters in wanted:
        parts = [known[meters, stage] for stage in _CHAIN]
        kind: Kind = "store" if all(one.kind == "store" for one in parts) else "model"
        known[meters, "end to end"] = Point(meters, "end to end", kind, sum(one.seconds for one in parts))
    return sorted(known.values(), key=lambda one: (one.meters, STAGES.index(one.stage)))


@dataclass(slots=True)
class _Clock:
    """The time that blocks of work took, by stage."""

    spent: dict[Stage, float] = field(default_factory=dict)

    async def time(self, stage: Stage, work: Awaitable[object]) -> None:
        begin = time.perf_counter()
        await work
        self.add(stage, time.perf_counter() - begin)

    def add(self, stage: Stage, seconds: float) -> None:
        self.spent[stage] = self.spent.get(stage, 0) + seconds


async def _through_store(meters: int) -> list[Point]:
    """A window of homes that published one before, so that neither party sees them for the first time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        street = _Street.new(folder, meters)
        clock = _Clock()
        async with server() as location:
            bucket = open_for_many(location, _AT_ONCE)
            state = State.open(folder / "data", make=True)
            try:
                state.list_homes(street.listing)
                await _put(bucket, street.before)
                await street.takes_in(state, bucket)
                await clock.time("publication", _put(bucket, street.now))
                await clock.time("verification", street.takes_in(state, bucket))
                for region in street.regions:
                    await street.loads(state, bucket, region, clock)
            finally:
                state.close()
                await bucket.aclose()
    return [Point(meters, stage, "store", clock.spent[stage]) for stage in _CHAIN]


@dataclass(slots=True)
class _Street:
    """Homes with units of 1 s and a load of quarter hours, the objects of their first window, and those of
    the second; and what they used in the second, by region."""

    folder: Path
    plan: Plan
    listing: list[Home] = field(default_factory=list)
    before: list[Object] = field(default_factory=list)
    now: list[Object] = field(default_factory=list)
    truth: dict[str, U64] = field(default_factory=dict)

    @classmethod
    def new(cls, folder: Path, meters: int) -> _Street:
        first = datetime.now(UTC).date() - timedelta(days=1)
        regions = -(-meters // HOMES_A_REGION)
        plan = Plan(meters, 1, first, regions, 1, 1000, WINDOW_MS, (WINDOW_MS,), 0, 0, 0)
        begin_ms = plan.start * plan.unit_ms
        centre, service = (new_identity(folder / who, who, begin_ms) for who in ("centre", "service"))
        SummingService.begin(folder / "service")
        street = cls(folder, plan)
        for region in range(regions):
            for number in plan.region_of(region).tolist():
                street._add(number, plan.region_name(region), Parties(centre, service))
        return street

    def _add(self, number: int, region: str, parties: Parties) -> None:
        plan = self.plan
        home = HomeObjects(plan, number, parties, "", plan.end)
        d = np.zeros((len(LANES), plan.day_units), dtype=np.int64)
        used = np.random.default_rng(number).integers(0, 2**10, (len(LANES), 2 * _UNITS), dtype=np.int64)
        d[:, : 2 * _UNITS] = used
        self.before += home.begin()
        day = home.day(0, d, 1, (0, 0))
        for objects in (self.before, self.now):
            objects += chain(islice(day, 2), home.end())  # a chunk, its token; the head
        self.listing.append(Home(Listed(home.stream, home.signer, home.grants[0]), region))
        sums = used[:, _UNITS:].sum(axis=1).view(np.uint64)
        self.truth[region] = self.truth.get(region, 0) + sums

    @property
    def regions(self) -> list[str]:
        return list(self.truth)

    @property
    def now_ms(self) -> int:
        return self.plan.end * self.plan.unit_ms

    @property
    def window(self) -> Windows:
        begin = self.plan.start * self.plan.unit_ms + WINDOW_MS
        return Windows(LANES, ((begin, begin + WINDOW_MS),))

    async def takes_in(self, state: State, bucket: Bucket) -> None:
        done = await ingest(state, bucket, open_identity(self.folder / "centre"), self.now_ms)
        if done.windows != len(self.listing) or done.passed_over:
            raise AssertionError(f"{done.windows} windows of {len(self.listing)} homes were taken in")

    async def loads(self, state: State, bucket: Bucket, region: str, clock: _Clock) -> None:
        asked_s = 0.0

        async def ask(homes: str, windows: Windows) -> Answer:
            nonlocal asked_s
            begin = time.perf_counter()
            members = []
            for one in read_homes(homes, "the set"):
                reader = await StreamReader.open(bucket, one.stream, one.signer)
                await reader.refresh(self.now_ms, _FAR_MS)
                members.append(Member(reader, one.grant))
            folder = self.folder / "service"
            answer = await SummingService.in_folder(folder, open_identity(folder)).add(members, windows)
            asked_s = time.perf_counter() - begin
            return answer

        begin = time.perf_counter()
        found = await load(state, DuckDB(), region, self.window, ask)
        clock.add("load", time.perf_counter() - begin - asked_s)
        clock.add("words", asked_s)
        if not np.array_equal(found.sums[0].view(np.uint64), self.truth[region]):
            raise AssertionError(f"the load of {region} is not the truth")


async def _put(bucket: Bucket, objects: Sequence[Object]) -> None:
    waiting = iter(objects)

    async def some() -> None:
        for key, data in waiting:
            await bucket.put(key, data, replace=True)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(some())


async def _from_parquet(meters: int) -> float:
    """The time in s that the loads of all regions take, the service's words given."""
    start_ms = int(datetime.now(UTC).timestamp()) * 1000 // WINDOW_MS * WINDOW_MS
    windows = Windows(LANES, ((start_ms, start_ms + WINDOW_MS),))
    with tempfile.TemporaryDirectory() as name:
        state = State.open(Path(name), make=True)
        try:
            sums = dict(_write_regions(state, meters, windows))
            spent = 0.0
            for region, total in sums.items():
                asked_s = 0.0

                async def ask(homes: str, asked: Windows, total: U64 = total) -> Answer:
                    nonlocal asked_s
                    begin = time.perf_counter()
                    sealed = ((one.stream, 1) for one in read_homes(homes, "the set"))
                    answer = Answer(asked, -total[None], (set_digest(asked, 0, sealed),))
                    asked_s = time.perf_counter() - begin
                    return answer

                begin = time.perf_counter()
                found = await load(state, DuckDB(), region, windows, ask)
                spent += time.perf_counter() - begin - asked_s
                if found.sums.any():
                    raise AssertionError(f"the load of {region} is not the truth")
        finally:
            state.close()
    return spent


def _write_regions(state: State, meters: int, windows: Windows) -> Iterator[tuple[str, U64]]:
    """Fill a centre's folder with the window of so many homes. The sums of their parts by region."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    rng = np.random.default_rng(5)
    (start_ms, end_ms) = windows.times[0]
    date = date_of(start_ms)
    known: list[Known] = []
    files: list[File] = []
    for at in range(0, meters, HOMES_A_REGION):
        count = min(HOMES_A_REGION, meters - at)
        region = f"r{at // HOMES_A_REGION:04d}"
        homes = [Home(Listed(*(secrets.token_bytes(16) for _ in range(3))), region) for _ in range(count)]
        known += (Known(home, 1, end_ms) for home in homes)
        parts = rng.integers(0, 2**64, (len(LANES), count), dtype=np.uint64)
        columns = {
            "stream": pa.array([home.listed.stream for home in homes], pa.binary(16)),
            "grant": pa.array([home.listed.grant for home in homes], pa.binary(16)),
            **{name: np.full(count, ms) for name, ms in (("start_ms", start_ms), ("end_ms", end_ms))},
            "incarnation": np.ones(count, dtype=np.int64),
            **{lane: part.view(np.int64) for lane, part in zip(LANES, parts, strict=True)},
        }
        file = File(f"{FOLDER}/date={date}/region={region}/00000001.parquet", 1, date, region, count)
        (state.folder / file.name).parent.mkdir(parents=True)
        pq.write_table(pa.table(columns), state.folder / file.name)
        files.append(file)
        yield region, parts.sum(axis=1, dtype=np.uint64)
    state.list_homes([one.home for one in known])
    state.take(files, known)
