"""The ledger's operations: each is one transaction, and keeps what PROTOCOL.md demands of the device.

Units are appended in order, without holes, and leave `sealed` only into a chunk; a chunk's bytes enter
the outbox in the transaction that records it, and leave it only when the store has confirmed them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gateway.chain.keys import be64
from gateway.chain.layout import Layout, Run
from gateway.chain.page import Calendar, Span
from gateway.chain.seal import U64
from gateway.errors import LedgerError
from gateway.ledger.database import Database
from gateway.ledger.records import (
    AuditEntry,
    ChunkEntry,
    GrantRecord,
    Outgoing,
    PageEntry,
    Position,
    Queued,
    Sealed,
    Stream,
)

_NAME_LENGTH: dict[Span, int] = {"day": 10, "month": 7}  # 2026-11-22, 2026-11


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

        def work(db: sqlite3.Connection) -> int | None:
            row = db.execute("SELECT value FROM incarnation ORDER BY ordinal DESC LIMIT 1").fetchone()
            return None if row is None else int.from_bytes(row[0], "big")

        return await self._db.do(work)

    async def begin_incarnation(self, value: int, at_ms: int) -> None:
        """Make a drawn incarnation durable, before anything is sealed under it."""

        def work(db: sqlite3.Connection) -> None:
            if db.execute("SELECT 1 FROM incarnation WHERE value = ?", (be64(value),)).fetchone():
                raise LedgerError(
                    f"incarnation {value} was drawn before: the TPM's counter went back, or is another TPM's"
                )
            db.execute(
                "INSERT INTO incarnation SELECT ?, ?, 1 + coalesce(max(ordinal), 0) FROM incarnation",
                (be64(value), at_ms),
            )

        await self._db.do(work)

    async def streams(self) -> list[Stream]:
        """All streams, by meter."""

        def work(db: sqlite3.Connection) -> list[Stream]:
            rows = db.execute(
                "SELECT id, meter, unit_ms, link_units, lanes, start, descriptor_digest FROM stream"
                " ORDER BY meter"
            )
            return [
                Stream(id_, meter, Layout(unit_ms, link_units), tuple(lanes.split(",")), start, descriptor)
                for id_, meter, unit_ms, link_units, lanes, start, descriptor in rows
            ]

        return await self._db.do(work)

    async def add_stream(
        self, stream: Stream, descriptor: Outgoing, sealed: Sequence[Sealed], state: bytes
    ) -> None:
        """Begin a stream with its first sealed units; its descriptor enters the outbox."""

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO stream VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    stream.id,
                    stream.meter,
                    stream.layout.unit_ms,
                    stream.layout.link_units,
                    ",".join(stream.lanes),
                    stream.start,
                    stream.descriptor_digest,
                    state,
                ),
            )
            _enqueue(db, stream.id, [descriptor])
            _append(db, stream, sealed, state)

        await self._db.do(work)

    async def state(self, stream: bytes) -> bytes:
        """The sampler's state at the last sealed unit, as it was given (sealed by the vault)."""

        def work(db: sqlite3.Connection) -> bytes:
            row: tuple[bytes] = db.execute("SELECT state FROM stream WHERE id = ?", (stream,)).fetchone()
            return row[0]

        return await self._db.do(work)

    # --- sealed units and chunks

    async def position(self, stream: Stream) -> Position:
        """Where the stream stands."""
        return await self._db.do(lambda db: _position(db, stream))

    async def append(self, stream: Stream, sealed: Sequence[Sealed], state: bytes) -> None:
        """Make sealed units durable, with the sampler's state at their end.

        A hole, or a unit that was sealed before, is a bug of the caller's and a ValueError.
        """

        await self._db.do(lambda db: _append(db, stream, sealed, state))

    async def open_units(self, stream: Stream) -> list[Sealed]:
        """The units that are in no chunk yet, in order."""

        def work(db: sqlite3.Connection) -> list[Sealed]:
            rows = db.execute(
                "SELECT incarnation, first, c FROM sealed WHERE stream = ? ORDER BY first", (stream.id,)
            )
            return [
                Sealed(
                    int.from_bytes(inc, "big"), first, np.frombuffer(c, "<u8").reshape(len(stream.lanes), -1)
                )
                for inc, first, c in rows
            ]

        return await self._db.do(work)

    async def close_chunk(
        self, stream: Stream, chunk: ChunkEntry, whole: Sealed, rest: Sealed | None, data: Outgoing
    ) -> None:
        """Turn the first open units, `whole`, into a chunk. `rest` is what it leaves of a part that it cuts.

        The ciphertexts stay where the stream has pages, until those of the chunk's days are made.
        """

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM sealed WHERE stream = ? AND first < ?", (stream.id, chunk.end))
            if rest is not None:
                _insert_sealed(db, stream, rest)
            _insert_chunk(db, stream, chunk, whole)
            _enqueue(db, stream.id, [data])

        await self._db.do(work)

    async def runs(self, stream: Stream, first: int, end: int) -> list[Run]:
        """Under which incarnations the units [first, end) were sealed: only those in chunks."""

        def work(db: sqlite3.Connection) -> list[Run]:
            rows = db.execute(
                "SELECT incarnation, first, end FROM chunk WHERE stream = ? AND end > ? AND first < ?"
                " ORDER BY seq",
                (stream.id, first, end),
            )
            runs: list[Run] = []
            for blob, x, y in rows:
                incarnation = int.from_bytes(blob, "big")
                if runs and runs[-1].incarnation == incarnation:
                    runs[-1] = Run(incarnation, runs[-1].first, y)
                else:
                    runs.append(Run(incarnation, x, y))
            return runs

        return await self._db.do(work)

    async def chunk_at(self, stream: Stream, seq: int) -> ChunkEntry | None:
        """The chunk with this seq, if there is one."""

        def work(db: sqlite3.Connection) -> ChunkEntry | None:
            return _chunk(
                db.execute(
                    "SELECT seq, incarnation, first, end, digest FROM chunk WHERE stream = ? AND seq = ?",
                    (stream.id, seq),
                ).fetchone()
            )

        return await self._db.do(work)

    async def chunks(self, stream: Stream, first: int, end: int) -> list[ChunkEntry]:
        """The chunks that hold some of the units [first, end), in order."""

        def work(db: sqlite3.Connection) -> list[ChunkEntry]:
            rows = db.execute(
                "SELECT seq, incarnation, first, end, digest FROM chunk"
                " WHERE stream = ? AND end > ? AND first < ? ORDER BY seq",
                (stream.id, first, end),
            )
            return [chunk for row in rows if (chunk := _chunk(row)) is not None]

        return await self._db.do(work)

    # --- pages

    async def ciphertexts(self, stream: Stream, chunk: ChunkEntry) -> U64:
        """c of a chunk, an array [lane, unit]. LedgerError once the pages of its days are made."""

        def work(db: sqlite3.Connection) -> U64:
            (c,) = db.execute(
                "SELECT c FROM chunk WHERE stream = ? AND seq = ?", (stream.id, chunk.seq)
            ).fetchone()
            if c is None:
                raise LedgerError(f"the ledger holds chunk {chunk.seq} of {stream.id.hex()} no longer")
            return np.frombuffer(c, "<u8").reshape(len(stream.lanes), -1)

        return await self._db.do(work)

    async def last_page(self, stream: Stream, span: Span) -> PageEntry | None:
        """The last page of a day, or of a month, without its sums."""

        def work(db: sqlite3.Connection) -> PageEntry | None:
            row = db.execute(
                "SELECT period, step, first, end, digest, NULL FROM page"
                " WHERE stream = ? AND length(period) = ? ORDER BY period DESC LIMIT 1",
                (stream.id, _NAME_LENGTH[span]),
            ).fetchone()
            return None if row is None else _page(stream, row)

        return await self._db.do(work)

    async def day_pages(self, stream: Stream, first: int, end: int) -> list[PageEntry]:
        """The pages of the days between units `first` and `end`, in order."""

        def work(db: sqlite3.Connection) -> list[PageEntry]:
            rows = db.execute(
                "SELECT period, step, first, end, digest, c FROM page"
                " WHERE stream = ? AND length(period) = ? AND first >= ? AND end <= ? ORDER BY period",
                (stream.id, _NAME_LENGTH["day"], first, end),
            )
            return [_page(stream, row) for row in rows]

        return await self._db.do(work)

    async def add_page(self, stream: Stream, page: PageEntry, objects: Sequence[Outgoing]) -> None:
        """Record a page; `objects` (it and the tokens folded with it) enter the outbox, and what it was
        made of and no later page needs is dropped: a day's ciphertexts, a month's days' sums."""

        def work(db: sqlite3.Connection) -> None:
            _insert_page(db, stream, page)
            _enqueue(db, stream.id, objects)
            if len(page.period) == _NAME_LENGTH["day"]:
                drop = "UPDATE chunk SET c = NULL WHERE stream = ? AND end <= ? AND c IS NOT NULL"
            else:
                drop = "UPDATE page SET c = NULL WHERE stream = ? AND end <= ? AND c IS NOT NULL"
            db.execute(drop, (stream.id, page.end))

        await self._db.do(work)

    # --- the outbox

    async def enqueue(self, stream: bytes, objects: Sequence[Outgoing]) -> None:
        """Put objects into the outbox, in order."""
        await self._db.do(lambda db: _enqueue(db, stream, objects))

    async def outbox(self, most: int) -> list[Queued]:
        """The objects to send next, in order."""

        def work(db: sqlite3.Connection) -> list[Queued]:
            rows = db.execute(
                "SELECT id, stream, key, data, replace FROM outbox ORDER BY id LIMIT ?", (most,)
            )
            return [Queued(id_, s, Outgoing(key, data, bool(replace))) for id_, s, key, data, replace in rows]

        return await self._db.do(work)

    async def backlog(self) -> int:
        """How many objects wait."""

        def work(db: sqlite3.Connection) -> int:
            row: tuple[int] = db.execute("SELECT count(*) FROM outbox").fetchone()
            return row[0]

        return await self._db.do(work)

    async def confirm(self, ids: Sequence[int]) -> None:
        """The store has these: they leave the outbox."""

        def work(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM outbox WHERE id = ?", [(id_,) for id_ in ids])

        await self._db.do(work)

    async def waiting(self, stream: Stream, prefix: str) -> list[Outgoing]:
        """The objects of a stream in the outbox whose keys begin with `prefix`, in order."""

        def work(db: sqlite3.Connection) -> list[Outgoing]:
            rows = db.execute(
                "SELECT key, data, replace FROM outbox WHERE stream = ? AND key >= ? AND key < ? ORDER BY id",
                (stream.id, prefix, prefix + "\x7f"),
            )
            return [Outgoing(key, data, bool(replace)) for key, data, replace in rows]

        return await self._db.do(work)

    # --- grants

    async def grants(self, stream: bytes | None = None) -> list[GrantRecord]:
        """All grants, or those of one stream."""

        def work(db: sqlite3.Connection) -> list[GrantRecord]:
            rows = db.execute(
                "SELECT id, stream, body, provider_name, next_window, key, revoked_from, tariff FROM grant_"
                " WHERE ?1 IS NULL OR stream = ?1",
                (stream,),
            )
            return [GrantRecord(*row) for row in rows]

        return await self._db.do(work)

    async def add_grants(self, grants: Sequence[tuple[GrantRecord, Outgoing, AuditEntry]]) -> None:
        """Record grants, all or none; their objects enter the outbox, the decisions the audit log."""

        def work(db: sqlite3.Connection) -> None:
            for record, grant, audit in grants:
                db.execute(
                    "INSERT INTO grant_ VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        record.id,
                        record.stream,
                        record.body,
                        record.provider_name,
                        record.next_window,
                        record.key,
                        record.revoked_from,
                        record.tariff,
                    ),
                )
                _enqueue(db, record.stream, [grant])
                _audit(db, audit)

        await self._db.do(work)

    async def advance_grant(self, grant: GrantRecord, next_window: int, bundle: Outgoing) -> None:
        """Windows before `next_window` have their tokens, the new ones in `bundle`."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE grant_ SET next_window = ? WHERE id = ?", (next_window, grant.id))
            _enqueue(db, grant.stream, [bundle])

        await self._db.do(work)

    async def revoke_grant(
        self, grant: GrantRecord, from_unit: int, revocation: Outgoing, audit: AuditEntry
    ) -> None:
        """From `from_unit` on the grant opens nothing."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE grant_ SET revoked_from = ? WHERE id = ?", (from_unit, grant.id))
            _enqueue(db, grant.stream, [revocation])
            _audit(db, audit)

        await self._db.do(work)

    # --- the audit log

    async def audit(self, entry: AuditEntry) -> None:
        """Write one line."""
        await self._db.do(lambda db: _audit(db, entry))

    async def audit_log(self, most: int) -> list[AuditEntry]:
        """The last lines, oldest first."""

        def work(db: sqlite3.Connection) -> list[AuditEntry]:
            rows = db.execute(
                "SELECT at_ms, what, detail FROM audit ORDER BY id DESC LIMIT ?", (most,)
            ).fetchall()
            return [AuditEntry(*row) for row in reversed(rows)]

        return await self._db.do(work)

    # --- when the store is ahead

    async def take_over(
        self,
        stream: Stream,
        keep: int,
        chunks: Sequence[ChunkEntry],
        pages_end: int,
        pages: Sequence[PageEntry],
        kept: Sequence[Sealed],
        state: bytes,
        windows: Mapping[bytes, int],
        revoked: Mapping[bytes, int],
        audit: AuditEntry,
    ) -> None:
        """The store's chain stands: chunks from seq `keep` on, open units and unsent objects of the
        stream's own data give way to `chunks`, pages that end after unit `pages_end` to `pages`. Grants
        and revocations in the outbox stay; `windows` gives each grant's next window, `revoked` the unit
        from which a grant is revoked after all, `kept` are the ciphertexts of the chunks whose days have
        no page yet.
        """

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM sealed WHERE stream = ?", (stream.id,))
            db.execute("DELETE FROM chunk WHERE stream = ? AND seq >= ?", (stream.id, keep))
            db.execute(
                "DELETE FROM outbox WHERE stream = ? AND key NOT LIKE '%/grant.cose'"
                " AND key NOT LIKE '%/revoked.cose' AND key NOT LIKE '%/stream.cose'",
                (stream.id,),
            )
            for chunk in chunks:
                _insert_chunk(db, stream, chunk)
            for part in kept:
                db.execute(
                    "UPDATE chunk SET c = ? WHERE stream = ? AND first = ?",
                    (part.to_bytes(), stream.id, part.first),
                )
            db.execute("DELETE FROM page WHERE stream = ? AND end > ?", (stream.id, pages_end))
            for page in pages:
                _insert_page(db, stream, page)
            db.execute("UPDATE stream SET state = ? WHERE id = ?", (state, stream.id))
            for grant, next_window in windows.items():
                db.execute("UPDATE grant_ SET next_window = ? WHERE id = ?", (next_window, grant))
            for grant, from_unit in revoked.items():
                db.execute("UPDATE grant_ SET revoked_from = ? WHERE id = ?", (from_unit, grant))
            _audit(db, audit)

        await self._db.do(work)

    async def check(self) -> str | None:
        """None if the file is whole, else what SQLite found wrong first."""

        def work(db: sqlite3.Connection) -> str | None:
            (answer,) = db.execute("PRAGMA integrity_check(1)").fetchone()
            return None if answer == "ok" else str(answer)

        return await self._db.do(work)


