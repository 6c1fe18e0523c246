"""Many homes read side by side, by several processes: the sums of one query, home by home.

A process takes a batch of homes at a time, and reads several of them at once. Of a home it asks at once for
the objects whose keys it knows: at first the descriptor, the head and a grant, then, for a day that is over,
the day's page and its bundle of tokens; later the last two with the head. The others come one after the
other. A home that cannot be read is handed out with its error, and stops no other home.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol, TypeVar

from gateway.chain.grant import Grant
from gateway.errors import GatewayError, Unavailable
from gateway.host.collector import collect_seldom
from gateway.provider.day import DayReader, keys_of
from gateway.provider.grants import OwnGrant, k_0_of, renewed
from gateway.provider.identity import Identity, open_identity
from gateway.provider.query import Query, Resolved
from gateway.provider.sums import Missing, Rows, Sums
from gateway.provider.together import Together
from gateway.store.ahead import AheadBucket
from gateway.store.bucket import Bucket
from gateway.store.location import Location
from gateway.store.s3_many import open_for_many
from gateway.stream.chunks import ChunkMark
from gateway.stream.grants import grant_ids, grants
from gateway.stream.reader import StreamReader
from gateway.stream.seen import Seen, load_all, save_all
from gateway.wire import names
from gateway.wire.grant import GrantObject
from gateway.wire.stream import Descriptor

AT_ONCE = 16
"""Homes that one process reads at a time."""
GETS = 3
"""GETs of one home that are under way at a time, at most."""
BATCH = 64
"""Homes that are handed to a process at a time, at most."""
_WORTH = 4 * BATCH  # homes for which starting one more process, half a second's work, is worth it


class NamedHome(Protocol):
    """A home: its stream's id, and the kid of the key that signs the stream, 16 bytes each."""

    @property
    def stream(self) -> bytes: ...

    @property
    def signer(self) -> bytes: ...


H = TypeVar("H", bound=NamedHome)


@dataclass(frozen=True, slots=True)
class Terms:
    """What is asked of every home: the query, and how old its head may be at `now_ms` (Unix ms). The folder
    `memory`, the provider's, remembers the heads; None: they are not compared with those seen before."""

    query: Query
    now_ms: int
    max_age_ms: int
    memory: Path | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A home to read. `grants` are the ids of its grants to the provider; None: all that the store lists.
    `seen` is its head that was seen before."""

    stream: bytes
    signer: bytes
    grants: tuple[bytes, ...] | None = None
    seen: ChunkMark | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The sums of one home: blocks of rows, in order, and what is said of them as `Sums` has it. `error` is
    why there are no more of them; `resolved` is None where the query could not even be asked. `mark` is the
    head, where it is to be remembered."""

    resolved: Resolved | None
    blocks: tuple[Rows, ...]
    missing: tuple[Missing, ...] = ()
    tail: Missing | None = None
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    next_window: tuple[datetime, datetime] | None = None
    error: GatewayError | None = None
    mark: ChunkMark | None = None


