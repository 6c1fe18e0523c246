"""Granularities: every unit lies in one window, in every zone and on every day."""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.chain.window import Granularity, spell_ms
from gateway.errors import UsageError

_LEAST, _MOST = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1000 for year in (1970, 2101))
MOMENTS = st.integers(_LEAST, _MOST)
WHOLE = st.builds(Granularity, st.integers(1, 2**40 - 1), st.integers(1, 3_600_000))
ALL_ZONES = sorted(available_timezones() - {"localtime", "posixrules"})
# Where days begin at 01:00 or midnight comes twice, where clocks go back to the day before, where the
# offset is no whole hour, and where a date was skipped.
HARD_ZONES = (
    "America/Havana",
    "Asia/Beirut",
    "Africa/Cairo",
    "America/Santiago",
    "America/Asuncion",
    "Atlantic/Azores",
    "America/Nuuk",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Africa/Casablanca",
    "Europe/Berlin",
    "UTC",
)


def holds(granularity: Granularity, unit: int) -> None:
    """The law of windows."""
    k = granularity.index(unit)
    a, b = granularity.start(k), granularity.start(k + 1)
    assert a <= unit < b
    assert granularity.index(a) == k == granularity.index(b - 1)
    assert granularity.index(b) > k
    up = granularity.align_up(unit)
    assert up == (a if unit == a else b)
    assert granularity.align_up(up) == up


@given(WHOLE, st.integers(0, 2**63))
def test_whole_units(granularity: Granularity, unit: int) -> None:
    holds(granularity, unit)
    assert isinstance(granularity.size, int)
    a = unit // granularity.size * granularity.size
    assert granularity.start(granularity.index(unit)) == a
    assert granularity.start(granularity.index(unit) + 1) == a + granularity.size


@given(
    st.sampled_from(HARD_ZONES) | st.sampled_from(ALL_ZONES),
    st.sampled_from(("day", "month", "month-2", "month-15", "month-28")),
    st.sampled_from((1, 10, 1000, 60_000, 300_000, 900_000)),
    MOMENTS,
)
@settings(max_examples=400)
def test_calendars(zone: str, size: str, unit_ms: int, ms: int) -> None:
    granularity = Granularity.parse(size, unit_ms, zone)
    local = datetime.fromtimestamp(ms / 1000, ZoneInfo(zone))
    if unit_ms <= 1000 and local.year > 1972:  # the last offset with odd seconds was Monrovia's
        holds(granularity, ms // unit_ms)
        return
    with contextlib.suppress(UsageError):
        holds(granularity, ms // unit_ms)


@pytest.mark.slow
@pytest.mark.parametrize("zone", HARD_ZONES)
def test_every_change_of_the_clocks(zone: str) -> None:
    """Around each change of the offset from 1975 to 2045, second by second where it happens."""
    calendars = [Granularity(size, 1000, zone) for size in ("day", "month", "month-26")]
    info, t = ZoneInfo(zone), 5 * 365 * 86_400

    def offset(second: int) -> timedelta | None:
        return datetime.fromtimestamp(second, info).utcoffset()

    while t < 75 * 365 * 86_400:
        step = 7 * 86_400
        if offset(t) == offset(t + step):
            t += step
            continue
        low, high = t, t + step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offset(t) else (low, middle)
        for away in (0, 1, 59, 60, 61, 1800, 3599, 3600, 3601, 7200, 86_399, 86_400, 90_000):
            for unit in (high - away, high + away):
                for calendar in calendars:
                    holds(calendar, unit)
        t = high


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/Havana", "2025-03-09", 23),
        ("America/Havana", "2025-11-02", 25),
        ("Asia/Beirut", "2025-03-30", 23),
        ("Asia/Beirut", "2025-10-25", 25),
        ("Australia/Lord_Howe", "2025-10-05", 23.5),
        ("Australia/Lord_Howe", "2025-04-06", 24.5),
        ("Asia/Kathmandu", "2026-03-29", 24),
        ("UTC", "2026-03-29", 24),
        ("America/St_Johns", "2006-10-29", 25),
        ("Pacific/Apia", "2011-12-30", 0),
    ],
)
def test_how_long_a_day_is(zone: str, day: str, hours: float) -> None:
    granularity = Granularity("day", 1000, zone)
    k = (date.fromisoformat(day) - date(1970, 1, 1)).days
    assert granularity.start(k + 1) - granularity.start(k) == hours * 3600