def _chunk(row: tuple[int, bytes, int, int, bytes] | None) -> ChunkEntry | None:
    return None if row is None else ChunkEntry(row[0], int.from_bytes(row[1], "big"), *row[2:])


def _position(db: sqlite3.Connection, stream: Stream) -> Position:
    last = _chunk(
        db.execute(
            "SELECT seq, incarnation, first, end, digest FROM chunk WHERE stream = ?"
            " ORDER BY seq DESC LIMIT 1",
            (stream.id,),
        ).fetchone()
    )
    row = db.execute(
        "SELECT first + count FROM sealed WHERE stream = ? ORDER BY first DESC LIMIT 1", (stream.id,)
    ).fetchone()
    if row is not None:
        return Position(last, row[0])
    return Position(last, stream.start if last is None else last.end)


def _append(db: sqlite3.Connection, stream: Stream, sealed: Sequence[Sealed], state: bytes) -> None:
    at = _position(db, stream).next_unit
    for part in sealed:
        if part.first != at:
            raise ValueError(f"units from {part.first} do not follow the last sealed unit {at - 1}")
        at = part.end
        _insert_sealed(db, stream, part)
    db.execute("UPDATE stream SET state = ? WHERE id = ?", (state, stream.id))


def _insert_sealed(db: sqlite3.Connection, stream: Stream, part: Sealed) -> None:
    db.execute(
        "INSERT INTO sealed VALUES (?, ?, ?, ?, ?)",
        (stream.id, part.first, part.end - part.first, be64(part.incarnation), part.to_bytes()),
    )


