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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np

from gateway.bench.registrar import login_times
from gateway.bench.server import server
from gateway.bench.street import AT_ONCE, Street, put_all
from gateway.centre.columns import FOLDER, date_of, parquet
from gateway.centre.engine import DuckDB
from gateway.centre.homes import Home
from gateway.centre.query import load
from gateway.centre.state import File, Known, State
from gateway.chain.seal import U64
from gateway.provider.homes import Listed, read_homes
from gateway.provider.load import Answer, Windows, set_digest
from gateway.simulate.fleet.plan import LANES
from gateway.store.s3_many import open_for_many

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


async def _through_store(meters: int) -> list[Point]:
    """A window of homes that published one before, so that neither party sees them for the first time."""
    spent = dict.fromkeys(_CHAIN, 0.0)
    with tempfile.TemporaryDirectory() as name:
        street = Street.new(Path(name), meters, WINDOW_MS, WINDOW_MS, HOMES_A_REGION)
        async with server() as location:
            bucket = open_for_many(location, AT_ONCE)
            with street.state() as state:
                await put_all(bucket, street.before)
                await street.takes_in(state, bucket)
                begin = time.perf_counter()
                await put_all(bucket, street.now)
                spent["publication"] = time.perf_counter() - begin
                begin = time.perf_counter()
                await street.takes_in(state, bucket)
                spent["verification"] = time.perf_counter() - begin
                for region in street.regions:
                    words_s, load_s = await street.load(state, bucket, region, time.perf_counter)
                    spent["words"] += words_s
                    spent["load"] += load_s
            await bucket.aclose()
    return [Point(meters, stage, "store", seconds) for stage, seconds in spent.items()]


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
        (state.folder / file.name).write_bytes(parquet([pa.table(columns)]))
        files.append(file)
        yield region, parts.sum(axis=1, dtype=np.uint64)
    state.list_homes([one.home for one in known])
    state.take(files, known)
