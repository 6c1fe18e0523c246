"""The pages at a real gateway: a simulated meter on real Modbus, sealed, stored, and read back by grants to
oneself. What is shown is what the meter showed."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.household.configuration import HouseholdConfig, HouseholdSection, ListenSection
from gateway.household.home import Household, open_household
from gateway.simulate import modbus
from gateway.simulate.home import Home
from tests.meters.bench import modbus_model
from tests.support.clock import START_S, FakeClock
from tests.support.pages import Browser
from tests.support.running import Gateway

NOON_S = START_S // 86_400 * 86_400 + 43_200  # the sun shines
PRICE = "0.31"
TARIFF = (
    f'currency = "EUR"\nzone = "Europe/Berlin"\n[[import]]\nprice = "{PRICE}"\n[[export]]\nprice = "-0.08"\n'
)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON_S + 0.5)  # in the midst of the seconds


@pytest.fixture
async def running(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Gateway]:
    """A gateway that has run for four minutes."""
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    served = modbus.serve(
        Home(7, NOON_S),
        modbus_model("eastron-sdm630"),
        "127.0.0.1",
        0,
        clock,
        tmp_path / "truth",
        port.set_result,
    )
    simulated = asyncio.create_task(served)
    try:
        found = Gateway(tmp_path, clock, await port)
        await found.start()
        await found.lives(240)
        yield found
        await found.ends()
    finally:
        simulated.cancel()
        await asyncio.gather(simulated, return_exceptions=True)


@pytest.fixture
async def household(tmp_path: Path, clock: FakeClock, running: Gateway) -> AsyncIterator[Household]:
    """The pages of that gateway."""
    config = HouseholdConfig(
        household=HouseholdSection(state=tmp_path / "household", socket=tmp_path / "s"),
        listen=ListenSection(host="127.0.0.1", port=0, tls=False),
    )
    async with open_household(config, clock) as home:
        home.settings.change(zone="Europe/Berlin")
        home.settings.tariff_file.write_text(TARIFF)
        yield home


async def test_what_is_shown_is_what_the_meter_showed(browser: Browser, running: Gateway) -> None:
    await browser.get("/today")  # the household grants to itself
    await running.lives(120)
    shown = {
        line["unit"]: line for line in map(json.loads, (running.folder / "truth").read_text().splitlines())
    }

    latest = shown[max(shown)]
    direction = "to" if latest["power_w"] < 0 else "from"
    text = await browser.shown("/now")
    assert "Everything works." in text
    assert f"{abs(latest['power_w']):,} W {direction} the grid" in text

    answer = await browser.ask("/history.csv?kind=day&step=minute")
    lines = list(csv.DictReader(io.StringIO(await answer.text())))
    assert len(lines) >= 4
    drawn = given = Decimal(0)
    for line in lines:
        a, b = (round(datetime.fromisoformat(line[name]).timestamp()) - 1 for name in ("start", "end"))
        rises = [
            Decimal(shown[b][f"{lane}_mwh"] - shown[a][f"{lane}_mwh"]) / 10**6
            for lane in ("import", "export")
        ]
        assert [Decimal(line["import_kwh"]), Decimal(line["export_kwh"])] == rises
        assert Decimal(line["cost_EUR"]) == rises[0] * Decimal(PRICE) - rises[1] * Decimal("0.08")
        drawn, given = drawn + rises[0], given + rises[1]
    assert given > 0
    text = await browser.shown("/today")
    assert f"From the grid {drawn:.2f} kWh To the grid {given:.2f} kWh Cost of energy" in text
    text = await browser.shown("/history?kind=month")
    assert f"From the grid {drawn:.2f} kWh To the grid {given:.2f} kWh" in text
