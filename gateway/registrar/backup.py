"""Copies of a registrar, its key and its database, in one tar file that any kind of database can be restored
from.

    backup.json          the version of the tables, and when it was made (Unix ms)
    registrar.pem        the key: the file has mode 0600
    registrar.cose       the card
    tables/NAME.jsonl    a line for each row: a JSON array of its columns, the first line their names; bytes
                         are {"base64": ...}

Sessions are left out: they last an hour.
"""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, MetaData, func, insert, select

from gateway.errors import UsageError
from gateway.host.clock import SystemClock, unix_ms
from gateway.host.files import sync_folder, write_durably
from gateway.registrar.cards import skip_serials
from gateway.registrar.database import Database
from gateway.registrar.identity import CARD_FILE, KEY_FILE, read_identity, write_new
from gateway.registrar.loads import mark_restored
from gateway.registrar.migration import VERSION_TABLE, migrate, migrate_to, version
from gateway.registrar.service import Registrar
from gateway.registrar.settings import Settings
from gateway.registrar.tables import metadata

_HEAD = "backup.json"
_LEFT_OUT = ("sessions",)
_ROWS = 500  # inserted at once
_LOST = 1_000_000
"""More certificates than were issued since a backup: their serials are not given again."""


async def write_backup(registrar: Registrar, file: Path) -> None:
    """Write a backup to `file`, which must be new, and make it durable. UsageError where it cannot be."""
    state = registrar.settings.registrar.state
    head = {"made_ms": unix_ms(registrar.clock), "name": registrar.identity.card.name}
    with _new_file(file) as made:
        async with registrar.database.snapshot() as connection:
            await connection.run_sync(_write, made, state, head)


async def restore_backup(settings: Settings, file: Path) -> int:
    """Restore a backup; the number of rows. UsageError where the registrar has a key or rows in its database
    already, and where the file is no backup; no row and no key is left of it then."""
    state = settings.registrar.state
    if (state / KEY_FILE).exists():
        raise UsageError(f"{state / KEY_FILE} already exists: a backup is restored where no registrar is")
    try:
        with tarfile.open(file) as archive:
            head = json.loads(_part(archive, _HEAD).read())
            key, card = _part(archive, KEY_FILE).read(), _part(archive, CARD_FILE).read()
            read_identity(key, card, file)
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            database = Database.connect(settings.database_url, settings.database_password())
            try:
                async with database.writing(patient=True) as connection:
                    rows = await connection.run_sync(
                        _restore, archive, str(head["version"]), int(head.get("made_ms", 0))
                    )
            finally:
                await database.close()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except (tarfile.TarError, ValueError, KeyError, TypeError):
        raise UsageError(f"{file} is not a registrar's backup, or is damaged") from None
    write_durably(state / CARD_FILE, card, 0o644)
    write_new(state / KEY_FILE, key)
    return rows


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file of mode 0600 that gets its name once it is whole."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.absolute().parent, prefix=f".{path.name}.") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            path.hardlink_to(file.name)
        sync_folder(path.absolute().parent)
    except FileExistsError:
        raise UsageError(f"{path} already exists: name a new file") from None
    except OSError as error:
        raise UsageError(f"the backup cannot be written to {path}: {error.strerror}") from None


def _write(connection: Connection, file: IO[bytes], state: Path, head: dict[str, Any]) -> None:
    with tarfile.open(fileobj=file, mode="w") as archive:
        _add(archive, _HEAD, json.dumps(head | {"version": version(connection)}).encode())
        for name in (KEY_FILE, CARD_FILE):
            _add(archive, name, (state / name).read_bytes())
        for table in metadata.sorted_tables:
            if table.name in _LEFT_OUT:
                continue
            with tempfile.TemporaryFile() as lines:
                lines.write(_line([column.name for column in table.columns]))
                for row in connection.execution_options(yield_per=_ROWS).execute(select(table)):
                    lines.write(_line(list(row)))
                _add(archive, f"tables/{table.name}.jsonl", lines)


def _restore(connection: Connection, archive: tarfile.TarFile, wanted: str, made_ms: int) -> int:
    """Make the tables as the backup had them, fill them, and migrate them; the number of rows."""
    if version(connection) is None:
        migrate_to(connection, wanted)
    tables = MetaData()
    tables.reflect(connection)
    count = 0
    for table in tables.sorted_tables:
        if table.name in (*_LEFT_OUT, VERSION_TABLE):
            continue
        if connection.execute(select(func.count()).select_from(table)).scalar():
            raise UsageError("the database is not empty: a backup is restored into a new one")
        lines = iter(_part(archive, f"tables/{table.name}.jsonl"))
        names = json.loads(next(lines))
        while rows := [dict(zip(names, _values(line), strict=True)) for line in islice(lines, _ROWS)]:
            connection.execute(insert(table), rows)
            count += len(rows)
    migrate(connection)
    mark_restored(connection, max(made_ms, unix_ms(SystemClock("host"))))
    skip_serials(connection, _LOST)
    return count


def _add(archive: tarfile.TarFile, name: str, content: bytes | IO[bytes]) -> None:
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    entry = tarfile.TarInfo(name)
    entry.mode, entry.size = 0o600, file.seek(0, io.SEEK_END)
    file.seek(0)
    archive.addfile(entry, file)


def _part(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file


def _line(values: list[Any]) -> bytes:
    return json.dumps([_written(value) for value in values]).encode() + b"\n"


def _written(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _values(line: bytes) -> list[Any]:
    return [
        base64.b64decode(value["base64"]) if isinstance(value, dict) else value for value in json.loads(line)
    ]
