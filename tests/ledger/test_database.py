"""The file: what opens, what does not and which sentence says so, and transactions that fail."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gateway.errors import LedgerError, NewerLedger
from gateway.ledger.database import Database
from gateway.ledger.ledger import Ledger
from gateway.ledger.migrations import VERSION
from gateway.ledger.records import AuditEntry, Doubt, Outgoing, PageEntry, Progress, StoreChain, Stream
from tests.ledger.values import (
    chunk,
    copy_of,
    descriptor,
    dump,
    grant,
    on_connection,
    open_ledger,
    sealed,
    stream,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.sqlite"


async def opened(path: Path) -> None:
    ledger = await Ledger.open(path)
    await ledger.close()


async def refused(path: Path, *, reading: bool = False) -> str:
    with pytest.raises(LedgerError) as raised:
        await Ledger.open(path, reading=reading)
    sentence = str(raised.value)
    assert str(path) in sentence
    return sentence


async def test_a_new_ledger_is_its_owners_alone_and_is_found_again(path: Path) -> None:
    ledger = await Ledger.open(path)
    try:
        await ledger.begin_incarnation(7, 1)
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert files[path.name] == files[f"{path.name}-wal"] == files[f"{path.name}-shm"] == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        await ledger.close()
    ledger = await Ledger.open(path)
    try:
        assert await ledger.last_incarnation() == 7
        assert await ledger.check() is None
    finally:
        await ledger.close()


async def test_a_transaction_that_returned_survives_power_loss(path: Path) -> None:
    ledger, database = await open_ledger(path)
    try:
        assert await database.do(lambda db: db.execute("PRAGMA journal_mode").fetchone()) == ("wal",)
        full = 2
        assert await database.do(lambda db: db.execute("PRAGMA synchronous").fetchone()) == (full,)
    finally:
        await ledger.close()


async def test_a_second_gateway_on_the_same_ledger_is_refused(path: Path) -> None:
    ledger = await Ledger.open(path)
    try:
        assert "another gateway is running" in await refused(path)
        open_it = (
            "import asyncio, sys, pathlib; from gateway.ledger.ledger import Ledger\n"
            "try: asyncio.run(Ledger.open(pathlib.Path(sys.argv[1])))\n"
            "except Exception as error: print(error)"
        )
        done = subprocess.run(
            [sys.executable, "-c", open_it, str(path)], capture_output=True, text=True, check=True
        )
        assert "another gateway is running" in done.stdout
        await ledger.begin_incarnation(1, 1)
    finally:
        await ledger.close()
    await opened(path)  # and the lock is gone with the one who held it


async def test_one_may_look_beside_the_gateway_but_not_write(path: Path) -> None:
    assert "the gateway has not run" in await refused(path, reading=True)
    assert not path.parent.exists()
    ledger = await Ledger.open(path)
    try:
        await ledger.begin_incarnation(3, 1)
        beside = await Ledger.open(path, reading=True)
        try:
            assert await beside.last_incarnation() == 3
            assert await beside.check() is None
            with pytest.raises(LedgerError, match="readonly"):
                await beside.begin_incarnation(4, 1)
            await ledger.begin_incarnation(4, 1)
            assert await beside.last_incarnation() == 4
        finally:
            await beside.close()
    finally:
        await ledger.close()
    beside = await Ledger.open(path, reading=True)  # nor does it need the gateway to run
    try:
        assert await beside.last_incarnation() == 4
    finally:
        await beside.close()


@pytest.mark.parametrize("reading", [False, True])
@pytest.mark.parametrize("version", [0, 1, 7])
async def test_another_programs_database_is_left_as_it_is(path: Path, version: int, reading: bool) -> None:
    path.parent.mkdir(mode=0o700)
    with sqlite3.connect(path) as foreign:
        foreign.execute("CREATE TABLE precious (thing TEXT)")
        foreign.execute("INSERT INTO precious VALUES ('kept')")
        foreign.execute(f"PRAGMA user_version = {version}")
    foreign.close()
    path.chmod(0o640)
    before = path.read_bytes()
    assert "not a gateway's ledger" in await refused(path, reading=reading)
    assert path.read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


async def test_a_newer_ledger_is_left_to_the_gateway_that_wrote_it(path: Path) -> None:
    await opened(path)
    with sqlite3.connect(path) as newer:
        newer.execute(f"PRAGMA user_version = {VERSION + 1}")
    newer.close()
    before = path.read_bytes()
    for reading in (False, True):
        sentence = await refused(path, reading=reading)
        assert f"has version {VERSION + 1}, but this gateway supports versions up to {VERSION}:" in sentence
        assert "install the gateway that wrote it" in sentence
    assert path.read_bytes() == before


async def test_a_newer_ledger_that_a_power_cut_left_stays_byte_by_byte(path: Path) -> None:
    """Its version, and more, is in the -wal file alone, which SQLite would write into the ledger."""
    await opened(path)
    newer = sqlite3.connect(path, isolation_level=None)
    newer.execute("PRAGMA wal_autocheckpoint = 0")
    newer.execute(f"PRAGMA user_version = {VERSION + 1}")
    newer.execute("CREATE TABLE novelty (thing TEXT)")
    newer.execute("INSERT INTO novelty VALUES ('kept')")
    wal = path.with_name(f"{path.name}-wal")
    before = {file: file.read_bytes() for file in (path, wal)}
    newer.close()
    for shared in (True, False):
        for file, data in before.items():
            file.write_bytes(data)
        if not shared:
            path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
        for reading in (False, True):
            with pytest.raises(NewerLedger, match=f"has version {VERSION + 1}, but this gateway"):
                await Ledger.open(path, reading=reading)
            assert {file: file.read_bytes() for file in before} == before
    with contextlib.closing(sqlite3.connect(path)) as again:
        assert again.execute("SELECT thing FROM novelty").fetchall() == [("kept",)]


async def test_an_empty_file_is_no_ledger_yet(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    assert "the gateway has not run" in await refused(path, reading=True)
    assert path.read_bytes() == b""
    await opened(path)
    await (await Ledger.open(path, reading=True)).close()


async def test_what_is_no_database_is_refused_with_a_sentence(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"#!/bin/sh\n" * 500)
    assert "file is not a database" in await refused(path)
    assert "file is not a database" in await refused(path, reading=True)
    assert path.read_bytes() == b"#!/bin/sh\n" * 500
    path.unlink()
    path.mkdir()
    assert "cannot be opened" in await refused(path)


async def what_is_wrong(path: Path) -> str:
    """What opening the ledger and its check say."""
    try:
        ledger = await Ledger.open(path)
        try:
            return await ledger.check() or "nothing"
        finally:
            await ledger.close()
    except LedgerError as error:
        return str(error)


async def test_a_truncated_ledger_is_told(path: Path) -> None:
    """Cut off at any page: it does not open, or its check says what is wrong with it."""
    ledger, _ = await open_ledger(path)
    await fill(ledger)
    await ledger.close()
    whole = path.read_bytes()
    for size in (100, 4096, 5000, len(whole) // 2, len(whole) - 4096):
        path.write_bytes(whole[:size])
        assert await what_is_wrong(path) != "nothing", size
    path.write_bytes(whole)
    assert await what_is_wrong(path) == "nothing"


async def test_a_damaged_page_is_told(path: Path) -> None:
    ledger, _ = await open_ledger(path)
    await fill(ledger)
    await ledger.close()
    data = bytearray(path.read_bytes())
    for at in range(4096, len(data), 512):
        data[at : at + 16] = b"\xff" * 16
    path.write_bytes(data)
    assert await what_is_wrong(path) != "nothing"


async def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    assert "cannot be opened" in await refused(tmp_path / "state" / "ledger.sqlite")


async def test_a_closed_ledger_says_so(path: Path) -> None:
    database = Database(path)
    with pytest.raises(LedgerError, match="closed"):
        await database.do(lambda db: None)
    await database.close()


STREAM = stream(1)
Operation = Callable[[Ledger], Awaitable[object]]


async def fill(ledger: Ledger) -> None:
    """A ledger in the midst of its work."""
    await ledger.note_counter(2, 1, trusted=False)
    await ledger.begin_incarnation(5, 1)
    await ledger.add_stream(STREAM, descriptor(STREAM), [sealed(5, 80, 6)], b"state 0")
    await ledger.close_chunk(STREAM, *_first_chunk())
    await ledger.add_grants([grant(STREAM, 1)])
    await ledger.note_counter(5, 1, trusted=False)
    waiting = await ledger.outbox(10)
    await ledger.enqueue(STREAM.id, [Outgoing("tokens", "k", b"1"), Outgoing("page", "l", bytes(9000))])
    await ledger.confirm([queued.id for queued in (await ledger.outbox(10))[len(waiting) :]], 900)


def _first_chunk() -> tuple:  # type: ignore[type-arg]
    whole = sealed(5, 80, 4)
    entry, data = chunk(STREAM, 0, whole)
    return entry, whole, sealed(5, 84, 2), data


def _second_chunk() -> tuple:  # type: ignore[type-arg]
    whole = sealed(5, 84, 1)
    entry, data = chunk(STREAM, 1, whole)
    return entry, whole, sealed(5, 85, 1), data


async def _take_over(ledger: Ledger) -> None:
    wholes = [sealed(9, 80 + seq, 1) for seq in range(3)]
    entries = [chunk(STREAM, seq, whole)[0] for seq, whole in enumerate(wholes)]
    pages = [PageEntry("day", "1970-01-02", 1, 80, 81, b"\3" * 32, wholes[0].c)]
    log = AuditEntry(9, "rollback", "taken over")
    served, revoked = {b"\1" * 16: Progress(4, (80, 2**40))}, {b"\1" * 16: 90}
    chain = StoreChain(0, entries, 0, pages, wholes[1:], b"state 9", served, revoked)
    await ledger.take_over(STREAM, chain, log)


async def _add_page(ledger: Ledger) -> None:
    page = PageEntry("day", "1970-01-01", 1, 80, 84, b"\2" * 32, sealed(5, 80, 4).c)
    await ledger.add_page(
        STREAM, page, [Outgoing("tokens", "t", b"tokens"), Outgoing("page", "p", bytes(20_000))]
    )


async def _revoke(ledger: Ledger) -> None:
    (record,) = await ledger.grants()
    await ledger.revoke_grant(
        record, 90, Outgoing("revocation", "r", b"revoked"), AuditEntry(1, "revocation", "x")
    )


async def _advance(ledger: Ledger) -> None:
    (record,) = await ledger.grants()
    await ledger.advance_grant(
        record, Progress(3, (5, 2**40, 2**41)), [Outgoing("tokens", "b", bytes(20_000))]
    )


async def _confirm(ledger: Ledger) -> None:
    await ledger.confirm([queued.id for queued in await ledger.outbox(10)], 1000)


async def _look(ledger: Ledger) -> None:
    await ledger.looked(STREAM, 3, 2000)


async def _let_go(ledger: Ledger) -> None:
    await ledger.let_go([one.id for one in await ledger.kept(STREAM)])


async def _send_again(ledger: Ledger) -> None:
    kept = [one.id for one in await ledger.kept(STREAM)]
    await ledger.send_again(kept, AuditEntry(1, "store", "gone"))


OTHER: Stream = stream(2)

OPERATIONS: dict[str, Operation] = {
    "begin_incarnation": lambda ledger: ledger.begin_incarnation(6, 1),
    "note_counter": lambda ledger: ledger.note_counter(7, 1, trusted=True),
    "end_doubt_at": lambda ledger: ledger.end_doubt_at(STREAM, 99),
    "confirm_doubts": lambda ledger: ledger.confirm_doubts(AuditEntry(1, "rollback", "confirmed")),
    "add_stream": lambda ledger: ledger.add_stream(OTHER, descriptor(OTHER), [sealed(5, 80, 9)], b"state"),
    "append": lambda ledger: ledger.append(STREAM, [sealed(5, 86, 2), sealed(5, 88, 8)], b"state 1"),
    "close_chunk": lambda ledger: ledger.close_chunk(STREAM, *_second_chunk()),
    "add_page": _add_page,
    "enqueue": lambda ledger: ledger.enqueue(
        STREAM.id, [Outgoing("tokens", "a", b"1"), Outgoing("head", "h", b"2"), Outgoing("head", "h", b"3")]
    ),
    "confirm": _confirm,
    "looked": _look,
    "let_go": _let_go,
    "send_again": _send_again,
    "add_grants": lambda ledger: ledger.add_grants([grant(STREAM, 2), grant(STREAM, 3)]),
    "adopt_grants": lambda ledger: ledger.adopt_grants([grant(STREAM, n)[::2] for n in (2, 3)]),
    "head_went_back": lambda ledger: ledger.head_went_back(STREAM, b"old", AuditEntry(1, "store", "old")),
    "audit_once": lambda ledger: ledger.audit_once(AuditEntry(1, "meter", "fell")),
    "advance_grant": _advance,
    "revoke_grant": _revoke,
    "audit": lambda ledger: ledger.audit(AuditEntry(1, "meter", "fell")),
    "take_over": _take_over,
}


@pytest.fixture
async def filled(path: Path) -> AsyncIterator[tuple[Ledger, Database]]:
    ledger, database = await open_ledger(path)
    await fill(ledger)
    yield ledger, database
    await ledger.close()


@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_interrupted_transaction_happens_wholly_or_not_at_all(
    name: str, filled: tuple[Ledger, Database], path: Path, tmp_path: Path
) -> None:
    """Interrupted at the 1st, 2nd, 3rd... step of SQLite's machine, until it comes through."""
    ledger, database = filled
    before, after = await dump(database), await _done_elsewhere(name, copy_of(path, tmp_path / "copy"))
    assert after != before
    left, times = 0, 0

    def interrupt() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    for steps in (*range(1, 60), *range(60, 400, 5), *range(400, 4000, 50)):
        left = steps
        await on_connection(database, lambda db: db.set_progress_handler(interrupt, 1))
        with contextlib.suppress(LedgerError):
            await OPERATIONS[name](ledger)
        interrupted = left <= 0
        await on_connection(database, lambda db: db.set_progress_handler(None, 0))
        found = await dump(database)
        assert found in (before, after)
        times += interrupted
        if found == after:
            break
    assert found == after
    assert times > 5


