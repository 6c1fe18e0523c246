"""The whole gateway on real parts that hang: what works goes on, status says what does not, and a stop is
heard within ten seconds."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.household import Household, household, until
from tests.store.relay import Drip, Relay, relay

pytestmark = pytest.mark.slow

STOP_S = 10.0  # the promise that is tested


@asynccontextmanager
async def relayed(folder: Path) -> AsyncIterator[tuple[Household, Relay]]:
    """A household whose gateway reaches its store by a relay."""
    async with household(folder) as home, relay(home.server.location()) as between:
        assert between.location.endpoint is not None
        text = home.config.read_text()
        home.config.write_text(text.replace(home.server.endpoint, between.location.endpoint))
        yield home, between


async def stops(home: Household) -> None:
    assert home.process is not None
    home.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(STOP_S):
        assert await home.process.wait() == 0, home.log()


async def says(home: Household, *sentences: str) -> dict[str, Any]:
    """The status, once it has these sentences."""
    status: dict[str, Any] | None = None

    async def said() -> bool:
        nonlocal status
        status = await home.status()
        return status is not None and all(sentence in str(status) for sentence in sentences)

    await until(f"status says {sentences}", said)
    assert status is not None
    return status


async def goes_on(home: Household, what: str, since: dict[str, Any]) -> None:
    """Wait until the meter's `what` is later than in the status `since`."""

    async def later() -> bool:
        status = await home.status()
        return status is not None and status["meters"][0][what] > since["meters"][0][what]

    await until(f"{what} goes on", later)


@pytest.mark.parametrize("hangs", ["tpm", "store", "tpm store"])
async def test_stopped_while_something_hangs_it_ends_in_seconds_and_nothing_is_lost(
    tmp_path: Path, hangs: str
) -> None:
    async with relayed(tmp_path) as (home, between):
        await home.begin()
        await home.live(100)
        sentences = []
        try:
            if "store" in hangs:
                drip = Drip()
                between.plan = lambda request: drip
                sentences.append("the store has not answered since 20")
                status = await says(home, *sentences)
            if "tpm" in hangs:
                home.tpm.hang()
                sentences.append("has not answered for ")
                status = await says(home, *sentences)
            await goes_on(home, "read_ms", status)
            if hangs == "store":
                await goes_on(home, "sealed_until_ms", status)
            await stops(home)
        finally:
            home.tpm.go_on()
        between.plan = lambda request: None
        await home.start()
        await home.settle()
        await home.check(often=0.1)  # it was off for seconds, which are minutes on this clock


async def test_stopped_while_it_opens_a_tpm_that_hangs_it_ends_in_seconds(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    async with household(tmp_path) as home:
        paths = [tmp_path / "silent", tmp_path / "silent.ctrl"]
        served = [await asyncio.start_unix_server(silent, path) for path in paths]
        text = home.config.read_text()
        home.config.write_text(text.replace(home.tcti, f"swtpm:path={paths[0]}"))
        await home.start()
        async with asyncio.timeout(60):
            await asked.wait()
        await stops(home)
        for server in served:
            server.close()
        home.config.write_text(text)
        await home.begin()
        await home.live(100)
        await home.settle()
        await home.check()
