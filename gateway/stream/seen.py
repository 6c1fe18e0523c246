"""The heads that were seen last, of all streams: one SQLite file, seen.db, in the provider's folder.

They keep a store from showing an older state, or another history, to a reader who has seen more.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.errors import UsageError
from gateway.host.files import sync_folder
from gateway.stream.chunks import ChunkMark

_FILE = "seen.db"
_TABLE = """
CREATE TABLE IF NOT EXISTS seen (
    stream BLOB PRIMARY KEY CHECK (length(stream) = 16),
    seq INTEGER NOT NULL CHECK (seq >= 0),
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    next_unit INTEGER NOT NULL CHECK (next_unit > 0)
) STRICT, WITHOUT ROWID"""
_BUSY_S = 60  # how long one process waits for another one's transaction, which takes milliseconds


class Seen:
    """The memory of one stream's head, in `folder`."""

    def __init__(self, folder: Path, stream: bytes) -> None:
        self._folder = folder
        self._stream = stream

    def load(self) -> ChunkMark | None:
        """The mark of the last head; None if none was ever seen. UsageError for a damaged file."""
        return load_all(self._folder, [self._stream]).get(self._stream)

    def save(self, mark: ChunkMark) -> None:
        """Remember `mark`, on the disk once this returns."""
        save_all(self._folder, {self._stream: mark})


def load_all(folder: Path, streams: Iterable[bytes]) -> dict[bytes, ChunkMark]:
    """The marks of those of the streams that were seen before. UsageError for a damaged file."""
    path, found = folder / _FILE, {}
    if path.exists():
        with _opened(path, "read") as connection:
            for stream in streams:
                row = connection.execute(
                    "SELECT seq, digest, next_unit FROM seen WHERE stream = ?", (stream,)
                ).fetchone()
                if row is not None:
                    found[stream] = ChunkMark(*row)
    return found


def save_all(folder: Path, marks: Mapping[bytes, ChunkMark]) -> None:
    """Remember the marks of many streams, all or none, on the disk once this returns. UsageError for a file
    that is damaged, or cannot be written."""
    if not marks:
        return
    path = folder / _FILE
    if not path.exists():
        _make(path)
    with _opened(path, "written") as connection:
        connection.execute(_TABLE)
        connection.executemany(
            "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)",
            ((stream, mark.seq, mark.digest, mark.next_unit) for stream, mark in marks.items()),
        )


def forget(folder: Path, stream: bytes) -> bool:
    """Forget a stream's head, so that the next one may be an older one; whether there was one."""
    path = folder / _FILE
    if not path.exists():
        return False
    with _opened(path, "written") as connection:
        return connection.execute("DELETE FROM seen WHERE stream = ?", (stream,)).rowcount > 0


def _make(path: Path) -> None:
    """Make the file, with its table from its first moment on, unless another process was first: one that has
    none is damaged."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        made = Path(name)
        try:
            with _opened(made, "written") as connection:
                connection.execute(_TABLE)
            with suppress(FileExistsError):
                os.link(made, path)
            sync_folder(path.parent)
        except UsageError as error:
            raise UsageError(str(error).replace(name, str(path))) from None
        finally:
            made.unlink()
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


@contextmanager
def _opened(path: Path, done: str) -> Iterator[sqlite3.Connection]:
    """The file, within one transaction. `done` is what cannot be done with it where it fails."""
    connection = None
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", _BUSY_S, uri=True)
        with connection:
            yield connection
    except sqlite3.OperationalError as error:
        if "no such" in str(error):  # table or column
            raise _damaged(path) from None
        raise UsageError(f"{path} cannot be {done}: {error}") from None
    except sqlite3.DatabaseError:
        raise _damaged(path) from None
    finally:
        if connection is not None:
            connection.close()


def _damaged(path: Path) -> UsageError:
    return UsageError(
        f"{path} is damaged, so a store gone back to an older state would not show; remove the file to start"
        " again from what the store shows now"
    )
