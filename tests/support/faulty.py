"""Real parts that fail when a test says so: the root, the store, the ledger's transactions."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal, Self, TypeVar, TypeVarTuple

from gateway.errors import LedgerError, StoreUnavailable, TrustError
from gateway.ledger.database import Database
from gateway.registry.evidence import Evidence
from gateway.store.bucket import Bucket
from gateway.trust.root import Note, Root, unnoted

T = TypeVar("T")
Values = TypeVarTuple("Values")


class Fuse:
    """Lets calls through until it blows: `after` more calls, then `times` fail (for ever where None)."""

    def __init__(self) -> None:
        self.calls = 0
        self._after: int | None = None
        self._times: int | None = None
        self.blown = 0

    def set(self, after: int | None, times: int | None = 1) -> None:
        """`after` None: mend it."""
        self._after, self._times, self.blown = after, times, 0

    def blows(self) -> bool:
        """Whether the call that is about to be made fails."""
        self.calls += 1
        if self._after is None:
            return False
        if self._after > 0:
            self._after -= 1
            return False
        if self._times is not None:
            if self._times == 0:
                return False
            self._times -= 1
        self.blown += 1
        return True


class Hold:
    """Makes calls wait while it is `on`; `waiting` are the tasks that do."""

    def __init__(self) -> None:
        self.waiting: set[asyncio.Task[object] | None] = set()
        self.changed = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()

    @property
    def on(self) -> bool:
        return not self._open.is_set()

    @on.setter
    def on(self, on: bool) -> None:
        (self._open.clear if on else self._open.set)()

    async def passes(self) -> None:
        """Return once calls may go on."""
        if not self.on:
            return
        task = asyncio.current_task()
        self.waiting.add(task)
        self.changed.set()
        try:
            await self._open.wait()
        finally:
            self.waiting.discard(task)


class FaultyRoot:
    """A root whose every call may fail, as a TPM's may."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self.fuse = Fuse()
        self.hold = Hold()
        self.says: str | None = None  # what keeps it from answering
        self.hung = False
        self.assurance: Literal["tpm", "software"] = root.assurance
        self.public_key = root.public_key

    @property
    def calls(self) -> int:
        """How many there were."""
        return self.fuse.calls

    def fail_after(self, calls: int, times: int | None = 1) -> None:
        """After so many good calls, `times` fail."""
        self.fuse.set(calls, times)

    async def hmac(self, message: bytes) -> bytes:
        await self._check()
        return await self._root.hmac(message)

    async def sign(self, message: bytes) -> bytes:
        await self._check()
        return await self._root.sign(message)

    async def draw_incarnation(self, note: Note = unnoted) -> int:
        async def noting(counter: int) -> None:
            await note(counter)
            await self._check()  # a cut between the note and the step

        await self._check()
        return await self._root.draw_incarnation(noting)

    async def incarnation_counter(self) -> int | None:
        await self._check()
        return await self._root.incarnation_counter()

    async def random(self, n: int) -> bytes:
        await self._check()
        return await self._root.random(n)

    async def evidence(self) -> Evidence | None:
        await self._check()
        return await self._root.evidence()

    async def activate(self, credential_blob: bytes, secret: bytes) -> bytes:
        await self._check()
        return await self._root.activate(credential_blob, secret)

    @property
    def fault(self) -> str | None:
        return self.says or self._root.fault

    async def aclose(self) -> None:
        await self._root.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _check(self) -> None:
        await self.hold.passes()
        if self.fuse.blows():
            raise TrustError("the TPM does not answer")


class FaultyBucket:
    """A store that is away when a test says so, and remembers what it took, in order."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.fuse = Fuse()
        self.away = False
        self.deaf = False  # takes what is put, and does not say so
        self.hangs_after: int | None = None  # so many more calls, and all later ones hang
        self.puts: list[tuple[str, bytes]] = []
        self.hold: asyncio.Event | None = None  # all but the first put wait for it
        self.holds = asyncio.Event()  # one does

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        await self._check()
        await self._bucket.put(key, data, replace=replace)
        self.puts.append((key, data))
        if self.hold is not None and len(self.puts) > 1:
            self.holds.set()
            await self.hold.wait()
        if self.deaf:
            raise StoreUnavailable("the store has not answered in time")

    async def get(self, key: str) -> bytes:
        await self._check()
        return await self._bucket.get(key)

    async def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        await self._check()
        async for key in self._bucket.list(prefix, after):
            yield key

    async def delete(self, key: str) -> None:
        await self._check()
        await self._bucket.delete(key)

    async def aclose(self) -> None:
        await self._bucket.aclose()

    async def _check(self) -> None:
        if self.hangs_after == 0:
            await asyncio.Event().wait()
        if self.hangs_after is not None:
            self.hangs_after -= 1
        if self.fuse.blows() or self.away:
            raise StoreUnavailable("the store does not answer")


class FaultyDatabase(Database):
    """A ledger's file whose transactions may fail, before they begin, as on a disk with no room left."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.fuse = Fuse()
        self.hold = Hold()

    async def do(self, work: Callable[[sqlite3.Connection, *Values], T], *values: *Values) -> T:
        await self.hold.passes()
        if self.fuse.blows():
            raise LedgerError("a transaction failed in the ledger: database or disk is full")
        return await super().do(work, *values)
