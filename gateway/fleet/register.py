"""The register of a fleet: which devices were made for which homes, and which cards were written. SQLite.

It holds no secret, neither setup codes nor passwords nor hashes of files with them, so that it can be shared
with whoever looks after the devices. From a hash of a setup code its 49 bits could be found again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import Unavailable, UsageError
from gateway.host.codes import typed_groups

_VERSION = 1
_SCHEMA = """
CREATE TABLE device (
    serial TEXT PRIMARY KEY,
    home TEXT NOT NULL UNIQUE,
    hostname TEXT NOT NULL,
    release TEXT,
    image_sha256 TEXT,
    made_ms INTEGER NOT NULL,
    made_by TEXT NOT NULL
) STRICT;
CREATE TABLE card (
    number INTEGER PRIMARY KEY,
    serial TEXT NOT NULL REFERENCES device,
    release TEXT,
    image_sha256 TEXT,
    flashed_ms INTEGER NOT NULL,
    flashed_by TEXT NOT NULL
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Card:
    """A card that was written for a device, at `flashed_ms` of Unix time; of which image, as in Device."""

    release: str | None
    image_sha256: str | None
    flashed_ms: int
    flashed_by: str


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the fleet, made at `made_ms` of Unix time, and its cards in the order in which they were
    written. `release` and `image_sha256` are those of the image into which the home's file was put, None
    where a file alone was made."""

    serial: str
    home: str
    hostname: str
    release: str | None
    image_sha256: str | None
    made_ms: int
    made_by: str
    cards: tuple[Card, ...]


class Register:
    """An open register. Several people may use one at a time on one machine."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def make(self, home: str, hostname: str, image: tuple[str, str] | None, now_ms: int, by: str) -> str:
        """Note what was made for a home, of an image's release and SHA-256. Its device's serial number: the
        one that it has, or a new one."""
        release, sha256 = image or (None, None)
        serial = f"gw-{typed_groups(2, 4)}"
        with self._database:
            self._database.execute(
                "INSERT INTO device VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (home) DO UPDATE SET "
                "hostname = excluded.hostname, release = excluded.release, "
                "image_sha256 = excluded.image_sha256, "
                "made_ms = excluded.made_ms, made_by = excluded.made_by",
                (serial, home, hostname, release, sha256, now_ms, by),
            )
        return self.device(home).serial

    def flashed(self, home: str, now_ms: int, by: str) -> None:
        """Note that a card was written with what was made for a home. UsageError where nothing was."""
        device = self.device(home)
        with self._database:
            self._database.execute(
                "INSERT INTO card (serial, release, image_sha256, flashed_ms, flashed_by) "
                "VALUES (?, ?, ?, ?, ?)",
                (device.serial, device.release, device.image_sha256, now_ms, by),
            )

    def device(self, home: str) -> Device:
        """A home's device. UsageError where there is none."""
        for device in self.devices():
            if device.home == home:
                return device
        raise UsageError(f"nothing was made for home {home} yet: gateway fleet make")

    def devices(self) -> list[Device]:
        """All devices, by home."""
        cards: dict[str, list[Card]] = {}
        for serial, *card in self._database.execute(
            "SELECT serial, release, image_sha256, flashed_ms, flashed_by FROM card ORDER BY number"
        ):
            cards.setdefault(serial, []).append(Card(*card))
        rows = self._database.execute(
            "SELECT serial, home, hostname, release, image_sha256, made_ms, made_by FROM device ORDER BY home"
        )
        return [Device(*row, tuple(cards.get(row[0], ()))) for row in rows]  # type: ignore[call-arg]


@contextmanager
def open_register(path: Path, *, new: bool = False) -> Iterator[Register]:
    """The register at `path`, made where it is not there and `new` allows that. UsageError for what is not a
    register, Unavailable where it cannot be written."""
    if not new and not path.exists():
        raise UsageError(f"{path} is not there: gateway fleet make begins one")
    try:
        database = sqlite3.connect(path, timeout=30)
        try:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version == 0 and new and not database.execute("SELECT 1 FROM sqlite_schema").fetchone():
                database.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {_VERSION};COMMIT;")
            elif version != _VERSION:
                raise UsageError(f"{path} is not a register that this version can read")
            database.execute("PRAGMA foreign_keys = ON")
            yield Register(database)
        finally:
            database.close()
    except sqlite3.OperationalError as error:
        raise Unavailable(f"the register {path} cannot be used: {error}") from None
    except sqlite3.DatabaseError as error:
        raise UsageError(f"{path} is not a register: {error}") from None
