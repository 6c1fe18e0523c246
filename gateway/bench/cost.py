"""What a load monitoring centre of a million homes costs, on paper: requests, bytes and processors.

`fleet` is plain arithmetic on what one home costs; `measured` finds that out with real objects and the real
code, on a few homes. Both parties make a pass over all homes once a chunk, since nothing is new between two.
Nothing here has a price: requests and bytes are what a store's price list multiplies.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gateway.bench.figure import children_s
from gateway.bench.memory import MemoryBucket
from gateway.bench.server import server
from gateway.bench.street import AT_ONCE, Street, put_all
from gateway.chain.layout import DAY_MS
from gateway.simulate.fleet.objects import HomeObjects
from gateway.simulate.fleet.plan import LANES
from gateway.store.s3_many import open_for_many

GRANULARITIES_MS = (30_000, 60_000, 300_000, 900_000)
CHUNKS_MS = (30_000, 60_000, 300_000, 900_000, 3_600_000)
CORES, BUSY = 16, 0.5
"""Of a machine: its cores, and how much of them is to be at work."""
HOMES = 100
"""On so many the processor time of a home is measured."""
_REQUESTS = 1000  # on which that of a request is


@dataclass(frozen=True, slots=True)
class Pass:
    """A party's pass over one home: GETs, LISTs, bytes that it got, and processor seconds besides those of
    its requests."""

    gets: float
    lists: float
    got: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Day:
    """A home's day with loads of one granularity: objects that its gateway puts and their bytes, the bytes
    that stay, and the passes over it."""

    puts: float
    put: float
    kept: float
    passes: float
    centre: Pass
    service: Pass
    load_s: float
    """Processor seconds of the centre for the home's part in the loads of a pass."""


@dataclass(frozen=True, slots=True)
class Requests:
    """Processor seconds of a PUT, a GET and a LIST, at the server and at its client."""

    put: tuple[float, float]
    get: tuple[float, float]
    list: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Fleet:
    """What many homes cost: requests and bytes a second, bytes a day that stay, and cores that are at work
    all the time."""

    puts: float
    gets: float
    lists: float
    put: float
    got: float
    kept_a_day: float
    store: float
    centre: float
    service: float

    @property
    def machines(self) -> tuple[int, int, int]:
        """Machines for the store, the centre and the service."""
        store, centre, service = (
            math.ceil(cores / (CORES * BUSY)) for cores in (self.store, self.centre, self.service)
        )
        return store, centre, service


def fleet(day: Day, requests: Requests, homes: int) -> Fleet:
    """What so many homes of that day cost."""
    a_second = homes / (DAY_MS / 1000)
    passes = day.passes * a_second
    both = (day.centre, day.service)
    puts = day.puts * a_second
    gets, lists = (
        passes * sum(counts) for counts in zip(*((one.gets, one.lists) for one in both), strict=True)
    )
    centre, service = (
        passes * (one.cpu_s + one.gets * requests.get[1] + one.lists * requests.list[1]) for one in both
    )
    return Fleet(
        puts=puts,
        gets=gets,
        lists=lists,
        put=day.put * a_second,
        got=passes * sum(one.got for one in both),
        kept_a_day=day.kept * homes,
        store=puts * requests.put[0] + gets * requests.get[0] + lists * requests.list[0],
        centre=centre + passes * day.load_s,
        service=service,
    )


def wanted(granularity_ms: int, within_ms: int) -> int:
    """The chunk length in ms that loads of a granularity want: the longest by which they are known so soon
    after their windows, since requests are what chunks cost; a chunk has one window at least."""
    fitting = [ms for ms in CHUNKS_MS if granularity_ms <= ms <= within_ms]
    return max(fitting, default=min(ms for ms in CHUNKS_MS if ms >= granularity_ms))


def pairs() -> Iterator[tuple[int, int]]:
    """The granularities with the chunk lengths that have whole windows of them, in ms."""
    for granularity_ms in GRANULARITIES_MS:
        for chunk_ms in CHUNKS_MS:
            if chunk_ms >= granularity_ms:
                yield granularity_ms, chunk_ms


def measured(granularity_ms: int, chunk_ms: int, homes: int) -> Day:
    """A home's day, from a whole day's objects of one home, and both parties' passes over some."""
    with tempfile.TemporaryDirectory() as name:
        street = Street.new(Path(name), homes, granularity_ms, chunk_ms, homes)
        centre, service, load_s = asyncio.run(_passes(street))
        puts, put, kept = _published(street)
    return Day(puts, put, kept, DAY_MS / chunk_ms, centre, service, load_s)


def requests() -> Requests:
    """The processor time of requests, measured on a local SeaweedFS server with objects of 4 KiB."""
    return asyncio.run(_requests())


async def _passes(street: Street) -> tuple[Pass, Pass, float]:
    bucket, homes = _Counting(dict(street.before)), len(street.listing)
    with street.state() as state:
        await street.takes_in(state, bucket)
        bucket.add(street.now)
        bucket.reset()
        begin = time.process_time()
        await street.takes_in(state, bucket)
        centre = bucket.counted(homes, time.process_time() - begin)
        bucket.reset()
        (region,) = street.regions
        service_s, load_s = await street.load(state, bucket, region, time.process_time)
        return centre, bucket.counted(homes, service_s), load_s / homes


def _published(street: Street) -> tuple[float, float, float]:
    """The objects of a day, the bytes of all of them, and those that stay: a head replaces the one before."""
    plan = street.plan
    home = HomeObjects(plan, 0, street.parties, "", plan.end)
    list(home.begin())
    d = np.random.default_rng(1).integers(0, 2**10, (len(LANES), plan.day_units), dtype=np.int64)
    kept = [len(data) for _, data in home.day(0, d, 1, (0, 0))]
    ((_, head),) = home.end()
    chunks = plan.day_units * plan.unit_ms // plan.chunk_ms
    return len(kept) + chunks, sum(kept) + chunks * len(head), sum(kept)


class _Counting(MemoryBucket):
    """The objects of some homes in memory, with a count of the requests for them."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__()
        self.add(objects.items())
        self.reset()

    def reset(self) -> None:
        self._gets = self._lists = self._got = 0

    def counted(self, homes: int, cpu_s: float) -> Pass:
        return Pass(self._gets / homes, self._lists / homes, self._got / homes, cpu_s / homes)

    async def get(self, key: str) -> bytes:
        self._gets += 1
        data = await super().get(key)
        self._got += len(data)
        return data

    def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        self._lists += 1
        return super().list(prefix, after)


async def _requests() -> Requests:
    objects = [(f"v1/{n:06d}/x", bytes(4096)) for n in range(_REQUESTS)]
    async with server() as location:
        bucket = open_for_many(location, AT_ONCE)

        async def get(key: str) -> None:
            await bucket.get(key)

        async def first(key: str) -> None:
            async for _ in bucket.list(key.removesuffix("x")):
                pass

        try:
            put = await _spent(put_all(bucket, objects))
            got = await _spent(_each([key for key, _ in objects], get))
            listed = await _spent(_each([key for key, _ in objects], first))
        finally:
            await bucket.aclose()
    return Requests(put, got, listed)


async def _each(keys: Sequence[str], work: Callable[[str], Awaitable[None]]) -> None:
    waiting = iter(keys)

    async def some() -> None:
        for key in waiting:
            await work(key)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


async def _spent(work: Awaitable[None]) -> tuple[float, float]:
    """Processor seconds of a request of many, at the server and here."""
    begin = children_s(), time.process_time()
    await work
    return (children_s() - begin[0]) / _REQUESTS, (time.process_time() - begin[1]) / _REQUESTS
