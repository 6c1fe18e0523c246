"""Table `outbox`: objects on their way to the store, in the order in which they must leave."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from gateway.ledger.records import Outgoing, Queued, Stream


def enqueue(db: sqlite3.Connection, stream: bytes, objects: Sequence[Outgoing]) -> None:
    for key, data, replace in objects:
        if replace:  # a newer head makes an unsent one worthless
            db.execute("DELETE FROM outbox WHERE key = ?", (key,))
        db.execute(
            "INSERT INTO outbox (stream, key, replace, data) VALUES (?, ?, ?, ?)",
            (stream, key, replace, data),
        )


def first(db: sqlite3.Connection, most: int) -> list[Queued]:
    rows = db.execute("SELECT id, stream, key, data, replace FROM outbox ORDER BY id LIMIT ?", (most,))
    return [Queued(id_, s, Outgoing(key, data, bool(replace))) for id_, s, key, data, replace in rows]


def count(db: sqlite3.Connection) -> int:
    row: tuple[int] = db.execute("SELECT count(*) FROM outbox").fetchone()
    return row[0]


def confirm(db: sqlite3.Connection, ids: Sequence[int]) -> None:
    db.executemany("DELETE FROM outbox WHERE id = ?", [(id_,) for id_ in ids])


def waiting(db: sqlite3.Connection, stream: Stream, prefix: str) -> list[Outgoing]:
    rows = db.execute(
        "SELECT key, data, replace FROM outbox WHERE stream = ? AND key >= ? AND key < ? ORDER BY id",
        (stream.id, prefix, prefix + "\x7f"),
    )
    return [Outgoing(key, data, bool(replace)) for key, data, replace in rows]


def drop_derived(db: sqlite3.Connection, stream: Stream) -> None:
    """Drop what the stream's own chain brought forth; its descriptor, grants and revocations stay."""
    db.execute(
        "DELETE FROM outbox WHERE stream = ? AND key NOT LIKE '%/grant.cose'"
        " AND key NOT LIKE '%/revoked.cose' AND key NOT LIKE '%/stream.cose'",
        (stream.id,),
    )
