"""Tables `command`, providers' commands; `serial`, the highest of each provider; `limited`, the meters at
which a limit is set; and `card`, the cards of providers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from gateway.ledger import audit
from gateway.ledger.records import AuditEntry, CommandChange, CommandRecord

MOST_OVER = 200
"""So many commands of which nothing more becomes are kept."""


def all_of(db: sqlite3.Connection) -> list[CommandRecord]:
    rows = db.execute(
        "SELECT number, digest, id, data, provider_name, received_ms, lived_ms, live, receipt"
        " FROM command ORDER BY number DESC"
    )
    return [replace(CommandRecord(*row), live=bool(row[7])) for row in rows]


def add(
    db: sqlite3.Connection,
    new: CommandRecord,
    serial: tuple[bytes, bytes, int] | None,
    entry: AuditEntry,
) -> int:
    cursor = db.execute(
        "INSERT INTO command (digest, id, data, provider_name, received_ms, lived_ms, live, receipt)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new.digest,
            new.id,
            new.data,
            new.provider_name,
            new.received_ms,
            new.lived_ms,
            new.live,
            new.receipt,
        ),
    )
    note_serial(db, serial, entry)
    db.execute(
        "DELETE FROM command WHERE live = 0 AND number <="
        " (SELECT number FROM command WHERE live = 0 ORDER BY number DESC LIMIT 1 OFFSET ?)",
        (MOST_OVER,),
    )
    number = cursor.lastrowid
    assert number is not None
    return number


def note_serial(db: sqlite3.Connection, serial: tuple[bytes, bytes, int] | None, entry: AuditEntry) -> None:
    if serial is not None:
        db.execute(
            "INSERT INTO serial VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET value = max(value, excluded.value)",
            serial,
        )
    audit.write(db, entry)


def highest_serial(db: sqlite3.Connection, provider: bytes, stream: bytes) -> int | None:
    row = db.execute(
        "SELECT value FROM serial WHERE provider = ? AND stream = ?", (provider, stream)
    ).fetchone()
    return None if row is None else int(row[0])


def change(db: sqlite3.Connection, changes: Sequence[CommandChange]) -> None:
    for one in changes:
        db.execute(
            "UPDATE command SET live = ?, receipt = ? WHERE number = ?", (one.live, one.receipt, one.number)
        )
        audit.write(db, one.audit)


def lived(db: sqlite3.Connection, times: Mapping[int, int]) -> None:
    db.executemany(
        "UPDATE command SET lived_ms = ? WHERE number = ?", [(ms, number) for number, ms in times.items()]
    )


def limited(db: sqlite3.Connection) -> set[str]:
    return {meter for (meter,) in db.execute("SELECT meter FROM limited")}


def limit(db: sqlite3.Connection, meter: str, on: bool) -> None:
    if on:
        db.execute("INSERT OR IGNORE INTO limited VALUES (?)", (meter,))
    else:
        db.execute("DELETE FROM limited WHERE meter = ?", (meter,))


def keep_cards(db: sqlite3.Connection, cards: Iterable[tuple[bytes, bytes]]) -> None:
    db.executemany("INSERT OR REPLACE INTO card VALUES (?, ?)", cards)


def cards(db: sqlite3.Connection) -> dict[bytes, bytes]:
    return dict(db.execute("SELECT kid, data FROM card ORDER BY kid").fetchall())
