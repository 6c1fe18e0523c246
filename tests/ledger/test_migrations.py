"""Ledgers of every version, written by that version's own SQL, as today's gateway opens them."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.chain.layout import Factor, Layout, Run
from gateway.errors import LedgerError, NotMigrated
from gateway.ledger.ledger import Ledger
from gateway.ledger.migrations import VERSION
from gateway.ledger.records import (
    AuditEntry,
    ChunkEntry,
    CommandRecord,
    Doubt,
    FollowedPeriod,
    FollowRecord,
    GrantRecord,
    Kept,
    Outgoing,
    PageEntry,
    Position,
    PriceRecord,
    Queued,
    Sealed,
    Stream,
)
from tests.ledger.values import WRITTEN, copy_of, written

OLDER = sorted(set(WRITTEN) - {VERSION})
MAIN = Stream(b"\x11" * 16, "main", Layout(1000, 8), ("import", "count"), 80, b"\xd1" * 32)
GARAGE = Stream(b"\x22" * 16, "garage", Layout(700, 8), ("import",), 160, b"\xd2" * 32)
FIRST, SECOND = 7, 2**64 - 2
CHUNKS = [
    ChunkEntry(0, FIRST, 80, 86, b"\xc0" * 32),
    ChunkEntry(1, FIRST, 86, 88, b"\xc1" * 32),
    ChunkEntry(2, SECOND, 88, 90, b"\xc2" * 32),
]
ROOT = f"v1/{MAIN.id.hex()}"
GRANT = f"{ROOT}/grant/{'33' * 16}"
QUEUED = [
    Queued(11, GARAGE.id, Outgoing("descriptor", f"v1/{GARAGE.id.hex()}/stream.cose", b"descriptor")),
    Queued(12, MAIN.id, Outgoing("chunk", f"{ROOT}/chunk/2026-02-01/0000000000000058.cose", bytes(20_000))),
    Queued(13, MAIN.id, Outgoing("grant", f"{GRANT}/grant.cose", b"grant")),
    Queued(14, MAIN.id, Outgoing("tokens", f"{GRANT}/new/0000000000000001.cose", b"tokens")),
    Queued(15, MAIN.id, Outgoing("tokens", f"{GRANT}/day/0000000000000000.cose", b"tokens of a day")),
    Queued(16, MAIN.id, Outgoing("page", f"{ROOT}/day/2026-02-01.cose", bytes(20_000))),
    Queued(17, MAIN.id, Outgoing("tokens", f"{GRANT}/month/0000000000000000.cose", b"tokens of a month")),
    Queued(18, MAIN.id, Outgoing("page", f"{ROOT}/month/2026-01.cose", b"page of a month")),
    Queued(19, MAIN.id, Outgoing("revocation", f"{ROOT}/grant/{'44' * 16}/revoked.cose", b"revocation")),
    Queued(20, MAIN.id, Outgoing("head", f"{ROOT}/head.cose", b"head")),
]
CHUNK_KEPT = Outgoing("chunk", f"{ROOT}/chunk/2026-02-01/0000000000000050.cose", bytes(20_000))
PAGE_KEPT = Outgoing("page", f"{ROOT}/day/2026-01-31.cose", b"page of a day")
KEPT = [Kept(21, CHUNK_KEPT.key, 1700), Kept(22, PAGE_KEPT.key, 1800)]
GRANTS = [
    GrantRecord(b"\x33" * 16, MAIN.id, b"\xb0\xd1", "a provider", 2, b"K\1"),
    GrantRecord(b"\x44" * 16, MAIN.id, b"\xb0\xd2", "another", 5, b"K\2", 87, b"z"),
]
COMMANDS = [
    CommandRecord(4, b"\xc0\xff\xee\4", b"\x66" * 16, b"a message", "another", 1700, 0, False, b"a refusal"),
    CommandRecord(
        3, b"\xc0\xff\xee\3", b"\x55" * 16, b"a limit", "a provider", 1600, 250, True, b"its receipt"
    ),
]
FOLLOWS = [
    FollowRecord(
        b"\x77" * 16,
        MAIN.id,
        b"\xb0",
        b"a card",
        "Day ahead",
        ("import", "export"),
        "month",
        "Europe/Berlin",
        "the bill",
        80,
        1900,
        None,
        {"alone import": 86400, "bits": -17},
    ),
    FollowRecord(
        b"\x88" * 16,
        MAIN.id,
        b"\xb1",
        b"a card",
        "Feed-in",
        ("export",),
        "month",
        "UTC",
        "the bill",
        80,
        1950,
        2100,
    ),
]
FOLLOWED = [FollowedPeriod(MAIN.id, b"\xb0", "Day ahead", 80, 96, b"\x44" * 16)]
PRICES = [
    PriceRecord(b"\xb0", 2, "Day ahead", 1000, 2000, b"prices"),
    PriceRecord(b"\xb0", 2**64 - 1, "Feed-in", 500, 900, None),
]
LOG = [AuditEntry(1500, "grant", "granted"), AuditEntry(2500, "revocation", "revoked")]


def closing(path: Path) -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(sqlite3.connect(path, isolation_level=None))


def schema(path: Path) -> list[tuple[object, ...]]:
    with closing(path) as db:
        return db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").fetchall()


def found(path: Path) -> tuple[int, list[str]]:
    """The version of a ledger that is not open, and all that is in it; it must be whole."""
    with closing(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        return db.execute("PRAGMA user_version").fetchone()[0], list(db.iterdump())


async def opened(path: Path) -> None:
    await (await Ledger.open(path)).close()


def test_a_ledger_of_every_version_is_kept_here_with_data_in_every_table(tmp_path: Path) -> None:
    assert sorted(WRITTEN) == list(range(1, VERSION + 1))
    for version in WRITTEN:
        with closing(written(version, tmp_path / str(version))) as db:
            tables = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            for (table,) in tables:
                assert db.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] > 0, (version, table)


@pytest.mark.parametrize("version", WRITTEN)
async def test_a_migrated_ledger_has_the_very_schema_of_a_new_one(version: int, tmp_path: Path) -> None:
    old, new = written(version, tmp_path / "old"), written(0, tmp_path / "new")
    await opened(old)
    await opened(new)
    assert schema(old) == schema(new)
    assert found(old)[0] == found(new)[0] == VERSION


@pytest.mark.parametrize("version", WRITTEN)
async def test_what_an_older_gateway_wrote_is_there_and_the_ledger_goes_on(
    version: int, tmp_path: Path
) -> None:
    path = written(version, tmp_path / "old")
    ledger = await Ledger.open(path)
    try:
        assert await ledger.check() is None
        assert await ledger.last_incarnation() == SECOND
        garage = GARAGE if version < 6 else replace(GARAGE, factor=Factor(Decimal("0.1")))
        assert await ledger.streams() == [garage, MAIN]
        assert [await ledger.state(stream.id) for stream in (MAIN, GARAGE)] == [b"W\xa7\1", b"W\xa7\2"]
        assert await ledger.position(MAIN) == Position(CHUNKS[2], 92)
        assert await ledger.position(GARAGE) == Position(None, 161)
        (units,) = await ledger.open_units(MAIN)
        assert (units.incarnation, units.first, units.c.tolist()) == (SECOND, 90, [[1, 2], [3, 4 | 1 << 63]])
        (units,) = await ledger.open_units(GARAGE)
        assert (units.incarnation, units.first, units.c.tolist()) == (FIRST, 160, [[5]])
        assert await ledger.chunks(MAIN, 0, 100) == CHUNKS
        assert await ledger.runs(MAIN, 80, 90) == [Run(FIRST, 80, 88), Run(SECOND, 88, 90)]
        assert (await ledger.ciphertexts(MAIN, CHUNKS[2])).tolist() == [[6, 7], [8, 9 | 0xF << 60]]
        for chunk in CHUNKS[:2]:
            with pytest.raises(LedgerError, match="no longer"):
                await ledger.ciphertexts(MAIN, chunk)
        january, february = await ledger.day_pages(MAIN, 0, 100)
        assert january == PageEntry("day", "2026-01-31", 1, 80, 84, b"\xe1" * 32)
        assert february.c is not None
        assert february.c.tolist() == [[10, 11], [12, 13]]
        assert replace(february, c=None) == PageEntry("day", "2026-02-01", 1, 84, 86, b"\xe3" * 32)
        assert await ledger.last_page(MAIN, "day") == replace(february, c=None)
        assert await ledger.last_page(MAIN, "month") == PageEntry("month", "2026-01", 2, 80, 84, b"\xe2" * 32)
        assert await ledger.last_page(GARAGE, "day") is None
        assert await ledger.outbox(100) == QUEUED
        edges = (80, 84, 90) if version >= 4 else ()
        assert await ledger.grants() == [
            replace(GRANTS[0], edges=edges),
            replace(GRANTS[1], own=version >= 8),
        ]
        assert await ledger.audit_log(100) == LOG
        assert await ledger.confirmed_head(MAIN) == (None if version < 3 else b"head before")
        assert await ledger.confirmed_head(GARAGE) is None
        assert await ledger.noted_counter() == (SECOND if version < 5 else SECOND - 1)
        doubts = [await ledger.doubt(stream) for stream in (MAIN, GARAGE)]
        assert doubts == ([None, None] if version < 5 else [Doubt(88, 91, 2000), Doubt(161, None, 2000)])

        assert await ledger.kept(MAIN) == ([] if version < 7 else KEPT)
        assert await ledger.kept_data([21, 22]) == ([] if version < 7 else [CHUNK_KEPT, PAGE_KEPT])
        assert await ledger.look_due(MAIN, 1800) == (version >= 7)  # for the page
        assert await ledger.kept(GARAGE) == []

        await ledger.begin_incarnation(9, 3000)
        await ledger.append(MAIN, [Sealed(9, 92, np.zeros((2, 1), np.uint64))], b"state")
        head = Outgoing("head", f"{ROOT}/head.cose", b"newer")
        await ledger.enqueue(MAIN.id, [head])
        assert await ledger.outbox(100) == [*QUEUED[:-1], Queued(31, MAIN.id, head)]
        await ledger.audit(AuditEntry(3000, "meter", "a line more"))
    finally:
        await ledger.close()
    assert found(path)[0] == VERSION


@pytest.mark.parametrize("version", WRITTEN)
async def test_the_commands_that_an_older_gateway_noted_are_there(version: int, tmp_path: Path) -> None:
    ledger = await Ledger.open(written(version, tmp_path / "old"))
    try:
        assert await ledger.commands() == ([] if version < 8 else COMMANDS)
        assert await ledger.highest_serial(b"\xb0", MAIN.id) == (None if version < 8 else 2**63 - 1)
        assert await ledger.highest_serial(b"\xb0", GARAGE.id) is None
        assert await ledger.limited() == (set() if version < 8 else {"main"})
        assert await ledger.cards() == ({} if version < 8 else {b"\xb0": b"a card"})
    finally:
        await ledger.close()


@pytest.mark.parametrize("version", WRITTEN)
async def test_the_decisions_that_an_older_gateway_kept_are_there(version: int, tmp_path: Path) -> None:
    ledger = await Ledger.open(written(version, tmp_path / "old"))
    try:
        assert await ledger.follows() == ([] if version < 9 else FOLLOWS)
        assert await ledger.followed() == ([] if version < 9 else FOLLOWED)
        assert await ledger.prices(b"\xb0") == ([] if version < 9 else PRICES)
    finally:
        await ledger.close()


@pytest.mark.parametrize("version", [0, *OLDER])
async def test_a_kill_at_any_statement_leaves_a_whole_ledger_that_is_migrated_the_next_time(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(version, tmp_path / "old")
    connect = sqlite3.connect
    killed: list[Path] = []

    def traced(*args: Any, **options: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*args, **options)
        db.execute("PRAGMA cache_size = 1")  # much is in the file before it is committed
        db.set_trace_callback(lambda _: killed.append(copy_of(path, tmp_path / str(len(killed)))))
        return db

    dumps = {version: found(path)[1]} if version else {}
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", traced)
        await opened(path)
    at = []
    for copy in killed:
        reached, dump = found(copy)
        assert dumps.setdefault(reached, dump) == dump  # a step happens wholly or not at all
        at.append(reached)
        await opened(copy)
        assert found(copy) == found(path)
    assert at == sorted(at)
    assert set(at) == set(range(version, VERSION + 1))
    assert len(at) > 10


@pytest.mark.parametrize("version", [0, 1])  # a column more, from version 2 on, takes no room
async def test_a_migration_that_finds_no_room_leaves_the_ledger_as_it_was(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(version, tmp_path / "old")
    before = found(path) if version else None
    connect = sqlite3.connect

    def full(*args: Any, **options: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*args, **options)
        db.execute("PRAGMA max_page_count = 3")  # no less than there are
        return db

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", full)
        with pytest.raises(LedgerError, match=f"from version {version} to {VERSION}: the disk is full"):
            await Ledger.open(path)
    assert before is None or found(path) == before
    await opened(path)
    assert found(path)[0] == VERSION


@pytest.mark.parametrize("version", OLDER)
async def test_who_only_looks_at_an_older_ledger_is_told_that_the_gateway_migrates_it(
    version: int, tmp_path: Path
) -> None:
    path = written(version, tmp_path / "old")
    before = path.read_bytes()
    with pytest.raises(
        NotMigrated, match=f"has version {version}: the gateway will migrate it to version"
    ) as raised:
        await Ledger.open(path, reading=True)
    assert str(path) in str(raised.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", OLDER)
async def test_a_ledger_that_another_gateway_holds_is_not_migrated(version: int, tmp_path: Path) -> None:
    path = written(version, tmp_path / "old")
    before = path.read_bytes()
    with path.with_suffix(".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LedgerError, match="another gateway is running"):
            await Ledger.open(path)
    assert path.read_bytes() == before
