"""Days of time zones begin in a view when they do in grants."""

from __future__ import annotations

import random
from datetime import date

import pytest

from gateway.chain.window import Granularity
from tests.household.web.reader import Reader

CLOCKS: dict[str, tuple[date, ...]] = {
    "Europe/Berlin": (),
    "Africa/Cairo": (date(2010, 8, 11), date(2010, 9, 10)),  # four changes in a year, at midnight
    "America/Sao_Paulo": (date(2018, 11, 4), date(2018, 2, 18)),  # from 00:00 to 01:00, and back to 23:00
    "America/Havana": (date(2024, 3, 10), date(2024, 11, 3)),  # from 00:00 to 01:00, and back to 00:00
    "America/St_Johns": (date(2010, 3, 14), date(2010, 11, 7)),  # at 00:01
    "Australia/Lord_Howe": (date(2026, 4, 5), date(2026, 10, 4)),  # by half an hour
    "Asia/Kathmandu": (),
    "Pacific/Kiritimati": (),
    "UTC": (),
}


@pytest.mark.parametrize("zone", CLOCKS)
def test_days_begin(reader: Reader, zone: str) -> None:
    """The days of a year, some others, and those around which clocks change at odd times."""
    rng = random.Random(zone)
    odd = [one.toordinal() - date(1970, 1, 1).toordinal() + n for one in CLOCKS[zone] for n in (-1, 0, 1)]
    days = [*range(20_440, 20_810), *odd, *(rng.randrange(12_000, 24_000) for _ in range(100))]
    granularity = Granularity("day", 1, zone)
    assert reader("days", zone=zone, days=days) == [granularity.start(day) for day in days]
