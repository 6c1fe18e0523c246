"""Table `page`: the pages made. Days keep their sums until the page of the month after is made: the bill of a
month that begins on another day, or in another time zone, is weighed by them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import numpy as np

from gateway.chain.page import Span
from gateway.ledger import chunks, outbox
from gateway.ledger.records import Outgoing, PageEntry, Stream


def last(db: sqlite3.Connection, stream: Stream, span: Span) -> PageEntry | None:
    row = db.execute(
        "SELECT span, period, step, first, end, digest, NULL FROM page"
        " WHERE stream = ? AND span = ? ORDER BY period DESC LIMIT 1",
        (stream.id, span),
    ).fetchone()
    return None if row is None else _entry(stream, row)


def days(db: sqlite3.Connection, stream: Stream, first: int, end: int) -> list[PageEntry]:
    rows = db.execute(
        "SELECT span, period, step, first, end, digest, c FROM page"
        " WHERE stream = ? AND span = 'day' AND first >= ? AND end <= ? ORDER BY period",
        (stream.id, first, end),
    )
    return [_entry(stream, row) for row in rows]


def add(db: sqlite3.Connection, stream: Stream, page: PageEntry, objects: Sequence[Outgoing]) -> None:
    insert(db, stream, page)
    outbox.enqueue(db, stream.id, objects)
    if page.span == "day":
        chunks.drop_ciphertexts(db, stream, page.end)
    else:
        db.execute(
            "UPDATE page SET c = NULL WHERE stream = ? AND end <= ? AND c IS NOT NULL",
            (stream.id, page.first),
        )


def insert(db: sqlite3.Connection, stream: Stream, page: PageEntry) -> None:
    c = None if page.c is None else np.ascontiguousarray(page.c, dtype="<u8").tobytes()
    db.execute(
        "INSERT INTO page VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (stream.id, page.span, page.period, page.step, page.first, page.end, page.digest, c),
    )


def drop_after(db: sqlite3.Connection, stream: Stream, end: int) -> None:
    """Drop the pages that end after unit `end`."""
    db.execute("DELETE FROM page WHERE stream = ? AND end > ?", (stream.id, end))


def _entry(stream: Stream, row: tuple[Span, str, int, int, int, bytes, bytes | None]) -> PageEntry:
    c = None if row[6] is None else np.frombuffer(row[6], "<u8").reshape(len(stream.lanes), -1)
    return PageEntry(*row[:6], c)
