"""Tables `follow` and `covered`, standing decisions to grant the bills of a price series; `followed`, the
grant of each period; and `price`, the price series."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from gateway.chain.keys import be64
from gateway.errors import LedgerError
from gateway.ledger import audit, grants
from gateway.ledger.records import (
    AuditEntry,
    FollowedPeriod,
    FollowRecord,
    GrantRecord,
    Outgoing,
    PriceRecord,
)


def made(db: sqlite3.Connection) -> list[FollowRecord]:
    rows = db.execute(
        "SELECT id, stream, provider, card, series, lanes, granularity, zone, purpose, first, made_ms,"
        " ended_ms FROM follow ORDER BY made_ms, id"
    ).fetchall()
    return [
        FollowRecord(
            id=row[0],
            stream=row[1],
            provider=row[2],
            card=row[3],
            series=row[4],
            lanes=tuple(row[5].split(",")),
            granularity=row[6],
            zone=row[7],
            purpose=row[8],
            first=row[9],
            made_ms=row[10],
            ended_ms=row[11],
            covered=_covered(db, row[0]),
        )
        for row in rows
    ]


def _covered(db: sqlite3.Connection, follow: bytes) -> dict[str, int]:
    return dict(db.execute("SELECT finding, least FROM covered WHERE follow = ?", (follow,)))


def add(db: sqlite3.Connection, record: FollowRecord, entry: AuditEntry) -> None:
    db.execute(
        "INSERT INTO follow VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.id,
            record.stream,
            record.provider,
            record.card,
            record.series,
            ",".join(record.lanes),
            record.granularity,
            record.zone,
            record.purpose,
            record.first,
            record.made_ms,
            record.ended_ms,
        ),
    )
    cover(db, record.id, record.covered, entry)
    # What no period needed before is read again: the new decision may need it.
    db.execute("DELETE FROM price WHERE provider = ? AND data IS NULL", (record.provider,))


def cover(db: sqlite3.Connection, follow: bytes, findings: Mapping[str, int], entry: AuditEntry) -> None:
    db.executemany(
        "INSERT INTO covered VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET least = min(least, excluded.least)",
        [(follow, finding, least) for finding, least in findings.items()],
    )
    audit.write(db, entry)


def end(db: sqlite3.Connection, follow: bytes, at_ms: int, entry: AuditEntry) -> None:
    ended = db.execute(
        "UPDATE follow SET ended_ms = ? WHERE id = ? AND ended_ms IS NULL", (at_ms, follow)
    ).rowcount
    if ended:
        audit.write(db, entry)


def add_grant(
    db: sqlite3.Connection,
    follow: bytes,
    period: FollowedPeriod,
    new: Sequence[tuple[GrantRecord, Outgoing, AuditEntry]],
) -> None:
    if not db.execute("SELECT 1 FROM follow WHERE id = ? AND ended_ms IS NULL", (follow,)).fetchone():
        raise LedgerError(f"no grant is made for {follow.hex()}, which was ended meanwhile")
    grants.add(db, new)
    db.execute("INSERT INTO followed VALUES (?, ?, ?, ?, ?, ?)", period)


def periods(db: sqlite3.Connection) -> list[FollowedPeriod]:
    rows = db.execute(
        "SELECT stream, provider, series, first, end, grant_ FROM followed ORDER BY first, grant_"
    )
    return [FollowedPeriod(*row) for row in rows]


def add_price(db: sqlite3.Connection, price: PriceRecord) -> None:
    db.execute(
        "INSERT INTO price VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET data = excluded.data WHERE data IS NULL",
        (price.provider, be64(price.serial), price.series, price.start_ms, price.end_ms, price.data),
    )


def prices(db: sqlite3.Connection, provider: bytes) -> list[PriceRecord]:
    rows = db.execute(
        "SELECT provider, serial, series, start_ms, end_ms, data FROM price WHERE provider = ?"
        " ORDER BY serial",
        (provider,),
    )
    return [PriceRecord(provider, int.from_bytes(serial, "big"), *rest) for provider, serial, *rest in rows]


def price(db: sqlite3.Connection, provider: bytes, serial: int) -> bytes | None:
    row = db.execute(
        "SELECT data FROM price WHERE provider = ? AND serial = ?", (provider, be64(serial))
    ).fetchone()
    return None if row is None else row[0]


def trim_prices(db: sqlite3.Connection, provider: bytes, needed_ms: int, known_ms: int) -> None:
    db.execute("UPDATE price SET data = NULL WHERE provider = ? AND end_ms <= ?", (provider, needed_ms))
    db.execute("DELETE FROM price WHERE provider = ? AND start_ms < ? AND data IS NULL", (provider, known_ms))


def drop_prices(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM price WHERE provider NOT IN (SELECT provider FROM follow WHERE ended_ms IS NULL)")
