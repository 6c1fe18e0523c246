"""Tables `kept`, objects that the store has confirmed and that are still to be found there again, and
`looked`, when they were last looked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from gateway.ledger import audit
from gateway.ledger.records import AuditEntry, Kept, Outgoing, Stream

_DAY_MS = 86_400_000


def keep(db: sqlite3.Connection, ids: Sequence[int], sent_ms: int) -> None:
    """Move objects here from the outbox; a head, which the next one replaces, goes. Each leaves before it
    comes: on a full disk there is room for it then."""
    for id_ in ids:
        rows = db.execute("DELETE FROM outbox WHERE id = ? RETURNING stream, kind, key, data", (id_,))
        for stream, kind, key, data in rows.fetchall():
            if kind != "head":
                db.execute(
                    "INSERT INTO kept VALUES (?, ?, ?, ?, ?, ?)", (id_, stream, kind, key, data, sent_ms)
                )


def of(db: sqlite3.Connection, stream: Stream) -> list[Kept]:
    rows = db.execute("SELECT id, key, sent_ms FROM kept WHERE stream = ? ORDER BY id", (stream.id,))
    return [Kept(*row) for row in rows]


def data(db: sqlite3.Connection, ids: Sequence[int]) -> list[Outgoing]:
    rows = [db.execute("SELECT kind, key, data FROM kept WHERE id = ?", (id_,)).fetchone() for id_ in ids]
    return [Outgoing(*row) for row in rows if row is not None]


def sent(db: sqlite3.Connection, stream: Stream, key: str) -> bytes | None:
    rows = db.execute(
        "SELECT data FROM kept WHERE stream = ? AND key = ? ORDER BY id DESC LIMIT 1", (stream.id, key)
    )
    row = rows.fetchone()
    return None if row is None else bytes(row[0])


def last_day(db: sqlite3.Connection, stream: Stream) -> int | None:
    """The last page of a day."""
    row: tuple[int | None] = db.execute(
        "SELECT max(id) FROM kept WHERE stream = ? AND kind = 'page' AND key GLOB 'v1/*/day/*'", (stream.id,)
    ).fetchone()
    return row[0]


def due(db: sqlite3.Connection, stream: Stream, now_ms: int) -> bool:
    first = db.execute("SELECT min(sent_ms) FROM kept WHERE stream = ?", (stream.id,)).fetchone()[0]
    if first is None:
        return False
    row = db.execute("SELECT at_ms, last FROM looked WHERE stream = ?", (stream.id,)).fetchone()
    at_ms, last = row or (first, 0)
    return now_ms >= at_ms + _DAY_MS or (last_day(db, stream) or 0) > last


def looked(db: sqlite3.Connection, stream: Stream, last: int, at_ms: int) -> None:
    db.execute("INSERT OR REPLACE INTO looked VALUES (?, ?, ?)", (stream.id, at_ms, last))


def let_go(db: sqlite3.Connection, ids: Sequence[int]) -> None:
    db.executemany("DELETE FROM kept WHERE id = ?", [(id_,) for id_ in ids])


def send_again(db: sqlite3.Connection, ids: Sequence[int], entry: AuditEntry) -> None:
    for id_ in ids:
        rows = db.execute("DELETE FROM kept WHERE id = ? RETURNING stream, kind, key, data", (id_,))
        db.executemany("INSERT INTO outbox (stream, kind, key, data) VALUES (?, ?, ?, ?)", rows.fetchall())
    audit.write(db, entry)


def drop_derived(db: sqlite3.Connection, stream: Stream) -> None:
    """Drop the objects made of the stream's units."""
    db.execute("DELETE FROM kept WHERE stream = ? AND kind IN ('chunk', 'page', 'tokens')", (stream.id,))
