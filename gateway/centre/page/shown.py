"""Regions and windows as a page shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from markupsafe import Markup, escape

from gateway.centre.watch import Point, Region
from gateway.stream.times import moment, spelt
from gateway.web.html import time_element

_WIDTH, _HEIGHT = 120, 32


@dataclass(frozen=True, slots=True)
class Row:
    """A window: when it begins, as a person reads it and exactly, and its load in kW."""

    point: Point
    when: str
    exact: str
    hour: str
    power: float | None
    kw: str
    above: bool

    @classmethod
    def of(cls, point: Point, region: Region) -> Row:
        """The row of a region's window."""
        begin = local(point.start_ms)
        seconds = (point.end_ms - point.start_ms) % 60_000 != 0
        return cls(
            point,
            f"{begin:%a %H:%M:%S}" if seconds else f"{begin:%a %H:%M}",
            begin.isoformat(timespec="seconds"),
            f"{begin:%H:%M}" if (begin.minute, begin.second) == (0, 0) else "",
            None if point.power is None else round(point.power, 3),
            "" if point.power is None else kw(point.power),
            region.limit is not None and point.above(region.limit),
        )


@dataclass(frozen=True, slots=True)
class Total:
    """All regions together in the window that begins at `start_ms`: the load in kW of the `regions` that have
    one, and the `homes` in these sums, of the `known`."""

    power: float | None
    regions: int
    homes: int
    known: int
    start_ms: int | None

    @classmethod
    def of(cls, regions: Sequence[Region]) -> Total:
        """The total of the newest window that any region has a sum of."""
        start_ms = max((one.summed.start_ms for one in regions if one.summed is not None), default=None)
        points = [one.points[start_ms] for one in regions if start_ms in one.points]
        powers = [one.power for one in points if one.power is not None]
        return cls(
            sum(powers) if powers else None,
            len(powers),
            sum(one.homes for one in points),
            sum(one.homes + one.absent for one in points),
            start_ms,
        )


def rows(region: Region) -> list[Row]:
    """The windows of a region, the newest first."""
    return [Row.of(point, region) for point in reversed(region.curve)]


def highest(region: Region) -> Row | None:
    """The window with the highest load."""
    summed = [point for point in region.curve if point.power is not None]
    return Row.of(max(summed, key=lambda one: one.power or 0), region) if summed else None


def share(region: Region) -> int | None:
    """The newest load in percent of the limit, rounded up: 100 is at the limit, and never above it."""
    if region.limit is None or region.summed is None or region.summed.energy is None:
        return None
    point = region.summed
    limit = region.limit * (point.end_ms - point.start_ms)
    return math.ceil(Decimal(region.summed.energy * 360) / limit)


def spark(region: Region) -> str:
    """The curve as the path of a small picture of _WIDTH by _HEIGHT; empty where there is none."""
    curve = region.curve
    powers = [one.power for one in curve if one.power is not None]
    if not powers:
        return ""
    top = max(*powers, float(region.limit or 0), 1e-9)
    low = min(*powers, 0.0)
    begin, end = curve[0].start_ms, curve[-1].end_ms
    path, pen = [], "M"
    for one in curve:
        if one.power is None:
            pen = "M"
            continue
        y = _HEIGHT - 1 - (_HEIGHT - 2) * (one.power - low) / (top - low)
        for ms in (one.start_ms, one.end_ms):
            path.append(f"{pen}{_WIDTH * (ms - begin) / (end - begin):.1f} {y:.1f}")
            pen = "L"
    return "".join(path)


def clock_time(unix_ms: int) -> str:
    """The time of day of a window's edge."""
    when = local(unix_ms)
    return f"{when:%H:%M:%S}" if when.second else f"{when:%H:%M}"


def day_time(unix_ms: int) -> str:
    """The day and the time of day of a window's edge: a load that is not of today shows."""
    when = local(unix_ms)
    return f"{when.day} {when:%b} {clock_time(unix_ms)}"


def span(ms: int) -> str:
    """A length of time in words: 15 minutes, 24 hours, 90 seconds."""
    for size, name in ((3_600_000, "hour"), (60_000, "minute"), (1000, "second")):
        if ms >= size and ms % size == 0:
            return f"{ms // size} {name}{'' if ms == size else 's'}"
    return f"{ms / 1000:g} seconds"


def kw(power: float | Decimal | None) -> str:
    """A load in kW with one digit behind the point, and thin spaces between thousands; a dash for None."""
    return "–" if power is None else f"{power:,.1f}".replace(",", "\u202f")


def said(sentence: str) -> Markup:
    """A sentence whose times are as those of the page: in this machine's zone."""
    parts = [escape(text) + ("" if ms is None else time_element(ms)) for text, ms in spelt(sentence)]
    return Markup("").join(parts)


def local(unix_ms: int) -> datetime:
    """A moment in this machine's zone."""
    when = moment(unix_ms, 1)
    with suppress(OverflowError, ValueError, OSError):  # a year that the zone does not reach stays UTC
        when = when.astimezone()
    return when
