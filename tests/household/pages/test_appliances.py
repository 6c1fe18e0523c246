"""Appliances: the form, what is kept, and the plan that Today shows of them."""

from __future__ import annotations

import json
import re

import pytest

from gateway.household.home import Household
from gateway.household.settings import Settings
from tests.household.pages.test_today import PRICES, TARIFF
from tests.support.pages import Browser, words

WASH = {"name": "Wash", "power": "1200", "minutes": "90", "earliest": "20:00", "finish": "06:00"}
CHARGE = {"name": "Car", "power": "3700", "minutes": "180", "earliest": "22:00", "finish": "07:00"}


@pytest.fixture(autouse=True)
def priced(household: Household) -> None:
    """A home in Berlin with a price for each hour of today and tomorrow; it is 22:26 there."""
    household.settings.change(zone="Europe/Berlin")
    household.settings.tariff_file.write_text(TARIFF.format(", ".join(f'"{price}"' for price in PRICES)))


async def save(browser: Browser, fields: dict[str, str], code: int = 303) -> str:
    """Post the form; what the answer shows, or where it leads."""
    form = await browser.form_of("/settings/appliances")
    answer = await browser.post("/settings/appliances", form=form, **fields)
    assert answer.status == code, await answer.text()
    return answer.headers.get("Location", "") or words(await answer.text())


async def test_an_appliance_is_added_changed_and_removed(browser: Browser, household: Household) -> None:
    assert "Add an appliance" in await browser.shown("/today")
    assert await save(browser, WASH) == "/settings/appliances"
    await save(browser, {**CHARGE, "split": "1"})
    shown = await browser.shown("/settings/appliances")
    assert "Wash 1,200 W · 90 minutes · from 20:00, done by 06:00" in shown
    assert "Car 3,700 W · 180 minutes · from 22:00, done by 07:00 · in parts" in shown
    assert "Wash , Car" in await browser.shown("/settings")

    _, page = await browser.get("/settings/appliances?change=Car")
    assert 'name="was" value="Car"' in page
    assert re.search(r'name="split"[^>]* checked', page)
    await save(browser, {**WASH, "name": "Wash at 40°", "minutes": "60", "was": "Wash"})
    chosen = Settings(household.config.household.state).choices.loads  # as a restart finds them
    assert [(one.name, one.minutes, one.split) for one in chosen] == [
        ("Wash at 40°", 60, False),
        ("Car", 180, True),
    ]

    form = await browser.form_of("/settings/appliances")
    await browser.post("/settings/appliances/remove", form=form, name="Car")
    assert [one.name for one in household.settings.choices.loads] == ["Wash at 40°"]
    assert (await browser.ask("/settings/appliances?change=Car")).status == 404


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"name": ""}, "needs a name"),
        ({"name": "x\x07"}, "needs a name"),
        ({"name": "é" * 41}, "needs a name"),
        ({"power": "0"}, "whole number of watts"),
        ({"power": "1.5"}, "whole number of watts"),
        ({"power": "²"}, "whole number of watts"),
        ({"power": "100001"}, "whole number of watts"),
        ({"minutes": ""}, "1 to 1440 minutes"),
        ({"minutes": "1441"}, "1 to 1440 minutes"),
        ({"earliest": "24:00"}, "24:00 is not a time of day"),
        ({"finish": "soon"}, "Soon is not a time of day"),
        ({"earliest": "22:00", "finish": "23:00"}, "there are only 60"),
        ({"earliest": "23:00", "finish": "00:15"}, "there are only 75"),
        ({"name": "Car"}, "there is an appliance Car already"),
    ],
)
async def test_what_cannot_be_planned_is_a_sentence_and_is_not_kept(
    browser: Browser, household: Household, changed: dict[str, str], sentence: str
) -> None:
    await save(browser, CHARGE)
    before = (household.config.household.state / "settings.json").read_bytes()
    shown = await save(browser, {**WASH, **changed}, 422)
    assert sentence.lower() in shown.lower()
    assert (household.config.household.state / "settings.json").read_bytes() == before


async def test_there_are_at_most_twenty(browser: Browser, household: Household) -> None:
    for n in range(20):
        await save(browser, {**WASH, "name": f"Wash {n}"})
    assert "20 appliances already" in await save(browser, WASH, 422)
    await save(browser, {**WASH, "name": "Rinse", "was": "Wash 7"})  # a change needs no room
    assert len(json.loads((household.config.household.state / "settings.json").read_text())["loads"]) == 20


async def test_today_has_the_plan_as_bars_and_as_a_table(browser: Browser) -> None:
    await save(browser, WASH)
    await save(browser, {**CHARGE, "split": "1"})
    await save(browser, {**WASH, "name": "Dryer", "earliest": "18:00", "finish": "23:30", "minutes": "60"})
    _, page = await browser.get("/today")
    rows = [words("</head>" + row) for row in re.findall(r"<tr><th scope=\"row\">.*?</tr>", page, re.S)]
    assert rows[0] == "Wash Fri 29 May, 02:00 – 03:30 1.80 kWh €0.38 €0.09"
    assert rows[1] == "Car 22:26 – 23:00 Fri 29 May, 02:00 – 04:26 11.10 kWh €2.52 €0.57"
    assert rows[2].startswith("Dryer 22:26 – 23:26 1.20 kWh €0.31 €0.00")
    picture = re.search(r'<svg class="runs".*?</svg>', page, re.S)
    assert picture is not None
    assert len(re.findall('class="run"', picture[0])) == 4
    assert all(name in picture[0] for name in ("Wash", "Car", "Dryer"))
    assert len(re.findall('class="rate"', picture[0])) == 26  # hours from now until the end of tomorrow
    assert 'style="' not in page
    assert "When to run what" not in await browser.shown("/today?day=2026-05-29")


async def test_an_appliance_without_enough_known_prices_says_so(browser: Browser) -> None:
    await save(browser, {**WASH, "minutes": "1440", "earliest": "02:00", "finish": "02:00"})
    text = await browser.shown("/today")
    assert "no prices are known for long enough before 30 May 2026, 02:00" in text
    await save(browser, {**WASH, "minutes": "60", "earliest": "20:00", "finish": "19:00", "was": "Wash"})
    assert "as far as prices are known" not in await browser.shown("/today")


async def test_a_cheaper_time_may_still_turn_up(browser: Browser, household: Household) -> None:
    prices = ", ".join(f'"{price}"' for price in PRICES[:27])  # until 03:00
    household.settings.tariff_file.write_text(TARIFF.format(prices))
    await save(browser, WASH)
    assert "as far as prices are known" in await browser.shown("/today")


async def test_without_prices_nothing_is_planned(browser: Browser, household: Household) -> None:
    await save(browser, WASH)
    household.settings.tariff_file.unlink()
    assert "No prices of the hours to come are known" in await browser.shown("/today")


async def test_a_name_is_text_and_no_markup(browser: Browser) -> None:
    await save(browser, {**WASH, "name": '<b>&"x'})
    for path in ("/today", "/settings", "/settings/appliances", "/settings/appliances?change=%3Cb%3E%26%22x"):
        _, page = await browser.get(path)
        assert "<b>" not in page
        assert "&lt;b&gt;&amp;" in page
