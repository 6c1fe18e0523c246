"""Prices by time of use: rules with months, public holidays and dates, against a plain walk."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.prices import (
    HOLIDAY,
    LAST_DATE,
    MAX_DATES,
    Calendar,
    Dynamic,
    Rule,
    TimeOfUse,
    shown,
    spell_date,
)
from gateway.chain.tariff import Tariff
from gateway.errors import UsageError
from tests.chain.test_window import HARD_ZONES

EPOCH = date(1970, 1, 1)
YEAR = Calendar((date(2026, 1, 1) - EPOCH).days, (date(2027, 1, 1) - EPOCH).days)
EVERY_DAY = tuple(range(8))


def number(*day: int) -> int:
    return (date(*day) - EPOCH).days


def plain_price(rules: tuple[Rule, ...], calendar: Calendar, when: datetime) -> int | None:
    """The price at a local time, by the words of PROTOCOL.md."""
    day = (when.date() - EPOCH).days
    kind = HOLIDAY if day in calendar.holidays else when.weekday()
    minute = when.hour * 60 + when.minute
    for rule in rules:
        if (
            kind in rule.days
            and rule.begin <= minute < rule.end
            and (not rule.months or when.month in rule.months)
            and (rule.since is None or day >= rule.since)
            and (rule.before is None or day < rule.before)
            and (not rule.dates or day in rule.dates)
        ):
            return rule.price
    return None


DAYS = st.integers(number(2026, 3, 20), number(2026, 4, 10))


@st.composite
def rules(draw: st.DrawFn, days: st.SearchStrategy[int] = DAYS) -> Rule:
    begin, end = sorted(draw(st.lists(st.integers(0, 24), min_size=2, max_size=2, unique=True)))
    since, before = sorted(draw(st.lists(days, min_size=2, max_size=2, unique=True)))
    return Rule(
        draw(st.integers(-5, 5)),
        tuple(sorted(draw(st.sets(st.sampled_from(EVERY_DAY), min_size=1)))),
        begin * 60,
        end * 60,
        tuple(sorted(draw(st.sets(st.integers(3, 4), max_size=1)))),
        draw(st.sampled_from((None, since))),
        draw(st.sampled_from((None, before))),
        tuple(sorted(draw(st.sets(days, max_size=3)))),
    )


@given(
    st.lists(rules(), max_size=6),
    st.sets(DAYS, min_size=1, max_size=4),
    st.sampled_from((60_000, 300_000, 900_000)),
    st.sampled_from(("Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC")),
    st.integers(0, 23 * 86_400),
)
@settings(max_examples=40)
def test_each_step_has_the_price_of_the_first_rule_that_fits(
    some: list[Rule], holidays: set[int], step_ms: int, zone: str, after_s: int
) -> None:
    calendar = replace(YEAR, holidays=tuple(sorted(holidays)))
    every = (*some, Rule(99, EVERY_DAY))
    tariff = Tariff("EUR", 4, zone, step_ms, {"import": TimeOfUse(every)}, calendar)
    size = step_ms // 1000
    a = (number(2026, 3, 18) * 86_400 + after_s) // size * size
    b = a + 3 * 86_400
    weights = tariff.weights(["import"], 1000, a, b)["import"]
    by_step = [w.price for w in weights for _ in range(w.first, w.end, size)]
    info = ZoneInfo(zone)
    assert by_step == [
        plain_price(every, calendar, datetime.fromtimestamp(unit, info)) for unit in range(a, b, size)
    ]


SHORT = st.integers(number(2026, 4, 1), number(2026, 4, 8))


@given(
    st.lists(rules(SHORT), min_size=1, max_size=8),
    st.sets(SHORT, min_size=1, max_size=3),
    st.sampled_from(((), (Rule(1, EVERY_DAY, 360),), (Rule(1),), (Rule(1, (HOLIDAY,)),))),
)
@settings(max_examples=300)
def test_rules_are_taken_if_and_only_if_each_hour_of_the_calendar_has_a_price(
    some: list[Rule], holidays: set[int], rest: tuple[Rule, ...]
) -> None:
    calendar = Calendar(number(2026, 4, 1), number(2026, 4, 9), tuple(sorted(holidays)))
    every = (*some, *rest)
    hours = [datetime(2026, 4, 1 + day, hour) for day in range(8) for hour in range(24)]
    unpriced = [when for when in hours if plain_price(every, calendar, when) is None]

    def make() -> Tariff:
        return Tariff("EUR", 4, "UTC", 3_600_000, {"import": TimeOfUse(every)}, calendar)

    if not unpriced:
        make()
        return
    with pytest.raises(
        UsageError, match=f"from {unpriced[0]:%H:%M} on of .* such as {unpriced[0]:%Y-%m-%d}; "
    ):
        make()


def hole(*rules: Rule, calendar: Calendar | None = None) -> str:
    with pytest.raises(UsageError, match="no rule has a price") as caught:
        Tariff("EUR", 4, "UTC", 900_000, {"import": TimeOfUse(rules)}, calendar or Calendar())
    return str(caught.value)


def test_a_time_without_a_price_is_found_however_far_away_it_is() -> None:
    """Beyond all dates that the rules name; in one month of one weekday; on a leap day's date alone."""
    assert "such as 2140-01-01" in hole(Rule(1, before=number(2140, 1, 1)))
    assert "day 3 of the week, such as 1969-12-31" in hole(Rule(1, since=1))
    months = tuple(range(1, 13))
    assert "day 7 of the week, such as 2024-02-04" in hole(
        Rule(1, (0, 1, 2, 3, 4, 5)), Rule(1, months=months[:1] + months[2:])
    )
    bounded = Calendar(number(2027, 3, 1), number(2029, 3, 1), (number(2027, 12, 25),))
    assert "public holidays, such as 2027-12-25" in hole(Rule(1), calendar=bounded)
    leap = number(2028, 2, 29)
    assert "such as 2028-02-29" in hole(
        Rule(1, EVERY_DAY, before=leap), Rule(2, EVERY_DAY, since=leap + 1), calendar=bounded
    )
    Tariff("EUR", 4, "UTC", 900_000, {"import": TimeOfUse((Rule(1, before=leap), Rule(2, since=leap)))})
    wednesday = number(2026, 4, 1)
    assert "day 3 of the week, such as 2026-04-08" in hole(
        Rule(1, (0, 1, 3, 4, 5, 6)), Rule(2, dates=(wednesday,)), calendar=Calendar(wednesday)
    )


