"""Stretches of a home's time, as its calendar has them, and the rows that one is shown in.

A day has 23 or 25 hours where clocks change, and each of them is a row of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Literal, get_args

from gateway.chain.window import Granularity, zone_of
from gateway.errors import UsageError
from gateway.household.history import STEPS, Step, step_edges
from gateway.household.shown import local

Kind = Literal["day", "week", "month", "year", "other"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MINUTE_MS = 60_000
QUARTER_MS = 15 * MINUTE_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
_FIXED = {"minute": MINUTE_MS, "quarter": QUARTER_MS, "hour": HOUR_MS}
_MOST_ROWS = 400  # of a page
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = date(1971, 1, 1), date(2200, 1, 1)


@dataclass(frozen=True, slots=True)
class Period:
    """[start_ms, end_ms), Unix ms, in a zone."""

    kind: Kind
    zone: str
    start_ms: int
    end_ms: int

    @classmethod
    def of(cls, kind: Kind, zone: str, day: date) -> Period:
        """The day, week (from Monday on), month or year that a day lies in."""
        first = {
            "day": day,
            "week": day - timedelta(days=day.weekday()),
            "month": day.replace(day=1),
            "year": day.replace(month=1, day=1),
        }[kind]
        return cls(kind, zone, midnight_ms(first, zone), midnight_ms(_later(kind, first, 1), zone))

    @classmethod
    def between(cls, zone: str, start: datetime, end: datetime) -> Period:
        """Any other stretch, between two moments of at least a minute's distance."""
        start_ms, end_ms = (_ms(one) // MINUTE_MS * MINUTE_MS for one in (start, end))
        if start_ms >= end_ms:
            raise UsageError("the end has to be later than the beginning")
        return cls("other", zone, start_ms, end_ms)

    @property
    def first_day(self) -> date:
        """The day on which it begins."""
        return local(self.start_ms, self.zone).date()

    @property
    def last_day(self) -> date:
        """The day on which it ends."""
        return local(self.end_ms - 1, self.zone).date()

    def beside(self, by: int) -> Period:
        """The same kind of period, `by` later; of another stretch the one of the same length."""
        if self.kind == "other":
            length = (self.end_ms - self.start_ms) * by
            return Period("other", self.zone, self.start_ms + length, self.end_ms + length)
        return Period.of(self.kind, self.zone, _later(self.kind, self.first_day, by))

    def before(self, moment_ms: int) -> int:
        """The moment of the period before that corresponds to one of this: the same time on the same day, its
        last one where it has none such."""
        earlier = self.beside(-1)
        if moment_ms >= self.end_ms:
            return earlier.end_ms
        if moment_ms <= self.start_ms:  # which is 01:00 where summer time begins at midnight
            return earlier.start_ms
        if self.kind == "other":
            return moment_ms - (self.end_ms - self.start_ms)
        when = local(moment_ms, self.zone)
        days = (when.date() - self.first_day).days
        if self.kind == "year":
            day = _later("year", when.date(), -1)
        else:
            day = earlier.first_day + timedelta(days=days)
        then = datetime.combine(day, when.time().replace(fold=when.fold), zone_of(self.zone))
        return min(max(_ms(then), earlier.start_ms), earlier.end_ms)

    @property
    def step(self) -> Step:
        """The rows that suit it: about as many as a plot shows well."""
        length = self.end_ms - self.start_ms
        if self.kind == "day":
            return "hour"
        for step, longest in (("minute", 2 * HOUR_MS), ("quarter", 26 * HOUR_MS), ("hour", 4 * DAY_MS),
                              ("day", 100 * DAY_MS), ("month", 6 * 366 * DAY_MS)):  # fmt: skip
            if length <= longest:
                return step  # type: ignore[return-value]
        return "year"

    def steps(self) -> tuple[Step, ...]:
        """The steps in which a page can show it."""
        length = self.end_ms - self.start_ms
        about = {**_FIXED, "day": DAY_MS, "month": 28 * DAY_MS, "year": 365 * DAY_MS}
        fitting = [step for step in STEPS if 2 <= length / about[step] <= _MOST_ROWS]
        return tuple(step for step in STEPS if step in fitting or step == self.step)

    def rows(self, step: Step) -> list[tuple[int, int]]:
        """The rows of this step, [start, end) in Unix ms; the first and the last may be parts of one."""
        return list(pairwise(step_edges(self.start_ms, self.end_ms, step, self.zone)))


def midnight_ms(day: date, zone: str) -> int:
    """When a day begins, Unix ms; the moment at which it does where that is at one o'clock."""
    days = Granularity("day", 1, zone)
    return days.start(day.toordinal() - _EPOCH.toordinal())


def read_day(text: str) -> date:
    """A date of a query, "2026-11-28"; UsageError for another text."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a date such as 2026-11-28") from None
    if not _FIRST <= day < _LAST:
        raise UsageError(f"{text!r} lies outside the years 1971 to 2199")
    return day


def read_moment(text: str, zone: str) -> datetime:
    """A time of a query, "2026-11-28T14:30" in the zone, or with an offset; UsageError for another text."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a time such as 2026-11-28T14:30") from None
    if not _FIRST <= when.date() < _LAST:
        raise UsageError(f"{text!r} lies outside the years 1971 to 2199")
    return when if when.tzinfo is not None else when.replace(tzinfo=zone_of(zone))


def _later(kind: Kind, day: date, by: int) -> date:
    if kind in ("day", "week"):
        return day + timedelta(days=by * (7 if kind == "week" else 1))
    months = day.year * 12 + day.month - 1 + by * (12 if kind == "year" else 1)
    year, month = divmod(months, 12)
    for last in (day.day, 30, 29, 28):
        try:
            return day.replace(year=year, month=month + 1, day=last)
        except ValueError:
            continue
    raise AssertionError("every month has 28 days")


def _ms(when: datetime) -> int:
    return (when - _EPOCH) // timedelta(milliseconds=1)
