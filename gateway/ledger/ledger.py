"""The ledger's operations: each is one transaction, and keeps what PROTOCOL.md demands of the device.

What a transaction does is a function in the file of its table.

Units are appended in order, without holes, and leave `sealed` only into a chunk; a chunk's bytes enter
the outbox in the transaction that records it, and leave it only when the store has confirmed them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gateway.chain.layout import Run
from gateway.chain.page import Span
from gateway.chain.seal import U64
from gateway.ledger import audit, chunks, grants, outbox, pages, rollback, streams
from gateway.ledger.database import Database, integrity
from gateway.ledger.records import (
    AuditEntry,
    ChunkEntry,
    GrantRecord,
    Outgoing,
    PageEntry,
    Position,
    Queued,
    Sealed,
    StoreChain,
    Stream,
)


class Ledger:
    """The open ledger of one gateway."""

    def __init__(self, database: Database) -> None:
        self._db = database

    @classmethod
    async def open(cls, path: Path, *, reading: bool = False) -> Ledger:
        """Open the file at `path`; made at first unless `reading`."""
        database = Database(path)
        await database.open(reading=reading)
        return cls(database)

    async def close(self) -> None:
        """Close it; what was done is durable already."""
        await self._db.close()

    # --- incarnations and streams

    async def last_incarnation(self) -> int | None:
        """The incarnation drawn last, if any was."""
        return await self._db.do(streams.last_incarnation)

    async def begin_incarnation(self, value: int, at_ms: int) -> None:
        """Make a drawn incarnation durable, before anything is sealed under it."""
        await self._db.do(streams.begin_incarnation, value, at_ms)

    async def streams(self) -> list[Stream]:
        """All streams, by meter."""
        return await self._db.do(streams.by_meter)

    async def add_stream(
        self, stream: Stream, descriptor: Outgoing, sealed: Sequence[Sealed], state: bytes
    ) -> None:
        """Begin a stream with its first sealed units; its descriptor enters the outbox."""
        await self._db.do(streams.begin, stream, descriptor, sealed, state)

    async def state(self, stream: bytes) -> bytes:
        """The sampler's state at the last sealed unit, as it was given (sealed by the vault)."""
        return await self._db.do(streams.state, stream)

    # --- sealed units and chunks

    async def position(self, stream: Stream) -> Position:
        """Where the stream stands."""
        return await self._db.do(chunks.position, stream)

    async def append(self, stream: Stream, sealed: Sequence[Sealed], state: bytes) -> None:
        """Make sealed units durable, with the sampler's state at their end.

        A hole, or a unit that was sealed before, is a bug of the caller's and a ValueError.
        """
        await self._db.do(streams.append, stream, sealed, state)

    async def open_units(self, stream: Stream) -> list[Sealed]:
        """The units that are in no chunk yet, in order."""
        return await self._db.do(chunks.open_units, stream)

    async def close_chunk(
        self, stream: Stream, chunk: ChunkEntry, whole: Sealed, rest: Sealed | None, data: Outgoing
    ) -> None:
        """Turn the first open units, `whole`, into a chunk. `rest` is what it leaves of a part that it cuts.

        The ciphertexts stay where the stream has pages, until those of the chunk's days are made.
        """
        await self._db.do(chunks.close, stream, chunk, whole, rest, data)

    async def runs(self, stream: Stream, first: int, end: int) -> list[Run]:
        """Under which incarnations the units [first, end) were sealed: only those in chunks."""
        return await self._db.do(chunks.runs, stream, first, end)

    async def chunk_at(self, stream: Stream, seq: int) -> ChunkEntry | None:
        """The chunk with this seq, if there is one."""
        return await self._db.do(chunks.at, stream, seq)

    async def chunks(self, stream: Stream, first: int, end: int) -> list[ChunkEntry]:
        """The chunks that hold some of the units [first, end), in order."""
        return await self._db.do(chunks.overlapping, stream, first, end)

    # --- pages

    async def ciphertexts(self, stream: Stream, chunk: ChunkEntry) -> U64:
        """c of a chunk, an array [lane, unit]. LedgerError once the pages of its days are made."""
        return await self._db.do(chunks.ciphertexts, stream, chunk)

    async def last_page(self, stream: Stream, span: Span) -> PageEntry | None:
        """The last page of a day, or of a month, without its sums."""
        return await self._db.do(pages.last, stream, span)

    async def day_pages(self, stream: Stream, first: int, end: int) -> list[PageEntry]:
        """The pages of the days between units `first` and `end`, in order."""
        return await self._db.do(pages.days, stream, first, end)

    async def add_page(self, stream: Stream, page: PageEntry, objects: Sequence[Outgoing]) -> None:
        """Record a page; `objects` (it and the tokens folded with it) enter the outbox, and what it was
        made of and no later page needs is dropped: a day's ciphertexts, a month's days' sums."""
        await self._db.do(pages.add, stream, page, objects)

    # --- the outbox

    async def enqueue(self, stream: bytes, objects: Sequence[Outgoing]) -> None:
        """Put objects into the outbox, in order."""
        await self._db.do(outbox.enqueue, stream, objects)

    async def outbox(self, most: int) -> list[Queued]:
        """The objects to send next, in order."""
        return await self._db.do(outbox.first, most)

    async def backlog(self) -> int:
        """How many objects wait."""
        return await self._db.do(outbox.count)

    async def confirm(self, ids: Sequence[int]) -> None:
        """The store has these: they leave the outbox."""
        await self._db.do(outbox.confirm, ids)

    async def waiting(self, stream: Stream, prefix: str) -> list[Outgoing]:
        """The objects of a stream in the outbox whose keys begin with `prefix`, in order."""
        return await self._db.do(outbox.waiting, stream, prefix)

    # --- grants

    async def grants(self, stream: bytes | None = None) -> list[GrantRecord]:
        """All grants, or those of one stream."""
        return await self._db.do(grants.made, stream)

    async def add_grants(self, new: Sequence[tuple[GrantRecord, Outgoing, AuditEntry]]) -> None:
        """Record grants, all or none; their objects enter the outbox, the decisions the audit log."""
        await self._db.do(grants.add, new)

    async def advance_grant(self, grant: GrantRecord, next_window: int, bundle: Outgoing) -> None:
        """Windows before `next_window` have their tokens, the new ones in `bundle`."""
        await self._db.do(grants.advance, grant, next_window, bundle)

    async def revoke_grant(
        self, grant: GrantRecord, from_unit: int, revocation: Outgoing, audit: AuditEntry
    ) -> None:
        """From `from_unit` on the grant opens nothing."""
        await self._db.do(grants.revoke, grant, from_unit, revocation, audit)

    # --- the audit log

    async def audit(self, entry: AuditEntry) -> None:
        """Write one line."""
        await self._db.do(audit.write, entry)

    async def audit_log(self, most: int) -> list[AuditEntry]:
        """The last lines, oldest first."""
        return await self._db.do(audit.last, most)

    # --- when the store is ahead

    async def take_over(self, stream: Stream, chain: StoreChain, audit: AuditEntry) -> None:
        """Let the store's chain stand: the ledger's own chunks, open units, pages and unsent objects beyond
        it give way. The stream's descriptor, grants and revocations stay in the outbox.

        LedgerError, with nothing changed, for a page of a period whose page stays.
        """
        await self._db.do(rollback.take_over, stream, chain, audit)

    async def check(self) -> str | None:
        """None if the file is whole, else what SQLite found wrong first."""
        return await self._db.do(integrity)
