"""Pictures of one day: as those who live in the home see it, as a holder of a grant does, as the store does.

A picture is an SVG path in a box of WIDTH x HEIGHT. All pictures of a day have the same scale, so that one
sees at once what another shows less.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from gateway.chain.window import Granularity, zone_of
from gateway.household.shown import clock_time, local

WIDTH, HEIGHT = 320, 120
STEP_MS = 300_000
"""Of a day's picture, where it is known that finely: five minutes, a point of a phone's screen."""
_TOP = 8  # of the box, left free above the highest step
_WORD = 2**64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# An example household: base load, then (hour, breadth in hours, watts) of what comes on top of it.
_BASE_W = 140
_HABITS = ((7.1, 0.35, 1350), (8.0, 0.5, 420), (12.4, 0.3, 1700), (15.2, 0.8, 260), (18.6, 0.45, 2300))
_EVENING = ((19.6, 1.1, 620), (21.5, 1.0, 380))


@dataclass(frozen=True, slots=True)
class Day:
    """The energy that a home took from the grid in one day of its zone: `mwh` (mWh) between each two of
    `edges` (Unix ms). `words` is what the store holds of the same steps, numbers below 2^64. `real`: whether
    it is a day of this home, or an example; `real_words` the same of the words. `meter`: at
    which meter, of a real one."""

    date: date
    zone: str
    edges: tuple[int, ...]
    mwh: tuple[int, ...]
    words: tuple[int, ...]
    real: bool
    real_words: bool
    meter: str = ""

    @property
    def begin_ms(self) -> int:
        """Midnight, Unix ms."""
        return self.edges[0]

    @property
    def end_ms(self) -> int:
        """The midnight after it, Unix ms."""
        return self.edges[-1]


@dataclass(frozen=True, slots=True)
class Step:
    """The energy (mWh) between two moments (Unix ms) that one who looks at a day can tell."""

    begin_ms: int
    end_ms: int
    mwh: int

    @property
    def watts(self) -> float:
        """The mean power."""
        return self.mwh * 3.6 / (self.end_ms - self.begin_ms) * 1000


@dataclass(frozen=True, slots=True)
class Picture:
    """What one who looks at a day sees of it: `line` and `area` are the data of SVG paths. `steps` are the
    numbers behind them, as finely as the day is known here: none where it cannot be told from others of its
    month, or from noise. `count` is how many numbers of the day are known;
    0 with steps: every single one."""

    of: Literal["own", "provider", "store"]
    line: str
    area: str
    steps: tuple[Step, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Row:
    """One step of the day in the table beside its pictures: what each sees, and the time at which the holder
    of a grant gets a new number; None in between."""

    begin_ms: int
    own_mwh: int
    provider: Step | None
    word: str


def example(day: date, zone: str) -> Day:
    """The day of a household that does not exist, always the same."""
    edges = edges_of(day, zone)
    hours = [(at - edges[0]) / 3_600_000 for at in edges[:-1]]
    watts = [
        _BASE_W
        + sum(height * math.exp(-(((hour - at) / breadth) ** 2)) for at, breadth, height in _HABITS)
        + sum(height * math.exp(-(((hour - at) / breadth) ** 2)) for at, breadth, height in _EVENING)
        + 55 * (number % 15 < 6)  # the refrigerator
        for number, hour in enumerate(hours)
    ]
    mwh = tuple(round(w * STEP_MS / 3600) for w in watts)
    return Day(day, zone, edges, mwh, noise(len(watts)), False, False)


def noise(count: int) -> tuple[int, ...]:
    """Words that look as a store's do: every value is as likely as any other."""
    return tuple(
        int.from_bytes(hashlib.sha256(number.to_bytes(4, "big")).digest()[:8], "big")
        for number in range(count)
    )


def edges_of(day: date, zone: str, step_ms: int = STEP_MS) -> tuple[int, ...]:
    """The moments that border a day's steps in a zone, Unix ms: days of 23 and of 25 hours have their own
    number of steps."""
    return tuple(range(midnight_ms(day, zone), midnight_ms(day + timedelta(days=1), zone) + 1, step_ms))


