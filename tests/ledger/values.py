"""Values to put into a ledger, and ways to make a real one fail."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from gateway.chain.layout import Layout
from gateway.ledger.database import Database
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry, ChunkEntry, GrantRecord, Outgoing, Sealed, Stream
from gateway.wire import names

LAYOUT = Layout(unit_ms=1000, link_units=8)
LANES = ("import", "count")
WRITTEN = {int(file.stem): file for file in (Path(__file__).parent / "versions").glob("*.sql")}
_STREAM = Stream(bytes(16), "", LAYOUT, LANES, 80, b"\1" * 32)


def stream(number: int = 0, start: int = 80) -> Stream:
    return replace(_STREAM, id=bytes([number]) * 16, meter=f"meter{number}", start=start)


def sealed(incarnation: int, first: int, count: int) -> Sealed:
    """Units whose ciphertexts tell which they are."""
    units = np.arange(first, first + count, dtype=np.uint64)
    return Sealed(incarnation, first, np.stack([units + np.uint64(2**63), units ^ np.uint64(incarnation)]))


def chunk(of: Stream, seq: int, part: Sealed) -> tuple[ChunkEntry, Outgoing]:
    digest = bytes([seq % 256, *part.first.to_bytes(8, "big")]) * 3 + bytes(5)
    key = names.chunk(of.id, part.first, of.layout.unit_ms)
    return ChunkEntry(seq, part.incarnation, part.first, part.end, digest), Outgoing(
        "chunk", key, part.to_bytes()
    )


def descriptor(of: Stream) -> Outgoing:
    return Outgoing("descriptor", names.descriptor(of.id), b"descriptor of " + of.id)


def grant(of: Stream, number: int) -> tuple[GrantRecord, Outgoing, AuditEntry]:
    id_ = bytes([number]) * 16
    record = GrantRecord(id_, of.id, b"body", "a provider", 0, b"sealed K_0")
    return (
        record,
        Outgoing("grant", names.grant(of.id, id_), b"grant"),
        AuditEntry(number, "grant", "granted"),
    )


def written(version: int, folder: Path) -> Path:
    """A ledger as that version wrote it; an empty folder for version 0."""
    folder.mkdir()
    path = folder / "ledger.sqlite"
    if version:
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(WRITTEN[version].read_text())
    return path


def copy_of(path: Path, to: Path) -> Path:
    """The files as a machine that loses its process now would find them again."""
    to.mkdir(parents=True)
    for name in (path.name, path.name + "-wal"):
        if (path.parent / name).exists():
            shutil.copyfile(path.parent / name, to / name)
    return to / path.name


async def open_ledger(path: Path) -> tuple[Ledger, Database]:
    """An open ledger, and the database under it, through which a test lets it fail."""
    database = Database(path)
    await database.open()
    return Ledger(database), database


async def on_connection(database: Database, action: Callable[[sqlite3.Connection], object]) -> None:
    """Do something to the connection, in its own thread and in no transaction."""

    def act() -> None:
        assert database._connection is not None
        action(database._connection)

    await asyncio.get_running_loop().run_in_executor(database._thread, act)


async def dump(database: Database) -> list[str]:
    """All that is in it."""
    return await database.do(lambda db: list(db.iterdump()))
