"""The prices of one lane: by time of use, from rules with a calendar, or listed, one for each price step.

Dates are days since 1 January 1970, which is how calendar days are numbered. Minutes and dates are those
that the clocks of the tariff's zone show when a step begins.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from gateway.chain.window import spell_ms
from gateway.errors import UsageError

Ints = NDArray[np.int64]

MAX_RULES = 256
MAX_PRICES = 2**19
MAX_DATES = 4096
LAST_DATE = 2**16 - 1
"""6 June 2149."""
HOLIDAY = 7
"""The kind of a day that is a public holiday. Other days have their weekday's, from 0, Monday, to 6."""
_DAY_MIN = 24 * 60
_DAY_MS = _DAY_MIN * 60_000
_MONDAY = 19_723  # 1 January 2024
_ALL_DAYS = 400  # days in a row, among which each month has each day of the week


@dataclass(frozen=True, slots=True)
class Calendar:
    """The dates for which a tariff has prices, from `since` on and before `before`, and the public holidays
    among them. Without holidays each date counts as its day of the week."""

    since: int | None = None
    before: int | None = None
    holidays: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_dates("a tariff's dates", self.since, self.before, self.holidays)
        if not self.holidays:
            return
        if self.since is None or self.before is None:
            raise UsageError(
                "a tariff with public holidays must say from which date on, and before which, they are known"
            )
        if not self.since <= self.holidays[0] or not self.holidays[-1] < self.before:
            raise UsageError("a tariff's public holidays must lie within the dates for which it has prices")

    @property
    def last_named(self) -> int:
        """The last holiday, or the first date; -1 where there is neither."""
        return max([-1, *self.holidays, *([] if self.since is None else [self.since])])

    def kinds(self, days: Ints) -> Ints:
        """The kind of each of these dates."""
        weekdays = (days + 3) % 7  # 1970 began on a Thursday
        return np.where(np.isin(days, self.holidays), HOLIDAY, weekdays) if self.holidays else weekdays

    def in_words(self) -> str:
        """ "from 2026-01-01 on, and before 2027-01-01"; empty where there is no bound."""
        since = "" if self.since is None else f"from {spell_date(self.since)} on"
        before = "" if self.before is None else f"before {spell_date(self.before)}"
        return ", and ".join(filter(None, (since, before)))


@dataclass(frozen=True, slots=True)
class Rule:
    """A price for minutes [begin, end) of the local day, on some kinds of day; where these are given, only in
    `months` (1 to 12), on dates from `since` on, before `before`, and on one of `dates`."""

    price: int
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    begin: int = 0
    end: int = _DAY_MIN
    months: tuple[int, ...] = ()
    since: int | None = None
    before: int | None = None
    dates: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.days or not set(self.days) <= set(range(HOLIDAY + 1)) or not _rising(self.days):
            raise UsageError(
                "a tariff's rule needs some kinds of day, in order: 0 to 6 for Monday to Sunday, 7 for public"
                " holidays"
            )
        if not 0 <= self.begin < self.end <= _DAY_MIN:
            raise UsageError("a tariff's rule needs minutes of one day in order")
        if not set(self.months) <= set(range(1, 13)) or not _rising(self.months):
            raise UsageError("the months of a tariff's rule must be some of 1 to 12, in order")
        _check_dates("the dates of a tariff's rule", self.since, self.before, self.dates)

    @property
    def last_named(self) -> int:
        """The last date that it names; -1 where it names none."""
        return max([-1, *self.dates, *(x for x in (self.since, self.before) if x is not None)])

    def fits(self, days: Ints, kinds: Ints) -> NDArray[np.bool_]:
        """Whether the rule has a price on each of these dates."""
        out = np.isin(kinds, self.days)
        if self.months:
            months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12 + 1
            out &= np.isin(months, self.months)
        if self.since is not None:
            out &= days >= self.since
        if self.before is not None:
            out &= days < self.before
        if self.dates:
            out &= np.isin(days, self.dates)
        return out


