"""What a meter with a load profile remembers of an outage stands in the store instead of an estimate: the
whole gateway, a simulated DLMS meter, time driven by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.simulate import dlms
from gateway.simulate.dlms_server import Policy
from gateway.simulate.home import Home
from tests.meters.bench import until
from tests.support.clock import START_S, FakeClock
from tests.support.running import Gateway

pytestmark = pytest.mark.slow

NOON_S = START_S // 86_400 * 86_400 + 43_200
QUARTER_S = 900
STANDS_S = 600  # after an outage of hours units wait until the clock has stood for so long
MWH_PER_WH = 1000


@asynccontextmanager
async def meter(clock: FakeClock, truth: Path) -> AsyncIterator[tuple[dlms.DlmsMeterSimulation, int]]:
    ports: list[int] = []
    simulation = dlms.DlmsMeterSimulation(Home(7, NOON_S), Policy(), clock, truth)
    serving = asyncio.create_task(dlms.serve(simulation, "wrapper", "127.0.0.1", 0, ports.append))
    try:
        await until(lambda: bool(ports))
        yield simulation, ports[0]
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def registers_at(seconds: list[int]) -> list[tuple[int, int]]:
    """What the home had drawn and given up to each of the seconds, in whole Wh as its meter shows it."""
    home, found = Home(7, NOON_S), []
    for second in seconds:
        home.advance_to(second - 1)  # the energy of all seconds before it
        found.append((home.import_mwh // MWH_PER_WH, home.export_mwh // MWH_PER_WH))
    return found


async def away(gateway: Gateway, seconds: int) -> None:
    """The gateway is off for so long; the meter goes on."""
    await gateway.stop()
    for _ in range(seconds // 60):
        gateway.clock.pass_s(60)
        await asyncio.sleep(0)


@pytest.mark.parametrize("ahead_s", [0, 47])
async def test_the_quarters_of_an_outage_are_what_the_meter_remembers(tmp_path: Path, ahead_s: int) -> None:
    clock = FakeClock(NOON_S + 0.5)
    async with meter(clock, tmp_path / "truth") as (simulation, port):
        simulation.objects.set_clock(clock.wall() + ahead_s * 1_000_000_000)
        gateway = Gateway(tmp_path, clock, port, "dlms-generic")
        await gateway.start()
        await gateway.lives(100)
        await away(gateway, 3 * 3600)
        await gateway.start()
        await gateway.lives(STANDS_S + 100)
        await gateway.stop()
        # By the meter's own clock: its quarters began earlier where that is ahead.
        stamps = [NOON_S + n * QUARTER_S - ahead_s for n in range(1, 13)]
        stored = await gateway.check(remembered=[stamp - 1 for stamp in stamps])
    shown = registers_at(stamps)
    for lane, name in enumerate(("import", "export")):
        risen = [(b[lane] - a[lane]) * MWH_PER_WH for a, b in pairwise(shown)]
        assert [stored.total(name, begin, end) for begin, end in pairwise(stamps)] == risen
    assert len(set(risen)) > 3, "all quarters are alike"


async def test_what_the_meter_cannot_tell_is_shared_out_in_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock(NOON_S + 0.5)
    async with meter(clock, tmp_path / "truth") as (simulation, port):
        gateway = Gateway(tmp_path, clock, port, "dlms-generic")
        await gateway.start()
        await gateway.lives(100)
        await away(gateway, 3 * 3600)
        simulation.objects.clock_status = 2  # it doubts its clock, and so does who reads it
        await gateway.start()
        await gateway.lives(STANDS_S + 140)
        await gateway.stop()
        stored = await gateway.check()
    assert "what an outage used is shared out in proportion to time" in caplog.text
    quarters = [
        stored.total("export", begin, begin + QUARTER_S)
        for begin in range(NOON_S + QUARTER_S, NOON_S + 10 * QUARTER_S, QUARTER_S)
    ]
    assert max(quarters) - min(quarters) <= 1
