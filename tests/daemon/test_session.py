"""A session's beginning: its incarnation is new and durable before anything is sealed under it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.daemon.registration import Registration
from gateway.daemon.session import Session
from gateway.daemon.watched import WatchedRoot
from gateway.errors import LedgerError, UsageError
from gateway.ledger.ledger import Ledger
from gateway.store.directory import DirectoryBucket
from gateway.trust.opening import open_root
from gateway.trust.root import Note, Root, unnoted
from tests.support.clock import FakeClock
from tests.support.faulty import FaultyRoot
from tests.support.home import LINK_UNITS, Home
from tests.support.tpm import swtpm


class StuckRoot(FaultyRoot):
    """A counter that went back, as only another TPM's can."""

    async def draw_incarnation(self, note: Note = unnoted) -> int:
        return 2**63 + 5


async def test_an_incarnation_that_was_drawn_before_seals_nothing(tmp_path: Path) -> None:
    async with Home(tmp_path) as home:
        root = StuckRoot(await open_root("software", tmp_path / "stuck", ""))
        home.root = root
        await home.session_begins()
        await home.runs(2 * LINK_UNITS)
        with pytest.raises(LedgerError, match=f"incarnation {2**63 + 5} was drawn before"):
            await home.session_begins()


async def test_each_session_has_its_own_incarnation_durable_before_a_unit(tmp_path: Path) -> None:
    async with Home(tmp_path) as home:
        drawn = set()
        for _ in range(4):
            last = await home.ledger.last_incarnation()
            assert last is not None
            drawn.add(last)
            await home.runs(LINK_UNITS)
            parts = await home.ledger.open_units(await home.stream())
            assert {part.incarnation for part in parts} <= {last}
            await home.crashes_and_starts()
        assert len(drawn) == 4


async def begins(root: Root, ledger: Ledger, home: Home) -> None:
    bucket = DirectoryBucket(home.folder / "store")
    registration = Registration(home.state, root, ledger, FakeClock())
    watched = WatchedRoot(root, FakeClock())
    await Session(home.config(), FakeClock(), watched, ledger, bucket, registration).open()


async def log(ledger: Ledger) -> list[str]:
    return [entry.detail for entry in await ledger.audit_log(100) if entry.what == "rollback"]


@pytest.mark.slow
async def test_a_tpm_ahead_of_the_ledger_is_told(tmp_path: Path) -> None:
    """A restored ledger, or a start that died between the draw and its record: the counter shows both."""
    home = Home(tmp_path / "home")
    path = tmp_path / "state" / "ledger.sqlite"
    with swtpm(tmp_path / "tpm") as tpm:
        root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
        ledger = await Ledger.open(path)
        try:
            for _ in range(3):
                await begins(root, ledger, home)
            assert await log(ledger) == []
            before = await ledger.last_incarnation()
            assert before is not None
            await root.draw_incarnation()
            await begins(root, ledger, home)
            (told,) = await log(ledger)
            assert told.startswith(
                f"the TPM drew incarnation {before + 1}, but the ledger's last is {before}"
            )
            assert await ledger.last_incarnation() == before + 2
            await begins(root, ledger, home)
            assert len(await log(ledger)) == 1
        finally:
            await ledger.close()
            await root.aclose()


class CountingRoot(FaultyRoot):
    draws = 0

    async def draw_incarnation(self, note: Note = unnoted) -> int:
        self.draws += 1
        return await super().draw_incarnation(note)


async def test_a_ledger_that_cannot_write_costs_no_step_of_the_counter(tmp_path: Path) -> None:
    async with Home(tmp_path) as home:
        home.root = root = CountingRoot(await open_root("software", tmp_path / "root", ""))
        for _ in range(3):
            home.database.fuse.set(0)
            with pytest.raises(LedgerError, match="disk is full"):
                await home.session_begins()
        assert root.draws == 0
        home.mend()
        await home.session_begins()
        assert root.draws == 1


async def test_meters_that_cannot_be_opened_cost_no_step_of_the_counter(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", meters=("main", "heat"))
    config = home.config()
    main, heat = config.meter
    wrong = config.model_copy(update={"meter": (main, heat.model_copy(update={"unit_id": main.unit_id}))})
    root = await open_root("software", tmp_path / "trust", "")
    ledger = await Ledger.open(tmp_path / "state" / "ledger.sqlite")
    registration = Registration(home.state, root, ledger, FakeClock())
    try:
        watched = WatchedRoot(root, FakeClock())
        with pytest.raises(UsageError, match="there is meter main already"):
            await Session(wrong, FakeClock(), watched, ledger, home.bucket, registration).open()
        assert await ledger.last_incarnation() is None
    finally:
        await ledger.close()
        await root.aclose()
