"""Today and other days: power in quarters of an hour, prices, and when energy is cheapest."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from gateway.errors import Refused, StoreUnavailable, Unavailable
from gateway.household.home import Household
from tests.support.clock import FakeClock
from tests.support.energy import FakeHistory
from tests.support.pages import Answers, Browser, meter, reading, status, words

PRICES = [0.30, 0.28, 0.21, 0.22, 0.25, 0.27] * 8  # of 48 hours
TARIFF = """
currency = "EUR"
zone = "Europe/Berlin"
step = "1h"
[import]
start = 2026-05-28T00:00:00+02:00
prices = [{}]
"""


@pytest.fixture(autouse=True)
def priced(household: Household) -> None:
    """A home in Berlin with a price for each hour of today and tomorrow; it is 22:26 there."""
    household.settings.change(zone="Europe/Berlin")
    household.settings.tariff_file.write_text(TARIFF.format(", ".join(f'"{price}"' for price in PRICES)))


def rows(page: str) -> list[str]:
    """What the lines of the table say."""
    return [words("</head>" + row) for row in re.findall(r"<tr data-label.*?</tr>", page, re.S)]


async def test_each_quarter_of_an_hour_is_in_the_table(browser: Browser, history: FakeHistory) -> None:
    _, page = await browser.get("/today")
    shown = rows(page)
    assert len(shown) == 96
    assert [row.split()[0] for row in shown[:5]] == ["00:00", "00:15", "00:30", "00:45", "01:00"]
    assert "€0.30/kWh" in shown[0]
    assert shown[-1] == "23:45 – – – €0.27/kWh –"
    assert re.fullmatch(r"01:00 [\d.]+ kWh [\d.]+ kWh -?[\d,]+ W €0\.28/kWh -?€[\d.]+", shown[4])
    assert [asked[3] for asked in history.asked] == ["quarter"]


async def test_both_half_past_twos_are_told_apart(browser: Browser) -> None:
    shown = rows((await browser.get("/today?day=2025-10-26"))[1])
    assert len(shown) == 100
    names = [re.match(r"02:30 (CES?T)", row) for row in shown]
    assert [name[1] for name in names if name] == ["CEST", "CET"]
    assert len(rows((await browser.get("/today?day=2026-03-29"))[1])) == 92


async def test_tomorrow_has_prices_and_the_cheapest_hours(browser: Browser) -> None:
    text = await browser.shown("/today?day=2026-05-29")
    assert "Tomorrow" in text
    assert "02:00 – 03:00 for 1 hour €0.21/kWh" in text
    assert "02:00 – 05:00 for 3 hours €0.2267/kWh" in text
    assert "Cost" not in text
    assert "No prices of this day" in await browser.shown("/today?day=2026-05-30")


async def test_only_hours_to_come_are_in_the_plan(browser: Browser) -> None:
    """The last of today is from 22:30 on, and no three hours are left."""
    text = await browser.shown("/today")
    assert "22:30 – 23:30 for 1 hour €0.26/kWh" in text
    assert "for 3 hours" not in text
    assert "cheapest" not in await browser.shown("/today?day=2026-05-27")


async def test_arrows_lead_to_the_days_beside(browser: Browser) -> None:
    _, page = await browser.get("/today")
    assert re.findall(r'rel="(prev|next)" href="([^"]+)"', page) == [
        ("prev", "/today?day=2026-05-27"),
        ("next", "/today?day=2026-05-29"),
    ]
    _, page = await browser.get("/today?day=2026-05-29")
    assert 'rel="next"' not in page


@pytest.mark.parametrize(
    ("query", "code", "sentence"),
    [
        ("day=tomorrow", 400, "not a date such as"),
        ("day=0001-01-01", 400, "1971 to 2199"),
        ("meter=cellar", 404, "no meter"),
    ],
)
async def test_what_cannot_be_asked_is_said(browser: Browser, query: str, code: int, sentence: str) -> None:
    answer = await browser.ask(f"/today?{query}")
    assert answer.status == code
    assert sentence in words(await answer.text())


async def test_a_damaged_tariff_costs_only_the_money(browser: Browser, household: Household) -> None:
    household.settings.tariff_file.write_text("currency = 7")
    text = await browser.shown("/today")
    assert "currency is missing" in text
    assert "From the grid" in text
    assert "€" not in text


async def test_without_history_there_are_still_prices(browser: Browser, history: FakeHistory) -> None:
    history.error = Unavailable("meter main has no history yet")
    text = await browser.shown("/today")
    assert "Meter main has no history yet." in text
    assert "€0.30/kWh" in text


async def test_a_gateway_that_does_not_answer_is_no_broken_page(browser: Browser, gateway: Answers) -> None:
    gateway.error = Unavailable("no gateway answers")
    assert (await browser.get("/today"))[0] == 200


async def test_without_its_store_a_day_is_as_it_was_shown_last(
    browser: Browser, history: FakeHistory, gateway: Answers, clock: FakeClock
) -> None:
    """With the power and the price of now, and the sentence; and as it is again once the store answers."""
    known = await browser.shown("/today")
    gateway.shown = (reading("main", power=-730),)
    history.error = StoreUnavailable("the store does not answer")
    clock.pass_s(600)
    text = await browser.shown("/today")
    now = "Power at this moment 730 W to the grid Price now €0.25/kWh"
    assert f"The store does not answer. {now} What follows is as it was known at 28 May 2026, 22:26." in text
    tiles = r"From the grid ([\d.]+ kWh) To the grid ([\d.]+ kWh) Cost of energy (-?€[\d.]+)"
    assert len(re.findall(tiles, known)) == 1
    assert re.findall(tiles, text) == re.findall(tiles, known)
    assert text.count("Price now") == 1
    history.error = None
    assert "as it was known" not in await browser.shown("/today")


async def test_without_its_store_a_day_that_was_not_shown_has_power_and_prices(
    browser: Browser, history: FakeHistory, gateway: Answers
) -> None:
    gateway.shown = (reading("main", power=512),)
    history.error = StoreUnavailable("the store does not answer")
    text = await browser.shown("/today")
    assert "The store does not answer. Power at this moment 512 W from the grid Price now €0.25/kWh" in text
    assert "What follows" not in text
    assert "22:30 – 23:30 for 1 hour" in text


async def test_what_the_store_holds_falsely_is_not_hidden_by_what_was_shown(
    browser: Browser, history: FakeHistory
) -> None:
    await browser.shown("/today")
    history.error = Refused("the head is not signed")
    text = await browser.shown("/today")
    assert "The head is not signed." in text
    assert "as it was known" not in text
    assert "From the grid" not in text


async def test_the_meter_at_the_grid_is_the_chosen_one(
    browser: Browser, household: Household, gateway: Answers, history: FakeHistory
) -> None:
    gateway.now = status(meters=(meter("roof"), meter("main"), meter("car")))
    gateway.shown = (reading("roof", power=-900), reading("main", power=512))
    assert "900 W to the grid" in await browser.shown("/now")
    form = await browser.form_of("/settings")
    home = {"name": "", "language": "", "zone": "Europe/Berlin"}
    answer = await browser.post("/settings", form=form, grid="main", **home)
    assert answer.status == 303
    household.live._latest = None  # two seconds later
    assert "512 W from the grid" in await browser.shown("/now")
    assert "main roof car" in await browser.shown("/today")
    assert history.asked[-1][0] == "main"
    assert "<option selected>main" in (await browser.get("/settings"))[1]
    answer = await browser.post("/settings", form=form, grid="cellar", **home)
    assert "There is no meter cellar." in words(await answer.text())
    assert household.settings.choices.grid == "main"
    await browser.post("/settings", form=form, **home)  # the form of a home with one meter
    assert household.settings.choices.grid == "main"
    gateway.now = status(meters=(meter("roof"), meter("car")))
    household.live._latest = household.live._status = None
    await browser.shown("/today")
    assert history.asked[-1][0] == "roof"


def test_the_clock_of_these_tests() -> None:
    assert datetime.fromtimestamp(1_780_000_000, UTC) == datetime(2026, 5, 28, 20, 26, 40, tzinfo=UTC)
