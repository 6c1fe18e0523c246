"""Many homes read side by side, by several processes: the sums of one query, home by home.

A process takes a batch of homes at a time, and reads several of them at once, each an object after the other.
A home that cannot be read is handed out with its error, and stops no other home.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol, TypeVar

from gateway.errors import GatewayError, Unavailable
from gateway.provider.grants import own_grants
from gateway.provider.identity import Identity, open_identity
from gateway.provider.query import Query, Resolved
from gateway.provider.sums import Missing, Rows, Sums
from gateway.store.bucket import Bucket
from gateway.store.location import Location
from gateway.store.s3_many import open_for_many
from gateway.stream.chunks import ChunkMark
from gateway.stream.reader import StreamReader
from gateway.stream.seen import Seen, save_all

AT_ONCE = 16
"""Homes that one process reads at a time, and so its GETs under way."""
_BATCH = 64  # homes that are handed to a process at a time
_WORTH = 4 * _BATCH  # homes for which starting one more process, half a second's work, is worth it


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
    """A home to read. `grants` are the ids of its grants to the provider; None: all that the store lists."""

    stream: bytes
    signer: bytes
    grants: tuple[bytes, ...] | None = None


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
    """Each of `homes` with its answer, in their order, opened with the provider's key in `folder`.

    `grants` has the ids of the grants on a stream to the provider, where they are known: those of other
    streams are listed, which takes as long as reading the home. `processes` read at a time, each `at_once`
    homes; None: one for each of this machine's processors, as far as there are homes enough. They are started
    anew (spawn), so a script calls this below `if __name__ == "__main__":`.

    UsageError for an invalid folder, Unavailable where a process ends before its time.
    """
    open_identity(folder)
    known = grants or {}
    asks = [
        Ask(home.stream, home.signer, tuple(known[home.stream]) if home.stream in known else None)
        for home in homes
    ]
    count = processes or min(len(os.sched_getaffinity(0)), len(homes) // _WORTH)
    setting = _Setting(location, folder, terms, at_once)
    at = 0
    async with _readers(setting, max(1, count)) as readers:
        async for answers in _in_batches(readers, asks):
            marks = zip(asks[at : at + len(answers)], answers, strict=True)
            if terms.memory is not None:
                save_all(terms.memory, {ask.stream: one.mark for ask, one in marks if one.mark is not None})
            for answer in answers:
                yield homes[at], answer
                at += 1


async def read_each(
    bucket: Bucket, asks: Sequence[Ask], identity: Identity, terms: Terms, at_once: int = AT_ONCE
) -> list[Answer]:
    """The answers of these homes, in their order, read `at_once` at a time in this process. Heads are not
    remembered yet: see `Answer.mark`."""
    answers: list[Answer | None] = [None] * len(asks)
    numbers = iter(range(len(asks)))

    async def read() -> None:
        for number in numbers:
            answers[number] = await read_home(bucket, asks[number], identity, terms)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, len(asks))):
            group.create_task(read())
    return [one for one in answers if one is not None]


async def read_home(bucket: Bucket, ask: Ask, identity: Identity, terms: Terms) -> Answer:
    """All sums of one home that open now."""
    seen = None if terms.memory is None else _Held(terms.memory, ask.stream)
    sums: Sums | None = None
    blocks: list[Rows] = []
    error: GatewayError | None = None
    try:
        reader = await StreamReader.open(bucket, ask.stream, ask.signer, seen)
        await reader.refresh(terms.now_ms, terms.max_age_ms)
        held = await own_grants(reader, identity, only=ask.grants)
        sums = await Sums.ask(reader, identity, terms.query, held)
        async with aclosing(sums.blocks()) as found:
            async for block in found:
                blocks.append(block)
    except GatewayError as raised:
        error = raised.with_traceback(None)
    mark = None if seen is None else seen.mark
    if sums is None:
        return Answer(None, (), error=error, mark=mark)
    said = tuple(sums.missing), sums.tail, tuple(sums.sources), tuple(sums.notes)
    return Answer(sums.resolved, tuple(blocks), *said, error, mark)


class _Held(Seen):
    """A stream's head that was seen last, read once; `mark` is the one to remember, which is not written
    yet."""

    def __init__(self, folder: Path, stream: bytes) -> None:
        super().__init__(folder, stream)
        self._read = False
        self._before: ChunkMark | None = None
        self.mark: ChunkMark | None = None

    def load(self) -> ChunkMark | None:
        if not self._read:
            self._before, self._read = super().load(), True
        return self._before

    def save(self, mark: ChunkMark) -> None:
        if mark != self.load():
            self._before = self.mark = mark


@dataclass(frozen=True, slots=True)
class _Setting:
    """What a process needs to read homes."""

    location: Location
    folder: Path
    terms: Terms
    at_once: int


class _Here:
    """A reader of batches in this process."""

    def __init__(self, setting: _Setting) -> None:
        self._setting = setting
        self._identity = open_identity(setting.folder)
        self._bucket = open_for_many(setting.location, setting.at_once)

    async def read(self, asks: Sequence[Ask]) -> list[Answer]:
        return await read_each(self._bucket, asks, self._identity, self._setting.terms, self._setting.at_once)

    async def aclose(self) -> None:
        await self._bucket.aclose()


class _Process:
    """A reader of batches in a process of its own."""

    def __init__(self, setting: _Setting) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        # By the pipe that spawning makes: neither keys nor paths are on a command line.
        self._process = context.Process(target=_serve, args=(theirs, setting), name="homes", daemon=True)
        self._process.start()
        theirs.close()

    async def read(self, asks: Sequence[Ask]) -> list[Answer]:
        try:
            self._connection.send(asks)
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
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # of a terminal, which the process that waits for this one minds

    async def serve() -> None:
        reader = _Here(setting)
        try:
            while True:
                asks = await asyncio.to_thread(connection.recv)
                connection.send(await reader.read(asks))
        except (EOFError, OSError):  # who asked has gone
            pass
        except Exception as error:
            connection.send(error)
        finally:
            await reader.aclose()

    with closing(connection):
        asyncio.run(serve())


@asynccontextmanager
async def _readers(setting: _Setting, count: int) -> AsyncIterator[list[_Here | _Process]]:
    readers: list[_Here | _Process] = []
    try:
        for _ in range(count):
            readers.append(_Here(setting) if count == 1 else _Process(setting))
        yield readers
    finally:
        for reader in readers:
            await reader.aclose()


async def _in_batches(
    readers: Sequence[_Here | _Process], asks: Sequence[Ask]
) -> AsyncGenerator[list[Answer], None]:
    """The answers in order, a batch at a time; every reader has at most a batch to read, and one waits."""
    free: asyncio.Queue[_Here | _Process] = asyncio.Queue()
    for reader in readers:
        free.put_nowait(reader)

    async def read(batch: Sequence[Ask]) -> list[Answer]:
        reader = await free.get()
        answers = await reader.read(batch)
        free.put_nowait(reader)
        return answers

    under_way: deque[asyncio.Task[list[Answer]]] = deque()
    try:
        for at in range(0, len(asks), _BATCH):
            under_way.append(asyncio.create_task(read(asks[at : at + _BATCH])))
            if len(under_way) > 2 * len(readers):
                yield await under_way[0]
                under_way.popleft()
        while under_way:
            yield await under_way[0]
            under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
