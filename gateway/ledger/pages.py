"""Table `page`: the pages made, and the sums of days whose month has no page yet."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import numpy as np

from gateway.chain.page import Span
from gateway.ledger import chunks, outbox
from gateway.ledger.records import Outgoing, PageEntry, Stream

_NAME_LENGTH: dict[Span, int] = {"day": 10, "month": 7}  # 2026-11-22, 2026-11


def last(db: sqlite3.Connection, stream: Stream, span: Span) -> PageEntry | None:
    row = db.execute(
        "SELECT period, step, first, end, digest, NULL FROM page"
        " WHERE stream = ? AND length(period) = ? ORDER BY period DESC LIMIT 1",
        (stream.id, _NAME_LENGTH[span]),
    ).fetchone()
    return None if row is None else _entry(stream, row)


def days(db: sqlite3.Connection, stream: Stream, first: int, end: int) -> list[PageEntry]:
    rows = db.execute(
        "SELECT period, step, first, end, digest, c FROM page"
        " WHERE stream = ? AND length(period) = ? AND first >= ? AND end <= ? ORDER BY period",
        (stream.id, _NAME_LENGTH["day"], first, end),
    )
    return [_entry(stream, row) for row in rows]


def add(db: sqlite3.Connection, stream: Stream, page: PageEntry, objects: Sequence[Outgoing]) -> None:
    insert(db, stream, page)
    outbox.enqueue(db, stream.id, objects)
    if len(page.period) == _NAME_LENGTH["day"]:
        chunks.drop_ciphertexts(db, stream, page.end)
    else:
        db.execute(
            "UPDATE page SET c = NULL WHERE stream = ? AND end <= ? AND c IS NOT NULL", (stream.id, page.end)
        )


def insert(db: sqlite3.Connection, stream: Stream, page: PageEntry) -> None:
    c = None if page.c is None else np.ascontiguousarray(page.c, dtype="<u8").tobytes()
    db.execute(
        "INSERT INTO page VALUES (?, ?, ?, ?, ?, ?, ?)",
        (stream.id, page.period, page.step, page.first, page.end, page.digest, c),
    )


def drop_after(db: sqlite3.Connection, stream: Stream, end: int) -> None:
    """Drop the pages that end after unit `end`."""
    db.execute("DELETE FROM page WHERE stream = ? AND end > ?", (stream.id, end))


def _entry(stream: Stream, row: tuple[str, int, int, int, bytes, bytes | None]) -> PageEntry:
    c = None if row[5] is None else np.frombuffer(row[5], "<u8").reshape(len(stream.lanes), -1)
    return PageEntry(*row[:5], c)
