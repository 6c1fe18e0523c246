"""The home through the seasons: a pure function of seed, place and day, and believable over a year."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import UsageError
from gateway.simulate.seasons import PLACES, SeasonalHome, Traits, weather

ZONES = st.sampled_from(sorted(PLACES))


def kwh(home: SeasonalHome, days: list[date]) -> tuple[float, float]:
    """Import and export."""
    watts = np.concatenate([home.net_power(day) for day in days])
    return float(watts[watts > 0].sum()) / 3.6e6, -float(watts[watts < 0].sum()) / 3.6e6


def month(year: int, number: int) -> list[date]:
    first = date(year, number, 1)
    return [day for n in range(31) if (day := first + timedelta(days=n)).month == number]


@settings(max_examples=25)
@given(st.integers(1, 2**32), ZONES, st.dates(date(1990, 1, 1), date(2050, 1, 1)))
def test_power_depends_on_seed_place_and_day_only(seed: int, zone: str, day: date) -> None:
    first = SeasonalHome(seed, zone).net_power(day)
    np.testing.assert_array_equal(SeasonalHome(seed, zone).net_power(day), first)
    assert len(first) == len(SeasonalHome(seed, zone).seconds_of(day))


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 3, 30), 24), (date(2026, 10, 25), 25)]
)
def test_days_are_those_of_the_zone(day: date, hours: int) -> None:
    home = SeasonalHome(1, "Europe/Berlin")
    seconds = home.seconds_of(day)
    assert len(seconds) == len(home.net_power(day)) == hours * 3600
    assert seconds[-1] + 1 == home.seconds_of(day + timedelta(days=1))[0]


def test_habits_follow_the_clock_on_the_wall() -> None:
    """The car begins to be charged at the same time of day on either side of a change of the clock."""
    home = SeasonalHome(1, "Europe/Berlin")
    for day in (date(2026, 3, 28), date(2026, 3, 30), date(2026, 10, 24), date(2026, 10, 26)):
        local = home._time_of_day(home.seconds_of(day))
        assert local[0] == 0
        assert local[-1] == 86_399
        charging = local[home._car(day, local) > 0]
        assert not len(charging) or 17 * 3600 <= charging[0] <= 21 * 3600


@pytest.mark.slow
@pytest.mark.parametrize(
    ("zone", "least", "most"), [("Europe/Berlin", 5_000, 13_000), ("Europe/Athens", 3_000, 10_000)]
)
def test_a_year_of_the_home_that_has_everything(zone: str, least: int, most: int) -> None:
    home = SeasonalHome(1, zone)
    drawn, given_back = zip(*(kwh(home, month(2026, number)) for number in range(1, 13)), strict=True)
    assert least < sum(drawn) < most
    assert drawn[0] > 1.5 * drawn[6]  # January and July: it heats
    assert given_back[6] > 4 * given_back[11]  # July and December: the sun


def test_homes_differ_in_what_they_have() -> None:
    traits = [Traits.of(seed) for seed in range(1, 200)]
    for share, has in (
        (0.5, [one.roof_w > 0 for one in traits]),
        (0.4, [one.loss_w_a_k > 0 for one in traits]),
        (0.4, [one.car_km > 0 for one in traits]),
    ):
        assert abs(sum(has) / len(has) - share) < 0.12


def test_the_weather_is_that_of_the_place() -> None:
    days = month(2026, 1) + month(2026, 7)
    north, south = ([weather(zone, day)[0] for day in days] for zone in ("Europe/Oslo", "Europe/Athens"))
    assert np.mean(north[:31]) < np.mean(south[:31]) - 5
    assert np.mean(north[31:]) > np.mean(north[:31]) + 12
    changes = np.abs(np.diff(north[:31]))
    assert 0.5 < np.mean(changes) < 5  # days resemble the days before them
    assert all(0 <= weather("Europe/Oslo", day)[1] <= 1 for day in days)


def test_nobody_cooks_while_all_are_away() -> None:
    home = SeasonalHome(2, "Europe/Berlin")
    away = [date(2026, 6, 1) + timedelta(days=n) for n in range(110)]
    quiet = [day for day in away if home._away(day)]
    assert len(quiet) == 14
    assert max(int(home.net_power(day).max()) for day in quiet) < 3_000


def test_a_place_without_weather() -> None:
    with pytest.raises(
        UsageError, match=r"no weather is known for the time zone 'Mars/Olympus': use one of Eur"
    ):
        SeasonalHome(1, "Mars/Olympus")
