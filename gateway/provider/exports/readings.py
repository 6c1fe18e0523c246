"""The intervals of one lane, as an export has them: those that were opened, and nothing in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from statistics import median_high

from gateway.chain.window import spell_ms
from gateway.errors import UsageError
from gateway.provider.sums import Rows
from gateway.stream.times import spell

_USUAL = (9, 10)


class Quality(Enum):
    """How an interval's value came about, by the lane `count`."""

    MEASURED = "measured"
    FILLED = "filled"
    """The meter was not read in it: its energy is its share, in proportion to time, of what the register rose
    by between the readings around it."""
    PARTLY = "partly filled"
    """The meter was read for a part of it."""
    UNKNOWN = "unknown"
    """The lane `count` is not open there."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The value of one interval, [start_ms, end_ms) of Unix time: mWh, or the mean power in mW."""

    start_ms: int
    end_ms: int
    value: int
    quality: Quality


def readings(blocks: Sequence[Rows], lane: str) -> list[Reading]:
    """The intervals in which a lane is open, in order. `power` needs `count`, and is left out where the meter
    was not read; UsageError where `count` was not asked for or is not open at all.

    A meter may be read less often than once a unit. So an interval counts as measured where it has nine
    tenths of the readings that are usual: the median of all intervals that have any.
    """
    usual = _usual_rate(blocks)
    if lane == "power" and usual is None:
        raise UsageError(
            "mean power is the sum of power by the number of readings: it needs the lane count as well"
        )
    found = []
    for rows in blocks:
        if lane not in rows.sums:
            continue
        values, opened = rows.sums[lane].tolist(), rows.opened[lane].tolist()
        counts = [None] * len(rows) if usual is None else _counts(rows)
        for a, b, value, there, count in zip(
            rows.starts.tolist(), rows.ends.tolist(), values, opened, counts, strict=True
        ):
            if not there or (lane == "power" and not count):
                continue
            if lane == "power":
                value = round(Fraction(1000 * value, count))
            quality = _quality(count, b - a, usual)
            found.append(Reading(a * rows.unit_ms, b * rows.unit_ms, value, quality))
    return found


def _counts(rows: Rows) -> list[int | None]:
    if "count" not in rows.sums:
        return [None] * len(rows)
    pairs = zip(rows.sums["count"].tolist(), rows.opened["count"].tolist(), strict=True)
    return [count if opened else None for count, opened in pairs]


def _usual_rate(blocks: Sequence[Rows]) -> Fraction | None:
    """The usual number of readings a unit; None where the lane `count` is nowhere open."""
    known = False
    rates: list[Fraction] = []
    for rows in blocks:
        for a, b, count in zip(rows.starts.tolist(), rows.ends.tolist(), _counts(rows), strict=True):
            known = known or count is not None
            if count:
                rates.append(Fraction(count, b - a))
    return median_high(rates) if rates else Fraction(1) if known else None


def _quality(count: int | None, units: int, usual: Fraction | None) -> Quality:
    if count is None or usual is None:
        return Quality.UNKNOWN
    if count == 0:
        return Quality.FILLED
    return Quality.MEASURED if count * _USUAL[1] >= usual * units * _USUAL[0] else Quality.PARTLY


def check_length(found: Sequence[Reading], minutes: Sequence[int], what: str) -> None:
    """UsageError unless all intervals are of one of these lengths, and begin at a multiple of it."""
    for one in found:
        length = one.end_ms - one.start_ms
        if length not in {60_000 * n for n in minutes} or one.start_ms % length:
            names = " or ".join(f"{n}min" for n in minutes)
            raise UsageError(
                f"{what} has intervals of {names}; that from {spell(one.start_ms, 1)} on has"
                f" {spell_ms(length)}: use --granularity {minutes[0]}min"
            )


def kwh(mwh: int) -> str:
    """Energy in kWh, exact, without the zeros that say nothing: "1.25"."""
    whole, rest = divmod(abs(mwh), 1_000_000)
    decimals = f"{rest:06d}".rstrip("0")
    return f"{'-' if mwh < 0 else ''}{whole}{'.' if decimals else ''}{decimals}"
