"""SQLite's driver, aiosqlite, with one walk to its thread for a statement.

By itself it walks there and back to make a cursor, to execute, to fetch and to close: four times, each as
long as the statement itself, and longer where the machine is busy.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiosqlite

_BUSY_MS = 10_000
_PRAGMAS = (
    f"busy_timeout = {_BUSY_MS}",
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
)


def connector(path: Path) -> Any:
    """What SQLAlchemy makes connections to the file at `path` with."""

    def connect(*_: object, **__: object) -> _Connection:
        def open_() -> sqlite3.Connection:
            # The driver begins no transaction by itself. Cursors are made on the loop's thread, and used on
            # the connection's own alone.
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            return connection

        made = _Connection(open_, 64)
        made._thread.daemon = True
        return made

    return connect


class _Cursor(aiosqlite.Cursor):
    """A cursor that fetches all rows as it executes."""

    _rows: list[Any]

    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> Self:
        asked = () if parameters is None else parameters
        self._rows = await self._execute(self._run, sql, asked)  # type: ignore[no-untyped-call]
        return self

    def _run(self, sql: str, parameters: Any) -> list[Any]:
        self._cursor.execute(sql, parameters)
        return [] if self._cursor.description is None else self._cursor.fetchall()

    async def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        count = self._cursor.arraysize if size is None else size
        rows, self._rows = self._rows[:count], self._rows[count:]
        return rows

    async def close(self) -> None:
        """Its rows are fetched: nothing is open."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        return None

    async def __aenter__(self) -> Self:
        return self


class _Connection(aiosqlite.Connection):
    """A connection that walks to its thread for statements, and for ends of transactions that began."""

    async def _connect(self) -> aiosqlite.Connection:
        """As aiosqlite does. Where it fails, the thread has ended before the error goes on: later it would
        speak to a loop that is closed."""
        try:
            return await super()._connect()
        except BaseException:
            await asyncio.to_thread(self._thread.join)
            raise

    def cursor(self) -> _Cursor:  # type: ignore[override]
        return _Cursor(self, self._conn.cursor())

    async def commit(self) -> None:
        if self._conn.in_transaction:
            await super().commit()

    async def rollback(self) -> None:
        if self._conn.in_transaction:
            await super().rollback()
