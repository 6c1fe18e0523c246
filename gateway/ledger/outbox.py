"""Tables `outbox`, objects that wait to be sent to the store, in the order in which they must leave, and
`head`, each stream's last head that left."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from gateway.ledger import audit, kept
from gateway.ledger.records import AuditEntry, Outgoing, Queued, Stream


def enqueue(db: sqlite3.Connection, stream: bytes, objects: Sequence[Outgoing]) -> None:
    for item in objects:
        if item.replaces:  # a newer head makes an unsent one useless
            db.execute("DELETE FROM outbox WHERE key = ?", (item.key,))
        db.execute("INSERT INTO outbox (stream, kind, key, data) VALUES (?, ?, ?, ?)", (stream, *item))


def first(db: sqlite3.Connection, most: int) -> list[Queued]:
    rows = db.execute("SELECT id, stream, kind, key, data FROM outbox ORDER BY id LIMIT ?", (most,))
    return [Queued(id_, stream, Outgoing(*item)) for id_, stream, *item in rows]


def count(db: sqlite3.Connection) -> int:
    row: tuple[int] = db.execute("SELECT count(*) FROM outbox").fetchone()
    return row[0]


def confirm(db: sqlite3.Connection, ids: Sequence[int], sent_ms: int, others: Sequence[int]) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO head SELECT stream, data FROM outbox WHERE id = ? AND kind = 'head'",
        [(id_,) for id_ in ids],
    )
    kept.keep(db, ids, sent_ms)
    db.executemany("DELETE FROM outbox WHERE id = ?", [(id_,) for id_ in others])


def confirmed_head(db: sqlite3.Connection, stream: Stream) -> bytes | None:
    row = db.execute("SELECT data FROM head WHERE stream = ?", (stream.id,)).fetchone()
    return None if row is None else bytes(row[0])


def head_went_back(db: sqlite3.Connection, stream: Stream, found: bytes | None, entry: AuditEntry) -> None:
    db.execute("DELETE FROM head WHERE stream = ?", (stream.id,))
    if found is not None:
        db.execute("INSERT INTO head VALUES (?, ?)", (stream.id, found))
    audit.write(db, entry)


def waiting(db: sqlite3.Connection, stream: Stream, prefix: str) -> list[Outgoing]:
    rows = db.execute(
        "SELECT kind, key, data FROM outbox WHERE stream = ? AND key >= ? AND key < ? ORDER BY id",
        (stream.id, prefix, prefix + "\x7f"),
    )
    return [Outgoing(*item) for item in rows]


def unsent(db: sqlite3.Connection, key: str) -> bytes | None:
    row = db.execute("SELECT data FROM outbox WHERE key = ? ORDER BY id DESC", (key,)).fetchone()
    return None if row is None else bytes(row[0])


def unsent_keys(db: sqlite3.Connection, prefix: str, after: str, most: int) -> list[str]:
    rows = db.execute(
        "SELECT DISTINCT key FROM outbox WHERE key >= ?1 AND key < ?1 || char(127) AND key > ?2"
        " ORDER BY key LIMIT ?3",
        (prefix, after, most),
    )
    return [key for (key,) in rows]


def drop_derived(db: sqlite3.Connection, stream: Stream) -> None:
    """Drop the objects made of the stream's units; its descriptor, grants and revocations stay."""
    db.execute(
        "DELETE FROM outbox WHERE stream = ? AND kind IN ('chunk', 'page', 'tokens', 'head')", (stream.id,)
    )
