"""The check after an update, on the control socket of a real gateway and a clock that the test drives."""

from __future__ import annotations

import asyncio
import errno
import json
from pathlib import Path

import pytest

from gateway.appliance.health import MOST_S, Checked, check_trial, judge
from gateway.appliance.journal import STATUS, TRIAL, Journal, Known, Outcome, Part, ReleaseNote, Trying
from gateway.appliance.rauc import Slots
from gateway.appliance.update import what_works
from gateway.control.client import ControlClient
from gateway.control.documents import Status
from gateway.daemon.setup import Setup
from gateway.errors import GatewayError, Unavailable
from tests.appliance.releases import NEW, FakeRauc
from tests.support.clock import FakeClock
from tests.support.home import Home
from tests.support.serving import connects, serving

BOTH: tuple[Part, ...] = ("sealing", "store")
NOTE = ReleaseNote.of(NEW)


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "run" / "s"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def rauc() -> FakeRauc:
    """RAUC after the restart into slot B, which was armed."""
    rauc = FakeRauc()
    rauc.state = Slots("B", "B")
    return rauc


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """As an update leaves it when the machine restarts."""
    folder = tmp_path / "updater"
    folder.mkdir()
    journal = Journal(folder)
    journal.note(available=NOTE, trying=Trying(release=NOTE, slot="B", expected=BOTH))
    journal.begin_trial()
    return journal


async def never_newer() -> bool:
    return False


def checking(
    journal: Journal, rauc: FakeRauc, socket: Path, clock: FakeClock
) -> asyncio.Task[Checked | None]:
    return asyncio.create_task(check_trial(journal, rauc, ControlClient(socket), clock, never_newer))


async def looked(task: asyncio.Task[Checked | None], clock: FakeClock) -> None:
    """Wait until the check has looked, and waits itself, or is over."""
    waiting = asyncio.create_task(clock.asleep())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


