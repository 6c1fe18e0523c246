"""The vectors of granularities, from what the zones' clocks did, written down by hand.

A calendar window begins at the first moment at which the zone's clocks show its date.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from tests.vectors.scheme import described

_UTC0 = datetime(1970, 1, 1)

# Minutes east of UTC, and from which moment (UTC) on: what the zones' clocks did in those years.
ZONES: dict[str, list[tuple[str, int]]] = {
    "UTC": [("", 0)],
    "Europe/Berlin": [
        ("", 60),
        ("2025-03-30T01:00", 120),
        ("2025-10-26T01:00", 60),
        ("2026-03-29T01:00", 120),
        ("2026-10-25T01:00", 60),
    ],
    "America/Havana": [("", -300), ("2025-03-09T05:00", -240), ("2025-11-02T05:00", -300)],
    "Asia/Beirut": [("", 120), ("2025-03-29T22:00", 180), ("2025-10-25T21:00", 120)],
    "Africa/Cairo": [("", 120), ("2025-04-24T22:00", 180), ("2025-10-30T21:00", 120)],
    "America/Santiago": [("", -180), ("2025-04-06T03:00", -240), ("2025-09-07T04:00", -180)],
    "Asia/Kathmandu": [("", 345)],
    "Australia/Lord_Howe": [("", 660), ("2025-04-05T15:00", 630), ("2025-10-04T15:30", 660)],
    "Atlantic/Azores": [("", -60), ("2025-03-30T01:00", 0), ("2025-10-26T01:00", -60)],
    "America/St_Johns": [("", -210), ("2006-04-02T03:31", -150), ("2006-10-29T02:31", -210)],
    "Pacific/Apia": [("", -600), ("2011-12-30T10:00", 840)],
}


def since_ms(since: str) -> int:
    """The moment, in ms of Unix time, from which a zone's entry holds."""
    return (datetime.fromisoformat(since) - _UTC0) // timedelta(milliseconds=1) if since else -(2**62)


def midnight_ms(zone: str, day: date) -> int:
    """The first moment, in ms of Unix time, at which the zone's clocks show `day` or a later date."""
    pieces = [(since_ms(since), east) for since, east in ZONES[zone]]
    ends = [since for since, _ in pieces[1:]] + [2**62]
    wall = (datetime(day.year, day.month, day.day) - _UTC0) // timedelta(milliseconds=1)
    for (since, east), end in zip(pieces, ends, strict=True):
        moment = max(since, wall - east * 60_000)
        if moment < end:
            return moment
    raise ValueError(day)


def _days(year: int, month: int, day: int, count: int = 3) -> list[date]:
    return [date(year, month, day) + timedelta(days=i) for i in range(count)]


def _calendar(size: str, zone: str, unit_ms: int, dates: list[date]) -> dict[str, Any]:
    starts = [divmod(midnight_ms(zone, day), unit_ms) for day in dates]
    assert not any(rest for _, rest in starts)
    return {
        "size": size,
        "zone": zone,
        "unit_ms": unit_ms,
        "windows": [
            {
                "k": (day - date(1970, 1, 1)).days
                if size == "day"
                else (day.year - 1970) * 12 + day.month - 1,
                "date": day.isoformat(),
                "start": start,
            }
            for day, (start, _) in zip(dates, starts, strict=True)
        ],
    }


def granularity() -> dict[str, Any]:
    year = [date(2025, month, 1) for month in range(1, 13)]
    cases = [
        _calendar("day", "UTC", 1, _days(2025, 2, 27)),
        _calendar("day", "Europe/Berlin", 1000, _days(2025, 3, 29, 4)),
        _calendar("day", "Europe/Berlin", 3_600_000, _days(2025, 10, 25, 4)),
        _calendar("month", "Europe/Berlin", 1000, year),
        _calendar("month-15", "Europe/Berlin", 1000, [day.replace(day=15) for day in year]),
        _calendar("month-28", "America/Havana", 60_000, [day.replace(day=28) for day in year]),
        _calendar("day", "America/Havana", 1000, _days(2025, 3, 8)),
        _calendar("day", "America/Havana", 1000, _days(2025, 11, 1)),
        _calendar("day", "Asia/Beirut", 1000, _days(2025, 3, 29)),
        _calendar("day", "Asia/Beirut", 1000, _days(2025, 10, 25)),
        _calendar("day", "Africa/Cairo", 1000, _days(2025, 4, 24)),
        _calendar("day", "Africa/Cairo", 1000, _days(2025, 10, 30)),
        _calendar("day", "America/Santiago", 1000, _days(2025, 4, 5)),
        _calendar("day", "America/Santiago", 1000, _days(2025, 9, 6)),
        _calendar("day", "Asia/Kathmandu", 900_000, _days(2025, 1, 1)),
        _calendar("month", "Asia/Kathmandu", 1, year),
        _calendar("day", "Australia/Lord_Howe", 1_800_000, _days(2025, 4, 5)),
        _calendar("day", "Australia/Lord_Howe", 1_800_000, _days(2025, 10, 4)),
        _calendar("day", "Atlantic/Azores", 1000, _days(2025, 3, 29)),
        _calendar("day", "Atlantic/Azores", 1000, _days(2025, 10, 25)),
        _calendar("day", "America/St_Johns", 1000, _days(2006, 10, 28, 4)),
        _calendar("day", "Pacific/Apia", 1000, _days(2011, 12, 29, 4)),
    ]
    spelled = [
        {"text": text, "unit_ms": unit_ms, "size": size}
        for text, unit_ms, size in (
            ("1ms", 1, 1),
            ("10s", 1000, 10),
            ("1min", 1000, 60),
            ("15min", 1000, 900),
            ("30min", 1000, 1800),
            ("hour", 1000, 3600),
            ("24h", 1000, 86_400),
            ("90s", 30_000, 3),
            ("day", 1000, "day"),
            ("month", 60_000, "month"),
            ("month-1", 60_000, "month"),
            ("month-15", 60_000, "month-15"),
        )
    ]
    return described(
        "When windows begin, in units, and their numbers since 1970; a window ends where the next begins. "
        "Windows of whole units need none: number k is [k*size, (k+1)*size).",
        calendar=cases,
        spelled=spelled,
    )