async def _done_elsewhere(name: str, path: Path) -> list[str]:
    ledger, database = await open_ledger(path)
    try:
        await OPERATIONS[name](ledger)
        return await dump(database)
    finally:
        await ledger.close()


async def test_a_rollback_that_fails_is_made_up_for(filled: tuple[Ledger, Database]) -> None:
    ledger, database = filled
    before = await dump(database)

    def deny(action: int, argument: str | None, *_: object) -> int:
        return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_TRANSACTION and argument != "BEGIN" else 0

    await on_connection(database, lambda db: db.set_authorizer(deny))
    for _ in range(2):
        with pytest.raises(LedgerError, match="a transaction failed"):
            await ledger.append(STREAM, [sealed(5, 86, 2)], b"state 1")
    await on_connection(database, lambda db: db.set_authorizer(None))
    assert await dump(database) == before
    await ledger.append(STREAM, [sealed(5, 86, 2)], b"state 1")


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_commit_that_fails_leaves_nothing_and_may_be_tried_again(
    name: str, filled: tuple[Ledger, Database]
) -> None:
    ledger, database = filled
    before = await dump(database)

    def deny(action: int, argument: str | None, *_: object) -> int:
        commit = action == sqlite3.SQLITE_TRANSACTION and argument == "COMMIT"
        return sqlite3.SQLITE_DENY if commit else sqlite3.SQLITE_OK

    await on_connection(database, lambda db: db.set_authorizer(deny))
    with pytest.raises(LedgerError, match="a transaction failed"):
        await OPERATIONS[name](ledger)
    await on_connection(database, lambda db: db.set_authorizer(None))
    assert await dump(database) == before
    await OPERATIONS[name](ledger)
    assert await dump(database) != before