def _insert_chunk(
    db: sqlite3.Connection, stream: Stream, chunk: ChunkEntry, whole: Sealed | None = None
) -> None:
    paged = Calendar.of(stream.layout.unit_ms, stream.start) is not None
    c = whole.to_bytes() if whole is not None and paged else None
    db.execute(
        "INSERT INTO chunk VALUES (?, ?, ?, ?, ?, ?, ?)",
        (stream.id, chunk.seq, be64(chunk.incarnation), chunk.first, chunk.end, chunk.digest, c),
    )


def _insert_page(db: sqlite3.Connection, stream: Stream, page: PageEntry) -> None:
    c = None if page.c is None else np.ascontiguousarray(page.c, dtype="<u8").tobytes()
    db.execute(
        "INSERT INTO page VALUES (?, ?, ?, ?, ?, ?, ?)",
        (stream.id, page.period, page.step, page.first, page.end, page.digest, c),
    )


def _page(stream: Stream, row: tuple[str, int, int, int, bytes, bytes | None]) -> PageEntry:
    c = None if row[5] is None else np.frombuffer(row[5], "<u8").reshape(len(stream.lanes), -1)
    return PageEntry(*row[:5], c)


def _enqueue(db: sqlite3.Connection, stream: bytes, objects: Sequence[Outgoing]) -> None:
    for key, data, replace in objects:
        if replace:  # a newer head makes an unsent one worthless
            db.execute("DELETE FROM outbox WHERE key = ?", (key,))
        db.execute(
            "INSERT INTO outbox (stream, key, replace, data) VALUES (?, ?, ?, ?)",
            (stream, key, replace, data),
        )


def _audit(db: sqlite3.Connection, entry: AuditEntry) -> None:
    db.execute("INSERT INTO audit (at_ms, what, detail) VALUES (?, ?, ?)", entry)