def test_a_period_beyond_the_calendar_is_refused_with_its_first_unpriced_moment() -> None:
    calendar = Calendar(number(2026, 1, 1), number(2027, 1, 1), (number(2026, 1, 6),))
    zone = ZoneInfo("Europe/Madrid")
    lists = Dynamic(int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) * 1000, (1,) * (3 * 365 * 24 * 4))
    tariff = Tariff(
        "EUR",
        4,
        "Europe/Madrid",
        900_000,
        {"import": TimeOfUse((Rule(1, EVERY_DAY),)), "export": lists},
        calendar,
    )
    begin, end = (int(datetime(year, 1, 1, tzinfo=zone).timestamp()) for year in (2026, 2027))
    assert tariff.end_ms(["import"]) == end * 1000
    for lane in ("import", "export"):
        assert [w.price for w in tariff.weights([lane], 1000, begin, end)[lane]] == [1]
        for a, b, when in (
            (begin - 900, end, "2025-12-31T23:45"),
            (begin, end + 900, "2027-01-01T00:00"),
            (end + 86_400, end + 90_000, "2027-01-02T00:00"),
        ):
            sentence = (
                rf"no price of {lane} for the step that begins at {when}\+01:00; its prices are for dates "
                "from 2026-01-01 on, and before 2027-01-01"
            )
            with pytest.raises(UsageError, match=sentence):
                tariff.weights([lane], 1000, a, b)


