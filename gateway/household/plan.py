"""The plan for today and tomorrow: when a load is cheapest, at the prices that are known.

It is assumed that all energy of a load is drawn from the grid and spread evenly over its duration. What the
sun will give is not forecast: where the home exports just then, the load costs what feed-in would have paid.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from itertools import accumulate
from typing import Any

from gateway.chain.tariff import MAX_DECIMALS
from gateway.chain.window import zone_of
from gateway.errors import UsageError
from gateway.household.money import DECIMALS
from gateway.provider.prices import Price
from gateway.stream.times import unix_ms

_DAY_MIN = 24 * 60
_HOUR_MS = 3_600_000
_NAME_BYTES = 80


@dataclass(frozen=True, slots=True)
class Load:
    """Something that the household runs when it is cheap: `energy_mwh` over `duration_ms`, begun at
    `earliest` or later and done by `finish`, both minutes of the local day; where `finish` is not later than
    `earliest` it is of the next day. A load that may be `split` runs in several parts."""

    name: str
    energy_mwh: int
    duration_ms: int
    earliest: int = 0
    finish: int = _DAY_MIN
    split: bool = False

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable() or len(self.name.encode()) > _NAME_BYTES:
            raise UsageError(f"a load needs a name of 1 to {_NAME_BYTES} printable bytes")
        if self.energy_mwh <= 0:
            raise UsageError(f"{self.name}: its energy must be more than 0 kWh")
        if not 0 < self.duration_ms <= 24 * _HOUR_MS:
            raise UsageError(f"{self.name}: it must run for more than 0 and at most 24 h")
        if not 0 <= self.earliest < _DAY_MIN or not 0 < self.finish <= _DAY_MIN:
            raise UsageError(f"{self.name}: its times must be times of day, such as 22:00 and 06:00")

    @classmethod
    def of_power(cls, name: str, power_w: int, duration_ms: int, **when: Any) -> Load:
        """A load whose power is known, in W, instead of its energy."""
        return cls(name, power_w * duration_ms // 3600, duration_ms, **when)


@dataclass(frozen=True, slots=True)
class Placed:
    """When a load runs: `parts` of [start, end), Unix ms, in order, between `from_ms` and `until_ms`, the
    times that the household gave. `cost` is exact, in the prices' currency; `at_once` is the cost of running
    it from `from_ms` on, None where a price of that time is not known. `whole` says whether prices are known
    for all of the time that was given: where they are not, a cheaper time may still turn up."""

    load: Load
    from_ms: int
    until_ms: int
    parts: tuple[tuple[int, int], ...]
    cost: Fraction
    at_once: Fraction | None
    whole: bool


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A load that finds no time between `from_ms` and `until_ms`, Unix ms: so long no price is known, or is
    not for long enough."""

    load: Load
    from_ms: int
    until_ms: int


def plan(loads: Sequence[Load], prices: Sequence[Price], now_ms: int, zone: str) -> list[Placed | Unplaced]:
    """When each load is cheapest within the next of its times that it still fits into, from `now_ms` (Unix
    ms) on. Of times that cost the same the first is taken. `prices` are in order and do not overlap; each
    load is looked at by itself. UsageError for a load that never fits."""
    return [_placed(load, prices, *next_times(load, now_ms, zone)) for load in loads]


def next_times(load: Load, now_ms: int, zone: str) -> tuple[int, int]:
    """The next of a load's times [from, until), Unix ms, that is not over too soon for it; it begins now
    where the time has begun already. UsageError where none is long enough."""
    today = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(zone_of(zone)).date()
    overnight = load.finish <= load.earliest
    for n in range(-1, 4):
        day = today + timedelta(days=n)
        start = max(now_ms, clock_ms(day, load.earliest, zone))
        end = clock_ms(day + timedelta(days=overnight), load.finish, zone)
        if end - start >= load.duration_ms:
            return start, end
    raise UsageError(
        f"{load.name}: it runs for longer than the time between its earliest start and its finish"
    )


