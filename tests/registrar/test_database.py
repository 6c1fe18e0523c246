"""The registrar's database: migrated, and the same on SQLite and on MariaDB."""

from __future__ import annotations

import asyncio
import logging
import signal
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import func, insert, inspect, select, text

from gateway.errors import Unavailable, UsageError
from gateway.registrar import database as module
from gateway.registrar.database import Database
from gateway.registrar.migration import alembic_config, version
from gateway.registrar.tables import accounts, metadata
from tests.support.mariadb import MariaServer

ROW = {"role": "household", "password": "no digest", "created_ms": 2**41}


async def test_tables_and_migrations_agree(database_url: str) -> None:
    database = await Database.open(database_url)
    async with database.writing() as connection:
        await connection.run_sync(lambda opened: command.check(alembic_config(opened)))
        names = await connection.run_sync(lambda opened: inspect(opened).get_table_names())
    await database.close()
    assert set(names) == {*metadata.tables, "alembic_version"}


async def test_a_database_opened_again_is_the_same(database_url: str) -> None:
    database = await Database.open(database_url)
    async with database.writing() as connection:
        await connection.execute(insert(accounts).values(name="muller", **ROW))
    await database.close()
    database = await Database.open(database_url)
    async with database.reading() as connection:
        row = (await connection.execute(select(accounts))).one()
    await database.close()
    assert (row.name, row.created_ms) == ("muller", 2**41)


async def test_a_newer_database_is_refused_and_left_alone(database_url: str) -> None:
    database = await Database.open(database_url)
    async with database.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await database.close()
    with pytest.raises(UsageError, match="has version 9999, but this program supports versions up to"):
        await Database.open(database_url)
    database = Database.connect(database_url)
    async with database.reading() as connection:
        assert await connection.run_sync(version) == "9999"
    await database.close()


async def test_another_programs_database_is_refused_and_left_alone(database_url: str) -> None:
    database = Database.connect(database_url)
    async with database.writing() as connection:
        await connection.execute(text("CREATE TABLE recipes (name VARCHAR(80))"))
    with pytest.raises(UsageError, match="has tables already, and not a registrar's"):
        await Database.open(database_url)
    async with database.reading() as connection:
        names = await connection.run_sync(lambda opened: inspect(opened).get_table_names())
    await database.close()
    assert names == ["recipes"]


async def test_names_that_differ_in_a_byte_differ(database_url: str) -> None:
    names = ["muller", "Muller", "Müller", "müller", "muller ", "mu\u0308ller", "ø", "o", "ß", "ss", "", " "]
    database = await Database.open(database_url)
    async with database.writing() as connection:
        for name in names:
            await connection.execute(insert(accounts).values(name=name, **ROW))
    async with database.reading() as connection:
        for name in names:
            found = await connection.execute(select(accounts.c.name).where(accounts.c.name == name))
            assert found.scalars().all() == [name]
    await database.close()


async def test_nothing_remains_of_a_transaction_that_raises(database_url: str) -> None:
    database = await Database.open(database_url)
    with suppress(ZeroDivisionError):
        async with database.writing() as connection:
            await connection.execute(insert(accounts).values(name="muller", **ROW))
            raise ZeroDivisionError
    async with database.reading() as connection:
        assert (await connection.execute(select(func.count()).select_from(accounts))).scalar() == 0
    await database.close()


async def test_what_a_transaction_has_read_holds_where_it_writes(database_url: str) -> None:
    """Two programs count up what they read: no step is lost."""
    programs = [await Database.open(database_url) for _ in range(2)]
    async with programs[0].writing() as connection:
        await connection.execute(insert(accounts).values(name="muller", **ROW | {"created_ms": 0}))

    async def count_up(database: Database) -> None:
        for _ in range(10):
            async with database.writing() as connection:
                query = select(accounts.c.created_ms).with_for_update()
                seen = (await connection.execute(query)).scalar_one()
                await connection.execute(accounts.update().values(created_ms=seen + 1))

    await asyncio.gather(*(count_up(one) for one in programs for _ in range(2)))
    async with programs[0].reading() as connection:
        assert (await connection.execute(select(accounts.c.created_ms))).scalar() == 40
    for one in programs:
        await one.close()


async def test_sqlite_is_durable_checks_references_and_is_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "registrar.sqlite"
    database = await Database.open(f"sqlite+aiosqlite:///{path}")
    async with database.reading() as connection:
        found = [
            (await connection.execute(text(f"PRAGMA {name}"))).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    await database.close()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://localhost/x", "begins with postgresql; expected sqlite"),
        ("sqlite:///x", "begins with sqlite; expected sqlite"),
        ("nothing", "cannot be read; expected sqlite"),
        ("mysql+asyncmy://me:hunter2@localhost/x", "holds a password: put it into a file"),
        ("sqlite+aiosqlite:////nowhere/at/all/x", "cannot be opened: No such file"),
        ("sqlite+aiosqlite://", "names no file"),
    ],
)
def test_a_url_that_cannot_be_used_gets_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as refused:
        Database.connect(url)
    assert "hunter2" not in str(refused.value)


async def test_a_file_that_is_no_database_gets_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "registrar.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(Unavailable, match="does not answer"):
        await Database.open(f"sqlite+aiosqlite:///{path}")


async def test_a_server_that_is_gone_gets_a_sentence_and_may_come_back(
    mariadb: MariaServer, caplog: pytest.LogCaptureFixture
) -> None:
    database = await Database.open(mariadb.new_database())
    await asyncio.to_thread(mariadb.stop)
    try:
        with caplog.at_level(logging.ERROR), pytest.raises(Unavailable, match="does not answer now"):
            async with database.writing() as connection:
                await connection.execute(insert(accounts).values(name="secret name", **ROW))
        assert "secret name" not in caplog.text
    finally:
        await asyncio.to_thread(mariadb.start)
    async with database.writing() as connection:
        await connection.execute(insert(accounts).values(name="muller", **ROW))
    await database.close()


async def test_a_server_that_hangs_holds_nothing_for_ever(
    mariadb: MariaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that the network has cut off, whose connections never end."""
    monkeypatch.setattr(module, "_PATIENCE_S", 0.5)
    database = await Database.open(mariadb.new_database())
    assert mariadb.process is not None
    mariadb.process.send_signal(signal.SIGSTOP)
    try:
        for use in (database.reading, database.writing, database.writing):
            with pytest.raises(Unavailable, match="does not answer now"):
                async with use() as connection:
                    await connection.execute(select(accounts))
    finally:
        mariadb.process.send_signal(signal.SIGCONT)
    async with database.writing() as connection:
        await connection.execute(insert(accounts).values(name="muller", **ROW))
    async with database.reading() as connection:
        assert (await connection.execute(select(accounts.c.name))).scalar() == "muller"
    await database.close()


async def test_an_error_of_the_database_repeats_no_value(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    database = await Database.open(database_url)
    row = {"name": "secret name", **ROW}
    with caplog.at_level(logging.ERROR), pytest.raises(Unavailable) as failed:
        async with database.writing() as connection:
            await connection.execute(insert(accounts), [row, row])
    await database.close()
    assert "secret name" not in caplog.text + str(failed.value)
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__


def test_the_file_is_plain_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "registrar.sqlite"

    async def make() -> None:
        await (await Database.open(f"sqlite+aiosqlite:///{path}")).close()

    asyncio.run(make())
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM accounts").fetchone() == (0,)
    connection.close()
