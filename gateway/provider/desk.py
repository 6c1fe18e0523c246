"""Many homes read in one call: the sums of one query, home by home, several homes at a time.

A home that cannot be read is handed out with its error, and stops no other home.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gateway.errors import GatewayError, Refused
from gateway.provider import many
from gateway.provider.identity import Identity
from gateway.provider.many import Terms
from gateway.provider.query import Query, Resolved
from gateway.provider.sums import Missing, Rows, Sums
from gateway.store.bucket import Bucket
from gateway.store.kept import KeptBucket, kept_folder
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.stream.reader import StreamReader
from gateway.stream.seen import Seen
from gateway.wire import names

MANY = 512
"""Homes from which on several processes are worth their start."""
AT_ONCE = 16
"""Homes read at a time: a bucket takes 8 requests at once, and a home mostly waits for one."""

Progress = Callable[[int, int | None], None]
"""Called with how much is done, and with how much there is, or None while that is not known."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Home:
    """A home: its stream's id (16 bytes), and the kid of the key that signs the stream (16 bytes).

    `name` is what the provider calls it. `verified` says that the signer comes from elsewhere than the store:
    from the household, a list, or a registrar's certificate. Neither counts when homes are compared.
    """

    stream: bytes
    signer: bytes
    name: str = field(default="", compare=False)
    verified: bool = field(default=True, compare=False)
    grants: tuple[bytes, ...] | None = field(default=None, compare=False)
    """The ids of the provider's grants, where they are known: then no others are looked at."""

    def failed(self, error: GatewayError) -> Failure:
        """The failure of this home."""
        return Failure(self.stream, error, self.name)


@dataclass(frozen=True, slots=True)
class Failure:
    """A stream that could not be read, and why; as text the sentence with the stream's id and name."""

    stream: bytes
    error: GatewayError
    name: str = ""

    def __str__(self) -> str:
        return f"stream {self.stream.hex()}{f' ({self.name})' if self.name else ''}: {self.error}"


@dataclass(frozen=True, slots=True)
class Homes:
    """The homes to read, each once, and those that were found and cannot be looked at."""

    homes: tuple[Home, ...]
    failures: tuple[Failure, ...] = ()


class Source(Protocol):
    """Where the homes to read come from."""

    async def __call__(self, bucket: Bucket, identity: Identity, progress: Progress | None) -> Homes:
        """The homes, in the order in which they are to be read. Raises the errors of the bucket."""


def listed(homes: Sequence[Home]) -> Source:
    """The source of homes that are known already."""

    async def source(bucket: Bucket, identity: Identity, progress: Progress | None) -> Homes:
        return Homes(tuple(homes))

    return source


@dataclass(frozen=True, slots=True)
class Said:
    """What `Sums` says of its rows, once all have come; its attributes of these names."""

    resolved: Resolved
    missing: tuple[Missing, ...]
    tail: Missing | None
    sources: tuple[str, ...]
    notes: tuple[str, ...]
    next_window: tuple[datetime, datetime] | None

    @classmethod
    def of(cls, sums: Sums) -> Said:
        """What is said so far."""
        lists = tuple(sums.missing), sums.tail, tuple(sums.sources), tuple(sums.notes)
        return cls(sums.resolved, *lists, sums.next_window)


@dataclass(frozen=True, slots=True, eq=False)
class HomeSums:
    """The sums of one home: blocks of rows, in order, and what is said of them. `error` is why there are no
    more of them; `said` is None where the query could not even be asked."""

    home: Home
    said: Said | None
    blocks: tuple[Rows, ...]
    error: GatewayError | None


@asynccontextmanager
async def opened(location: Location, *, keep: bool = True) -> AsyncIterator[Bucket]:
    """The bucket at a location, closed at the end. With `keep`, what lasts of an S3 bucket is kept on this
    machine."""
    bucket = open_bucket(location)
    try:
        if keep and location.url.startswith("s3://"):
            kept = KeptBucket(bucket, kept_folder(location), names.lasts)
            yield kept
            kept.trim()
        else:
            yield bucket
    finally:
        await bucket.aclose()


