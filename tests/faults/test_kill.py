"""The whole gateway on real parts, killed at random moments, with the store away and a ledger restored from
an old copy: every window that the provider opens equals the meter's registers to the last mWh."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.faults.household import household

pytestmark = pytest.mark.slow


async def test_killed_at_random_with_the_store_away_every_window_is_exact(tmp_path: Path) -> None:
    chance = random.Random(20261122)
    async with household(tmp_path) as home:
        await home.begin()
        for kill in range(4):
            if kill == 1:
                await asyncio.to_thread(home.server.stop)
            if kill == 3:
                await asyncio.to_thread(home.server.start)
            await home.live(100 + 90 * chance.random())
            await home.end(signal.SIGKILL)
            await home.live(20 * chance.random())
            await home.start()
        await home.settle()
        ((_, lanes),) = await home.check()
        assert 0 < lanes["count"].sum() < len(lanes["count"]), (
            "no kill cost a reading: the test tests nothing"
        )


async def test_a_restored_ledger_takes_the_stores_chain_over(tmp_path: Path) -> None:
    async with household(tmp_path) as home:
        await home.begin()
        await home.live(130)
        await home.end(signal.SIGKILL)
        state = tmp_path / "state"
        shutil.copytree(state, tmp_path / "copy")
        await home.start()
        await home.live(200)
        await home.settle()  # the store holds more than the copy
        await asyncio.to_thread(home.server.stop)
        await home.end(signal.SIGKILL)
        for name in ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"):
            (state / name).unlink(missing_ok=True)
            if (tmp_path / "copy" / name).exists():
                shutil.copy(tmp_path / "copy" / name, state / name)
        await home.start()
        await home.live(150)  # without the store it seals again what it had sealed, and sends nothing
        await asyncio.to_thread(home.server.start)
        await home.settle()
        ((_, lanes),) = await home.check()
        assert 0 < lanes["count"].sum() < len(lanes["count"])
    with sqlite3.connect(state / "ledger.sqlite") as ledger:
        audit = [detail for (detail,) in ledger.execute("SELECT detail FROM audit WHERE what = 'rollback'")]
    ledger.close()
    assert any("the ledger was restored or copied" in detail for detail in audit), audit
    assert any("were taken over" in detail for detail in audit), audit
