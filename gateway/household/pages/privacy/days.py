"""The day that the pictures show: yesterday, or an example while nothing of it can be opened."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from gateway.household.pages.privacy import pictures
from gateway.household.home import Household
from gateway.household.shown import local
from gateway.household.words import each


async def shown_day(home: Household) -> pictures.Day:
    """Yesterday as this home's own grants open it, or else an example of a day."""
    yesterday = local(home.now_ms, home.zone).date() - timedelta(days=1)
    return pictures.example(yesterday, home.zone)


def seen(day: pictures.Day, granularity: str, zone: str) -> dict[str, Any]:
    """What the template of the pictures needs: a day as all three see it."""
    theirs = pictures.provider(day, granularity, zone)
    return {
        "day": day,
        "own": pictures.own(day),
        "theirs": theirs,
        "stored": pictures.store(day),
        "rows": pictures.rows(day, theirs),
        "ticks": pictures.ticks(day),
        "peak": pictures.peak_watts(day),
        "each": each(granularity),
    }