def test_a_holiday_counts_instead_of_its_weekday() -> None:
    epiphany = number(2026, 1, 6)  # a Tuesday
    calendar = replace(YEAR, holidays=(epiphany,))
    prices = TimeOfUse((Rule(3, (0, 1, 2, 3, 4)), Rule(1, (5, 6, HOLIDAY))))
    tariff = Tariff("EUR", 4, "UTC", 900_000, {"import": prices}, calendar)
    first = number(2026, 1, 5) * 86_400
    assert [w.price for w in tariff.weights(["import"], 1000, first, first + 3 * 86_400)["import"]] == [
        3,
        1,
        3,
    ]
    with pytest.raises(UsageError, match="for public holidays, but the tariff lists none"):
        replace(tariff, calendar=YEAR)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"months": (0,)}, "must be some of 1 to 12, in order"),
        ({"months": (13,)}, "must be some of 1 to 12, in order"),
        ({"months": (2, 1)}, "must be some of 1 to 12, in order"),
        ({"months": (2, 2)}, "must be some of 1 to 12, in order"),
        ({"since": -1}, "must be 1970-01-01 to 2149-06-06"),
        ({"before": LAST_DATE + 1}, "must be 1970-01-01 to 2149-06-06"),
        ({"since": 5, "before": 5}, "begin with 1970-01-06, which is not before 1970-01-06"),
        ({"dates": (5, 5)}, "in order and each once"),
        ({"dates": (6, 5)}, "in order and each once"),
        ({"dates": (LAST_DATE + 1,)}, "must be 1970-01-01 to"),
        ({"dates": tuple(range(MAX_DATES + 1))}, "must be at most 4096, in order and each once"),
        ({"days": (0, HOLIDAY + 1)}, "a tariff's rule needs some kinds of day"),
    ],
)
def test_what_is_no_rule_gets_a_sentence(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        replace(Rule(1), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("calendar", "sentence"),
    [
        ((9, 9), "a tariff's dates begin with 1970-01-10, which is not before 1970-01-10"),
        ((None, None, (5,)), "must say from which date on, and before which"),
        ((4, None, (5,)), "must say from which date on, and before which"),
        ((None, 6, (5,)), "must say from which date on, and before which"),
        ((6, 9, (5,)), "must lie within the dates"),
        ((4, 5, (5,)), "must lie within the dates"),
        ((4, 9, (6, 5)), "in order and each once"),
        ((-1, 9), "must be 1970-01-01 to"),
    ],
)
def test_what_is_no_calendar_gets_a_sentence(
    calendar: tuple[int | None, int | None, tuple[int, ...]], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        Calendar(*calendar)


def test_rules_of_a_lane_name_so_many_dates_together() -> None:
    half = tuple(range(0, MAX_DATES + 2, 2))
    with pytest.raises(UsageError, match=f"at most {MAX_DATES} dates, not {2 * len(half)}"):
        Tariff(
            "EUR",
            4,
            "UTC",
            900_000,
            {"import": TimeOfUse((Rule(1, dates=half), Rule(2, dates=half), Rule(3)))},
        )


@pytest.mark.parametrize("zone", HARD_ZONES)
@pytest.mark.parametrize("step_s", [60, 900, 3600, 7 * 3600])
def test_clocks_are_those_of_the_zone_at_each_moment(zone: str, step_s: int) -> None:
    """Two years, with each of their changes of the clocks."""
    info = ZoneInfo(zone)
    for begin in (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2006, 2011, 2025)):
        moments = np.arange(begin, begin + 366 * 86_400, step_s, dtype=np.int64)
        found = shown(info, moments * 1000)
        some = range(0, len(moments), max(1, 900 // step_s))
        local = [datetime.fromtimestamp(int(moments[i]), info).replace(tzinfo=UTC) for i in some]
        assert found[some].tolist() == [int(when.timestamp()) * 1000 for when in local]


def test_dates_are_spelled_as_people_write_them() -> None:
    assert spell_date(number(2026, 1, 6)) == "2026-01-06"
    assert EPOCH + timedelta(LAST_DATE) == date.fromisoformat(spell_date(LAST_DATE))
