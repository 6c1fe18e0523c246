"""Tariffs: the paper's weights w_i. Each price step of a lane has an integer price, and a bill is the sum
of price[w] * d[w]. That is linear, so it is computed on ciphertexts and opened by one nonce.

Prices are integers of 10^-scale of the currency for a kWh, energy is in mWh, so a bill is an integer
of 10^-(scale + 6) of the currency: exact, whatever the prices.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from gateway.chain.keys import be64
from gateway.chain.layout import DAY_MS, ENERGY
from gateway.chain.prices import Calendar, Dynamic, Ints, TimeOfUse, shown
from gateway.chain.seal import MASK
from gateway.chain.window import Granularity, spell_ms, zone_of
from gateway.errors import UsageError

MAX_STEPS = 366 * 24 * 60
MAX_DECIMALS = 12
MAX_QUANTUM = 2**60
"""A bill and what rounds it stay below 2^63 together."""
MAX_POWER_W = 100_000
"""Chosen to be more than a home's connection carries: 145 A in each of three phases of 230 V. It bounds a
step's energy, and so keeps a bill below 2^63; prices of 8 decimals fit."""
MAX_PRICE = 100
"""The largest price of a bill, either way, in units of the currency for a kWh. It is chosen: 25 times the
highest price that Europe's coupled day-ahead market allowed in September 2022 (4 EUR: EXAA's news of that
month on SDAC's harmonised maximum clearing price)."""
_CARRIED = (9, 10)
_PART = 4
_BLOCK = 2**12
_CUT, _UNPRICED = 1, 2
_ALWAYS = Calendar()
_AHEAD_MS = 366 * DAY_MS


def cent(scale: int) -> int:
    """A hundredth of the currency, what bills are rounded to where nothing else is said: in units of
    10^-(scale + 6)."""
    return int(10 ** (scale + 4))


def rounded(bill: int, quantum: int) -> int:
    """The nearest multiple of `quantum`, the upper one of two."""
    return (2 * bill + quantum) // (2 * quantum) * quantum


class Weight(NamedTuple):
    """The one price of units [first, end)."""

    first: int
    end: int
    price: int


