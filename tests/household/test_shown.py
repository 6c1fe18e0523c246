"""Times, numbers and money in the page's language and the home's zone."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.household import i18n, shown
from gateway.household.settings import LANGUAGES, Language


def ms(*when: int) -> int:
    return round(datetime(*when, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type,misc]


def test_both_times_of_a_repeated_hour_are_told_apart() -> None:
    assert shown.clock_time(ms(2026, 10, 25, 0, 30), "Europe/Berlin") == "02:30 CEST"
    assert shown.clock_time(ms(2026, 10, 25, 1, 30), "Europe/Berlin") == "02:30 CET"
    assert shown.clock_time(ms(2026, 10, 25, 2, 30), "Europe/Berlin") == "03:30"
    assert shown.clock_time(ms(2026, 3, 29, 1, 0), "Europe/Berlin") == "03:00"


@given(
    st.integers(0, 24 * 60 - 1),
    st.sampled_from(["Europe/Berlin", "Europe/London", "America/St_Johns", "UTC"]),
)
def test_no_two_minutes_of_a_day_look_the_same(minute: int, zone: str) -> None:
    begin = ms(2026, 10, 24, 22)
    texts = [shown.moment(begin + 60_000 * k, zone) for k in (minute, minute + 60)]
    assert texts[0] != texts[1]


@pytest.mark.parametrize(
    ("language", "number", "money", "day"),
    [
        ("en", "1,234.50 kWh", "€12.30", "25 Oct 2026"),
        ("de", "1.234,50 kWh", "12,30\xa0€", "25.10.2026"),
        ("nl", "1.234,50 kWh", "€\xa012,30", "25 okt 2026"),
        ("fr", "1\u202f234,50 kWh", "12,30\xa0€", "25 oct. 2026"),
    ],
)
def test_numbers_money_and_days_are_as_cldr_has_them(
    language: Language, number: str, money: str, day: str
) -> None:
    i18n.use(language)
    assert shown.kwh(1_234_500_000) == number
    assert shown.money(Decimal("12.3"), "EUR") == money
    assert shown.day(datetime(2026, 10, 25).date()) == day
    i18n.use("en")


def test_power_is_in_kilowatts_from_ten_on() -> None:
    assert [shown.watts(one) for one in (0, -350, 9_999, 10_000, -12_340)] == [
        "0 W",
        "-350 W",
        "9,999 W",
        "10.0 kW",
        "-12.3 kW",
    ]


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("pl, fr;q=0.3, nl;q=0.7", "nl"),
        ("*", "en"),
        ("de;q=0, en", "en"),
        ("de;q=x", "en"),
        ("\x00" * 5000, "en"),
    ],
)
def test_the_browsers_language(header: str, language: Language) -> None:
    assert i18n.negotiated(header) == language


def test_plurals_follow_the_language() -> None:
    try:
        for one in LANGUAGES:
            i18n.use(one)
            texts = {i18n.ngettext("%(count)s hour ago", "%(count)s hours ago", count) for count in (1, 2)}
            assert len(texts) == 2
    finally:
        i18n.use("en")
