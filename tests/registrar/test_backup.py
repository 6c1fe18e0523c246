"""Backups: consistent, complete, restored on either database."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from gateway.errors import UsageError
from gateway.registrar.backup import restore_backup, write_backup
from gateway.registrar.loads import LoadMemory
from gateway.registrar.service import Registrar
from gateway.registrar.settings import Settings
from gateway.registrar.tables import accounts, metadata
from gateway.web.refusals import NotAuthenticated
from tests.support.clock import FakeClock
from tests.support.registrar import Holder, log_in, open_new, register, settings

EVERY = [table for table in metadata.sorted_tables if table.name != "sessions"]


async def content(registrar: Registrar) -> dict[str, list[Any]]:
    """All rows of all tables but sessions."""
    async with registrar.database.snapshot() as connection:
        return {
            table.name: [tuple(row) for row in await connection.execute(select(table))] for table in EVERY
        }


async def fill(registrar: Registrar, clock: FakeClock) -> Holder:
    """Register a household and fail a login."""
    password = await registrar.accounts.add("müller", "household")
    home = Holder("gateway", clock.now_ms)
    await register(registrar, "müller", password, home, home.descriptor())
    await log_in(registrar, home)
    with pytest.raises(NotAuthenticated):
        await register(registrar, "müller", "a wrong password", home)
    return home


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """A registrar that is not there yet, on MariaDB if the test asks for it, else on SQLite."""
    url = None
    if request.param == "mariadb":
        url = request.getfixturevalue("mariadb").new_database()
    return settings(tmp_path / "elsewhere", url)


@pytest.mark.parametrize("elsewhere", ["sqlite", "mariadb"], indirect=True)
async def test_a_backup_is_restored_on_either_database(
    registrar: Registrar, clock: FakeClock, tmp_path: Path, elsewhere: Settings
) -> None:
    home = await fill(registrar, clock)
    file = tmp_path / "backup.tar"
    await write_backup(registrar, file)
    assert file.stat().st_mode & 0o777 == 0o600
    rows = await restore_backup(elsewhere, file)
    key = elsewhere.registrar.state / "registrar.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    async with open_new(elsewhere, clock) as restored:
        assert restored.identity.signed_card == registrar.identity.signed_card
        found = await content(restored)
        # The memory of sums begins with the restoration: those after the copy are missing.
        ((_, from_ms),) = found["load_memory"]
        assert from_ms >= clock.now_ms
        found["load_memory"] = []
        assert found == await content(registrar)
        assert rows == sum(map(len, found.values()))
        assert rows > 3
        assert await restored.cards.present(home.kid) == await registrar.cards.present(home.kid)
        await log_in(restored, home)
        serials = [one.serial for one in await restored.cards.all()]
        password = await restored.accounts.add("maier", "household")
        other = Holder("gateway", clock.now_ms)
        await register(restored, "maier", password, other)
        assert max(one.serial for one in await restored.cards.all()) > max(serials)
        with pytest.raises(UsageError, match="begun already"):
            await LoadMemory(restored.database).begin()


@pytest.mark.parametrize("elsewhere", ["sqlite", "mariadb"], indirect=True)
async def test_a_serial_given_after_the_backup_is_not_given_again(
    clock: FakeClock, tmp_path: Path, elsewhere: Settings
) -> None:
    """Its holder has that certificate still, and would be revoked with the other's."""
    file = tmp_path / "backup.tar"
    async with open_new(settings(tmp_path / "state"), clock) as registrar:
        await fill(registrar, clock)
        await write_backup(registrar, file)
        password = await registrar.accounts.add("maier", "household")
        await register(registrar, "maier", password, Holder("gateway", clock.now_ms))
        given = {one.serial for one in await registrar.cards.all()}
    await restore_backup(elsewhere, file)
    async with open_new(elsewhere, clock) as restored:
        kept = {one.serial for one in await restored.cards.all()}
        password = await restored.accounts.add("huber", "household")
        await register(restored, "huber", password, Holder("gateway", clock.now_ms))
        (new,) = {one.serial for one in await restored.cards.all()} - kept
    assert new not in given


