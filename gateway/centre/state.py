"""The centre's memory: one SQLite file that says what was taken in, and which sets of homes were summed.

What a pass takes in counts from the commit that names its files, with where each home's stream was read to.
A set of homes is written here before the summing service is asked about it, and its answer after that: at any
instant the service answers for sets that are equal or have no home in common, so a set that was asked for
stays a set of its windows. Homes that came later can be a second set of a window, and a third.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import cbor2
import numpy as np

from gateway.centre.homes import Home
from gateway.chain.grant import ID_BYTES
from gateway.chain.keys import STREAM_BYTES
from gateway.chain.seal import U64
from gateway.errors import UsageError
from gateway.provider.homes import Listed
from gateway.stream.chunks import ChunkMark, Place
from gateway.wire.cose import KID_BYTES

FILE = "state.sqlite"
_VERSION = 2
_MEMBER = STREAM_BYTES + KID_BYTES + ID_BYTES
_SCHEMA = """
CREATE TABLE homes (
    stream BLOB NOT NULL, "grant" BLOB NOT NULL, signer BLOB NOT NULL, region TEXT NOT NULL,
    listed INTEGER NOT NULL,  -- whether the latest list has it
    next INTEGER NOT NULL,    -- the number of the next window
    until_ms INTEGER,         -- the end of the last window that was taken in
    ends_ms INTEGER,          -- when the grant ends, or was revoked
    reached BLOB NOT NULL,    -- how far the chain was verified, and the head seen: CBOR
    problem TEXT,             -- why it was passed over
    PRIMARY KEY (stream, "grant")
) WITHOUT ROWID;
CREATE TABLE files (
    name TEXT PRIMARY KEY, batch INTEGER NOT NULL, date TEXT NOT NULL, region TEXT NOT NULL,
    windows INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX homes_of ON homes (region);
CREATE INDEX files_of ON files (region, date);
CREATE TABLE sets (id INTEGER PRIMARY KEY, homes BLOB NOT NULL UNIQUE);
CREATE TABLE refused (  -- sets of homes that came late
    region TEXT NOT NULL, start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL,
    homes INTEGER NOT NULL, -- of the largest
    PRIMARY KEY (region, start_ms, end_ms)
) WITHOUT ROWID;
CREATE TABLE noise (
    region TEXT NOT NULL, start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL,
    "set" INTEGER NOT NULL REFERENCES sets (id), lane TEXT NOT NULL,
    epsilon REAL NOT NULL, limit_w INTEGER NOT NULL, mwh INTEGER NOT NULL,
    PRIMARY KEY (region, start_ms, end_ms, "set", lane)
) WITHOUT ROWID;
CREATE TABLE asked (
    region TEXT NOT NULL, start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL,
    "set" INTEGER NOT NULL REFERENCES sets (id),
    PRIMARY KEY (region, start_ms, end_ms, "set")
) WITHOUT ROWID;
CREATE TABLE answers (
    region TEXT NOT NULL, start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL, lanes TEXT NOT NULL,
    "set" INTEGER NOT NULL REFERENCES sets (id), digest TEXT NOT NULL, sums BLOB NOT NULL,
    PRIMARY KEY (region, start_ms, end_ms, lanes, "set")
) WITHOUT ROWID;
"""
_HOMES = """
SELECT stream, signer, "grant", region, next, until_ms, ends_ms, reached, problem FROM homes WHERE listed"""


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a stream was verified: where its follower stopped, and the head that was seen last."""

    place: Place | None = None
    incarnations: frozenset[int] = frozenset()
    seen: ChunkMark | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A home, and what was taken in of it: all windows of its grant before number `next`, the last of which
    ended at `until_ms` (Unix ms). At `ends_ms` the grant ends, or was revoked. `problem` is why the last pass
    went on without it."""

    home: Home
    next: int = 0
    until_ms: int | None = None
    ends_ms: int | None = None
    reached: Reached = Reached()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A Parquet file of the windows that began on a date (UTC) in a region, as a path in the folder."""

    name: str
    batch: int
    date: str
    region: str
    windows: int


Members = tuple[Listed, ...]
"""A set of homes, by stream."""
Times = tuple[int, int]
"""[start_ms, end_ms) of a window."""
Sets = Mapping[Times, Mapping[int, Members]]
"""Sets of windows: each by its number, which is its own in all windows."""


class State:
    """The memory in a folder; `open` makes an empty one there if need be. UsageError where the file is
    damaged, or a newer program's."""

    def __init__(self, connection: sqlite3.Connection, folder: Path, made: Sequence[Path]) -> None:
        """`made` are the file and its folders, as far as they were made for it."""
        self._db = connection
        self.folder = folder
        self._made = made

    @classmethod
    def open(cls, folder: Path, *, make: bool) -> Self:
        """The memory in `folder`. UsageError where there is none, unless it is to `make` one."""
        path = folder / FILE
        absent = tuple(one for one in (path, folder, *folder.parents) if not one.exists())
        if not make and not path.exists():
            raise UsageError(
                f"{folder} holds nothing of a load monitoring centre: gateway centre ingest {folder}"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"{path} cannot be opened: {error}") from None
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if not version:
                for statement in (one for one in _SCHEMA.split(";\n") if one.strip()):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {_VERSION}")
                version = _VERSION
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            connection.close()
            # Of a disk that is full or may not be written, SQLite says so by errors of operation.
            state = "cannot be used" if isinstance(error, sqlite3.OperationalError) else "is damaged"
            raise UsageError(f"{path} {state}: {error}") from None
        if version != _VERSION:
            connection.close()
            raise UsageError(
                f"{path} was written by a newer program: update this one"
                if version > _VERSION
                else f"{path} was written by a program before the first release: take the homes in anew, into"
                " another folder"
            )
        return cls(connection, folder, absent)

    def close(self) -> None:
        """Close the file. One that `open` made, and in which no home was ever listed, is removed again, with
        its folders."""
        made = self._made
        if made and self._db.execute("SELECT 1 FROM homes").fetchone() is not None:
            made = ()
        self._db.close()
        with suppress(OSError):  # somebody else has put something there
            for one in made:
                one.unlink() if one.name == FILE else one.rmdir()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The folder's lock: UsageError where another process takes windows in."""
        handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise UsageError(
                f"another `gateway centre ingest` works in {self.folder}: one at a time"
            ) from None
        finally:
            os.close(handle)

    # --- what was taken in

    def list_homes(self, homes: Sequence[Home]) -> None:
        """Take `homes` as the list from now on. UsageError where a stream's region or signer changed: its
        windows belong to the region that it had, and it is signed by one key."""
        rows = self._read("SELECT stream, signer, region FROM homes")
        known = {stream: (signer, region) for stream, signer, region in rows}
        for home in homes:
            stream, signer = home.listed.stream, home.listed.signer
            before = known.get(stream, (signer, home.region))
            if before != (signer, home.region):
                raise UsageError(
                    f"stream {stream.hex()} was taken in with signer {before[0].hex()} in region"
                    f" {before[1]!r}, and now has signer {signer.hex()} in region {home.region!r}: a stream"
                    " stays where it is, and with its signer"
                )
        with self._transaction() as db:
            db.execute("UPDATE homes SET listed = 0")
            db.executemany(
                'INSERT INTO homes (stream, "grant", signer, region, listed, next, reached)'
                " VALUES (?, ?, ?, ?, 1, 0, ?) ON CONFLICT DO UPDATE SET listed = 1",
                (
                    (one.listed.stream, one.listed.grant, one.listed.signer, one.region, _dump(Reached()))
                    for one in homes
                ),
            )

    def homes(self, region: str | None = None) -> list[Known]:
        """The homes of the list, by stream; of one region, or of all."""
        rows = self._read(f'{_HOMES} AND (?1 IS NULL OR region = ?1) ORDER BY stream, "grant"', (region,))
        return [_known(row) for row in rows]

    def homes_of(self, streams: Iterable[bytes]) -> list[Known]:
        """The homes of these streams that the list has, in their order; the others are not read."""
        found = (self._read(f'{_HOMES} AND stream = ? ORDER BY "grant"', (one,)) for one in streams)
        return [_known(row) for rows in found for row in rows]

    def count(self) -> int:
        """How many homes the list has, each with one grant or several."""
        return int(next(self._read("SELECT count(DISTINCT stream) FROM homes WHERE listed"))[0])

    def regions(self) -> list[str]:
        """The regions of the homes of the list."""
        return [
            row[0] for row in self._read("SELECT DISTINCT region FROM homes WHERE listed ORDER BY region")
        ]

    def passed_over(self) -> list[tuple[str, bytes, str]]:
        """The homes of the list without which the last pass went on: region, stream and reason."""
        rows = self._read(
            "SELECT region, stream, min(problem) FROM homes WHERE listed AND problem IS NOT NULL"
            " GROUP BY region, stream"
        )
        return [(region, stream, problem) for region, stream, problem in rows]

    def next_batch(self) -> int:
        """The number of the next batch of files."""
        (last,) = next(self._read("SELECT max(batch) FROM files"))
        return 1 if last is None else int(last) + 1

    def take(self, files: Iterable[File], homes: Iterable[Known]) -> None:
        """Count these files' windows as taken in, and the homes as read so far: both, or neither."""
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO files VALUES (?, ?, ?, ?, ?)",
                ((one.name, one.batch, one.date, one.region, one.windows) for one in files),
            )
            db.executemany(
                "UPDATE homes SET next = ?, until_ms = ?, ends_ms = ?, reached = ?, problem = ?"
                ' WHERE (stream, "grant") = (?, ?)',
                (
                    (one.next, one.until_ms, one.ends_ms, _dump(one.reached), one.problem, *one.home.key)
                    for one in homes
                ),
            )

    def forget(self, stream: bytes) -> bool:
        """Forget the head that was seen of a stream, and the place to which it was verified; the incarnations
        that sealed it stay. The next pass goes on with its next window, whatever the store shows before that.
        Whether the stream was seen."""
        with self._transaction() as db:
            rows = db.execute('SELECT "grant", reached FROM homes WHERE stream = ?', (stream,)).fetchall()
            known = {grant: _load(reached) for grant, reached in rows}
            db.executemany(
                'UPDATE homes SET reached = ? WHERE (stream, "grant") = (?, ?)',
                (
                    (_dump(Reached(incarnations=one.incarnations)), stream, grant)
                    for grant, one in known.items()
                ),
            )
        return any(one.seen is not None for one in known.values())

    def files(self, region: str, first: str, last: str) -> list[File]:
        """The files of a region and the dates `first` to `last`."""
        rows = self._read(
            "SELECT name, batch, date, region, windows FROM files WHERE region = ? AND date BETWEEN ? AND ?"
            " ORDER BY name",
            (region, first, last),
        )
        return [File(*row) for row in rows]

    def crowded(self, count: int) -> list[list[File]]:
        """The files of each date and region that has at least `count` of them."""
        rows = self._read(
            "SELECT name, batch, date, region, windows FROM files WHERE (region, date) IN"
            " (SELECT region, date FROM files GROUP BY region, date HAVING count(*) >= ?)"
            " ORDER BY region, date, name",
            (count,),
        )
        files = [File(*row) for row in rows]
        return [list(group) for _, group in groupby(files, lambda one: (one.region, one.date))]

    def merge(self, whole: File, parts: Sequence[File]) -> None:
        """Count one file instead of those whose rows it has."""
        with self._transaction() as db:
            db.executemany("DELETE FROM files WHERE name = ?", ((one.name,) for one in parts))
            db.execute(
                "INSERT INTO files VALUES (?, ?, ?, ?, ?)",
                (whole.name, whole.batch, whole.date, whole.region, whole.windows),
            )

    def file_names(self) -> set[str]:
        """The names of all files that count."""
        return {row[0] for row in self._read("SELECT name FROM files")}

    # --- which sets were summed

    def asked(self, region: str, start_ms: int, end_ms: int) -> Sets:
        """The windows of a region that meet [start_ms, end_ms) and for which the service was asked, with
        their sets."""
        where = region, end_ms, start_ms
        rows = self._read(
            'SELECT id, homes FROM sets WHERE id IN (SELECT "set" FROM asked'
            " WHERE region = ? AND start_ms < ? AND end_ms > ?)",
            where,
        )
        sets = {number: _unpack(homes) for number, homes in rows}
        found: dict[Times, dict[int, Members]] = {}
        for start, end, number in self._read(
            'SELECT start_ms, end_ms, "set" FROM asked WHERE region = ? AND start_ms < ? AND end_ms > ?',
            where,
        ):
            if number in sets:  # another process may have asked meanwhile
                found.setdefault((start, end), {})[number] = sets[number]
        return found

    def ask(self, region: str, sets: Mapping[Times, Iterable[Members]]) -> None:
        """From now on these are sets of these windows, but for those that share a home with one that the
        window has already."""
        with self._transaction() as db:
            for times, several in sets.items():
                rows = db.execute(
                    'SELECT homes FROM asked JOIN sets ON id = "set"'
                    " WHERE (region, start_ms, end_ms) = (?, ?, ?)",
                    (region, *times),
                )
                taken = {one.stream for (homes,) in rows for one in _unpack(homes)}
                for members in several:
                    streams = {one.stream for one in members}
                    if not taken.isdisjoint(streams):
                        continue
                    taken |= streams
                    packed = b"".join(one.stream + one.signer + one.grant for one in members)
                    db.execute("INSERT INTO sets (homes) VALUES (?) ON CONFLICT DO NOTHING", (packed,))
                    db.execute(
                        "INSERT INTO asked SELECT ?, ?, ?, id FROM sets WHERE homes = ?",
                        (region, *times, packed),
                    )

    def unask(self, region: str, number: int, times: Iterable[Times]) -> None:
        """Forget that a set is one of windows for which the service has refused an answer, and never gave
        one."""
        with self._transaction() as db:
            db.executemany(
                'DELETE FROM asked WHERE (region, start_ms, end_ms, "set") = (?, ?, ?, ?) AND NOT EXISTS'
                ' (SELECT 1 FROM answers a WHERE (a.region, a.start_ms, a.end_ms, a."set") = (asked.region,'
                ' asked.start_ms, asked.end_ms, asked."set"))',
                ((region, *one, number) for one in times),
            )

    def refuse(self, region: str, homes: int, times: Iterable[Times]) -> None:
        """Remember that a set of so many homes that came late in these windows was refused."""
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO refused VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET homes = max(homes, excluded.homes)",
                ((region, *one, homes) for one in times),
            )

    def refused(self, region: str, start_ms: int, end_ms: int) -> dict[Times, int]:
        """The homes of the largest set of such that was refused, of each window within [start_ms, end_ms)."""
        rows = self._read(
            "SELECT start_ms, end_ms, homes FROM refused WHERE region = ? AND start_ms >= ? AND end_ms <= ?",
            (region, start_ms, end_ms),
        )
        return {(a, b): homes for a, b, homes in rows}

    def answer(self, region: str, lanes: str, number: int, answers: Mapping[Times, tuple[str, U64]]) -> None:
        """Keep the service's answers for a set in these windows: the digest of the set there, and its
        sums."""
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    (region, *times, lanes, number, digest, sums.astype("<u8").tobytes())
                    for times, (digest, sums) in answers.items()
                ),
            )

    def answers(
        self, region: str, lanes: str, start_ms: int, end_ms: int
    ) -> dict[tuple[Times, int], tuple[str, U64]]:
        """The answers that are kept of these lanes, by window within [start_ms, end_ms) and set."""
        rows = self._read(
            'SELECT start_ms, end_ms, "set", digest, sums FROM answers WHERE region = ? AND lanes = ?'
            " AND start_ms >= ? AND end_ms <= ?",
            (region, lanes, start_ms, end_ms),
        )
        return {
            ((a, b), number): (digest, np.frombuffer(sums, "<u8").astype(np.uint64))
            for a, b, number, digest, sums in rows
        }

    def keep_noises(
        self, region: str, epsilon: float, limit_w: int, drawn: Mapping[tuple[Times, int, str], int]
    ) -> None:
        """Keep the noise, in mWh, of windows, sets and lanes, but for those that have some already; see
        `gateway.centre.noise.Noise`."""
        with self._transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO noise VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (region, *times, number, lane, epsilon, limit_w, mwh)
                    for (times, number, lane), mwh in drawn.items()
                ),
            )

    def noises(
        self, region: str, start_ms: int, end_ms: int
    ) -> dict[tuple[Times, int, str], tuple[float, int, int]]:
        """The noise that is kept, by window within [start_ms, end_ms), set and lane: epsilon, a home's limit
        in W, and mWh."""
        rows = self._read(
            'SELECT start_ms, end_ms, "set", lane, epsilon, limit_w, mwh FROM noise WHERE region = ?'
            " AND start_ms >= ? AND end_ms <= ?",
            (region, start_ms, end_ms),
        )
        return {
            ((a, b), number, lane): (epsilon, limit_w, mwh)
            for a, b, number, lane, epsilon, limit_w, mwh in rows
        }

    def _read(self, query: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._db.execute(query, values)
        except sqlite3.Error as error:
            raise UsageError(f"{self.folder / FILE} cannot be read: {error}") from None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise UsageError(f"{self.folder / FILE} cannot be written: {error}") from None
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")


def _known(row: Sequence[Any]) -> Known:
    *ids, region, number, until_ms, ends_ms, reached, problem = row
    return Known(Home(Listed(*ids), region), number, until_ms, ends_ms, _load(reached), problem)


def _unpack(packed: bytes) -> Members:
    a, b = STREAM_BYTES, STREAM_BYTES + KID_BYTES
    parts = (packed[at : at + _MEMBER] for at in range(0, len(packed), _MEMBER))
    return tuple(Listed(one[:a], one[a:b], one[b:]) for one in parts)


def _dump(reached: Reached) -> bytes:
    place, seen = reached.place, reached.seen
    document = (
        place and (place.key, _mark(place.mark), place.incarnation),
        sorted(reached.incarnations),
        seen and _mark(seen),
    )
    return cbor2.dumps(document)


def _load(data: bytes) -> Reached:
    place, incarnations, seen = cbor2.loads(data)
    if place is not None:
        key, mark, incarnation = place
        place = Place(key, ChunkMark(*mark), incarnation)
    return Reached(place, frozenset(incarnations), seen and ChunkMark(*seen))


def _mark(mark: ChunkMark) -> tuple[int, bytes, int]:
    return mark.seq, mark.digest, mark.next_unit
