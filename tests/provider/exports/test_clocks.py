"""The rules by which clocks change are those that utilities print in Green Button files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.provider.exports.clocks import ClockRules, clock_rules

NEVER = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("zone", "rules"),
    [
        # Second Sunday of March and first of November, 02:00: as in the Green Button Alliance's own samples.
        ("America/New_York", ClockRules(-18_000, 3600, 0x360E2000, 0xB40E2000)),
        ("Europe/Berlin", ClockRules(3600, 3600, 0x3E0E2000, 0xAE0E3000)),
        ("Australia/Sydney", ClockRules(36_000, 3600, 0xA40E2000, 0x440E3000)),
        ("Australia/Lord_Howe", ClockRules(37_800, 1800, 0xA40E2000, 0x440E2000)),
        ("Australia/Brisbane", ClockRules(36_000, 0, NEVER, NEVER)),
        ("UTC", ClockRules(0, 0, NEVER, NEVER)),
    ],
)
def test_zones(zone: str, rules: ClockRules) -> None:
    assert clock_rules(ZoneInfo(zone), 2026) == rules


@pytest.mark.parametrize(
    "zone", ["America/New_York", "Europe/Berlin", "Australia/Sydney", "Africa/Casablanca", "Asia/Gaza"]
)
@pytest.mark.parametrize("year", range(2021, 2027))
def test_the_rules_lead_to_the_changes_of_that_year(zone: str, year: int) -> None:
    """Applied as the schema describes them, they say where the offset changes."""
    rules, info = clock_rules(ZoneInfo(zone), year), ZoneInfo(zone)
    for rule, before_s, after_s in (
        (rules.start, rules.offset_s, rules.offset_s + rules.ahead_s),
        (rules.end, rules.offset_s + rules.ahead_s, rules.offset_s),
    ):
        change = (moment_of(rule, year) - timedelta(seconds=before_s)).replace(tzinfo=UTC)
        offsets = [
            int((change + timedelta(seconds=s)).astimezone(info).utcoffset().total_seconds())  # type: ignore[union-attr]
            for s in (-1, 0)
        ]
        assert offsets == [before_s, after_s]


def moment_of(rule: int, year: int) -> datetime:
    """By the clocks before the change."""
    month, operator, day = rule >> 28, rule >> 25 & 7, rule >> 20 & 31
    weekday, hour, second = rule >> 17 & 7, rule >> 12 & 31, rule & 0xFFF
    if operator == 0:
        found = datetime(year, month, day)
    else:
        first = datetime(year, month, 1)
        days = [first + timedelta(days=n) for n in range(31)]
        fitting = [one for one in days if one.month == month and one.isoweekday() == weekday]
        found = fitting[-1 if operator == 7 else operator - 2]
    return found + timedelta(hours=hour, seconds=second)