def clock_ms(day: date, minute: int, zone: str) -> int:
    """When the clocks of a zone show this minute of a date, Unix ms: the first time if they do twice, and if
    they never do the moment at which they skip it; minute 1440 is the midnight after the date."""
    day, known = day + timedelta(days=minute // _DAY_MIN), zone_of(zone)
    local = datetime.combine(day, time(minute % _DAY_MIN // 60, minute % 60), known)
    high = unix_ms(local.astimezone(UTC)) // 1000
    low = unix_ms(local.replace(fold=1).astimezone(UTC)) // 1000
    if low >= high:  # clocks show it once, or twice
        return high * 1000
    before = local.utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        skipped = datetime.fromtimestamp(middle, known).utcoffset() != before
        low, high = (low, middle) if skipped else (middle, high)
    return high * 1000


def cheapest(duration_ms: int, prices: Sequence[Price], from_ms: int, until_ms: int) -> int | None:
    """The first start, Unix ms, of the cheapest [start, start + duration) within [from, until) that has a
    price at each moment; None where there is none."""
    best: tuple[int, int] | None = None
    for stretch in _stretches(prices, from_ms, until_ms):
        first, last = stretch[0].start_ms, stretch[-1].end_ms - duration_ms
        # Between two moments at which one end meets an edge of the prices the cost is linear in the start.
        edges = {edge for one in stretch for edge in (one.start_ms, one.start_ms - duration_ms)}
        cost = _Cost(stretch)
        for start in {first, last, *edges}:
            if first <= start <= last:
                found = (cost.upto(start + duration_ms) - cost.upto(start), start)
                best = found if best is None else min(best, found)
    return None if best is None else best[1]


def cheapest_parts(
    duration_ms: int, prices: Sequence[Price], from_ms: int, until_ms: int
) -> tuple[tuple[int, int], ...] | None:
    """The parts [start, end), Unix ms, in order, of the cheapest time within [from, until) that is so long
    together, of equal prices the first; None where prices are known for less."""
    within = [one for stretch in _stretches(prices, from_ms, until_ms) for one in stretch]
    parts: list[tuple[int, int]] = []
    left = duration_ms
    for one in sorted(within, key=lambda one: (one.price, one.start_ms)):
        taken = min(left, one.end_ms - one.start_ms)
        left -= taken
        if taken and any(start == one.end_ms for start, _ in parts):  # of a part, that which joins another
            parts.append((one.end_ms - taken, one.end_ms))
        elif taken:
            parts.append((one.start_ms, one.start_ms + taken))
    return None if left else tuple(_joined(sorted(parts)))


def _placed(load: Load, prices: Sequence[Price], from_ms: int, until_ms: int) -> Placed | Unplaced:
    parts: tuple[tuple[int, int], ...] | None
    if load.split:
        parts = cheapest_parts(load.duration_ms, prices, from_ms, until_ms)
    else:
        start = cheapest(load.duration_ms, prices, from_ms, until_ms)
        parts = None if start is None else ((start, start + load.duration_ms),)
    cost = None if parts is None else _paid(load, prices, parts)
    if parts is None or cost is None:
        return Unplaced(load, from_ms, until_ms)
    at_once = _paid(load, prices, [(from_ms, from_ms + load.duration_ms)])
    known = sum(some[-1].end_ms - some[0].start_ms for some in _stretches(prices, from_ms, until_ms))
    return Placed(load, from_ms, until_ms, parts, cost, at_once, known == until_ms - from_ms)


def _paid(load: Load, prices: Sequence[Price], parts: Sequence[tuple[int, int]]) -> Fraction | None:
    """The cost of the load in these parts; None where a moment of them has no price."""
    total, count = 0, 0
    for start, end in parts:
        for some in _stretches(prices, start, end):
            total += _Cost(some).upto(end)
            count += some[-1].end_ms - some[0].start_ms
    if count != load.duration_ms:
        return None
    return Fraction(total * load.energy_mwh, load.duration_ms * 10**DECIMALS)


class _Cost:
    """What a constant load costs that begins with the first of some prices, which have no gaps."""

    def __init__(self, prices: Sequence[Price]) -> None:
        self._starts = [one.start_ms for one in prices]
        self._prices = [int(one.price.scaleb(MAX_DECIMALS)) for one in prices]
        lengths = (one.end_ms - one.start_ms for one in prices)
        costs = (price * length for price, length in zip(self._prices, lengths, strict=True))
        self._sums = list(accumulate(costs, initial=0))

    def upto(self, end_ms: int) -> int:
        """The sum of price * length until then, in units of 10^-12 of the currency * ms."""
        at = bisect_right(self._starts, end_ms) - 1
        return self._sums[at] + self._prices[at] * (end_ms - self._starts[at])


def _stretches(prices: Sequence[Price], from_ms: int, until_ms: int) -> list[list[Price]]:
    """The prices of [from, until), cut at its ends, in runs without a gap."""
    found: list[list[Price]] = []
    for one in prices:
        start, end = max(one.start_ms, from_ms), min(one.end_ms, until_ms)
        if start >= end:
            continue
        if not found or found[-1][-1].end_ms != start:
            found.append([])
        found[-1].append(Price(start, end, one.price))
    return found


def _joined(parts: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Parts in order, those that meet as one."""
    last: tuple[int, int] | None = None
    for start, end in parts:
        if last is not None and last[1] == start:
            last = last[0], end
        else:
            if last is not None:
                yield last
            last = start, end
    if last is not None:
        yield last
