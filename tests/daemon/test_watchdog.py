"""When systemd's watchdog is fed: while sealing makes progress, or waits for what no restart mends."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.daemon.watchdog import HUNG_S, Watchdog
from gateway.host.systemd import Notifier
from tests.support.faulty import Hold
from tests.support.home import LINK_UNITS, MEMORY, Home

TICK_S = 30


class Manager(Notifier):
    """A service manager that wants to be fed every half minute; `fed` is how often it was."""

    fed = 0

    def notify(self, state: str) -> None:
        self.fed += state == "WATCHDOG=1"

    @staticmethod
    def watchdog_seconds() -> float | None:
        return float(TICK_S)


class Watched:
    """A home under a watchdog: at each tick meters are read, and each line commits unless it still is."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.manager = Manager()
        self.watchdog = Watchdog(home.clock, home.watched, home.ledger)
        self.watchdog.lines = home.session.lines
        self.sealers = {name: Hold() for name in home.session.lines}
        for name, line in home.session.lines.items():
            _hold(line.sealer, self.sealers[name])
        self.commits: dict[str, asyncio.Task[None]] = {}
        self.reads = True

    @property
    def holds(self) -> tuple[Hold, ...]:
        return (self.home.root.hold, self.home.database.hold, *self.sealers.values())

    async def tick(self) -> bool:
        """Half a minute goes by; whether the watchdog is fed at its end."""
        fed = self.manager.fed
        self.home.clock.pass_s(TICK_S)
        for name, line in self.home.session.lines.items():
            if self.reads:
                self.home.reads(0, meter=name)
            if name not in self.commits or self.commits[name].done():
                self.commits[name] = asyncio.create_task(line.commit())
        await self.rests()
        assert self.manager.fed - fed <= 1
        return self.manager.fed > fed

    async def lives(self, seconds: int) -> list[bool]:
        return [await self.tick() for _ in range(seconds // TICK_S)]

    async def rests(self) -> None:
        """Wait until each commit is over, or held, and so the question to the ledger."""
        async with asyncio.timeout(20):
            await self.home.clock.asleep(1 if self.home.database.hold.on else 2)
            for commit in self.commits.values():
                while not commit.done() and not any(commit in hold.waiting for hold in self.holds if hold.on):
                    changed = [asyncio.create_task(hold.changed.wait()) for hold in self.holds]
                    await asyncio.wait([commit, *changed], return_when=asyncio.FIRST_COMPLETED)
                    for task in changed:
                        task.cancel()
                    for hold in self.holds:
                        hold.changed.clear()


def _hold(sealer: object, hold: Hold) -> None:
    seal = sealer.seal_gathered  # type: ignore[attr-defined]

    async def held() -> None:
        await hold.passes()
        await seal()

    sealer.seal_gathered = held  # type: ignore[attr-defined]


@asynccontextmanager
async def watched(folder: Path, *meters: str) -> AsyncIterator[Watched]:
    async with Home(folder, meters=meters or ("main",)) as home:
        await home.runs(2 * LINK_UNITS)
        found = Watched(home)
        watching = asyncio.create_task(found.watchdog.run(found.manager))
        try:
            await home.clock.asleep(2)
            yield found
        finally:
            for hold in found.holds:
                hold.on = False
            await asyncio.gather(*found.commits.values())
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def test_fed_while_all_is_well(tmp_path: Path) -> None:
    async with watched(tmp_path) as found:
        assert all(await found.lives(900))


@pytest.mark.parametrize("stuck", ["sealer", "ledger"])
async def test_not_fed_once_sealing_hangs_for_minutes_and_again_once_it_goes_on(
    tmp_path: Path, stuck: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(tmp_path) as found:
        await found.lives(60)
        hold = found.sealers["main"] if stuck == "sealer" else found.home.database.hold
        hold.on = True
        fed = await found.lives(HUNG_S + 120)
        assert all(fed[: HUNG_S // TICK_S])
        assert not any(fed[HUNG_S // TICK_S + 2 :])
        assert "the watchdog is not fed: " in caplog.text
        hold.on = False
        await found.lives(60)
        assert all(await found.lives(300))
        assert "the watchdog is fed again" in caplog.text


async def test_a_ledger_that_hangs_is_noticed_before_the_first_stream_and_without_readings(
    tmp_path: Path,
) -> None:
    async with Home(tmp_path) as home:
        found = Watched(home)
        watching = asyncio.create_task(found.watchdog.run(found.manager))
        await home.clock.asleep(2)
        found.reads = False
        home.database.hold.on = True
        assert not (await found.lives(HUNG_S + 90))[-1]
        home.database.hold.on = False
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_one_line_that_hangs_is_not_hidden_by_another_that_goes_on(tmp_path: Path) -> None:
    async with watched(tmp_path, "main", "heat") as found:
        found.sealers["heat"].on = True
        fed = await found.lives(HUNG_S + 120)
        assert all(fed[: HUNG_S // TICK_S])
        assert not fed[-1]
        assert found.home.sealer("main").saved == found.home.clock.monotonic()


async def test_a_long_commit_that_takes_steps_is_waited_for(tmp_path: Path) -> None:
    """Half an hour without a commit becomes ninety chunks: each is signed, and each signature is a step."""
    async with watched(tmp_path) as found:
        root = found.home.root
        found.home.clock.pass_s(1800)
        found.home.reads(1)
        found.sealers["main"].on = True
        await found.tick()
        root.hold.on = True
        found.sealers["main"].on = False
        fed = []
        for _ in range(3 * HUNG_S // TICK_S):
            fed.append(await found.tick())
            signed = root.calls
            while root.calls == signed:  # one more chunk
                root.hold.on = False
                await asyncio.sleep(0)
                root.hold.on = True
            await found.rests()
        assert not found.commits["main"].done()
        assert all(fed)


@pytest.mark.parametrize("why", ["silent", "store", "clock", "disk", "not ready", "failing"])
async def test_fed_for_hours_through_what_a_restart_does_not_mend(tmp_path: Path, why: str) -> None:
    async with watched(tmp_path) as found:
        home = found.home
        found.reads = why != "silent"
        home.bucket.away = why == "store"
        home.clock.is_trusted = why != "clock"
        if why == "disk":
            home.database.fuse.set(0, None)
        if why == "not ready":
            home.root.says, home.root.hold.on = "the TPM cannot use its storage now", True
        if why == "failing":
            home.root.fuse.set(0, None)
        assert all(await found.lives(4 * 3600))
        home.root.says = None
        home.mend()


async def test_not_fed_once_no_thread_helps_the_tpm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with watched(tmp_path) as found:
        found.home.root.says, found.home.root.hung = "the TPM has not answered for 30 s", True
        assert not any(await found.lives(120))
        assert "the watchdog is not fed: the TPM has not answered for 30 s" in caplog.text
        found.home.root.says, found.home.root.hung = None, False
        assert all(await found.lives(60))


@dataclass(frozen=True, slots=True)
class Weather:
    """What is amiss for some ticks. Of the first three a restart may help, of the others not."""

    ticks: int
    sealer: bool
    ledger: bool
    lost: bool
    not_ready: bool
    failing: bool
    silent: bool
    away: bool
    unset: bool
    full: bool


FAIR = Weather(1, *[False] * 9)
RARELY = st.sampled_from([False, False, True])
WEATHER = st.builds(Weather, st.integers(1, 24), *[RARELY] * 9)


@pytest.mark.slow
@settings(max_examples=50)
@given(st.lists(WEATHER, min_size=1, max_size=6))
@example(
    [
        replace(FAIR, ledger=True),
        replace(FAIR, ticks=10, sealer=True, ledger=True),
        replace(FAIR, sealer=True),
    ]
)
@example([replace(FAIR, ticks=10, sealer=True, ledger=True), replace(FAIR, sealer=True, not_ready=True)])
def test_fed_exactly_while_nothing_hangs_that_a_restart_may_help(seen: list[Weather]) -> None:
    """In any weather: it is fed for five minutes of a hang, and no longer two ticks after them."""
    logging.disable(logging.CRITICAL)
    try:
        asyncio.run(_through(seen))
    finally:
        logging.disable(logging.NOTSET)


async def _through(seen: list[Weather]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        async with watched(Path(folder) / "home") as found:
            # For how long sealer and ledger have hung, and a commit may have been kept from its next step.
            home, sealer, ledger, kept = found.home, 0, 0, 0
            for weather in seen:
                found.sealers["main"].on = weather.sealer
                home.database.hold.on = weather.ledger
                home.root.hung = weather.lost
                home.root.hold.on = weather.not_ready
                home.root.says = "not ready" if weather.not_ready else None
                home.root.fuse.set(0 if weather.failing else None, None)
                home.database.fuse.set(0 if weather.full else None, None)
                home.bucket.away, home.clock.is_trusted = weather.away, not weather.unset
                found.reads = not weather.silent
                await found.rests()  # what was held and is no longer goes on before time does
                for _ in range(weather.ticks):
                    fed = await found.tick()
                    # The ledger may hold a commit that came before the sealer's hang.
                    sealer = sealer + TICK_S if found.sealers["main"].waiting else 0
                    ledger = ledger + TICK_S if weather.ledger else 0
                    kept = kept + TICK_S if weather.sealer or weather.ledger or weather.not_ready else 0
                    hangs = max(ledger, 0 if weather.not_ready else sealer)
                    if weather.lost or hangs > HUNG_S + 2 * TICK_S:
                        assert not fed
                    elif kept < HUNG_S or (weather.not_ready and ledger < HUNG_S):
                        assert fed
            home.root.says, home.root.hung = None, False
            home.mend()