@dataclass(frozen=True, slots=True)
class Tariff:
    """Prices of `import` and, where there is one, of `export` (negative where it is paid for), for the
    dates of a calendar in the time zone."""

    currency: str
    scale: int
    zone: str
    step_ms: int
    prices: Mapping[str, TimeOfUse | Dynamic]
    calendar: Calendar = _ALWAYS

    def __post_init__(self) -> None:
        if not self.currency.isprintable() or not 1 <= len(self.currency.encode()) <= 8:
            raise UsageError('a tariff\'s currency must be 1 to 8 printable bytes, such as "EUR"')
        if not self.prices or not set(self.prices) <= set(ENERGY):
            raise UsageError("a tariff has prices for import, for export, or for both")
        if not 0 <= self.scale <= MAX_DECIMALS:
            raise UsageError(f"a tariff's prices have 0 to {MAX_DECIMALS} decimals, not {self.scale}")
        if self.step_ms <= 0 or DAY_MS % self.step_ms:
            raise UsageError(
                f"a tariff's step of {self.step_ms} ms does not divide a day; 15min and 1h are usual"
            )
        zone_of(self.zone)
        for lane, prices in self.prices.items():
            if isinstance(prices, TimeOfUse):
                prices.check(lane, self.calendar, self.step_ms)
            else:
                prices.check(lane, self.step_ms)

    def end_ms(self, lanes: Sequence[str]) -> int | None:
        """When these lanes' prices end, Unix ms: with the calendar, or the first of their lists; None where
        they go on for ever."""
        lists = [self.prices[lane] for lane in lanes if lane in self.prices]
        ends = [x.start_ms + len(x.prices) * self.step_ms for x in lists if isinstance(x, Dynamic)]
        if self.calendar.before is not None:
            ends.append(self._midnight_ms(self.calendar.before))
        return min(ends, default=None)

    def checked_end(self, lanes: Sequence[str], granularity: Granularity, first: int) -> int | None:
        """The unit at which bills from unit `first` on must end, since `periods` has checked no later ones
        and their prices may be others; None where the tariff names no date or price so late."""
        ahead = first + _AHEAD_MS // granularity.unit_ms
        ends = [self._named_end_ms(lane) for lane in lanes if lane in self.prices]
        if max(ends, default=0) <= ahead * granularity.unit_ms:
            return None
        return granularity.align_up(ahead)

    def _named_end_ms(self, lane: str) -> int:
        """From when on, Unix ms, a lane's prices no longer depend on the year; 0 where they never do."""
        prices = self.prices[lane]
        if isinstance(prices, Dynamic):
            return prices.start_ms + len(prices.prices) * self.step_ms
        last = max(self.calendar.last_named, *(rule.last_named for rule in prices.rules))
        return 0 if last < 0 else self._midnight_ms(last + 1)

    def _midnight_ms(self, day: int) -> int:
        return Granularity("day", 1, self.zone).start(day)

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lanes that have a price, in the order of all lanes."""
        return tuple(lane for lane in ENERGY if lane in self.prices)

    def periods(
        self, lanes: Sequence[str], granularity: Granularity, first: int, until: int | None
    ) -> Iterator[tuple[int, int]]:
        """The billing periods [a, b) from unit `first` up to `until`, at most those that begin within a year,
        to be checked before such bills are promised. UsageError as in `weights`, and for prices and periods
        under which a bill would reveal single windows though it is rounded."""
        unit_ms, k, size = granularity.unit_ms, granularity.index(first), granularity.size
        if isinstance(size, int) and size * unit_ms < DAY_MS:
            raise UsageError(
                f"a bill for each {granularity} reveals nearly as much as sums would: use day or month"
            )
        ahead = first + _AHEAD_MS // unit_ms
        while (a := granularity.start(k)) < (ahead if until is None else min(ahead, until)):
            b = granularity.start(k + 1)
            for lane, runs in self.weights(lanes, unit_ms, a, b).items():
                self._check_weights(lane, runs, unit_ms)
            yield a, b
            k += 1

    def _check_weights(self, lane: str, runs: Sequence[Weight], unit_ms: int) -> None:
        """UsageError for a price beyond MAX_PRICE, and where few steps decide nearly all of the lane's
        part."""
        highest = max((w.price for w in runs), key=abs)
        if abs(highest) > MAX_PRICE * 10**self.scale:
            raise UsageError(
                f"{lane}: a price of {self.spell(highest)} is not granted a bill; prices are at most "
                f"{MAX_PRICE} {self.currency} a kWh, either way. Quote larger ones in thousands of "
                f"{self.currency}, with three more decimals"
            )
        a, b, length = runs[0].first, runs[-1].end, 0
        total = sum(abs(w.price) * (w.end - w.first) for w in runs)
        missing = -(-total * _CARRIED[0] // _CARRIED[1])
        for w in sorted(runs, key=lambda w: abs(w.price), reverse=True):
            if missing <= 0:
                break
            taken = min(w.end - w.first, -(-missing // abs(w.price)))
            missing, length = missing - taken * abs(w.price), length + taken
        if total and length * _PART < b - a:
            heaviest = next(w for w in runs if w.price == highest)
            when = _local(heaviest.first * unit_ms, zone_of(self.zone)).isoformat(timespec="minutes")
            steps = -(-length * unit_ms // self.step_ms)
            raise UsageError(
                f"{lane}: {spell_ms(steps * self.step_ms)} decide nine tenths of this tariff's bill for "
                f"{spell_ms((b - a) * unit_ms)}, the window from {when} on most of all, so the bill would "
                "reveal their sum: such a bill is never granted. Use a tariff in which at least a quarter of "
                "the period has similar prices"
            )

    def spell(self, price: int) -> str:
        """A price as people write it: "0.3215 EUR"."""
        return f"{Decimal(price).scaleb(-self.scale):f} {self.currency}"

    def weights(self, lanes: Sequence[str], unit_ms: int, a: int, b: int) -> dict[str, list[Weight]]:
        """The prices of each lane over units [a, b), neighbours of one price merged. UsageError as in
        `runs`."""
        runs = self.runs(lanes, unit_ms, a, b)
        return {lane: [Weight(*run) for run in array.tolist()] for lane, array in runs.items()}

    def runs(self, lanes: Sequence[str], unit_ms: int, a: int, b: int) -> dict[str, Ints]:
        """The same as arrays, of rows of first unit, end and price.

        UsageError where the steps are not whole units, a step has no price, or the bill could pass 2^63.
        """
        unpriced = [lane for lane in lanes if lane not in self.prices]
        if unpriced:
            raise UsageError(f"the tariff has no price of {' or '.join(unpriced)}")
        if self.step_ms % unit_ms:
            raise UsageError(
                f"the tariff's steps of {spell_ms(self.step_ms)} are not whole units of {spell_ms(unit_ms)}"
            )
        size = self.step_ms // unit_ms
        if a % size or b % size:
            raise UsageError(
                f"the billing period does not begin and end on a step of {spell_ms(self.step_ms)}"
            )
        if (b - a) // size > MAX_STEPS:
            raise UsageError(f"a billing period has at most {MAX_STEPS} steps; bill shorter ones")
        runs = {lane: self._merged(lane, size, a, b) for lane in lanes}
        cost = sum(map(_cost, runs.values()))
        # 1 W for 3600 ms is 1 mWh.
        if cost * unit_ms * MAX_POWER_W // 3600 >= 2**63 - MAX_QUANTUM:
            raise UsageError(
                f"a bill could pass 2^63 in units of 10^-{self.scale + 6} {self.currency}; "
                "use prices with fewer decimals, or shorter billing periods"
            )
        return runs

    def _merged(self, lane: str, size: int, a: int, b: int) -> Ints:
        prices = self._prices(lane, a // size, b // size)
        begins = np.flatnonzero(np.append(True, prices[1:] != prices[:-1])[: len(prices)])
        firsts, ends = a + size * begins, a + size * np.append(begins[1:], len(prices))
        return np.column_stack([firsts, ends, prices[begins]])

    def _prices(self, lane: str, first: int, end: int) -> Ints:
        """The price of each step number [first, end), counted from phase 0 of Unix time."""
        prices, since, before = self.prices[lane], self.calendar.since, self.calendar.before
        if since is not None and first < end and first * self.step_ms < self._midnight_ms(since):
            raise self._unpriced(lane, first)
        if before is not None and end * self.step_ms > (limit := self._midnight_ms(before)):
            raise self._unpriced(lane, max(first, -(-limit // self.step_ms)))
        if isinstance(prices, TimeOfUse):
            return self._by_clock(lane, prices, first, end)
        begin = prices.start_ms // self.step_ms
        missing = first if first < begin else max(first, begin + len(prices.prices))
        if missing < end:
            raise self._unpriced(lane, missing)
        return np.array(prices.prices[first - begin : end - begin], np.int64)

    def _by_clock(self, lane: str, prices: TimeOfUse, first: int, end: int) -> Ints:
        found, faults = [np.empty(0, np.int64)], [np.empty(0, np.int8)]
        for number in range(first // _BLOCK, -(-end // _BLOCK)):
            inside = slice(max(0, first - number * _BLOCK), end - number * _BLOCK)
            block = _block(prices, self.calendar, self.zone, self.step_ms, number)
            found.append(block[0][inside])
            faults.append(block[1][inside])
        fault = np.concatenate(faults)
        if fault.any():
            at = int(np.flatnonzero(fault)[0])
            if fault[at] == _UNPRICED:  # clocks went back to the day before that with which the prices begin
                raise self._unpriced(lane, first + at)
            moment = _local((first + at) * self.step_ms, zone_of(self.zone))
            raise UsageError(
                f"a step of {spell_ms(self.step_ms)} begins at {moment.isoformat()}, so a price could change "
                "within it; use steps of 15min or less"
            )
        return np.concatenate(found)

    def _unpriced(self, lane: str, step: int) -> UsageError:
        when = _local(step * self.step_ms, zone_of(self.zone)).isoformat(timespec="minutes")
        dates = self.calendar.in_words()
        return UsageError(
            f"the tariff has no price of {lane} for the step that begins at {when}"
            + (f"; its prices are for dates {dates}" if dates else "")
        )


def _cost(runs: Ints) -> int:
    """The sum of |price| * length, exact."""
    lengths, prices = runs[:, 1] - runs[:, 0], runs[:, 2]
    if np.abs(prices.astype(np.float64)) @ lengths < 2.0**62:
        return int(np.abs(prices) @ lengths)
    return sum(abs(price) * length for price, length in zip(prices.tolist(), lengths.tolist(), strict=True))


def _local(unix_ms: int, zone: ZoneInfo) -> datetime:
    """A moment as the zone's clocks show it, to the second."""
    try:
        return datetime.fromtimestamp(unix_ms // 1000, zone)
    except (ValueError, OverflowError, OSError):
        raise UsageError("the billing period lies outside the calendar") from None


def steps_digest(weights: Mapping[str, Sequence[Weight]]) -> bytes:
    """H of the steps as they were weighed: for each lane its name, be64 of the number of steps, and of each
    step be64 of its first unit, of the unit after its last, and of its price modulo 2^64."""
    content = b"".join(
        lane.encode("ascii")
        + be64(len(steps))
        + b"".join(be64(step.first) + be64(step.end) + be64(step.price & MASK) for step in steps)
        for lane, steps in weights.items()
    )
    return hashlib.sha256(content).digest()


@lru_cache(maxsize=256)
def _block(
    prices: TimeOfUse, calendar: Calendar, zone: str, step_ms: int, number: int
) -> tuple[Ints, NDArray[np.int8]]:
    """The prices of _BLOCK steps, from step number * _BLOCK on, and what is wrong with each. Bills of days
    ask for the same block again and again."""
    steps = np.arange(number * _BLOCK, (number + 1) * _BLOCK, dtype=np.int64)
    clocks = shown(zone_of(zone), steps * step_ms)
    found, priced = prices.at(calendar, clocks // DAY_MS, clocks % DAY_MS // 60_000)
    return found, np.where(clocks % step_ms, _CUT, np.where(priced, 0, _UNPRICED)).astype(np.int8)
