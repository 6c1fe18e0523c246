"""The registrar's database: SQLite in a file, or MariaDB where its URL is given.

SQLite runs with WAL and synchronous=FULL: a transaction that has returned survives a power cut. One
transaction writes at a time, in this process by a lock, and in all processes by BEGIN IMMEDIATE on SQLite and
by a lock on the row with the version on MariaDB, so that what a transaction has read still holds where it
writes: a certificate is not renewed by the server while a command revokes it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Select, column, event, make_url, select, table
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.errors import Unavailable, UsageError
from gateway.registrar.migration import VERSION_TABLE, migrate

_LOG = logging.getLogger(__name__)
_PATIENCE_S = 30.0
"""A server that hangs, or that the network has cut off, would hold a transaction and all that wait for it for
ever: a gateway's client waits for a minute."""


class Database:
    """Transactions on the registrar's tables. A database that does not answer raises Unavailable."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._reader = engine
        self._writer = engine.execution_options(begins="BEGIN IMMEDIATE")
        sqlite = engine.dialect.name == "sqlite"
        isolated = {"begins": "BEGIN"} if sqlite else {"isolation_level": "REPEATABLE READ"}
        self._snapshot = engine.execution_options(**isolated)
        self._lock = asyncio.Lock()
        one: Select[Any] = select(column("version_num")).select_from(table(VERSION_TABLE))
        self._version = None if sqlite else one.with_for_update()
        self._migrated = False
        self._patience_s = None if sqlite else _PATIENCE_S  # SQLite waits by itself, and not for ever

    @classmethod
    async def open(cls, url: str, password: str | None = None) -> Self:
        """Open the database at an SQLAlchemy URL, migrated to this program's version. UsageError for a URL
        that names another kind of database, for one that a newer registrar wrote, and for another program's;
        each is left as it was."""
        database = cls.connect(url, password)
        try:
            async with database.writing(patient=True) as connection:
                await connection.run_sync(migrate)
            database._migrated = True
        except BaseException:
            await database.close()
            raise
        return database

    @classmethod
    def connect(cls, url: str, password: str | None = None) -> Self:
        """The database as it is, not migrated."""
        return cls(_engine(url, password))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for one statement that reads; of several, each sees its own moment."""
        with _Said():
            async with asyncio.timeout(self._patience_s), self._reader.connect() as connection:
                yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A connection whose statements all see the same moment."""
        with _Said():
            async with self._snapshot.connect() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self, *, patient: bool = False) -> AsyncIterator[AsyncConnection]:
        """A transaction, durable when the block ends; nothing of it remains where the block raises.
        With `patient` it may take as long as it takes."""
        patience_s = None if patient else self._patience_s
        with _Said():
            async with asyncio.timeout(patience_s), self._lock, self._writer.begin() as connection:
                if self._version is not None and self._migrated:
                    await connection.execute(self._version)
                yield connection

    async def close(self) -> None:
        """Close all connections."""
        await self._reader.dispose()


class _Said:
    """The database's own errors as a sentence; what they quote goes nowhere, since it may be personal."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SQLAlchemyError | OSError):
            _LOG.error("the database failed: %s", _cause(error))
            raise Unavailable("the registrar's database does not answer now") from None


def _cause(error: BaseException) -> str:
    """The kind of an error and the number that the database gives it, without any value."""
    cause = getattr(error, "orig", None) or error
    cause = cause.__cause__ or cause
    number = getattr(cause, "sqlite_errorname", None) or (cause.args[0] if cause.args else "")
    return f"{type(cause).__name__} {number if isinstance(number, int | str) else ''}".strip()


def _engine(url: str, password: str | None) -> AsyncEngine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UsageError(_expected("the database's URL cannot be read")) from None
    if parsed.drivername not in ("sqlite+aiosqlite", "mysql+asyncmy", "mariadb+asyncmy"):
        raise UsageError(_expected(f"the database's URL begins with {parsed.drivername}"))
    if parsed.password is not None:
        raise UsageError(
            "the database's URL holds a password: put it into a file of mode 0600, and name that as password "
            "in [database]"
        )
    try:
        if parsed.get_backend_name() == "sqlite":
            from gateway.registrar.sqlite import connector  # noqa: PLC0415 - MariaDB needs no aiosqlite

            if not parsed.database:
                raise UsageError(_expected("the database's URL names no file"))
            path = Path(parsed.database)
            path.touch(mode=0o600)  # what SQLite makes beside it has the same mode
            engine = create_async_engine(parsed, hide_parameters=True, async_creator=connector(path))
            event.listen(engine.sync_engine, "begin", _begin)
            return engine
        return create_async_engine(
            parsed.set(password=password),
            hide_parameters=True,
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            pool_recycle=3600,
        )
    except OSError as error:
        raise UsageError(f"the database {parsed.database} cannot be opened: {error.strerror}") from None
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the package {error.name} is missing: install the registrar's with gateway[registrar]"
        ) from None


def _expected(found: str) -> str:
    return (
        f"{found}; expected sqlite+aiosqlite:///PATH, or mysql+asyncmy://USER@HOST/NAME for a MariaDB server"
    )


def _begin(connection: Connection) -> None:
    if (begin := connection.get_execution_options().get("begins")) is not None:
        connection.exec_driver_sql(begin)
