"""Tables `sealed` and `chunk`: a stream's sealed units, open at first, then in chunks."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import numpy as np

from gateway.chain.keys import be64
from gateway.chain.layout import Run
from gateway.chain.page import Calendar
from gateway.chain.seal import U64
from gateway.errors import LedgerError
from gateway.ledger import outbox
from gateway.ledger.records import ChunkEntry, Outgoing, Position, Sealed, Stream


def position(db: sqlite3.Connection, stream: Stream) -> Position:
    rows = db.execute(
        "SELECT seq, incarnation, first, end, digest FROM chunk WHERE stream = ? ORDER BY seq DESC LIMIT 1",
        (stream.id,),
    )
    last = next(map(_entry, rows), None)
    row = db.execute(
        "SELECT first + count FROM sealed WHERE stream = ? ORDER BY first DESC LIMIT 1", (stream.id,)
    ).fetchone()
    if row is not None:
        return Position(last, row[0])
    return Position(last, stream.start if last is None else last.end)


def append(db: sqlite3.Connection, stream: Stream, sealed: Sequence[Sealed]) -> None:
    """Insert open units; ValueError unless they follow the last sealed unit."""
    at = position(db, stream).next_unit
    for part in sealed:
        if part.first != at:
            raise ValueError(f"units from {part.first} do not follow the last sealed unit {at - 1}")
        at = part.end
        _insert_open(db, stream, part)


def open_units(db: sqlite3.Connection, stream: Stream) -> list[Sealed]:
    rows = db.execute(
        "SELECT incarnation, first, c FROM sealed WHERE stream = ? ORDER BY first", (stream.id,)
    )
    return [
        Sealed(int.from_bytes(incarnation, "big"), first, _array(stream, c)) for incarnation, first, c in rows
    ]


def close(
    db: sqlite3.Connection,
    stream: Stream,
    chunk: ChunkEntry,
    whole: Sealed,
    rest: Sealed | None,
    data: Outgoing,
) -> None:
    db.execute("DELETE FROM sealed WHERE stream = ? AND first < ?", (stream.id, chunk.end))
    if rest is not None:
        _insert_open(db, stream, rest)
    paged = Calendar.of(stream.layout.unit_ms, stream.start) is not None
    insert(db, stream, chunk, whole if paged else None)
    outbox.enqueue(db, stream.id, [data])


def insert(db: sqlite3.Connection, stream: Stream, chunk: ChunkEntry, kept: Sealed | None) -> None:
    """Insert a chunk; `kept` are its ciphertexts, if pages are still to be made of them."""
    db.execute(
        "INSERT INTO chunk VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            stream.id,
            chunk.seq,
            be64(chunk.incarnation),
            chunk.first,
            chunk.end,
            chunk.digest,
            None if kept is None else kept.to_bytes(),
        ),
    )


def keep_ciphertexts(db: sqlite3.Connection, stream: Stream, whole: Sealed) -> None:
    """Store the ciphertexts of the chunk whose first unit is that of `whole`."""
    db.execute(
        "UPDATE chunk SET c = ? WHERE stream = ? AND first = ?", (whole.to_bytes(), stream.id, whole.first)
    )


def drop_ciphertexts(db: sqlite3.Connection, stream: Stream, end: int) -> None:
    """Drop the ciphertexts of the chunks that end at or before unit `end`."""
    db.execute("UPDATE chunk SET c = NULL WHERE stream = ? AND end <= ? AND c IS NOT NULL", (stream.id, end))


def drop_from(db: sqlite3.Connection, stream: Stream, seq: int) -> None:
    """Drop all chunks from `seq` on, and all open units."""
    db.execute("DELETE FROM sealed WHERE stream = ?", (stream.id,))
    db.execute("DELETE FROM chunk WHERE stream = ? AND seq >= ?", (stream.id, seq))


def runs(db: sqlite3.Connection, stream: Stream, first: int, end: int) -> list[Run]:
    merged: list[Run] = []
    for chunk in overlapping(db, stream, first, end):
        if merged and merged[-1].incarnation == chunk.incarnation:
            merged[-1] = Run(chunk.incarnation, merged[-1].first, chunk.end)
        else:
            merged.append(Run(chunk.incarnation, chunk.first, chunk.end))
    return merged


def at(db: sqlite3.Connection, stream: Stream, seq: int) -> ChunkEntry | None:
    rows = db.execute(
        "SELECT seq, incarnation, first, end, digest FROM chunk WHERE stream = ? AND seq = ?",
        (stream.id, seq),
    )
    return next(map(_entry, rows), None)


def overlapping(db: sqlite3.Connection, stream: Stream, first: int, end: int) -> list[ChunkEntry]:
    rows = db.execute(
        "SELECT seq, incarnation, first, end, digest FROM chunk"
        " WHERE stream = ? AND end > ? AND first < ? ORDER BY seq",
        (stream.id, first, end),
    )
    return [_entry(row) for row in rows]


def ciphertexts(db: sqlite3.Connection, stream: Stream, chunk: ChunkEntry) -> U64:
    (c,) = db.execute("SELECT c FROM chunk WHERE stream = ? AND seq = ?", (stream.id, chunk.seq)).fetchone()
    if c is None:
        raise LedgerError(
            f"the ciphertexts of chunk {chunk.seq} of stream {stream.id.hex()} are no longer in the ledger: "
            "the pages of its days are made"
        )
    return _array(stream, c)


def _insert_open(db: sqlite3.Connection, stream: Stream, part: Sealed) -> None:
    db.execute(
        "INSERT INTO sealed VALUES (?, ?, ?, ?, ?)",
        (stream.id, part.first, part.end - part.first, be64(part.incarnation), part.to_bytes()),
    )


def _entry(row: tuple[int, bytes, int, int, bytes]) -> ChunkEntry:
    return ChunkEntry(row[0], int.from_bytes(row[1], "big"), *row[2:])


def _array(stream: Stream, c: bytes) -> U64:
    return np.frombuffer(c, "<u8").reshape(len(stream.lanes), -1)
