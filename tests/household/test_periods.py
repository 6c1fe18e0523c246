"""Days, weeks, months and years of a home's calendar, on days of 23 and 25 hours too."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import UsageError
from gateway.household.history import STEPS
from gateway.household.periods import HOUR_MS, Kind, Period, read_day, read_moment

BERLIN = "Europe/Berlin"
ZONES = st.sampled_from(
    ["UTC", BERLIN, "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu", "America/Havana"]
)
DAYS = st.dates(date(2000, 1, 1), date(2037, 12, 31))
KINDS = st.sampled_from(["day", "week", "month", "year"])
PERIODS = st.builds(Period.of, KINDS, ZONES, DAYS)


def moment(*fields: int, zone: str = BERLIN, fold: int = 0) -> int:
    """A local time, Unix ms."""
    return round(datetime(*fields, tzinfo=ZoneInfo(zone), fold=fold).timestamp()) * 1000  # type: ignore[misc,arg-type]


@given(PERIODS, st.sampled_from(STEPS))
def test_rows_fill_a_period_without_a_gap(period: Period, step: str) -> None:
    if step not in period.steps():
        step = period.step
    rows = period.rows(step)
    assert rows[0][0] == period.start_ms
    assert rows[-1][1] == period.end_ms
    assert all(a < b for a, b in rows)
    assert all(one[1] == other[0] for one, other in pairwise(rows))
    assert len(rows) <= 450


@given(KINDS, ZONES, DAYS)
def test_a_day_lies_in_its_period_and_neighbours_meet(kind: Kind, zone: str, day: date) -> None:
    period = Period.of(kind, zone, day)
    assert period.first_day <= day <= period.last_day
    assert period.beside(1).start_ms == period.end_ms
    assert period.beside(-1).end_ms == period.start_ms
    assert period.beside(1).beside(-1) == period


@example(Period.of("day", "America/Havana", date(2036, 3, 9)), 0)
@given(PERIODS, st.integers(0, 10**6))
def test_a_moment_s_like_in_the_period_before_lies_in_that(period: Period, part: int) -> None:
    at = period.start_ms + (period.end_ms - period.start_ms) * part // 10**6
    earlier = period.beside(-1)
    assert earlier.start_ms <= period.before(at) <= earlier.end_ms
    assert period.before(period.end_ms) == earlier.end_ms
    assert period.before(period.start_ms) == earlier.start_ms


@pytest.mark.parametrize(
    ("kind", "now", "then"),
    [
        ("day", (2026, 5, 28, 14, 30), (2026, 5, 27, 14, 30)),
        ("week", (2026, 5, 28, 14, 30), (2026, 5, 21, 14, 30)),
        ("month", (2026, 5, 28, 14, 30), (2026, 4, 28, 14, 30)),
        ("month", (2026, 5, 31, 14, 30), (2026, 5, 1, 0, 0)),  # April is over by then
        ("year", (2026, 5, 28, 14, 30), (2025, 5, 28, 14, 30)),
        ("year", (2028, 2, 29, 14, 30), (2027, 2, 28, 14, 30)),
    ],
)
def test_the_same_time_a_period_earlier(kind: Kind, now: tuple[int, ...], then: tuple[int, ...]) -> None:
    period = Period.of(kind, BERLIN, date(*now[:3]))
    assert period.before(moment(*now)) == moment(*then)


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 10, 26), 24)]
)
def test_each_hour_of_a_day_is_a_row(day: date, hours: int) -> None:
    rows = Period.of("day", BERLIN, day).rows("hour")
    assert [end - start for start, end in rows] == [HOUR_MS] * hours


def test_any_stretch_moves_by_its_own_length() -> None:
    start = datetime(2026, 5, 28, 10, tzinfo=UTC)
    period = Period.between(BERLIN, start, start + timedelta(minutes=90))
    assert period.beside(-1).end_ms == period.start_ms
    assert period.before(period.start_ms + HOUR_MS) == period.beside(-1).start_ms + HOUR_MS
    assert len(period.rows(period.step)) == 90


@pytest.mark.parametrize(
    ("length", "step"),
    [(1 / 24, "minute"), (1, "quarter"), (3, "hour"), (31, "day"), (366, "month"), (4000, "year")],
)
def test_a_step_suits_a_stretch(length: float, step: str) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert Period.between("UTC", start, start + timedelta(days=length)).step == step


def test_what_cannot_be_is_said_in_a_sentence() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(UsageError, match="later than the beginning"):
        Period.between("UTC", start, start)
    with pytest.raises(UsageError, match="not a date such as"):
        read_day("yesterday")
    with pytest.raises(UsageError, match="1971 to 2199"):
        read_day("9999-12-31")
    with pytest.raises(UsageError, match="not a time such as"):
        read_moment("", BERLIN)


def test_a_time_without_an_offset_is_the_home_s() -> None:
    assert read_moment("2026-05-28T14:30", BERLIN) == datetime(2026, 5, 28, 12, 30, tzinfo=UTC)
    assert read_moment("2026-05-28T14:30+00:00", BERLIN) == datetime(2026, 5, 28, 14, 30, tzinfo=UTC)
