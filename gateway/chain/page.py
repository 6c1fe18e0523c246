"""Pages: sums of ciphertexts in the steps of UTC days and months.

A day's step is the smallest whole number of units that is at least 1 min and divides a day; a month's is
the smallest multiple of it that is at least 15 min and divides a day, so that a month's sums are made of
its days'. A page has the whole steps between the stream's start and the end of its period.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway.chain.layout import DAY_MS
from gateway.chain.seal import U64
from gateway.errors import UsageError

Span = Literal["day", "month"]
SPANS: tuple[Span, ...] = ("day", "month")
_EPOCH = date(1970, 1, 1).toordinal()
_LEAST_MS = {"day": 60_000, "month": 900_000}


@dataclass(frozen=True, slots=True)
class Period:
    """A UTC day, "2026-11-22", or month, "2026-11", of units [begin, end), and the steps of its page:
    `step` units each, from `first` to `end`. A period whose `first` is at or after `end` has no page."""

    name: str
    begin: int
    end: int
    step: int
    first: int

    @property
    def count(self) -> int:
        """How many steps there are."""
        return (self.end - self.first) // self.step

    @property
    def edges(self) -> NDArray[np.int64]:
        """The units between which the steps lie, `count` + 1 of them."""
        return np.arange(self.first, self.end + 1, self.step, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Calendar:
    """The pages' days and months, of a stream that begins with unit `start`."""

    unit_ms: int
    start: int

    @classmethod
    def of(cls, unit_ms: int, start: int) -> Calendar | None:
        """The calendar of a stream; None where its unit does not divide a day, so that it has no pages."""
        return None if DAY_MS % unit_ms else cls(unit_ms, start)

    def step(self, span: Span) -> int:
        """How many units a step of this span's pages has."""
        return _step(self.unit_ms, span)

    def first(self, span: Span) -> int:
        """The unit with which the first whole step begins; the period that holds it has the first page."""
        step = self.step(span)
        return -(-self.start // step) * step

    def period(self, span: Span, unit: int) -> Period:
        """The day or month that `unit` lies in; UsageError outside the calendar."""
        units = DAY_MS // self.unit_ms
        try:
            day = date.fromordinal(_EPOCH + unit // units)
            name, days = day.isoformat(), 1
            if span == "month":
                name, days, day = name[:7], monthrange(day.year, day.month)[1], day.replace(day=1)
            end = date.fromordinal(day.toordinal() + days)
        except (ValueError, OverflowError):
            raise UsageError(f"unit {unit} lies outside the calendar") from None
        begin, after = ((one.toordinal() - _EPOCH) * units for one in (day, end))
        return Period(name, begin, after, self.step(span), max(begin, self.first(span)))


@lru_cache
def _step(unit_ms: int, span: Span) -> int:
    """How many units of `unit_ms` a step of this span's pages has."""
    base = 1 if span == "day" else _step(unit_ms, "day")
    day = DAY_MS // unit_ms
    step = base * -(-_LEAST_MS[span] // (base * unit_ms))
    while day % step:
        step += base
    return step


def add_up(sums: U64, edges: NDArray[np.int64], first: int, step: int, c: U64) -> None:
    """Add `c`, an array [lane, step] whose steps of `step` units begin with unit `first`, to `sums`, an
    array [lane, window] over [edges[i], edges[i + 1]). Steps outside the windows are passed over; an edge
    inside a step is a ValueError."""
    end = first + step * c.shape[1]
    lo, hi = max(first, int(edges[0])), min(end, int(edges[-1]))
    if lo >= hi:
        return
    i = int(np.searchsorted(edges, lo, side="right")) - 1
    j = int(np.searchsorted(edges, hi, side="left"))
    cuts, inside = np.divmod(np.concatenate(([lo], edges[i + 1 : j], [hi])) - first, step)
    if inside.any():
        raise ValueError("a window begins or ends inside a step")
    sums[:, i:j] += np.add.reduceat(c[:, : cuts[-1]], cuts[:-1], axis=1)
