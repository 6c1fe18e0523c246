"""Table `audit`: the audit log, a line for each event that the owner may want to look up."""

from __future__ import annotations

import sqlite3

from gateway.ledger.records import AuditEntry


def write(db: sqlite3.Connection, entry: AuditEntry) -> None:
    db.execute("INSERT INTO audit (at_ms, what, detail) VALUES (?, ?, ?)", entry)


def write_once(db: sqlite3.Connection, entry: AuditEntry) -> None:
    said = db.execute("SELECT 1 FROM audit WHERE what = ? AND detail = ? LIMIT 1", entry[1:]).fetchone()
    if said is None:
        write(db, entry)


def last(db: sqlite3.Connection, most: int) -> list[AuditEntry]:
    rows = db.execute("SELECT at_ms, what, detail FROM audit ORDER BY id DESC LIMIT ?", (most,)).fetchall()
    return [AuditEntry(*row) for row in reversed(rows)]
