"""The ledger's SQLite file, and the one thread that owns it.

WAL with synchronous=FULL: a transaction that has returned survives a power cut. A lock file keeps out a
second gateway, since two that seal the same stream would fork it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypeVar, TypeVarTuple

from gateway.errors import LedgerError, NewerLedger, NotMigrated
from gateway.ledger.migrations import VERSION, migrate, version_of

FAILING_DISK = (
    "The disk or SD card fails, or Linux has made its file system read-only after an error: `dmesg` shows "
    "which; replace what fails, and restart the machine. Readings wait meanwhile, and no energy is lost"
)

T = TypeVar("T")
Values = TypeVarTuple("Values")


class Database:
    """An SQLite file that runs transactions on its own thread, and raises SQLite's errors as LedgerError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.errors = 0
        """Transactions that SQLite has failed since the file was opened."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._connection: sqlite3.Connection | None = None
        self._lock: BinaryIO | None = None

    async def open(self, *, reading: bool = False) -> None:
        """Open the file, after creating it or migrating it to this gateway's version as needed.

        `reading` opens it read-only, even beside a running gateway, and raises NotMigrated for an older
        version. NewerLedger for a newer version, whose files stay as they are, byte by byte. LedgerError for
        a file that is not a ledger, and for a ledger that another gateway holds open.
        """
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._open, reading)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the file, after the transaction under way."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def do(self, work: Callable[[sqlite3.Connection, *Values], T], *values: *Values) -> T:
        """Run `work(connection, *values)` in one transaction, which is durable when this returns.

        If `work` raises, nothing of it remains; an error of SQLite's becomes a LedgerError.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._transaction, work, *values
        )

    def _open(self, reading: bool) -> None:
        try:
            if reading:
                self._open_reading()
                return
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_lock()
            self._look()
            self._connection = connection = sqlite3.connect(self._path, isolation_level=None)
            version = self._version(connection)
            self._path.chmod(0o600)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._migrate(connection, version)
            connection.execute("PRAGMA foreign_keys = ON")
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(f"the ledger {self._path} cannot be opened: {_cause(error)}") from error

    def _look(self) -> None:
        """Check a ledger that is there before it is opened for writing: it may be another program's file, or
        a newer gateway's. Where a power cut left a -wal file, any connection but a read-only one would write
        that into the ledger as it closes."""
        if self._path.exists():
            with contextlib.closing(self._read_only()) as connection:
                self._version(connection)

    def _read_only(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)

    def _open_reading(self) -> None:
        version = 0
        if self._path.exists():
            self._connection = self._read_only()
            version = self._version(self._connection)
        if version == 0:
            raise LedgerError(
                f"there is no ledger at {self._path}: the gateway has not run with this state folder"
            )
        if version < VERSION:
            raise NotMigrated(
                f"the ledger {self._path} has version {version}: "
                f"the gateway will migrate it to version {VERSION} at its next start"
            )

    def _version(self, connection: sqlite3.Connection) -> int:
        version = version_of(connection)
        if version is None:
            raise LedgerError(
                f"{self._path} is a database, but not a gateway's ledger: "
                "move it away, or choose another state folder"
            )
        if version > VERSION:
            raise NewerLedger(
                f"the ledger {self._path} has version {version}, but this gateway supports versions up to "
                f"{VERSION}: install the gateway that wrote it, or a newer one"
            )
        return version

    def _migrate(self, connection: sqlite3.Connection, version: int) -> None:
        try:
            migrate(connection, version)
        except sqlite3.Error as error:
            raise LedgerError(
                f"the ledger {self._path} could not be migrated from version {version} to {VERSION}: "
                f"{_cause(error)}. Its data is intact: fix the cause, and start the gateway again"
            ) from error

    def _take_lock(self) -> None:
        self._lock = self._path.with_suffix(".lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LedgerError(
                f"another gateway is running with the ledger {self._path}: "
                "stop it, or give this one a state folder of its own"
            ) from None

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _transaction(self, work: Callable[[sqlite3.Connection, *Values], T], *values: *Values) -> T:
        connection = self._connection
        if connection is None:
            raise LedgerError("the ledger is closed")
        try:
            connection.rollback()  # a no-op, unless the rollback of the last transaction failed
            connection.execute("BEGIN")
            try:
                result = work(connection, *values)
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise
        except sqlite3.Error as error:
            self.errors += 1
            raise LedgerError(f"a transaction failed in the ledger {self._path}: {_cause(error)}") from error
        return result


def _cause(error: sqlite3.Error | OSError) -> str:
    """The cause of an error, and what to do where that is known."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF  # extended codes keep the primary one there
    number = error.errno if isinstance(error, OSError) else None
    if code == sqlite3.SQLITE_FULL or number in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full: free some space on it"
    if code == sqlite3.SQLITE_IOERR or number in (errno.EIO, errno.EROFS):
        return f"{error}. {FAILING_DISK}"
    return str(error)


def integrity(db: sqlite3.Connection) -> str | None:
    """None for an intact file, else the first fault that SQLite found in it."""
    (answer,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    return None if answer == "ok" else str(answer)