def midnight_ms(day: date, zone: str) -> int:
    """When a day begins in a zone, Unix ms."""
    begin = datetime(day.year, day.month, day.day, tzinfo=zone_of(zone))
    return (begin - _EPOCH) // timedelta(milliseconds=1)


def own(day: Day) -> Picture:
    """The day as those who live there see it."""
    steps = tuple(Step(a, b, mwh) for a, b, mwh in zip(day.edges, day.edges[1:], day.mwh, strict=False))
    return _drawn("own", day, steps, steps, len(steps))


def provider(day: Day, granularity: str, zone: str) -> Picture:
    """The day as one sees it who opens sums of this granularity; "month" and longer show no day at all.
    UsageError where it is none."""
    windows = Granularity.parse(granularity, 1, zone if granularity[:3] in ("day", "mon") else "UTC")
    length = windows.size if isinstance(windows.size, int) else 0
    if str(windows.size).startswith("month") or length > day.end_ms - day.begin_ms:
        whole = (Step(day.begin_ms, day.end_ms, sum(day.mwh)),)
        return _drawn("provider", day, whole, (), 0)
    steps = tuple(_summed(day, windows))
    return _drawn(
        "provider", day, steps, steps, windows.index(day.end_ms - 1) - windows.index(day.begin_ms) + 1
    )


def _summed(day: Day, windows: Granularity) -> Iterator[Step]:
    """The sums of a day's steps, by the window in which each begins."""
    begin, total = day.begin_ms, 0
    for at, after, mwh in zip(day.edges, day.edges[1:], day.mwh, strict=False):
        total += mwh
        if after == day.end_ms or windows.index(at) != windows.index(after):
            yield Step(begin, after, total)
            begin, total = after, 0


def store(day: Day) -> Picture:
    """The day as the store has it: a word for each step, of which each value is as likely as any other."""
    most = max(_watts(day), default=1.0)
    steps = tuple(
        Step(a, b, round(word / _WORD * most * (b - a) / 3600))
        for a, b, word in zip(day.edges, day.edges[1:], day.words, strict=False)
    )
    return _drawn("store", day, steps, (), 0)


def rows(day: Day, seen: Picture) -> list[Row]:
    """The numbers of a day's pictures."""
    starts = {step.begin_ms: step for step in seen.steps}
    return [
        Row(at, mwh, starts.get(at), f"{word:016x}")
        for at, mwh, word in zip(day.edges, day.mwh, day.words, strict=False)
    ]


def peak_watts(day: Day) -> int:
    """The highest mean power of a step."""
    return round(max(_watts(day), default=0))


def ticks(day: Day) -> list[tuple[float, str]]:
    """Where the hours 0, 6, 12, 18 and the day's end lie on a picture, and how they are written."""
    found = [
        (_x(day, at), clock_time(at, day.zone))
        for at in day.edges[:-1]
        if (when := local(at, day.zone)).minute == 0 and when.hour % 6 == 0
    ]
    return [*found, (float(WIDTH), "24:00")]


def _watts(day: Day) -> list[float]:
    return [Step(a, b, mwh).watts for a, b, mwh in zip(day.edges, day.edges[1:], day.mwh, strict=False)]


def _x(day: Day, at: int) -> float:
    return round(WIDTH * (at - day.begin_ms) / (day.end_ms - day.begin_ms), 1)


def _drawn(
    of: Literal["own", "provider", "store"],
    day: Day,
    drawn: Sequence[Step],
    known: tuple[Step, ...],
    count: int,
) -> Picture:
    most = max([*_watts(day), 1.0])
    points = [
        f"{x} {round(HEIGHT - (HEIGHT - _TOP) * max(0.0, step.watts) / most, 1)}"
        for step in drawn
        for x in (_x(day, step.begin_ms), _x(day, step.end_ms))
    ]
    line = "M" + "L".join(points)
    return Picture(of, line, f"{line}L{WIDTH} {HEIGHT}L0 {HEIGHT}Z", known, count)
