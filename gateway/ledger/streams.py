"""Tables `incarnation` and `stream`: the incarnations drawn, and the meters' streams."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from gateway.chain.keys import be64
from gateway.chain.layout import Factor, Layout
from gateway.errors import LedgerError
from gateway.ledger import audit, chunks, outbox
from gateway.ledger.records import AuditEntry, Outgoing, Sealed, Stream


def last_incarnation(db: sqlite3.Connection) -> int | None:
    row = db.execute("SELECT value FROM incarnation ORDER BY ordinal DESC LIMIT 1").fetchone()
    return None if row is None else int.from_bytes(row[0], "big")


def starts(db: sqlite3.Connection) -> int:
    row: tuple[int] = db.execute("SELECT count(*) FROM incarnation").fetchone()
    return row[0]


def begin_incarnation(db: sqlite3.Connection, value: int, at_ms: int) -> None:
    if db.execute("SELECT 1 FROM incarnation WHERE value = ?", (be64(value),)).fetchone():
        raise LedgerError(
            f"incarnation {value} was drawn before: the TPM's counter has gone back, or this is another TPM"
        )
    db.execute(
        "INSERT INTO incarnation SELECT ?, ?, 1 + coalesce(max(ordinal), 0) FROM incarnation",
        (be64(value), at_ms),
    )


def by_meter(db: sqlite3.Connection) -> list[Stream]:
    rows = db.execute(
        "SELECT id, meter, unit_ms, link_units, lanes, start, descriptor_digest, factor FROM stream"
        " ORDER BY meter"
    )
    return [
        Stream(
            id_,
            meter,
            Layout(unit_ms, units),
            tuple(lanes.split(",")),
            start,
            descriptor,
            Factor.parse(factor),
        )
        for id_, meter, unit_ms, units, lanes, start, descriptor, factor in rows
    ]


def begin(
    db: sqlite3.Connection, stream: Stream, descriptor: Outgoing, sealed: Sequence[Sealed], state: bytes
) -> None:
    db.execute(
        "INSERT INTO stream VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            stream.id,
            stream.meter,
            stream.layout.unit_ms,
            stream.layout.link_units,
            ",".join(stream.lanes),
            stream.start,
            stream.descriptor_digest,
            state,
            str(stream.factor),
        ),
    )
    outbox.enqueue(db, stream.id, [descriptor])
    chunks.append(db, stream, sealed)


def append(db: sqlite3.Connection, stream: Stream, sealed: Sequence[Sealed], state: bytes) -> None:
    chunks.append(db, stream, sealed)
    set_state(db, stream, state)


def state(db: sqlite3.Connection, stream: bytes) -> bytes:
    row: tuple[bytes] = db.execute("SELECT state FROM stream WHERE id = ?", (stream,)).fetchone()
    return row[0]


def save_state(db: sqlite3.Connection, stream: Stream, state: bytes, entry: AuditEntry | None) -> None:
    set_state(db, stream, state)
    if entry is not None:
        audit.write(db, entry)


def set_state(db: sqlite3.Connection, stream: Stream, state: bytes) -> None:
    db.execute("UPDATE stream SET state = ? WHERE id = ?", (state, stream.id))