def test_months_are_as_long_as_their_days() -> None:
    day, month = Granularity("day", 60_000, "America/Havana"), Granularity("month", 60_000, "America/Havana")
    for k in range(12 * 50, 12 * 60):
        first = date(1970 + k // 12, 1 + k % 12, 1)
        assert month.start(k) == day.start((first - date(1970, 1, 1)).days)


@pytest.mark.parametrize("first_day", range(2, 29))
def test_months_may_begin_on_another_day(first_day: int) -> None:
    """Month k is the one that begins in calendar month k."""
    zone = "Europe/Berlin"
    month, day = Granularity(f"month-{first_day}", 1000, zone), Granularity("day", 1000, zone)
    for k in range(12 * 55, 12 * 57):
        first = date(1970 + k // 12, 1 + k % 12, first_day)
        begin = day.start((first - date(1970, 1, 1)).days)
        assert month.start(k) == begin
        assert (month.index(begin), month.index(begin - 1)) == (k, k - 1)
    assert str(month) == f"month-{first_day}"
    assert Granularity.parse(str(month), 1000, zone) == month


def test_a_month_from_its_first_day_is_a_month() -> None:
    """One granularity, one form."""
    assert Granularity.parse("month-1", 1000, "Europe/Berlin") == Granularity("month", 1000, "Europe/Berlin")


@pytest.mark.parametrize(
    "text",
    [
        "month-0",
        "month-29",
        "month-31",
        "month-015",
        "month-",
        "months",
        "month 5",
        "month-5\n",
        "month-\u0665",
    ],
)
def test_no_month_begins_on_such_a_day(text: str) -> None:
    with pytest.raises(
        UsageError, match="it must be day, month, or month-2 to month-28 for months that begin on"
    ):
        Granularity.parse(text, 1000, "Europe/Berlin")


@given(st.sampled_from(HARD_ZONES), st.integers(0, 50_000))
def test_days_never_go_back(zone: str, k: int) -> None:
    granularity = Granularity("day", 1, zone)
    assert granularity.start(k) <= granularity.start(k + 1) <= granularity.start(k) + 49 * 3_600_000


@pytest.mark.parametrize(
    ("zone", "unit_ms"),
    [("Asia/Kathmandu", 1_800_000), ("Asia/Kathmandu", 3_600_000), ("Asia/Kolkata", 3_600_000)],
)
def test_units_that_midnight_cuts(zone: str, unit_ms: int) -> None:
    granularity = Granularity("day", unit_ms, zone)
    with pytest.raises(UsageError, match=f"a day in {zone} does not begin on a whole unit of "):
        granularity.align_up(1_000_000)


@pytest.mark.parametrize("unit_ms", [7, 7000, 11_000, 3_599_000])
def test_units_that_no_day_is_made_of(unit_ms: int) -> None:
    with pytest.raises(UsageError, match="a day is not a whole number of units of "):
        Granularity("day", unit_ms, "Europe/Berlin")


@given(WHOLE)
def test_what_is_spelled_is_parsed(granularity: Granularity) -> None:
    assert Granularity.parse(str(granularity), granularity.unit_ms) == granularity


@given(st.integers(1, 10**12), st.sampled_from(("ms", "s", "min", "h")), st.integers(1, 3_600_000))
def test_parsing_is_exact_or_refused(number: int, unit: str, unit_ms: int) -> None:
    ms = number * {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000}[unit]
    if ms % unit_ms == 0:
        assume(ms // unit_ms < 2**40)
        assert Granularity.parse(f"{number}{unit}", unit_ms) == Granularity(ms // unit_ms, unit_ms)
        return
    with pytest.raises(UsageError, match="is not a whole number of this stream's units of "):
        Granularity.parse(f"{number}{unit}", unit_ms)


@pytest.mark.parametrize(("ms", "text"), [(1, "1ms"), (1500, "1500ms"), (90_000, "90s"), (86_400_000, "24h")])
def test_spelling(ms: int, text: str) -> None:
    assert spell_ms(ms) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "min",
        "0s",
        "1d",
        "15 minutes",
        "-1s",
        "1.5min",
        "\u0661\u0665min",
        "15min\n",
        "1e3s",
        "week",
        "1" * 21 + "s",
    ],
)
def test_what_is_no_granularity(text: str) -> None:
    with pytest.raises(UsageError, match="it must be a number and ms, s, min or h"):
        Granularity.parse(text, 1000)


@given(st.text(max_size=20))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        Granularity.parse(text, 1000, text)


@pytest.mark.parametrize("size", [0, -1, 2**40])
def test_no_such_size(size: int) -> None:
    with pytest.raises(UsageError, match="it must have 1 to 1099511627775"):
        Granularity(size, 1000)


@pytest.mark.parametrize(
    "zone",
    [
        "",
        "Mars/Olympus",
        "Europe",
        "Europe/Berlin/",
        "../UTC",
        "/etc/localtime",
        "UTC\0",
        "localtime",
        "right/UTC",
        "posix/Europe/Berlin",
        "posixrules",
        "zone.tab",
        "a" * 300,
        "Europe/Berlin\n",
        "\udc80",
        ".",
    ],
)
def test_what_is_no_zone(zone: str) -> None:
    with pytest.raises(UsageError, match="not in the IANA list"):
        Granularity("day", 1000, zone)


@given(st.text(max_size=20))
def test_any_zone_is_known_or_refused(zone: str) -> None:
    assume(zone not in ALL_ZONES)
    with pytest.raises(UsageError, match="IANA"):
        Granularity("month", 1000, zone)


def test_whole_units_have_no_zone() -> None:
    """One granularity, one form: bodies that mean the same are the same bytes."""
    with pytest.raises(UsageError, match="only days and months have one"):
        Granularity(900, 1000, "Europe/Berlin")
    assert Granularity.parse("15min", 1000, "Europe/Berlin") == Granularity(900, 1000)


@given(st.sampled_from(("day", "month")), st.integers(-(2**70), 2**70))
def test_beyond_the_calendar(size: str, number: int) -> None:
    granularity = Granularity.parse(size, 1000, "Asia/Kathmandu")
    for ask in (granularity.start, granularity.index, granularity.align_up):
        with contextlib.suppress(UsageError):
            ask(number)
