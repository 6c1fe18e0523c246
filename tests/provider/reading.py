"""Reads a `Home` as the command does, for tests that look at rows and errors."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.provider.query import Query
from gateway.provider.raw import RawUnits, raw_grants, units
from gateway.provider.sums import Row, Sums
from gateway.store.directory import DirectoryBucket
from gateway.stream.chunks import Problem
from gateway.stream.reader import StreamReader
from gateway.stream.seen import Seen
from gateway.stream.times import unix_ms
from gateway.stream.verify import Tally, verify
from tests.stream.stream import Home, Provider

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question."""

    sums: Sums
    rows: list[Row]

    def lane(self, lane: str) -> list[int | None]:
        """One lane's sums, row by row."""
        return [row.sums.get(lane) for row in self.rows]


async def read_async(
    home: Home, provider: Provider, query: Query | None = None, *, remember: bool = False
) -> Answer:
    """All rows that the store of `home` gives the provider now."""
    with tempfile.TemporaryDirectory() as folder:
        bucket = DirectoryBucket(home.write(Path(folder)))
        seen = Seen(provider.folder, home.id) if remember else None
        reader = await StreamReader.open(bucket, home.id, home.signer.kid, seen)
        await reader.refresh(time.time_ns() // 1_000_000, DAY_MS)
        sums = await Sums.ask(reader, provider.identity, query or Query())
        return Answer(sums, [row async for row in sums.rows()])


def read(home: Home, provider: Provider, query: Query | None = None, *, remember: bool = False) -> Answer:
    """The same, for tests that are not async."""
    return asyncio.run(read_async(home, provider, query, remember=remember))


def read_raw(home: Home, provider: Provider) -> list[RawUnits]:
    """All units that raw grants open in the store of `home` now."""

    async def all_of_them() -> list[RawUnits]:
        async with opened(home) as reader:
            held = await raw_grants(reader, provider.identity)
            return [one async for one in units(reader, held)]

    return asyncio.run(all_of_them())


def problems(home: Home, seen: Seen | None = None) -> list[Problem]:
    """What `verify` finds in the store of `home`; the tally must agree."""
    found: list[Problem] = []
    with tempfile.TemporaryDirectory() as folder:
        bucket = DirectoryBucket(home.write(Path(folder)))
        tally = asyncio.run(verify(bucket, home.id, home.signer.kid, seen, found.append, lambda _tally: None))
    assert tally.problems == len(found)
    assert all(problem.key in problem.text for problem in found)
    return found


def tally_of(home: Home) -> Tally:
    """What `verify` looked at in the store of `home`."""
    with tempfile.TemporaryDirectory() as folder:
        bucket = DirectoryBucket(home.write(Path(folder)))
        return asyncio.run(verify(bucket, home.id, home.signer.kid, None, lambda _: None, lambda _: None))


def expected(home: Home, answer: Answer) -> None:
    """Every sum of every row is what was sealed, and rows follow each other without overlap."""
    unit_ms = home.layout.unit_ms
    last = 0
    for row in answer.rows:
        a, b = (unix_ms(when) // unit_ms for when in (row.start, row.end))
        assert a >= last
        last = b
        assert row.sums == {lane: home.truth(lane, a, b) for lane in row.sums}


@asynccontextmanager
async def opened(home: Home) -> AsyncIterator[StreamReader]:
    """The stream of `home` as a reader without a memory finds it now."""
    with tempfile.TemporaryDirectory() as folder:
        bucket = DirectoryBucket(home.write(Path(folder)))
        reader = await StreamReader.open(bucket, home.id, home.signer.kid)
        await reader.refresh(time.time_ns() // 1_000_000, DAY_MS)
        yield reader