@pytest.mark.parametrize("end", [82, 83, 84, 90])
async def test_a_chain_that_reaches_the_end_of_a_doubt_ends_it(
    end: int, filled: tuple[Ledger, Database]
) -> None:
    """Though its chunks, up to unit 83, are of an incarnation that the ledger knew."""
    ledger, _ = filled
    await ledger.confirm_doubts(AuditEntry(1, "rollback", "confirmed"))
    await ledger.begin_incarnation(9, 1)
    await ledger.note_counter(8, 1, trusted=False)
    assert await ledger.doubt(STREAM) == Doubt(86, None, 1)
    await ledger.end_doubt_at(STREAM, end)
    await ledger.end_doubt_at(STREAM, 99)  # it has one already
    await _take_over(ledger)
    assert await ledger.doubt(STREAM) == (None if end <= 83 else Doubt(86, end, 1))


@pytest.mark.parametrize(
    "code", ["SQLITE_IOERR", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_READ"]
)
async def test_a_card_that_fails_is_named(code: str, path: Path) -> None:
    """What SQLite says of an ext4 that an error has made read-only: "disk I/O error", and no more."""
    ledger, database = await open_ledger(path)
    failure = sqlite3.OperationalError("disk I/O error")
    failure.sqlite_errorcode = getattr(sqlite3, code)

    def fail(db: sqlite3.Connection) -> None:
        raise failure

    try:
        with pytest.raises(LedgerError, match=r"disk I/O error\. The disk or SD card fails.* `dmesg`"):
            await database.do(fail)
    finally:
        await ledger.close()


async def test_a_state_is_saved_by_itself_and_with_what_its_owner_decided(path: Path) -> None:
    ledger, database = await open_ledger(path)
    try:
        await fill(ledger)
        (first, *_) = await ledger.streams()
        position, before = await ledger.position(first), await ledger.audit_log(100)
        await ledger.save_state(first, b"held")
        assert (await ledger.state(first.id), await ledger.audit_log(100)) == (b"held", before)
        decided = AuditEntry(7, "meter", "an exchange")
        await ledger.save_state(first, b"accepted", decided)
        assert await ledger.state(first.id) == b"accepted"
        assert await ledger.audit_log(100) == [*before, decided]
        assert await ledger.position(first) == position
        assert await ledger.last_kept_day(first) is None
        (pages,) = await database.do(lambda db: db.execute("PRAGMA page_count").fetchone())
        await on_connection(database, lambda db: db.execute(f"PRAGMA max_page_count = {pages}"))
        with pytest.raises(LedgerError, match="full"):
            await ledger.save_state(first, b"too large", AuditEntry(8, "meter", "x" * 100_000))
        assert (await ledger.state(first.id), len(await ledger.audit_log(100))) == (
            b"accepted",
            len(before) + 1,
        )
    finally:
        await ledger.close()


async def test_a_full_disk_takes_nothing_and_harms_nothing(path: Path) -> None:
    """SQLite's own error for a disk with no page left, at one operation after the other."""
    ledger, database = await open_ledger(path)
    try:
        await fill(ledger)
        (pages,) = await database.do(lambda db: db.execute("PRAGMA page_count").fetchone())
        await on_connection(database, lambda db: db.execute(f"PRAGMA max_page_count = {pages}"))
        before = await dump(database)
        large = Outgoing("chunk", "k", bytes(50_000))
        for _ in range(3):
            with pytest.raises(LedgerError, match="the disk is full: free some space"):
                await ledger.enqueue(STREAM.id, [Outgoing("tokens", "j", b"small"), large])
            assert await dump(database) == before
        await ledger.confirm([1], 1000)  # what frees pages still goes
        await on_connection(database, lambda db: db.execute("PRAGMA max_page_count = 1000000"))
        await ledger.enqueue(STREAM.id, [large])
        assert await ledger.check() is None
    finally:
        await ledger.close()


async def test_what_a_cancelled_caller_asked_for_happens_wholly_or_not_at_all(
    filled: tuple[Ledger, Database],
) -> None:
    """The thread goes on with a transaction that nobody waits for, and what comes later sees it."""
    ledger, _ = filled
    for first in range(86, 96, 2):
        task = asyncio.create_task(ledger.append(STREAM, [sealed(5, first, 2)], b"state"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        at = (await ledger.position(STREAM)).next_unit
        assert at in (first, first + 2)
        if at == first:
            await ledger.append(STREAM, [sealed(5, first, 2)], b"state")