@dataclass(frozen=True, slots=True)
class TimeOfUse:
    """The first rule that fits a step's local beginning gives its price."""

    rules: tuple[Rule, ...]

    def check(self, lane: str, calendar: Calendar, step_ms: int) -> None:
        """UsageError unless every moment of the calendar has a price, which changes only between steps."""
        if not 1 <= len(self.rules) <= MAX_RULES:
            raise UsageError(f"{lane}: there must be 1 to {MAX_RULES} rules, not {len(self.rules)}")
        check_size(lane, [rule.price for rule in self.rules])
        dates = sum(len(rule.dates) for rule in self.rules)
        if dates > MAX_DATES:
            raise UsageError(f"{lane}: its rules may name at most {MAX_DATES} dates, not {dates}")
        for rule in self.rules:
            if any(minute * 60_000 % step_ms for minute in (rule.begin, rule.end)):
                raise UsageError(
                    f"{lane}: a price changes within a step of {spell_ms(step_ms)}; make steps shorter"
                )
            if HOLIDAY in rule.days and not calendar.holidays:
                raise UsageError(f"{lane}: a rule is for public holidays, but the tariff lists none")
        days = self._days_that_differ(calendar)
        for some in np.split(days, range(1024, len(days), 1024)):
            edges, table = self._table(calendar, some)
            missing = np.argwhere(table < 0)
            if len(missing):
                day, minute = int(some[missing[0][0]]), int(edges[missing[0][1]])
                kind = int(calendar.kinds(some[missing[0][0], None])[0])
                name = "public holidays" if kind == HOLIDAY else f"day {kind + 1} of the week"
                raise UsageError(
                    f"{lane}: no rule has a price from {spell_minute(minute)} on of {name}, such "
                    f"as {spell_date(day)}; end with one that has only a price, for all other times"
                )

    def _days_that_differ(self, calendar: Calendar) -> Ints:
        """Dates of every sort that the rules tell apart.

        Between two of the dates that they name, only month and day of the week matter; before the first and
        after the last of them _ALL_DAYS dates show all of these.
        """
        named = {calendar.since, calendar.before, *calendar.holidays}
        for rule in self.rules:
            named |= {rule.since, rule.before, *rule.dates}
        known = sorted(x for x in named if x is not None)
        first = max(known[0] - _ALL_DAYS, -1) if known else _MONDAY  # no unit lies before 1970
        end = known[-1] + 1 + _ALL_DAYS if known else _MONDAY + _ALL_DAYS
        days = np.arange(
            first if calendar.since is None else max(first, calendar.since),
            end if calendar.before is None else min(end, calendar.before),
        )
        starts = sorted({*known, *(day + 1 for day in known)})
        months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12
        sort = (np.searchsorted(starts, days, side="right") * 12 + months) * 8 + calendar.kinds(days)
        one_of_each: Ints = np.sort(np.unique(sort, return_index=True)[1])
        return days[one_of_each]

    def _table(self, calendar: Calendar, days: Ints) -> tuple[Ints, NDArray[np.int16]]:
        """The minutes at which a price may begin, from 0 on, and an array [date, minute] of the number of the
        rule that holds from then on, -1 where there is none."""
        edges = sorted({0, *(minute for r in self.rules for minute in (r.begin, r.end))} - {_DAY_MIN})
        table = np.full((len(days), len(edges)), -1, np.int16)
        kinds = calendar.kinds(days)
        for number, rule in reversed(list(enumerate(self.rules))):
            begin, end = bisect_left(edges, rule.begin), bisect_left(edges, rule.end)
            table[rule.fits(days, kinds), begin:end] = number
        return np.array(edges), table

    def at(self, calendar: Calendar, days: Ints, minutes: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """The price at each of these minutes of these dates, and whether there is one."""
        dates, which = np.unique(days, return_inverse=True)
        edges, table = self._table(calendar, dates)
        rules = table[which, np.searchsorted(edges, minutes, side="right") - 1]
        return np.array([rule.price for rule in self.rules])[rules], rules >= 0


@dataclass(frozen=True, slots=True)
class Dynamic:
    """A price for each step, from the step that begins at `start_ms` of Unix time on."""

    start_ms: int
    prices: tuple[int, ...]

    def check(self, lane: str, step_ms: int) -> None:
        """UsageError unless there are some prices, and they begin on a step."""
        if not 1 <= len(self.prices) <= MAX_PRICES:
            raise UsageError(f"{lane}: there must be 1 to {MAX_PRICES} prices, not {len(self.prices)}")
        check_size(lane, self.prices)
        if self.start_ms < 0 or self.start_ms % step_ms:
            raise UsageError(f"{lane}: its prices do not begin on a step of {spell_ms(step_ms)}")


def shown(zone: ZoneInfo, moments: Ints) -> Ints:
    """What the zone's clocks show at each of these moments, which are evenly spaced and rise: ms since 1970,
    as if the zone were UTC. UsageError outside the calendar."""

    def east(second: int) -> timedelta:
        return datetime.fromtimestamp(second, zone).utcoffset() or timedelta()

    step = int(moments[1] - moments[0]) if len(moments) > 1 else 1
    # In no zone do clocks change twice within an hour.
    probes = (np.append(moments[:: max(1, 3_600_000 // step)], moments[-1]) // 1000).tolist()
    try:
        easts = [east(second) for second in probes]
        starts, shifts = [probes[0]], [easts[0]]
        for (x, before), (y, after) in pairwise(zip(probes, easts, strict=True)):
            if before != after:
                starts.append(_change(east, x, y))
                shifts.append(after)
    except (ValueError, OverflowError, OSError):
        raise UsageError("the billing period lies outside the calendar") from None
    ms = np.array([shift // timedelta(milliseconds=1) for shift in shifts], np.int64)
    out: Ints = moments + ms[np.searchsorted(starts, moments // 1000, side="right") - 1]
    return out


def _change(east: Callable[[int], timedelta], x: int, y: int) -> int:
    """The first second after x at which clocks no longer go as at x, as they do not at y."""
    while y - x > 1:
        middle = (x + y) // 2
        x, y = (middle, y) if east(middle) == east(x) else (x, middle)
    return y


def spell_date(day: int) -> str:
    """A date as people write it: "2026-01-06"."""
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def spell_minute(minute: int) -> str:
    """A time of day: "06:00"; "24:00" is the end of the day."""
    return f"{minute // 60:02}:{minute % 60:02}"


def check_size(lane: str, prices: Sequence[int]) -> None:
    """UsageError for a price that is no 64-bit integer."""
    if not all(-(2**63) <= price < 2**63 for price in prices):
        raise UsageError(f"{lane}: a price passes 2^63, in as many decimals as the tariff's finest price has")


def _rising(numbers: Sequence[int]) -> bool:
    return all(x < y for x, y in pairwise(numbers))


def _check_dates(what: str, since: int | None, before: int | None, dates: Sequence[int]) -> None:
    bounds = [x for x in (since, before) if x is not None]
    if not all(0 <= x <= LAST_DATE for x in (*bounds, *dates)):
        raise UsageError(f"{what} must be 1970-01-01 to {spell_date(LAST_DATE)}")
    if len(dates) > MAX_DATES or not _rising(dates):
        raise UsageError(f"{what} must be at most {MAX_DATES}, in order and each once")
    if not _rising(bounds):
        raise UsageError(
            f"{what} begin with {spell_date(bounds[0])}, which is not before {spell_date(bounds[-1])}"
        )
