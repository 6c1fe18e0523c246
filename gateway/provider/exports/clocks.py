"""The rules by which the clocks of a time zone change, as ESPI codes them (DstRuleType of NAESB REQ.21).

A rule is 32 bits: month (28-31), operator (25-27), day of the month (20-24), day of the week from 1, Monday
(17-19), hour (12-16), second of the hour (0-11). Operator 0 is that day of the month, 2 to 6 the first to
fifth such day of the week in the month, 7 the last. The time is what clocks show just before they change.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_NEVER = 0xFFFFFFFF
_OPERATORS = (7, 2, 3, 4, 5, 6)
_YEARS_AHEAD = 4
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ClockRules:
    """A zone's offset from UTC, and by how much and between which rules of a year its clocks are ahead of
    that. Seconds; both rules are 0xFFFFFFFF where the clocks do not change in that year."""

    offset_s: int
    ahead_s: int
    start: int
    end: int


def clock_rules(zone: ZoneInfo, year: int) -> ClockRules:
    """The rules of a zone as they hold in a year: by days of the week where those also fit the years after
    it, and by the year's own dates otherwise."""
    changes = _changes(zone, year)
    begin = next((one for one in changes if one[1] > one[2]), None)
    end = next((one for one in changes if one[1] < one[2]), None)
    if begin is None or end is None:
        standard = datetime(year, 1, 1, tzinfo=zone).utcoffset() or timedelta()
        return ClockRules(_s(standard), 0, _NEVER, _NEVER)
    start, stop = (_rule(zone, year, one, one is begin) for one in (begin, end))
    return ClockRules(_s(begin[2]), _s(begin[1] - begin[2]), start, stop)


def _changes(zone: ZoneInfo, year: int) -> list[tuple[datetime, timedelta, timedelta]]:
    """Of each change of the offset in a year: when, by the clocks before it, and the offsets after and
    before."""
    found = []
    at = datetime(year, 1, 1, tzinfo=UTC)
    while at.year == year:
        before, after = (_offset(zone, when) for when in (at, at + _HOUR))
        if before != after:
            low, high = at, at + _HOUR
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2
                low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
            found.append((high.replace(tzinfo=None, microsecond=0) + before, after, before))
        at += _HOUR
    return found


def _offset(zone: ZoneInfo, when: datetime) -> timedelta:
    return when.astimezone(zone).utcoffset() or timedelta()


def _rule(zone: ZoneInfo, year: int, change: tuple[datetime, timedelta, timedelta], forward: bool) -> int:
    when = change[0]
    later = [
        next((one[0] for one in _changes(zone, year + n) if (one[1] > one[2]) == forward), None)
        for n in range(1, _YEARS_AHEAD + 1)
    ]
    for operator in _OPERATORS:
        own = _day(operator, when) == when.date() and all(
            one is not None
            and one.time() == when.time()
            and one.month == when.month
            and _day(operator, one.replace(day=1), when.weekday()) == one.date()
            for one in later
        )
        if own:
            return _code(when, operator, 0, when.isoweekday())
    return _code(when, 0, when.day, 0)


def _day(operator: int, when: datetime, weekday: int | None = None) -> object:
    """The date that an operator names in the month of `when`, for its day of the week or another."""
    weekday = when.weekday() if weekday is None else weekday
    first = when.replace(day=1)
    days = [first + timedelta(days=n) for n in range((weekday - first.weekday()) % 7, 31, 7)]
    days = [one for one in days if one.month == when.month]
    number = -1 if operator == 7 else operator - 2
    return days[number].date() if number < len(days) else None


def _code(when: datetime, operator: int, day: int, weekday: int) -> int:
    seconds = 60 * when.minute + when.second
    return when.month << 28 | operator << 25 | day << 20 | weekday << 17 | when.hour << 12 | seconds


def _s(offset: timedelta) -> int:
    return offset // timedelta(seconds=1)