async def waits_in_vain(task: asyncio.Task[Checked | None], clock: FakeClock) -> Outcome:
    """Let time pass up to the check's end."""
    for _ in range(MOST_S // 60):
        await looked(task, clock)
        assert not task.done()
        clock.pass_s(60)
    return left(await asyncio.wait_for(task, 20))


def left(checked: Checked | None) -> Outcome:
    """The outcome of a release that the machine is to restart out of."""
    assert checked is not None
    assert checked.restart
    return checked.outcome


async def test_a_release_that_seals_and_reaches_the_store_is_kept(
    tmp_path: Path, journal: Journal, rauc: FakeRauc, socket: Path, clock: FakeClock
) -> None:
    async with Home(tmp_path / "home") as home, serving(home, socket):
        task = checking(journal, rauc, socket, clock)
        await looked(task, clock)
        assert not (journal.folder / TRIAL).exists()
        assert "cut off" in str(journal.read().last)  # what stands if it is

        await home.runs(home.layout.link_units + 20)
        clock.pass_s(5)
        await looked(task, clock)
        assert not task.done(), "the store was not reached yet"
        await home.publish()
        clock.pass_s(5)
        checked = await asyncio.wait_for(task, 20)
    outcome = Outcome(release=NOTE, kept=True, sentence="it does its work", ended_ms=clock.now_ms)
    assert checked == Checked(outcome, restart=False)
    assert journal.read() == Known(last=outcome)
    assert rauc.marks == [("good", "booted")]


async def test_what_was_sealed_before_the_restart_does_not_count(
    tmp_path: Path, journal: Journal, rauc: FakeRauc, socket: Path, clock: FakeClock
) -> None:
    async with Home(tmp_path / "home") as home:
        await home.runs(home.layout.link_units + 20)
        await home.publish()
        await home.crashes_and_starts()
        await home.publish()
        async with serving(home, socket):
            outcome = await waits_in_vain(checking(journal, rauc, socket, clock), clock)
    assert not outcome.kept
    assert outcome.sentence.startswith("within 10 minutes no reading was sealed")
    assert rauc.marks == [("bad", "booted")]
    assert journal.read() == Known(available=NOTE, last=outcome)


async def test_a_store_that_is_not_reached_is_named(
    tmp_path: Path, journal: Journal, rauc: FakeRauc, socket: Path, clock: FakeClock
) -> None:
    async with Home(tmp_path / "home") as home, serving(home, socket):
        task = checking(journal, rauc, socket, clock)
        await looked(task, clock)
        await home.runs(home.layout.link_units + 20)
        outcome = await waits_in_vain(task, clock)
    assert not outcome.kept
    assert "the store was not reached" in outcome.sentence
    assert "sealed" not in outcome.sentence


async def test_a_gateway_that_does_not_run_is_named(
    journal: Journal, rauc: FakeRauc, socket: Path, clock: FakeClock
) -> None:
    outcome = await waits_in_vain(checking(journal, rauc, socket, clock), clock)
    assert not outcome.kept
    assert f"no gateway answers at {socket}" in outcome.sentence
    assert rauc.marks == [("bad", "booted")]
    shown = json.loads((journal.folder / STATUS).read_text())
    assert shown["last"]["sentence"] == outcome.sentence
    assert shown["trying"] is None


async def test_a_gateway_that_came_late_is_kept(
    tmp_path: Path, journal: Journal, rauc: FakeRauc, socket: Path, clock: FakeClock
) -> None:
    task = checking(journal, rauc, socket, clock)
    for _ in range(9):
        await looked(task, clock)
        clock.pass_s(60)
    clock.step_s(100_000)  # the time came from the network: the check's is monotonic
    async with Home(tmp_path / "home") as home, serving(home, socket):
        await looked(task, clock)
        clock.pass_s(5)
        await looked(task, clock)
        await home.runs(home.layout.link_units + 20)
        await home.publish()
        clock.pass_s(5)
        checked = await asyncio.wait_for(task, 20)
    assert checked is not None
    assert checked.outcome.kept


class Patient(FakeClock):
    """A clock by which no wait takes time."""

    async def sleep(self, seconds: float) -> None:
        self.pass_s(seconds)
        await asyncio.sleep(0)


async def test_a_gateway_that_does_not_answer_at_once_is_asked_again(tmp_path: Path, socket: Path) -> None:
    async with Home(tmp_path / "home") as home, serving(home, socket):
        await home.runs(home.layout.link_units + 20)
        client, asked = ControlClient(socket), 0

        class Late:
            async def status(self) -> Status:
                nonlocal asked
                asked += 1
                if asked < 12:
                    raise Unavailable("no gateway answers")
                return await client.status()

        assert await what_works(Late(), Patient()) == ("sealing",)


async def test_a_home_that_was_not_set_up_needs_to_answer_alone(
    tmp_path: Path, socket: Path, clock: FakeClock
) -> None:
    socket.parent.mkdir()
    client = ControlClient(socket)
    assert await what_works(client, Patient()) == ()
    waiting = asyncio.create_task(Setup(tmp_path / "gateway.toml").wait(socket))
    async with asyncio.timeout(20):
        while not await connects(socket):
            assert not waiting.done()
            await asyncio.sleep(0)
    assert await what_works(client, Patient()) == ()
    assert await judge((), client, clock, never_newer) is None
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_what_worked_before_is_expected_after(tmp_path: Path, socket: Path) -> None:
    async with Home(tmp_path / "home") as home, serving(home, socket):
        client = ControlClient(socket)
        assert await what_works(client, Patient()) == ()
        await home.runs(home.layout.link_units + 20)
        assert await what_works(client, Patient()) == ("sealing",)
        await home.publish()
        assert await what_works(client, Patient()) == ("sealing", "store")


async def test_a_ledger_of_a_newer_gateway_ends_the_check_at_once(
    journal: Journal, rauc: FakeRauc, socket: Path, clock: FakeClock
) -> None:
    async def newer() -> bool:
        return True

    outcome = left(await check_trial(journal, rauc, ControlClient(socket), clock, newer))
    assert not outcome.kept
    assert "the ledger was written by a newer gateway" in outcome.sentence


async def test_back_in_the_old_slot_the_trial_is_over(
    journal: Journal, rauc: FakeRauc, socket: Path, clock: FakeClock
) -> None:
    """The new slot hung, or the power failed: nothing is asked of the gateway, and nothing restarts."""
    rauc.state = Slots("A", "B")
    checked = await check_trial(journal, rauc, ControlClient(socket), clock, never_newer)
    assert checked is not None
    assert not checked.restart
    assert not checked.outcome.kept
    assert "slot B did not come up" in checked.outcome.sentence
    assert rauc.marks == [("bad", "other")]
    assert journal.read() == Known(available=NOTE, last=checked.outcome)


async def test_without_an_answer_of_raucs_the_machine_restarts_once(
    journal: Journal, rauc: FakeRauc, socket: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slots() -> Slots:
        raise GatewayError("RAUC does not say which slot runs")

    monkeypatch.setattr(rauc, "slots", slots)
    outcome = left(await check_trial(journal, rauc, ControlClient(socket), clock, never_newer))
    assert outcome.sentence == "RAUC does not say which slot runs"
    assert await check_trial(journal, rauc, ControlClient(socket), clock, never_newer) is None


async def test_a_check_that_was_cut_off_does_not_run_again(
    journal: Journal, rauc: FakeRauc, socket: Path, clock: FakeClock
) -> None:
    task = checking(journal, rauc, socket, clock)
    await looked(task, clock)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not (journal.folder / TRIAL).exists(), "the unit's condition"
    last = journal.read().last
    assert last is not None
    assert not last.kept
    assert "cut off" in last.sentence
    # The firmware boots the slot before.
    rauc.state = Slots("A", "B")
    checked = await check_trial(journal, rauc, ControlClient(socket), clock, never_newer)
    assert checked is not None
    assert not checked.restart
    assert "cut off" in checked.outcome.sentence
    assert journal.read() == Known(available=NOTE, last=checked.outcome)
    assert [path.name for path in journal.folder.iterdir()] == [STATUS]


@pytest.mark.parametrize("well", [True, False])
async def test_a_power_cut_after_the_commit_leaves_no_trial_open(
    well: bool,
    tmp_path: Path,
    journal: Journal,
    rauc: FakeRauc,
    socket: Path,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class PowerCut(BaseException):
        pass

    async def cut(state: str, which: str) -> None:
        raise PowerCut

    journal.note(trying=Trying(release=NOTE, slot="B", expected=("store",)))
    async with Home(tmp_path / "home") as home, serving(home, socket):
        await home.runs(home.layout.link_units + 20)
        await home.publish()
        with monkeypatch.context() as patch:
            patch.setattr(rauc, "mark", cut)
            with pytest.raises(PowerCut):
                await check_trial(journal, rauc, ControlClient(socket), clock, never_newer)
        assert journal.was_cut_off(), "the unit's other condition"
        if well:
            checked = await check_trial(journal, rauc, ControlClient(socket), clock, never_newer)
    if not well:
        task = checking(journal, rauc, socket, clock)
        for _ in range(MOST_S // 60):
            await looked(task, clock)
            clock.pass_s(60)
        checked = await asyncio.wait_for(task, 20)
    assert checked is not None
    assert not checked.restart, "the firmware would boot this slot again, and so on for ever"
    assert checked.outcome.kept is well
    assert journal.read().trying is None, "it would keep every later update away"
    assert not journal.was_cut_off()


@pytest.mark.parametrize("came_up", [True, False])
async def test_a_disk_that_takes_no_writes_does_not_make_it_restart_for_ever(
    came_up: bool,
    journal: Journal,
    rauc: FakeRauc,
    socket: Path,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("gateway.appliance.journal.write_durably", refuse)
    if not came_up:
        rauc.state = Slots("A", "B")
    checked = await check_trial(journal, rauc, ControlClient(socket), clock, never_newer)
    assert checked is not None
    assert not checked.outcome.kept
    assert checked.restart is came_up
    assert (journal.folder / TRIAL).exists(), "so that each boot checks again"
    assert ("good", "booted") not in rauc.marks


async def test_a_slot_that_cannot_be_committed_is_left(
    tmp_path: Path, journal: Journal, rauc: FakeRauc, socket: Path, clock: FakeClock
) -> None:
    rauc.fault = "the CONFIG partition is broken"
    journal.note(trying=Trying(release=NOTE, slot="B", expected=("store",)))
    async with Home(tmp_path / "home") as home, serving(home, socket):
        await home.runs(home.layout.link_units + 20)
        await home.publish()
        outcome = left(await asyncio.wait_for(checking(journal, rauc, socket, clock), 20))
    assert outcome.sentence == "its slot could not be committed: the CONFIG partition is broken"


async def test_without_a_trial_nothing_is_checked(
    tmp_path: Path, rauc: FakeRauc, socket: Path, clock: FakeClock
) -> None:
    assert await check_trial(Journal(tmp_path), rauc, ControlClient(socket), clock, never_newer) is None
    assert rauc.marks == []
