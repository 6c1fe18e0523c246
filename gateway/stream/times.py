"""Units as moments, for results and sentences."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(unit: int, unit_ms: int) -> datetime:
    """When a unit begins, UTC; the last moment of the calendar for a unit beyond the year 9999."""
    try:
        return EPOCH + timedelta(milliseconds=unit * unit_ms)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def unix_ms(when: datetime) -> int:
    """Milliseconds of Unix time of an aware datetime, rounded down."""
    return (when - EPOCH) // timedelta(milliseconds=1)


def spell(unit: int, unit_ms: int) -> str:
    """When a unit begins, for a sentence: 2026-03-01T10:00:00Z."""
    text = moment(unit, unit_ms).isoformat(timespec="auto" if unit * unit_ms % 1000 else "seconds")
    return text.removesuffix("+00:00") + "Z"


def spell_age(ms: int) -> str:
    """A duration for a sentence, in the largest unit that fits into it twice: "3 days", "90 min"."""
    for name, length in (("days", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if ms >= 2 * length:
            return f"{ms // length} {name}"
    return f"{ms // 1000} s"