async def test_a_backup_is_of_one_moment(registrar: Registrar, tmp_path: Path, clock: FakeClock) -> None:
    """What is written meanwhile is in it whole, or not at all: here two accounts each time."""
    row = {"role": "household", "password": "x", "created_ms": 1}

    async def write() -> None:
        for n in range(30):
            async with registrar.database.writing() as connection:
                for half in "ab":
                    await connection.execute(insert(accounts).values(name=f"{half}{n}", **row))

    writing = asyncio.create_task(write())
    counts = []
    for n in range(4):
        await write_backup(registrar, tmp_path / f"{n}.tar")
        with tarfile.open(tmp_path / f"{n}.tar") as archive:
            lines = archive.extractfile("tables/accounts.jsonl")
            assert lines is not None
            counts.append(len(lines.readlines()) - 1)
    await writing
    assert all(count % 2 == 0 for count in counts), counts
    assert counts == sorted(counts)


async def test_nothing_is_overwritten(registrar: Registrar, tmp_path: Path, clock: FakeClock) -> None:
    file = tmp_path / "backup.tar"
    await write_backup(registrar, file)
    before = file.read_bytes()
    with pytest.raises(UsageError, match="name a new file"):
        await write_backup(registrar, file)
    assert file.read_bytes() == before
    with pytest.raises(UsageError, match="where no registrar is"):
        await restore_backup(registrar.settings, file)
    with pytest.raises(UsageError, match="cannot be written"):
        await write_backup(registrar, tmp_path / "no" / "folder")


async def test_a_database_with_rows_is_not_restored_into(
    registrar: Registrar, clock: FakeClock, tmp_path: Path
) -> None:
    await fill(registrar, clock)
    file = tmp_path / "backup.tar"
    await write_backup(registrar, file)
    before = await content(registrar)
    other = settings(tmp_path / "other", registrar.settings.database_url)
    with pytest.raises(UsageError, match="the database is not empty"):
        await restore_backup(other, file)
    assert await content(registrar) == before
    assert not (tmp_path / "other" / "registrar.pem").exists()


def changed(file: Path, name: str, content: bytes | None) -> Path:
    """The backup with a part changed, or left out."""
    made = file.with_name("changed.tar")
    with tarfile.open(file) as old, tarfile.open(made, "w") as new:
        for entry in old:
            part = old.extractfile(entry)
            assert part is not None
            data = part.read()
            if entry.name == name:
                if content is None:
                    continue
                data = content
            entry.size = len(data)
            new.addfile(entry, io.BytesIO(data))
    return made


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("backup.json", None, "is not a registrar's backup"),
        ("backup.json", b"[]", "is not a registrar's backup"),
        ("backup.json", json.dumps({"version": "9999"}).encode(), "version 9999, which this program does"),
        ("registrar.pem", b"", "is not a P-256 key in PEM"),
        ("registrar.cose", b"", "restore key and card from one backup"),
        ("tables/accounts.jsonl", None, "is not a registrar's backup"),
        ("tables/accounts.jsonl", b'["id"]\n[1, 2]\n', "is not a registrar's backup"),
        ("tables/accounts.jsonl", b"{", "is not a registrar's backup"),
    ],
)
async def test_a_damaged_backup_restores_nothing(
    tmp_path: Path, clock: FakeClock, name: str, content: bytes | None, sentence: str
) -> None:
    file = tmp_path / "backup.tar"
    async with open_new(settings(tmp_path / "state"), clock) as registrar:
        await fill(registrar, clock)
        await write_backup(registrar, file)
    elsewhere = settings(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=sentence):
        await restore_backup(elsewhere, changed(file, name, content))
    assert not (tmp_path / "elsewhere" / "registrar.pem").exists()
    await restore_backup(elsewhere, file)


async def test_a_file_that_is_no_archive_gets_a_sentence(tmp_path: Path) -> None:
    for data, sentence in ((None, "cannot be read"), (b"no tar", "is not a registrar's backup")):
        file = tmp_path / "file"
        if data is not None:
            file.write_bytes(data)
        with pytest.raises(UsageError, match=sentence):
            await restore_backup(settings(tmp_path / "state"), file)
