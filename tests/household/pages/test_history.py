"""History: any stretch of time, with its money, beside the one before, and as CSV."""

from __future__ import annotations

import csv
import io
import re
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from gateway.errors import StoreUnavailable, Unavailable
from gateway.household.home import Household
from tests.support.clock import FakeClock
from tests.support.energy import MINUTE_MS, FakeHistory, exported, imported
from tests.support.pages import Answers, Browser, reading, words

TARIFF = """
currency = "EUR"
zone = "Europe/Berlin"
[[import]]
price = "0.3000"
[[export]]
price = "-0.0800"
"""


@pytest.fixture(autouse=True)
def priced(household: Household) -> None:
    """A home in Berlin with one price; it is 22:26 on 28 May 2026 there."""
    household.settings.change(zone="Europe/Berlin")
    household.settings.tariff_file.write_text(TARIFF)


def truth(start: datetime, end: datetime) -> tuple[Decimal, Decimal]:
    """What the meter counted, kWh: drawn and given."""
    minutes = np.arange(*(round(one.timestamp()) * 1000 // MINUTE_MS for one in (start, end)))
    drawn, given = int(imported(minutes).sum()), int(exported(minutes).sum())
    return Decimal(drawn) / 10**6, Decimal(given) / 10**6


async def read_csv(browser: Browser, query: str) -> list[dict[str, str]]:
    answer = await browser.ask(f"/history.csv?{query}")
    assert answer.status == 200
    assert answer.content_type == "text/csv"
    assert "attachment" in answer.headers["Content-Disposition"]
    return list(csv.DictReader(io.StringIO(await answer.text())))


@pytest.mark.parametrize(
    ("query", "lines", "step"),
    [
        ("kind=day&day=2025-10-26", 25, timedelta(hours=1)),
        ("kind=day&day=2026-03-29&step=quarter", 92, timedelta(minutes=15)),
        ("kind=month&day=2026-02-11", 28, timedelta(days=1)),
        ("kind=other&from=2026-05-01T08:00&until=2026-05-01T08:59&step=minute", 59, timedelta(minutes=1)),
    ],
)
async def test_csv_is_what_the_meter_counted_and_its_cost(
    browser: Browser, query: str, lines: int, step: timedelta
) -> None:
    found = await read_csv(browser, query)
    assert len(found) == lines
    before = None
    for line in found:
        start, end = (datetime.fromisoformat(line[name]) for name in ("start", "end"))
        assert start.utcoffset() in (timedelta(hours=1), timedelta(hours=2))
        assert end - start == step
        assert before in (None, start)
        before = end
        drawn, given = truth(start, end)
        assert Decimal(line["import_kwh"]) == drawn
        assert Decimal(line["export_kwh"]) == given
        assert Decimal(line["cost_EUR"]) == drawn * Decimal("0.3") - given * Decimal("0.08")
        assert "E" not in "".join(line.values())


async def test_both_half_past_twos_are_in_the_csv_and_on_the_page(browser: Browser) -> None:
    query = "kind=day&day=2025-10-26&step=quarter"
    starts = [line["start"] for line in await read_csv(browser, query)]
    assert {"2025-10-26T02:30:00+02:00", "2025-10-26T02:30:00+01:00"} <= set(starts)
    text = await browser.shown(f"/history?{query}")
    assert "02:30 CEST" in text
    assert "02:30 CET" in text


async def test_what_is_not_known_is_left_out_of_the_csv(browser: Browser) -> None:
    """The last line ends where the sums do."""
    found = await read_csv(browser, "kind=month")
    assert len(found) == 28
    assert (await browser.ask("/history.csv?kind=year&day=2027-01-01")).status == 200


async def test_a_csv_for_spreadsheets_has_semicolons_and_decimal_commas(browser: Browser) -> None:
    query = "kind=month&day=2026-02-11"
    plain = await (await browser.ask(f"/history.csv?{query}")).text()
    commas = await (await browser.ask(f"/history.csv?{query}&form=comma")).text()
    assert commas == plain.replace(",", ";").replace(".", ",")
    assert ";" not in plain
    answer = await browser.ask(f"/history.csv?{query}&form=tab")
    assert answer.status == 400
    assert "not one of point, comma" in words(await answer.text())


@pytest.mark.parametrize(("language", "offered"), [("en", False), ("de", True), ("nl", True), ("fr", True)])
async def test_decimal_commas_are_offered_where_they_are_usual(
    browser: Browser, language: str, offered: bool
) -> None:
    browser.language = language
    _, page = await browser.get("/history?kind=month")
    assert ("form=comma" in page) is offered
    for link in re.findall(r'href="(/history\.csv[^"]*)"', page):
        assert (await browser.ask(link.replace("&amp;", "&"))).content_type == "text/csv"


async def test_without_its_store_a_month_is_as_it_was_shown_last(
    browser: Browser, history: FakeHistory, gateway: Answers, clock: FakeClock
) -> None:
    """And with the power and the price of now; a month that was not shown has these alone."""
    known = await browser.shown("/history?kind=month")
    gateway.shown = (reading("main", power=512),)
    history.error = StoreUnavailable("the store does not answer")
    clock.pass_s(10)
    live = "The store does not answer. "
    now = "Power at this moment 512 W from the grid Price now €0.30/kWh"
    text = await browser.shown("/history?kind=month")
    assert f"{live}{now} What follows is as it was known at 28 May 2026, 22:26." in text
    tile = re.compile(r"From the grid [\d.]+ kWh")
    assert tile.findall(text) == tile.findall(known) != []
    text = await browser.shown("/history?kind=year")
    assert live + now in text
    assert not tile.search(text)


async def test_a_month_is_shown_with_its_money_beside_the_one_before(browser: Browser) -> None:
    text = await browser.shown("/history?kind=month&day=2026-04-30")
    zone = "+02:00"
    drawn, given = truth(
        datetime.fromisoformat(f"2026-04-01T00:00{zone}"), datetime.fromisoformat(f"2026-05-01T00:00{zone}")
    )
    assert f"From the grid {drawn:.2f} kWh" in text
    assert f"To the grid {given:.2f} kWh" in text
    assert "Compared with the stretch before." in text
    march, _ = truth(
        datetime.fromisoformat("2026-03-01T00:00+01:00"), datetime.fromisoformat(f"2026-04-01T00:00{zone}")
    )
    percent = round((drawn - march) * 100 / march)
    assert f"{abs(percent)} % {'more' if percent > 0 else 'less'} than {march:.2f} kWh" in text
    assert text.count("kWh") > 60  # a line for each day
    assert (
        re.search(r"Cost of energy -?€[\d.,]+ (▲|▼) \d+ % (more|less) than €", text) or "before: -€" in text
    )


async def test_what_runs_is_compared_with_as_much_of_the_one_before(
    browser: Browser, history: FakeHistory
) -> None:
    text = await browser.shown("/history?kind=month")
    assert "Known until 28 May 2026, 22:24." in text
    assert "Compared with the same part of the stretch before." in text
    before = history.asked[1]
    assert [datetime.fromtimestamp(ms / 1000).astimezone().isoformat() for ms in before[1:3]] == [
        datetime.fromisoformat(text).astimezone().isoformat()
        for text in ("2026-04-01T00:00+02:00", "2026-04-28T22:24+02:00")
    ]


async def test_the_first_month_is_compared_with_nothing(browser: Browser) -> None:
    text = await browser.shown("/history?kind=month&day=2025-02-01")
    assert "From the grid" in text
    assert "Compared" not in text


async def test_a_home_that_gives_nothing_has_a_first_evening(browser: Browser, history: FakeHistory) -> None:
    history.begin_ms = history.end_ms - 60 * MINUTE_MS  # after sunset, with nothing before to compare with
    tiles = (await browser.shown("/history")).partition("Known until")[0]
    assert re.search(r"From the grid [\d.]+ kWh", tiles)
    assert "To the grid" not in tiles


async def test_a_line_leads_to_a_closer_look(browser: Browser) -> None:
    _, page = await browser.get("/history?kind=year&day=2025-06-01")
    months = re.findall(r'href="/history\?(kind=month&amp;day=2025-\d\d-01)"', page)
    assert len(months) == 12  # the first one in part
    assert "October 2025" in words(page)
    assert "data-between" in page


async def test_any_stretch_is_shown_and_moves(browser: Browser) -> None:
    _, page = await browser.get("/history?kind=other&from=2026-05-01T08:00&until=2026-05-01T10:00&step=")
    assert "1 May 2026, 08:00 – 1 May 2026, 10:00" in words(page)
    found = dict(re.findall(r'rel="(prev|next)" href="([^"]+)"', page))
    assert set(found) == {"prev", "next"}
    text = await browser.shown(found["prev"].replace("&amp;", "&"))
    assert "1 May 2026, 06:00 – 1 May 2026, 08:00" in text


async def test_nothing_known_is_a_sentence(browser: Browser, history: FakeHistory) -> None:
    assert "Nothing is known of this time." in await browser.shown("/history?kind=year&day=2019-01-01")
    history.error = Unavailable("the store does not answer")
    assert "The store does not answer." in await browser.shown("/history")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("kind=decade", "not one of day, week, month, year, other"),
        ("kind=day&day=31.12.2025", "not a date such as"),
        ("kind=other", "not a time such as"),
        ("kind=other&from=2026-05-02T00:00&until=2026-05-01T00:00", "later than the beginning"),
        ("step=fortnight", "not one of minute"),
    ],
)
async def test_what_cannot_be_asked_is_said(browser: Browser, query: str, sentence: str) -> None:
    for path in ("/history", "/history.csv"):
        answer = await browser.ask(f"{path}?{query}")
        assert answer.status == 400
        assert sentence in words(await answer.text())


async def test_no_page_has_more_lines_than_one_can_read(browser: Browser) -> None:
    _, page = await browser.get("/history?kind=year&day=2025-06-01&step=minute")
    assert page.count("<tr data-label") == 12
    answer = await browser.ask(
        "/history.csv?kind=other&from=2024-01-01T00:00&until=2026-01-01T00:00&step=quarter"
    )
    assert answer.status == 400
    assert "more than 40000 lines" in await answer.text()
