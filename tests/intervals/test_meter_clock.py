"""Messages that come late are placed by the meter's clock, however far that is off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.layout import Layout
from gateway.intervals.meter_clock import MeterClock
from gateway.intervals.sampler import Sampler
from gateway.meters.reading import Reading

NS, HOUR = 10**9, 3600 * 10**9
T0 = 500_000 * HOUR
OFF = st.integers(-400 * 24 * 3600, 400 * 24 * 3600).map(lambda seconds: seconds * NS)


@given(OFF, st.lists(st.integers(-5, 5), min_size=2, max_size=30))
def test_a_clock_that_only_wanders_changes_nothing(off: int, wander: list[int]) -> None:
    clock = MeterClock()
    for hour, seconds in enumerate(wander):
        wall = T0 + hour * HOUR
        assert clock.age(wall, wall + off + seconds * NS) == 0


@given(OFF, st.integers(1, 23), st.integers(2, 10))
def test_a_message_of_hours_ago_is_as_old_as_its_clock_says(off: int, hours: int, before: int) -> None:
    clock = MeterClock()
    for hour in range(before):
        assert clock.age(T0 + hour * HOUR, T0 + hour * HOUR + off) == 0
    wall = T0 + before * HOUR
    assert clock.age(wall, wall + off - hours * HOUR) == hours * HOUR
    assert clock.age(wall + HOUR, wall + HOUR + off) == 0


@pytest.mark.parametrize("back", [HOUR, 7 * HOUR, 30 * 24 * HOUR])
def test_a_clock_that_is_put_back_counts_from_the_next_message_on(back: int) -> None:
    clock = MeterClock()
    ages = [clock.age(T0 + n * HOUR, T0 + n * HOUR - (back if n >= 3 else 0)) for n in range(8)]
    assert ages == [0, 0, 0, back if back < 24 * HOUR else 0, 0, 0, 0, 0]


def test_a_clock_that_is_put_forward_is_usual_at_once() -> None:
    clock = MeterClock()
    assert [clock.age(T0 + n * HOUR, T0 + n * HOUR + (HOUR if n >= 2 else 0)) for n in range(5)] == [0] * 5


def hours(lists: list[tuple[int, int, int]]) -> tuple[list[int], list[int]]:
    """The energy of each hour from the second on, in mWh, and the readings in it, of hourly lists: (hour in
    which it came, hour by its clock, register)."""
    sampler = Sampler(Layout(1000, 3600), ("import", "count"))
    energy: dict[int, int] = {}
    count: dict[int, int] = {}
    for came, named, register in lists:
        wall = T0 + came * HOUR
        reading = Reading("m", {"import": register}, wall, wall - T0 + NS, None, T0 + named * HOUR)
        sampler.add(reading, trusted=True, wall_now=wall, monotonic_now=wall - T0 + NS)
        while (units := sampler.take()) is not None:
            for at in range(len(units)):
                hour = (units.first + at - T0 // NS - 1) // 3600  # the register at 17:00 ends the hour before
                energy[hour] = energy.get(hour, 0) + int(units.lanes["import"][at])
                count[hour] = count.get(hour, 0) + int(units.lanes["count"][at])
    return list(energy.values()), list(count.values())


def test_a_list_that_is_sent_once_more_an_hour_later_says_nothing_of_that_hour() -> None:
    """The two hours after it share what they used together, instead of 0 and all of it."""
    energy, count = hours([(0, 0, 100), (1, 1, 200), (2, 1, 200), (3, 3, 8200), (4, 4, 9200)])
    assert (energy[-3:], count[-3:]) == ([4000, 4000, 1000], [0, 1, 1])


def test_a_list_that_comes_an_hour_late_counts_for_the_hour_that_it_names() -> None:
    energy, count = hours([(0, 0, 100), (1, 1, 200), (3, 2, 5000), (4, 4, 9200)])
    assert energy[-3:] == [4800, 2100, 2100]
    assert count[-3:] == [1, 0, 1]


@pytest.mark.parametrize("apart", [-HOUR, 0, HOUR])
def test_the_clock_of_a_list_without_energies_may_be_another(apart: int) -> None:
    """Some Kamstrups give the time of one list with summer time and that of another without
    (UtilitechAS/amsreader-firmware #992): only lists with energies are held against each other."""
    sampler, known = Sampler(Layout(1000, 3600), ("import", "power", "count")), 0
    for half_hour in range(2, 24):
        wall = T0 + half_hour * HOUR // 2
        registers, off = ({"power": 5}, apart) if half_hour % 2 else ({"import": half_hour * 10**6}, 0)
        reading = Reading("m", registers, wall, wall - T0, None, wall + off)
        sampler.add(reading, trusted=True, wall_now=wall, monotonic_now=wall - T0)
        while (units := sampler.take()) is not None:
            known += int(units.lanes["count"].sum())
    assert known == 10  # every list but the first
