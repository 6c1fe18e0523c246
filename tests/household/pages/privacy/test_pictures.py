"""Pictures of a day: they show each what it knows, no more, and the real day where that is open."""

from __future__ import annotations

import re
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.window import Granularity
from gateway.control.client import ControlClient
from gateway.errors import Unavailable, UsageError
from gateway.household.home import Household
from gateway.household.pages.privacy import pictures
from gateway.household.pages.privacy.days import shown_day
from tests.household.pages.privacy.conftest import ZONE
from tests.support.home import Home
from tests.support.pages import Browser

DAYS = {
    "ordinary": (date(2026, 5, 29), 288),
    "spring": (date(2026, 3, 29), 276),
    "autumn": (date(2026, 10, 25), 300),
}


@pytest.mark.parametrize("name", DAYS)
@pytest.mark.parametrize("granularity", ["1min", "5min", "15min", "1h", "2h", "90min", "day"])
def test_a_provider_sees_the_sums_of_its_windows_and_nothing_within(name: str, granularity: str) -> None:
    day, steps = DAYS[name]
    shown = pictures.example(day, ZONE)
    assert len(shown.mwh) == len(shown.words) == steps
    seen = pictures.provider(shown, granularity, ZONE)
    assert sum(step.mwh for step in seen.steps) == sum(shown.mwh)
    assert (seen.steps[0].begin_ms, seen.steps[-1].end_ms) == (shown.begin_ms, shown.end_ms)
    windows = Granularity.parse(granularity, 1, ZONE if granularity == "day" else "UTC")
    for step in seen.steps:
        if step.end_ms != shown.end_ms:
            assert windows.align_up(step.end_ms) == step.end_ms
            assert granularity == "1min" or windows.index(step.begin_ms) == windows.index(step.end_ms - 1)
    hours = (shown.end_ms - shown.begin_ms) / 3_600_000
    known = {"1min": hours * 60, "5min": hours * 12, "15min": hours * 4, "1h": hours, "day": 1}
    assert seen.count == known.get(granularity, seen.count)
    assert len(seen.steps) == min(seen.count, steps)


@pytest.mark.parametrize("granularity", ["month", "month-15", "48h"])
def test_in_a_longer_sum_the_day_cannot_be_told(granularity: str) -> None:
    shown = pictures.example(date(2026, 5, 29), ZONE)
    seen = pictures.provider(shown, granularity, ZONE)
    assert seen.steps == ()
    assert len(set(re.findall(r" (\d+\.?\d*)", seen.line))) == 1  # flat


def test_what_is_no_granularity_is_refused() -> None:
    with pytest.raises(UsageError, match="granularity"):
        pictures.provider(pictures.example(date(2026, 5, 29), ZONE), "often", ZONE)


@settings(max_examples=30)
@given(st.lists(st.integers(-(2**40), 2**40), min_size=96, max_size=96))
def test_a_picture_stays_in_its_box(mwh: list[int]) -> None:
    edges = pictures.edges_of(date(2026, 5, 29), ZONE, 900_000)
    day = pictures.Day(date(2026, 5, 29), ZONE, edges, tuple(mwh), pictures.noise(96), True, True)
    for picture in (pictures.own(day), pictures.provider(day, "1h", ZONE), pictures.store(day)):
        points = re.findall(r"[ML](-?[\d.e+-]+) (-?[\d.e+-]+)", picture.line)
        assert len(points) >= 2
        assert all(0 <= float(x) <= pictures.WIDTH and 0 <= float(y) <= pictures.HEIGHT for x, y in points)


def test_the_hours_below_a_picture_are_those_of_the_homes_clocks() -> None:
    autumn = pictures.ticks(pictures.example(date(2026, 10, 25), ZONE))
    assert [label for _, label in autumn] == ["00:00", "06:00", "12:00", "18:00", "24:00"]
    assert [round(x, 1) for x, _ in autumn] == [0.0, 89.6, 166.4, 243.2, 320.0]  # 7, 13, 19 of 25 hours


async def test_yesterday_is_drawn_as_the_homes_own_grants_open_it(home: Home, household: Household) -> None:
    day = await shown_day(household)
    assert (day.real, day.real_words, day.date) == (True, True, date(2026, 5, 29))
    stored = await home.stored()
    units = [edge // 900_000 for edge in day.edges]
    sums = [stored.total("import", a, b) for a, b in pairwise(units)]
    assert list(day.mwh) == sums
    words = [int(stored.c["import"][unit - stored.start]) for unit in units[:-1]]
    assert list(day.words) == words


async def test_an_example_is_shown_and_said_where_yesterday_is_not_open(
    browser: Browser, household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(self: ControlClient, key: str) -> bytes:
        raise Unavailable("the store does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(ControlClient, "get_object", away)
        day = await shown_day(household)
        assert not day.real
        assert sum(day.mwh) > 5_000_000
        assert "an example Not your own day" in await browser.shown("/privacy")
    assert "Friday, 29 May 2026, as it is known to" in await browser.shown("/privacy")
    monkeypatch.setattr(ControlClient, "get_object", away)  # of the past this machine has a copy
    assert "The storage an example Noise." in await browser.shown("/privacy")
