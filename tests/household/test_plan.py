"""The plan: no time is cheaper than the one found, by trying all of them."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UsageError
from gateway.household.plan import (
    Load,
    Placed,
    Unplaced,
    cheapest,
    cheapest_parts,
    clock_ms,
    next_times,
    plan,
)
from gateway.provider.prices import Price
from gateway.stream.times import unix_ms

HOUR = 3_600_000
DAY = 24 * HOUR
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC")


@st.composite
def prices(draw: st.DrawFn) -> list[Price]:
    """Prices of some moments, some of them equal, with gaps."""
    found, at = [], draw(st.integers(0, 3))
    for _ in range(draw(st.integers(0, 8))):
        end = at + draw(st.integers(1, 4))
        found.append(Price(at, end, Decimal(draw(st.integers(-4, 4))).scaleb(-1)))
        at = end + draw(st.sampled_from((0, 0, 0, 1)))
    return found


def each(prices: list[Price]) -> dict[int, Decimal]:
    """The price of each moment."""
    return {at: one.price for one in prices for at in range(one.start_ms, one.end_ms)}


@given(prices(), st.integers(1, 9), st.integers(0, 8), st.integers(1, 30))
def test_no_start_is_cheaper(some: list[Price], duration: int, begin: int, length: int) -> None:
    price = each(some)
    costs = {
        start: sum(price[at] for at in range(start, start + duration))
        for start in range(begin, begin + length - duration + 1)
        if all(at in price for at in range(start, start + duration))
    }
    found = cheapest(duration, some, begin, begin + length)
    if not costs:
        assert found is None
        return
    assert found is not None
    assert costs[found] == min(costs.values())
    assert found == min(start for start, cost in costs.items() if cost == costs[found])


@given(prices(), st.integers(1, 9), st.integers(0, 8), st.integers(1, 30))
def test_no_parts_are_cheaper(some: list[Price], duration: int, begin: int, length: int) -> None:
    price = {at: one for at, one in each(some).items() if begin <= at < begin + length}
    found = cheapest_parts(duration, some, begin, begin + length)
    if len(price) < duration:
        assert found is None
        return
    assert found is not None
    moments = [at for start, end in found for at in range(start, end)]
    assert len(set(moments)) == len(moments) == duration
    assert sum(price[at] for at in moments) == sum(sorted(price.values())[:duration])
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(found))


@given(prices(), st.integers(1, 6), st.booleans())
def test_a_load_costs_its_energy_at_the_mean_price_of_its_time(
    some: list[Price], duration: int, split: bool
) -> None:
    load = Load("heater", 7_000_003, duration, split=split)
    (found,) = plan([load], some, 0, "UTC")
    assert (found.from_ms, found.until_ms) == (0, DAY)
    price = each(some)
    if isinstance(found, Unplaced):
        assert (cheapest_parts if split else cheapest)(duration, some, 0, DAY) is None
        return

    def cost(moments: list[int]) -> Fraction:
        mean = sum(map(Fraction, (price[at] for at in moments)), Fraction(0)) / duration
        return mean * 7_000_003 / 10**6

    assert found.cost == cost([at for start, end in found.parts for at in range(start, end)])
    now = list(range(duration))
    assert found.at_once == (cost(now) if set(now) <= set(price) else None)
    assert found.at_once is None or found.cost <= found.at_once
    assert not found.whole


def shown(ms: int, zone: str) -> datetime:
    return datetime.fromtimestamp(ms / 1000, ZoneInfo(zone)).replace(tzinfo=None)


@given(st.sampled_from(ZONES), st.dates(date(2026, 1, 1), date(2026, 12, 31)), st.integers(0, 1440))
def test_a_time_of_day_is_the_first_moment_at_which_clocks_show_it_or_pass_it(
    zone: str, day: date, minute: int
) -> None:
    found = clock_ms(day, minute, zone)
    wanted = datetime(day.year, day.month, day.day) + timedelta(minutes=minute)
    assert shown(found, zone) >= wanted
    assert shown(found - 1, zone) < wanted
    twice = ZoneInfo(zone).utcoffset(wanted) != ZoneInfo(zone).utcoffset(wanted.replace(fold=1))
    assert twice or shown(found, zone) == wanted


def test_times_on_days_of_23_and_25_hours() -> None:
    def at(*when: int) -> int:
        return unix_ms(datetime(*when, tzinfo=UTC))  # type: ignore[misc, arg-type]

    assert clock_ms(date(2026, 3, 29), 150, "Europe/Berlin") == at(2026, 3, 29, 1)
    assert clock_ms(date(2026, 10, 25), 150, "Europe/Berlin") == at(2026, 10, 25, 0, 30)
    night = Load("car", 10**7, 5 * HOUR, 22 * 60, 6 * 60)
    before = at(2026, 3, 28, 12), at(2026, 10, 24, 12)
    lengths = [b - a for a, b in (next_times(night, now, "Europe/Berlin") for now in before)]
    assert lengths == [7 * HOUR, 9 * HOUR]
    hour = Load("it", 1, 2 * HOUR, 120, 240)  # on 29 March there is an hour between 02:00 and 04:00
    assert next_times(hour, at(2026, 3, 28, 12), "Europe/Berlin") == (at(2026, 3, 30), at(2026, 3, 30, 2))


@given(
    st.sampled_from(ZONES),
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)),
    st.integers(0, 1439),
    st.integers(1, 1440),
    st.integers(1, 24 * 60),
)
def test_the_next_time_is_the_first_that_the_load_fits_into(
    zone: str, now: datetime, earliest: int, finish: int, minutes: int
) -> None:
    now_ms, load = unix_ms(now.replace(tzinfo=UTC)), Load("it", 1, minutes * 60_000, earliest, finish)
    overnight = finish <= earliest
    today = shown(now_ms, zone).date()
    fitting = []
    for n in range(-2, 6):
        day = today + timedelta(days=n)
        a = max(now_ms, clock_ms(day, earliest, zone))
        b = clock_ms(day + timedelta(days=overnight), finish, zone)
        if b - a >= load.duration_ms:
            fitting.append((a, b))
    if not fitting:
        with pytest.raises(UsageError, match="it runs for longer than the time between"):
            next_times(load, now_ms, zone)
        return
    assert next_times(load, now_ms, zone) == min(fitting)


def test_what_no_load_can_be() -> None:
    good = {"name": "it", "energy_mwh": 1, "duration_ms": HOUR}
    for bad, says in (
        ({"name": " "}, "needs a name"),
        ({"name": "a\nb"}, "needs a name"),
        ({"energy_mwh": 0}, "more than 0 kWh"),
        ({"duration_ms": 0}, "at most 24 h"),
        ({"duration_ms": DAY + 1}, "at most 24 h"),
        ({"earliest": 1440}, "times of day"),
        ({"finish": 0}, "times of day"),
    ):
        with pytest.raises(UsageError, match=says):
            Load(**{**good, **bad})  # type: ignore[arg-type]
    assert Load.of_power("it", 2000, HOUR, split=True) == Load("it", 2 * 10**6, HOUR, split=True)


def test_prices_for_all_the_time_leave_no_doubt() -> None:
    flat = [Price(0, DAY, Decimal("0.3"))]
    (found,) = plan([Load("it", 10**6, HOUR, 60, 120)], flat, 0, "UTC")
    assert isinstance(found, Placed)
    assert (found.parts, found.cost, found.whole) == (((HOUR, 2 * HOUR),), Fraction(3, 10), True)