async def read_many(
    location: Location,
    homes: Sequence[H],
    folder: Path,
    terms: Terms,
    *,
    grants: Mapping[bytes, Sequence[bytes]] | None = None,
    processes: int | None = None,
    at_once: int = AT_ONCE,
) -> AsyncGenerator[tuple[H, Answer], None]:
    """Each of `homes` with its answer, in their order, as `Readers.read` has it. `processes` None: one for
    each of this machine's processors, as far as there are homes enough."""
    count = processes or max(1, min(len(os.sched_getaffinity(0)), len(homes) // _WORTH))
    async with (
        Readers(location, folder, count, at_once) as readers,
        aclosing(readers.read(homes, terms, grants)) as answers,
    ):
        async for answer in answers:
            yield answer


class Readers:
    """Processes that read homes, for as long as the block `async with` lasts. What they have verified once of
    a home and is written once, its descriptor and its grants, they do not ask for again.

    They are started anew (spawn), so a script begins the block below `if __name__ == "__main__":`. One reads
    in this process.
    """

    def __init__(self, location: Location, folder: Path, processes: int, at_once: int = AT_ONCE) -> None:
        """The provider's key is in `folder`; each process reads `at_once` homes at a time."""
        self._setting = _Setting(location, folder, at_once)
        self._processes = processes
        self._readers: list[tuple[_Here | _Process, asyncio.Lock]] = []

    async def __aenter__(self) -> Readers:
        """UsageError for an invalid folder or location."""
        open_identity(self._setting.folder)
        make = _Here if self._processes == 1 else _Process
        for _ in range(self._processes):
            self._readers.append((make(self._setting), asyncio.Lock()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for reader, _lock in self._readers:
            await reader.aclose()

    async def read(
        self, homes: Sequence[H], terms: Terms, grants: Mapping[bytes, Sequence[bytes]] | None = None
    ) -> AsyncGenerator[tuple[H, Answer], None]:
        """Each of `homes` with its answer, in their order. `grants` has the ids of the grants on a stream to
        the provider, where they are known: those of other streams are listed, which takes about as long as
        reading the home. The heads are remembered at the end. Unavailable where a process ends before its
        time."""
        at, known = 0, grants or {}
        marks: dict[bytes, ChunkMark] = {}
        before = {} if terms.memory is None else load_all(terms.memory, [home.stream for home in homes])
        asks = [
            Ask(home.stream, home.signer, _sorted(known.get(home.stream)), before.get(home.stream))
            for home in homes
        ]
        try:
            async with aclosing(self._batches(terms, asks)) as batches:
                async for answers in batches:
                    some = homes[at : at + len(answers)]
                    at += len(answers)
                    for home, answer in zip(some, answers, strict=True):
                        if answer.mark is not None:
                            marks[home.stream] = answer.mark
                        yield home, answer
        finally:
            if terms.memory is not None:
                save_all(terms.memory, marks)

    async def _batches(self, terms: Terms, asks: Sequence[Ask]) -> AsyncGenerator[list[Answer], None]:
        """The answers in order, a batch at a time. The same homes' batches go to the same processes."""

        size = max(1, min(BATCH, -(-len(asks) // (2 * len(self._readers)))))

        async def read(number: int) -> list[Answer]:
            reader, lock = self._readers[number % len(self._readers)]
            async with lock:
                return await reader.read(terms, asks[number * size : (number + 1) * size])

        under_way: deque[asyncio.Task[list[Answer]]] = deque()
        try:
            for number in range(-(-len(asks) // size)):
                under_way.append(asyncio.create_task(read(number)))
                if len(under_way) > 2 * len(self._readers):
                    yield await under_way[0]
                    under_way.popleft()
            while under_way:
                yield await under_way[0]
                under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)


def _sorted(ids: Sequence[bytes] | None) -> tuple[bytes, ...] | None:
    return None if ids is None else tuple(sorted(ids))


@dataclass(slots=True)
class _Known:
    """What was verified of a home before: its descriptor, and its grants of sums to this provider with their
    K_0; None for a grant of another kind, or to another provider."""

    signer: bytes
    descriptor: Descriptor
    data: bytes
    grants: dict[bytes, tuple[Grant, bytes] | None] = field(default_factory=dict, repr=False)


class HomeReader:
    """A reader of homes in this process, which keeps what it has verified of those that it read."""

    def __init__(self, bucket: Bucket, identity: Identity) -> None:
        self.bucket = bucket
        self.identity = identity
        self._known: dict[bytes, _Known] = {}
        self._together = Together()

    async def read_each(self, asks: Sequence[Ask], terms: Terms, at_once: int = AT_ONCE) -> list[Answer]:
        """All sums of each of these homes that open now, in their order, read `at_once` at a time. Heads are
        not remembered on the disk yet: see `Answer.mark`."""
        answers: dict[int, Answer] = {}
        numbers = iter(range(len(asks)))
        days = DayReader(terms.query, self._together)

        async def read() -> None:
            for number in numbers:
                answers[number] = await self._read(asks[number], terms, days)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(asks))):
                group.create_task(read())
        return [answers[number] for number in range(len(asks))]

    async def read(self, ask: Ask, terms: Terms) -> Answer:
        """All sums of one home that open now."""
        [answer] = await self.read_each([ask], terms)
        return answer

    async def _read(self, ask: Ask, terms: Terms, days: DayReader) -> Answer:
        seen = None if terms.memory is None else _Held(ask.seen)
        bucket = AheadBucket(self.bucket)
        try:
            answer = await self._answer(bucket, ask, terms, days, seen)
        except GatewayError as error:
            answer = Answer(None, (), error=error.with_traceback(None))
        finally:
            await bucket.aclose()
        return answer if seen is None else replace(answer, mark=seen.mark)

    async def _answer(
        self, bucket: AheadBucket, ask: Ask, terms: Terms, days: DayReader, seen: Seen | None
    ) -> Answer:
        before = self._known.get(ask.stream)
        if before is None:
            bucket.ask(_first_keys(ask))
        else:
            bucket.ask([names.head(ask.stream), *_day_keys(before, terms, days)])
        reader, known = await self._open(bucket, ask, terms, seen)
        held = await self._grants(reader, ask, known)
        if before is None:
            bucket.ask(_day_keys(known, terms, days))
        day = days.day(reader.descriptor)
        if day is not None and len(held) == 1:
            found = await days.read(reader, day, held[0])
            if found is not None:
                return Answer(found[0], (found[1],), sources=(str(held[0]),))
        return await _all_of(await Sums.ask(reader, self.identity, terms.query, held))

    async def _open(
        self, bucket: Bucket, ask: Ask, terms: Terms, seen: Seen | None
    ) -> tuple[StreamReader, _Known]:
        """A reader of the home's stream as far as its head."""
        known = self._known.get(ask.stream)
        async with self._together.verified() as later:
            if known is None or known.signer != ask.signer:
                reader = await StreamReader.open(bucket, ask.stream, ask.signer, seen, later=later)
                known = _Known(ask.signer, reader.descriptor, reader.descriptor_data)
            else:
                reader = StreamReader(bucket, known.descriptor, known.data, seen)
            head = await reader.read_head(later)
        self._known[ask.stream] = known
        await reader.take(head, terms.now_ms, terms.max_age_ms)
        return reader, known

    async def _grants(self, reader: StreamReader, ask: Ask, known: _Known) -> list[OwnGrant]:
        """The grants of sums to this provider, by id, each with its revocation read now."""
        ids = [one async for one in grant_ids(reader)] if ask.grants is None else ask.grants
        fresh = [one for one in ids if one not in known.grants]
        if fresh:
            known.grants |= await self._opened(reader, fresh)
        held = filter(None, (known.grants[one] for one in ids))
        return [await renewed(reader, *one) for one in held]

    async def _opened(
        self, reader: StreamReader, ids: Sequence[bytes]
    ) -> dict[bytes, tuple[Grant, bytes] | None]:
        """The grants with these ids, as `_Known` has them."""
        async with self._together.verified() as later:
            found = [one async for one in grants(reader, ids, later)]
        opened: dict[bytes, tuple[Grant, bytes] | None] = {}
        for key, item, grant in found:
            own = grant.provider == self.identity.kid and grant.kind == "windows"
            opened[grant.id] = (grant, await self._k_0(key, item)) if own else None
        return opened

    async def _k_0(self, key: str, found: GrantObject) -> bytes:
        return await self._together.run(lambda: k_0_of(self.identity, key, found))


async def _all_of(sums: Sums) -> Answer:
    """All blocks, as far as they come, and what is said of them."""
    blocks: list[Rows] = []
    error: GatewayError | None = None
    try:
        async with aclosing(sums.blocks()) as found:
            async for block in found:
                blocks.append(block)
    except GatewayError as raised:
        error = raised.with_traceback(None)
    said = tuple(sums.missing), sums.tail, tuple(sums.sources), tuple(sums.notes), sums.next_window
    return Answer(sums.resolved, tuple(blocks), *said, error)


def _first_keys(ask: Ask) -> list[str]:
    """The keys with which reading a home for the first time begins, of GETS objects at most."""
    grants = [names.grant(ask.stream, one) for one in ask.grants or ()]
    return [names.descriptor(ask.stream), names.head(ask.stream), *grants[: GETS - 2]]


def _day_keys(known: _Known, terms: Terms, days: DayReader) -> list[str]:
    """The keys of the page and the bundle that answer a query within one day that is over, where one grant
    does."""
    held = [grant for grant, _ in filter(None, known.grants.values())]
    day = days.day(known.descriptor)
    if day is None or len(held) != 1 or day.end * known.descriptor.layout.unit_ms > terms.now_ms:
        return []
    return keys_of(day, held[0])


class _Held(Seen):
    """A stream's head that was seen last; `mark` is the one to remember, which is not written yet."""

    def __init__(self, before: ChunkMark | None) -> None:
        self._before = before
        self.mark: ChunkMark | None = None

    def load(self) -> ChunkMark | None:
        return self._before

    def save(self, mark: ChunkMark) -> None:
        if mark != self._before:
            self._before = self.mark = mark


@dataclass(frozen=True, slots=True)
class _Setting:
    """What a process needs to read homes."""

    location: Location
    folder: Path
    at_once: int


class _Here:
    """A reader of batches in this process."""

    def __init__(self, setting: _Setting) -> None:
        bucket = open_for_many(setting.location, GETS * setting.at_once)
        self._reader = HomeReader(bucket, open_identity(setting.folder))
        self._at_once = setting.at_once

    async def read(self, terms: Terms, asks: Sequence[Ask]) -> list[Answer]:
        return await self._reader.read_each(asks, terms, self._at_once)

    async def aclose(self) -> None:
        await self._reader.bucket.aclose()


class _Process:
    """A reader of batches in a process of its own."""

    def __init__(self, setting: _Setting) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        # By the pipe that spawning makes: neither keys nor paths are on a command line.
        self._process = context.Process(target=_serve, args=(theirs, setting), name="homes", daemon=True)
        self._process.start()
        theirs.close()

    async def read(self, terms: Terms, asks: Sequence[Ask]) -> list[Answer]:
        try:
            self._connection.send((terms, asks))
            answers = await asyncio.to_thread(self._connection.recv)
        except (EOFError, OSError):
            raise Unavailable(
                "a process that reads homes ended before its time, for want of memory, or as a script that"
                ' reads many homes must do so below `if __name__ == "__main__":`'
            ) from None
        if isinstance(answers, BaseException):
            raise answers
        found: list[Answer] = answers
        return found

    async def aclose(self) -> None:
        self._process.terminate()
        await asyncio.to_thread(self._process.join)
        self._connection.close()


def _serve(connection: Connection, setting: _Setting) -> None:
    """Read the batches that come, until no more can come."""
    collect_seldom()
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # of a terminal, which the process that waits for this one minds

    async def serve() -> None:
        reader = _Here(setting)
        try:
            while True:
                connection.send(await reader.read(*await asyncio.to_thread(connection.recv)))
        except (EOFError, OSError):  # who asked has gone
            pass
        except Exception as error:
            connection.send(error)
        finally:
            await reader.aclose()

    with closing(connection):
        asyncio.run(serve())