async def open_home(
    bucket: Bucket, home: Home, *, now_ms: int, max_age_ms: int, memory: Path | None = None
) -> StreamReader:
    """A reader of the home's stream as far as its head, which may be `max_age_ms` old at `now_ms` (Unix ms).
    The folder `memory`, the provider's, remembers the head. Errors are those of StreamReader."""
    seen = None if memory is None else Seen(memory, home.stream)
    reader = await StreamReader.open(bucket, home.stream, home.signer, seen, home.grants)
    await reader.refresh(now_ms, max_age_ms)
    return reader


async def read_home(
    bucket: Bucket,
    home: Home,
    identity: Identity,
    query: Query,
    *,
    now_ms: int,
    max_age_ms: int,
    memory: Path | None = None,
) -> HomeSums:
    """All sums of one home that open now; see `open_home` for the options. What is kept on this machine
    serves where it is valid, and is cleared where anything is not: it is the store that an error is about."""

    async def read(source: Bucket) -> HomeSums:
        sums: Sums | None = None
        blocks: list[Rows] = []
        error: GatewayError | None = None
        try:
            reader = await open_home(source, home, now_ms=now_ms, max_age_ms=max_age_ms, memory=memory)
            sums = await Sums.ask(reader, identity, query)
            async with aclosing(sums.blocks()) as found:
                async for block in found:
                    blocks.append(block)
        except GatewayError as raised:
            error = raised
        return HomeSums(home, None if sums is None else Said.of(sums), tuple(blocks), error)

    answer = await read(bucket)
    if isinstance(bucket, KeptBucket) and isinstance(answer.error, Refused):
        bucket.clear(names.stream_prefix(home.stream))
        answer = await read(bucket.source)
    return answer


async def read_many(
    bucket: Bucket,
    homes: Sequence[Home],
    identity: Identity,
    query: Query,
    *,
    now_ms: int,
    max_age_ms: int,
    memory: Path | None = None,
    at_once: int = AT_ONCE,
    progress: Progress | None = None,
) -> AsyncGenerator[HomeSums, None]:
    """The sums of each of `homes`, in their order, read `at_once` at a time; see `open_home` for the options.
    `progress` is called after each home."""
    done = 0

    async def read(home: Home) -> HomeSums:
        nonlocal done
        answer = await read_home(
            bucket, home, identity, query, now_ms=now_ms, max_age_ms=max_age_ms, memory=memory
        )
        done += 1
        if progress is not None:
            progress(done, len(homes))
        return answer

    async with aclosing(side_by_side((read(home) for home in homes), at_once)) as answers:
        async for answer in answers:
            yield answer


async def read_by_processes(
    location: Location, homes: Sequence[Home], folder: Path, terms: Terms, progress: Progress | None = None
) -> AsyncGenerator[HomeSums, None]:
    """The sums of each of `homes`, in their order, as `read_many` has them, read by a process for each of
    this machine's processors: `folder` is the provider's. Nothing of them is kept on this machine."""
    known = {home.stream: home.grants for home in homes if home.grants is not None}
    done = 0
    async with aclosing(many.read_many(location, homes, folder, terms, grants=known)) as answers:
        async for home, a in answers:
            done += 1
            if progress is not None:
                progress(done, len(homes))
            said = None
            if a.resolved is not None:
                said = Said(a.resolved, a.missing, a.tail, a.sources, a.notes, a.next_window)
            yield HomeSums(home, said, a.blocks, a.error)


async def side_by_side(work: Iterable[Coroutine[Any, Any, T]], at_once: int) -> AsyncGenerator[T, None]:
    """The results of `work` in its order, of which up to `at_once` are worked out at a time."""
    under_way: deque[asyncio.Task[T]] = deque()
    try:
        for one in work:
            under_way.append(asyncio.create_task(one))
            if len(under_way) == at_once:
                yield await under_way[0]
                under_way.popleft()
        while under_way:
            yield await under_way[0]
            under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
