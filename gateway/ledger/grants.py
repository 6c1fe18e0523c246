"""Table `grant_`: the grants made, and up to which window each has its tokens."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from gateway.chain.keys import be64
from gateway.ledger import audit, outbox
from gateway.ledger.records import AuditEntry, GrantRecord, Outgoing, Progress, Stream


def made(db: sqlite3.Connection, stream: bytes | None) -> list[GrantRecord]:
    rows = db.execute(
        "SELECT id, stream, body, provider_name, next_window, key, revoked_from, tariff, edges, own"
        " FROM grant_"
        " WHERE ?1 IS NULL OR stream = ?1",
        (stream,),
    )
    return [
        replace(GrantRecord(*values), edges=_numbers(edges), own=bool(own)) for *values, edges, own in rows
    ]


def revoked(db: sqlite3.Connection, stream: Stream) -> list[bytes]:
    rows = db.execute(
        "SELECT id FROM grant_ WHERE stream = ? AND revoked_from IS NOT NULL ORDER BY id", (stream.id,)
    )
    return [id_ for (id_,) in rows]


def add(db: sqlite3.Connection, grants: Sequence[tuple[GrantRecord, Outgoing, AuditEntry]]) -> None:
    for record, grant, entry in grants:
        _insert(db, record)
        outbox.enqueue(db, record.stream, [grant])
        audit.write(db, entry)


def adopt(db: sqlite3.Connection, found: Sequence[tuple[GrantRecord, AuditEntry]]) -> None:
    for record, entry in found:
        _insert(db, record)
        audit.write(db, entry)


def _insert(db: sqlite3.Connection, record: GrantRecord) -> None:
    db.execute(
        "INSERT INTO grant_ VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.id,
            record.stream,
            record.body,
            record.provider_name,
            record.next_window,
            record.key,
            record.revoked_from,
            record.tariff,
            _bytes(record.edges),
            record.own,
        ),
    )


def advance(
    db: sqlite3.Connection, grant: GrantRecord, progress: Progress, bundles: Sequence[Outgoing]
) -> None:
    set_progress(db, grant.id, progress)
    outbox.enqueue(db, grant.stream, bundles)


def revoke(
    db: sqlite3.Connection, grant: GrantRecord, from_unit: int, revocation: Outgoing, entry: AuditEntry
) -> None:
    set_revoked(db, grant.id, from_unit)
    outbox.enqueue(db, grant.stream, [revocation])
    audit.write(db, entry)


def set_progress(db: sqlite3.Connection, grant: bytes, progress: Progress) -> None:
    db.execute(
        "UPDATE grant_ SET next_window = ?, edges = ? WHERE id = ?",
        (progress.next_window, _bytes(progress.edges), grant),
    )


def set_revoked(db: sqlite3.Connection, grant: bytes, from_unit: int) -> None:
    db.execute("UPDATE grant_ SET revoked_from = ? WHERE id = ?", (from_unit, grant))


def _bytes(edges: Sequence[int]) -> bytes:
    return b"".join(map(be64, edges))


def _numbers(edges: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(edges[at : at + 8], "big") for at in range(0, len(edges), 8))
