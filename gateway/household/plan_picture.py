"""The plan as a picture: a bar for each time that an appliance runs, over the prices of the same time.

Places along the time are in hundredths of the picture's width, and those from top to bottom in pixels, so
that its text keeps its size on a narrow screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from gateway.household.plan import Placed
from gateway.household.shown import clock_time, local
from gateway.provider.prices import Price

_HOUR_MS = 3_600_000
_LANE = 26
_BAR = 16
_PRICES = 96
_TICK = 20
_TICK_HOURS = 6
_NAME = 22  # characters of a name, of which the table has all


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: `x` and `width` in hundredths of the picture's width, `y` and `height` in pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Label:
    """A text at a place, which it begins, ends or has in its middle."""

    x: float
    y: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class PlanPicture:
    """`prices` are the bars of the prices, `runs` those of the appliances, and `shades` lead from each of
    these down through the prices at which it runs. `zero` is where a price of 0 is, in pixels."""

    height: int
    zero: float
    prices: tuple[Box, ...]
    runs: tuple[Box, ...]
    shades: tuple[Box, ...]
    names: tuple[Label, ...]
    ticks: tuple[Label, ...]

    @classmethod
    def of(cls, placed: Sequence[Placed], prices: Sequence[Price], now_ms: int, zone: str) -> PlanPicture:
        """From now until the last price that is known, or the last run's end."""
        start_ms = now_ms
        ends = [one.end_ms for one in prices] + [one.parts[-1][1] for one in placed]
        end_ms = max(ends, default=start_ms + _HOUR_MS)
        bottom = len(placed) * _LANE + _PRICES

        def x(ms: int) -> float:
            return round(100 * (max(start_ms, ms) - start_ms) / (end_ms - start_ms), 3)

        highest = max([float(one.price) for one in prices] + [0.0])
        lowest = min([float(one.price) for one in prices] + [0.0])
        scale = _PRICES / ((highest - lowest) or 1.0)
        zero = round(bottom + lowest * scale, 2)
        bars = []
        for one in prices:
            height = round(abs(float(one.price)) * scale, 2)
            top = zero if one.price < 0 else round(zero - height, 2)
            bars.append(Box(x(one.start_ms), top, round(x(one.end_ms) - x(one.start_ms), 3), height))
        runs, shades, names = [], [], []
        for lane, load in enumerate(placed):
            top = lane * _LANE + (_LANE - _BAR) / 2
            for a, b in load.parts:
                left, width = x(a), round(x(b) - x(a), 3)
                runs.append(Box(left, top, width, _BAR))
                shades.append(Box(left, top + _BAR, width, bottom - top - _BAR))
            name = load.load.name if len(load.load.name) <= _NAME else f"{load.load.name[: _NAME - 1]}…"
            first, last = x(load.parts[0][0]), x(load.parts[-1][1])
            if last < 55:
                names.append(Label(last + 1, top + _BAR - 4, name, "start"))
            else:
                names.append(Label(first - 1, top + _BAR - 4, name, "end"))
        ticks = tuple(
            Label(x(ms), bottom + _TICK - 5, clock_time(ms, zone))
            for ms in _tick_ms(start_ms, end_ms, zone)
            if 4 <= x(ms) <= 96
        )
        return cls(bottom + _TICK, zero, tuple(bars), tuple(runs), tuple(shades), tuple(names), ticks)


def _tick_ms(start_ms: int, end_ms: int, zone: str) -> list[int]:
    """The full hours of a zone's clock that get a label: each sixth."""
    hours = range(-(-start_ms // _HOUR_MS) * _HOUR_MS, end_ms + 1, _HOUR_MS)
    offset = (local(start_ms, zone).utcoffset() or timedelta()) // timedelta(milliseconds=1) % _HOUR_MS
    moments = [hour - offset for hour in hours]
    return [ms for ms in moments if local(ms, zone).hour % _TICK_HOURS == 0]
