"""Granularities: the sequences of windows that a grant can open.

A granularity divides all of time, so every window has a number k: for whole units, window k is
[k*g, (k+1)*g) from phase 0 of Unix time; for calendar days and months in an IANA zone, k counts
local days, or months, since January 1970. Months may begin on any day from 1 to 28: month k is the one that
begins in calendar month k. A grant's window j is the granularity's window k0 + j.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway.errors import UsageError

_MAX_UNITS = 2**40 - 1
# Beside the IANA zones many systems keep the machine's own zone, and clocks that count leap seconds.
_NO_ZONES = ("localtime", "posixrules", "posix", "right")
_EPOCH = date(1970, 1, 1).toordinal()
_MS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000}
_DAY_MS = 24 * _MS["h"]
MONTH_FROM = r"month-([2-9]|1[0-9]|2[0-8])"
"""Months that begin on another day than the first, as text."""
_WORDS = {"hour": "1h", "quarter": "15min", "minute": "1min", "second": "1s"}


@dataclass(frozen=True, slots=True)
class Granularity:
    """Windows of `size` units, or calendar "day"s or "month"s in `zone`; units of `unit_ms`. The months of
    "month-15" begin on day 15.

    Only calendar windows have a zone; that of the others is "UTC".
    """

    size: int | str
    unit_ms: int
    zone: str = "UTC"

    def __post_init__(self) -> None:
        if isinstance(self.size, int):
            if not 1 <= self.size <= _MAX_UNITS:
                raise UsageError(f"a window of {self.size} units: it must have 1 to {_MAX_UNITS}")
            if self.zone != "UTC":
                raise UsageError(f"time zone {self.zone!r}: only days and months have one, other windows UTC")
            return
        if self.size not in ("day", "month") and re.fullmatch(MONTH_FROM, self.size) is None:
            raise UsageError(
                f"granularity {self.size!r}: it must be day, month, or month-2 to month-28 for months that "
                "begin on that day"
            )
        if _DAY_MS % self.unit_ms:
            raise UsageError(f"a {self.size} is not a whole number of units of {spell_ms(self.unit_ms)}")
        zone_of(self.zone)

    @classmethod
    def parse(cls, text: str, unit_ms: int, zone: str = "UTC") -> Granularity:
        """The granularity that a person wrote: "10s", "1min", "15min", "hour", "day", "month", "month-15"."""
        if text == "day" or text.startswith("month"):
            return cls("month" if text == "month-1" else text, unit_ms, zone)
        match = re.fullmatch(r"([0-9]{1,20}) *(ms|s|min|h)", _WORDS.get(text, text))
        if match is None or int(match[1]) == 0:
            raise UsageError(
                f"granularity {text!r}: it must be a number and ms, s, min or h (15min), or day, month, "
                "or month-15"
            )
        ms = int(match[1]) * _MS[match[2]]
        if ms % unit_ms:
            raise UsageError(
                f"granularity {text!r} is not a whole number of this stream's units of {spell_ms(unit_ms)}"
            )
        return cls(ms // unit_ms, unit_ms)

    def start(self, k: int) -> int:
        """The first unit of window k."""
        if isinstance(self.size, int):
            return k * self.size
        unit, rest = divmod(self._midnight_ms(k), self.unit_ms)
        if rest:
            raise UsageError(
                f"a {self.size} in {self.zone} does not begin on a whole unit of {spell_ms(self.unit_ms)}"
            )
        return unit

    @property
    def _first_day(self) -> int:
        """The day with which a month begins."""
        return int(str(self.size).partition("-")[2] or 1)

    def _midnight_ms(self, k: int) -> int:
        """When calendar window k begins, in ms of Unix time."""
        try:
            day = (
                date.fromordinal(_EPOCH + k)
                if self.size == "day"
                else date(1970 + k // 12, 1 + k % 12, self._first_day)
            )
            # fold=0 gives the first of two midnights, and where a day begins at 01:00 that moment.
            midnight = datetime(day.year, day.month, day.day, tzinfo=zone_of(self.zone))
            return (midnight - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
        except (ValueError, OverflowError):
            raise UsageError(f"{self.size} number {k} since 1970 lies outside the calendar") from None

    def index(self, unit: int) -> int:
        """The number k of the window that `unit` lies in."""
        if isinstance(self.size, int):
            return unit // self.size
        try:
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=unit * self.unit_ms)
            local = moment.astimezone(zone_of(self.zone))
        except (ValueError, OverflowError):
            raise UsageError(f"unit {unit} lies outside the calendar") from None
        if self.size == "day":
            k = local.toordinal() - _EPOCH
        else:
            k = (local.year - 1970) * 12 + local.month - 1 - (local.day < self._first_day)
        # Where clocks go back at 00:01 (St. John's until 2011) they show the day before once more; the
        # windows do not go back.
        return k + 1 if self._midnight_ms(k + 1) <= unit * self.unit_ms else k

    def align_up(self, unit: int) -> int:
        """The first window boundary at or after `unit`."""
        k = self.index(unit)
        return unit if self.start(k) == unit else self.start(k + 1)

    def __str__(self) -> str:
        return self.size if isinstance(self.size, str) else spell_ms(self.size * self.unit_ms)


def zone_of(zone: str) -> ZoneInfo:
    """The IANA time zone of this name; UsageError unless it means the same on every machine."""
    try:
        if zone.partition("/")[0] in _NO_ZONES:
            raise ZoneInfoNotFoundError
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"time zone {zone!r} is not in the IANA list; it must be one like Europe/Berlin"
        ) from None


def spell_ms(ms: int) -> str:
    """A duration in the largest unit that divides it: 900000 -> "15min"."""
    for name in ("h", "min", "s"):
        if ms % _MS[name] == 0:
            return f"{ms // _MS[name]}{name}"
    return f"{ms}ms"
