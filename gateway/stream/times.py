"""Units as moments, for results and sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPELT = re.compile(r"\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3,6})?)Z")


def moment(unit: int, unit_ms: int) -> datetime:
    """When a unit begins, UTC; the last moment of the calendar for a unit beyond the year 9999."""
    try:
        return EPOCH + timedelta(milliseconds=unit * unit_ms)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def unix_ms(when: datetime) -> int:
    """Milliseconds of Unix time of an aware datetime, rounded down."""
    return (when - EPOCH) // timedelta(milliseconds=1)


def spell(unit: int, unit_ms: int, zone: str | None = None) -> str:
    """When a unit begins, for a sentence: 2026-03-01T10:00:00Z, or in `zone` 2026-03-01T11:00:00+01:00. In
    UTC too where this machine does not know the zone."""
    when, places = moment(unit, unit_ms), "auto" if unit * unit_ms % 1000 else "seconds"
    known = None if zone is None else named_zone(zone)
    if known is not None:
        with suppress(OverflowError):
            return when.astimezone(known).isoformat(timespec=places)
    return when.isoformat(timespec=places).removesuffix("+00:00") + "Z"


def spelt(sentence: str) -> Iterator[tuple[str, int | None]]:
    """The times (Unix ms) that `spell` put into a sentence in UTC, each with the text before it; and the rest
    of the sentence, with None. So whoever shows it can show them in another zone."""
    at = 0
    for match in _SPELT.finditer(sentence):
        with suppress(ValueError):  # of another form, such as a 13th month
            when = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
            yield sentence[at : match.start()], unix_ms(when)
            at = match.end()
    yield sentence[at:], None


def named_zone(name: str) -> ZoneInfo | None:
    """The time zone of this name; None where this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def spell_age(ms: int) -> str:
    """A duration for a sentence, in the largest unit that fits into it twice: "3 days", "90 min"."""
    for name, length in (("days", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if ms >= 2 * length:
            return f"{ms // length} {name}"
    return f"{ms // 1000} s"
