"""Homes with a load of one granularity, their objects around a moment, and the work of both parties on them.

The homes have units of 1 s, and each has published one chunk before, so that neither party sees them for the
first time. What they use is random.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from pathlib import Path

import numpy as np

from gateway.centre.engine import DuckDB
from gateway.centre.homes import Home
from gateway.centre.ingest import ingest
from gateway.centre.query import load
from gateway.centre.state import State
from gateway.chain.seal import U64
from gateway.provider.homes import Listed, read_homes
from gateway.provider.identity import new_identity, open_identity
from gateway.provider.load import Answer, Member, Windows
from gateway.registrar.summing import SummingService
from gateway.simulate.fleet.objects import HomeObjects, Object, Parties
from gateway.simulate.fleet.plan import LANES, Plan
from gateway.store.bucket import Bucket
from gateway.stream.reader import StreamReader

AT_ONCE = 16  # puts
_UNIT_MS = 1000
_FAR_MS = 2**62


@dataclass(slots=True)
class Street:
    """Homes with the objects of their first chunk, `before`, and of the second, `now`: chunk, tokens and
    head. `truth` is what a region used in each window of the second, [window, lane], in mWh."""

    folder: Path
    plan: Plan
    parties: Parties
    listing: list[Home] = field(default_factory=list)
    before: list[Object] = field(default_factory=list)
    now: list[Object] = field(default_factory=list)
    truth: dict[str, U64] = field(default_factory=dict)

    @classmethod
    def new(cls, folder: Path, homes: int, window_ms: int, chunk_ms: int, homes_a_region: int) -> Street:
        """So many homes with windows and chunks of so many ms, a chunk as long as some windows; and the two
        parties of their loads, in `folder`."""
        first = datetime.now(UTC).date() - timedelta(days=1)
        regions = -(-homes // homes_a_region)
        plan = Plan(homes, 1, first, regions, 1, _UNIT_MS, chunk_ms, (window_ms,), 0, 0, 0)
        begin_ms = plan.start * _UNIT_MS
        centre, service = (new_identity(folder / who, who, begin_ms) for who in ("centre", "service"))
        SummingService.begin(folder / "service")
        street = cls(folder, plan, Parties(centre, service))
        for region in range(regions):
            for number in plan.region_of(region).tolist():
                street._add(number, plan.region_name(region))
        return street

    def _add(self, number: int, region: str) -> None:
        plan = self.plan
        home = HomeObjects(plan, number, self.parties, "", plan.end)
        units = plan.chunk_ms // _UNIT_MS
        d = np.zeros((len(LANES), plan.day_units), dtype=np.int64)
        d[:, : 2 * units] = np.random.default_rng(number).integers(0, 2**10, (len(LANES), 2 * units))
        self.before += home.begin()
        day = home.day(0, d, 1, (0, 0))
        for objects in (self.before, self.now):
            objects += chain(islice(day, 2), home.end())  # a chunk, its tokens; the head
        self.listing.append(Home(Listed(home.stream, home.signer, home.grants[0]), region))
        windows = d[:, units : 2 * units].reshape(len(LANES), len(self.windows.times), -1)
        sums = windows.sum(axis=2).T.view(np.uint64)
        self.truth[region] = self.truth.get(region, 0) + sums

    @property
    def regions(self) -> list[str]:
        """The names of the regions."""
        return list(self.truth)

    @property
    def windows(self) -> Windows:
        """The windows of the second chunk."""
        size, begin = self.plan.window_ms, self.plan.start * _UNIT_MS + self.plan.chunk_ms
        starts = range(begin, begin + self.plan.chunk_ms, size)
        return Windows(LANES, tuple((start, start + size) for start in starts))

    @contextmanager
    def state(self) -> Iterator[State]:
        """The centre's memory, with the homes listed."""
        state = State.open(self.folder / "data", make=True)
        try:
            state.list_homes(self.listing)
            yield state
        finally:
            state.close()

    async def takes_in(self, state: State, bucket: Bucket) -> None:
        """A pass of the centre over all homes, each of which has a new chunk. AssertionError unless it takes
        all windows in."""
        identity, now_ms = open_identity(self.folder / "centre"), self.plan.end * _UNIT_MS
        done = await ingest(state, bucket, identity, now_ms)
        if done.windows != len(self.listing) * len(self.windows.times) or done.passed_over:
            raise AssertionError(f"{done.windows} windows of {len(self.listing)} homes were taken in")

    async def load(
        self, state: State, bucket: Bucket, region: str, clock: Callable[[], float] = time.perf_counter
    ) -> tuple[float, float]:
        """The loads of a region in the windows of the second chunk: how long the summing service took for
        them, and how long the centre, by the clock. AssertionError unless they are the truth."""
        service_s = 0.0

        async def ask(homes: str, windows: Windows) -> Answer:
            nonlocal service_s
            begin = clock()
            answer = await self._sums(bucket, homes, windows)
            service_s = clock() - begin
            return answer

        begin = clock()
        found = await load(state, DuckDB(), region, self.windows, ask)
        spent_s = clock() - begin
        if not np.array_equal(found.sums.view(np.uint64), self.truth[region]):
            raise AssertionError(f"the load of {region} is not the truth")
        return service_s, spent_s - service_s

    async def _sums(self, bucket: Bucket, homes: str, windows: Windows) -> Answer:
        folder, members = self.folder / "service", []
        for one in read_homes(homes, "the set"):
            reader = await StreamReader.open(bucket, one.stream, one.signer)
            await reader.refresh(self.plan.end * _UNIT_MS, _FAR_MS)
            members.append(Member(reader, one.grant))
        return await SummingService.in_folder(folder, open_identity(folder)).add(members, windows)


async def put_all(bucket: Bucket, objects: Sequence[Object]) -> None:
    """Put the objects, some at a time, in any order."""
    waiting = iter(objects)

    async def some() -> None:
        for key, data in waiting:
            await bucket.put(key, data, replace=True)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(some())
