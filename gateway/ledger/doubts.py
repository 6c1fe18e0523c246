"""Tables `counter`, the note of the last step of the TPM's counter, and `doubt`, the units that another copy
of this ledger may have sealed (PROTOCOL.md, rule 3)."""

from __future__ import annotations

import sqlite3

from gateway.chain.keys import be64
from gateway.ledger import audit, chunks, streams
from gateway.ledger.records import AuditEntry, Doubt, StoreChain, Stream

_ANY = be64(2**64 - 1)
"""As a doubt's incarnation: no later one ends it, only the owner's word."""


def note(db: sqlite3.Connection, counter: int, now_ms: int, *, trusted: bool) -> AuditEntry | None:
    noted, last, entry = noted_counter(db), streams.last_incarnation(db), None
    if noted is not None and last is not None and counter > noted + 1:
        detail = (
            f"the TPM drew incarnation {counter}, but the ledger's last is {last}: the ledger was restored "
            "or copied, and what its other copy has sealed since is unknown. No token of those units leaves "
            "until the store shows them, or the owner confirms this ledger (gateway ledger confirm)"
        )
        for stream in streams.by_meter(db):
            _begin(db, stream, last, now_ms, trusted=trusted)
        entry = AuditEntry(now_ms, "rollback", detail)
        audit.write(db, entry)
    db.execute("INSERT OR REPLACE INTO counter VALUES (1, ?)", (be64(counter),))
    return entry


def noted_counter(db: sqlite3.Connection) -> int | None:
    row = db.execute("SELECT noted FROM counter").fetchone()
    return None if row is None else int.from_bytes(row[0], "big")


def _begin(db: sqlite3.Connection, stream: Stream, last: int, now_ms: int, *, trusted: bool) -> None:
    """Units from the stream's end to now are in doubt, and those that are since before: what the store
    shows of this copy's life says nothing of the earlier one's."""
    next_unit = chunks.position(db, stream).next_unit
    end = max(next_unit, now_ms // stream.layout.unit_ms + 1) if trusted else None
    db.execute(
        "INSERT INTO doubt VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET end = excluded.end, incarnation = ?",
        (stream.id, next_unit, end, be64(last), now_ms, _ANY),
    )


def of(db: sqlite3.Connection, stream: bytes) -> Doubt | None:
    row = db.execute("SELECT first, end, noticed_ms FROM doubt WHERE stream = ?", (stream,)).fetchone()
    return None if row is None else Doubt(*row)


def set_end(db: sqlite3.Connection, stream: Stream, end: int) -> None:
    """Set the end of a doubt that has none yet."""
    db.execute("UPDATE doubt SET end = ? WHERE stream = ? AND end IS NULL", (end, stream.id))


def settle(db: sqlite3.Connection, stream: Stream, chain: StoreChain) -> None:
    """The store has shown `chain`: a chunk of a later incarnation ends the doubt, and so does a chain that
    reaches its end; otherwise the doubt begins where the chain ends. A doubt about two copies stays as it
    is."""
    latest = max((chunk.incarnation for chunk in chain.chunks), default=0)
    reached = chunks.position(db, stream).next_unit
    db.execute(
        "DELETE FROM doubt WHERE stream = ? AND (incarnation < ? OR end <= ?) AND incarnation <> ?",
        (stream.id, be64(latest), reached, _ANY),
    )
    db.execute(
        "UPDATE doubt SET first = max(first, ?) WHERE stream = ? AND incarnation <> ?",
        (reached, stream.id, _ANY),
    )


def confirm(db: sqlite3.Connection, entry: AuditEntry) -> None:
    db.execute("DELETE FROM doubt")
    audit.write(db, entry)
