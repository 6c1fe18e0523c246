"""Tariffs: the paper's weights w_i. Each price step of a lane has an integer price, and a bill is the sum
of price[w] * d[w]. That is linear, so it is computed on ciphertexts and opened by one nonce.

Prices are integers of 10^-scale of the currency for a kWh, energy is in mWh, so a bill is an integer
of 10^-(scale + 6) of the currency: exact, whatever the prices.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gateway.chain.keys import be64
from gateway.chain.layout import DAY_MS, ENERGY
from gateway.chain.seal import MASK
from gateway.chain.window import Granularity, spell_ms, zone_of
from gateway.errors import UsageError

MAX_STEPS = 366 * 24 * 60
MAX_RULES = 256
MAX_PRICES = 2**19
MAX_DECIMALS = 12
MAX_QUANTUM = 2**60
"""A bill and what rounds it stay below 2^63 together."""
MAX_POWER_W = 100_000
"""More than a home's connection carries: a direct-connected three-phase meter (EN 50470-3) has at most 125 A
a phase, 86 kW at 230 V. It bounds a step's energy, and so keeps a bill below 2^63; prices of 8 decimals
fit."""
MAX_PRICE = 100
"""The largest price of a bill, either way, in units of the currency for a kWh: some 300 times what homes pay
in the EU (Eurostat nrg_pc_204: about 0.3 EUR), and 20 times the caps of the day-ahead markets (5 EUR)."""
_CARRIED = (9, 10)
_PART = 4
_DAY_MIN = 24 * 60
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
class Rule:
    """A price for minutes [begin, end) of the local day, on some days of the week (0 is Monday)."""

    price: int
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    begin: int = 0
    end: int = _DAY_MIN

    def __post_init__(self) -> None:
        if not self.days or not set(self.days) <= set(range(7)) or not 0 <= self.begin < self.end <= _DAY_MIN:
            raise UsageError("a tariff's rule needs some days of the week, and minutes of one day in order")


@dataclass(frozen=True, slots=True)
class TimeOfUse:
    """The first rule that fits a step's local beginning gives its price."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Dynamic:
    """A price for each step, from the step that begins at `start_ms` of Unix time on."""

    start_ms: int
    prices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tariff:
    """Prices of `import` and, where there is one, of `export` (negative where it is paid for)."""

    currency: str
    scale: int
    zone: str
    step_ms: int
    prices: Mapping[str, TimeOfUse | Dynamic]

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
                self._check_rules(lane, prices)
            else:
                self._check_list(lane, prices)

    def _check_rules(self, lane: str, prices: TimeOfUse) -> None:
        if not 1 <= len(prices.rules) <= MAX_RULES:
            raise UsageError(f"{lane}: there must be 1 to {MAX_RULES} rules, not {len(prices.rules)}")
        _check_size(lane, [rule.price for rule in prices.rules])
        for rule in prices.rules:
            if any(minute * 60_000 % self.step_ms for minute in (rule.begin, rule.end)):
                raise UsageError(
                    f"{lane}: a price changes within a step of {spell_ms(self.step_ms)}; make steps shorter"
                )
        # A time without a price can only begin with a day, or where a rule's time ends.
        for day in range(7):
            for minute in sorted({0, *(rule.end for rule in prices.rules)} - {_DAY_MIN}):
                if _by_rule(prices, day, minute) is None:
                    raise UsageError(
                        f"{lane}: no rule has a price from {minute // 60:02}:{minute % 60:02} on of "
                        f"day {day + 1} of the week; end with one that has only a price, for all other times"
                    )

    def _check_list(self, lane: str, prices: Dynamic) -> None:
        if not 1 <= len(prices.prices) <= MAX_PRICES:
            raise UsageError(f"{lane}: there must be 1 to {MAX_PRICES} prices, not {len(prices.prices)}")
        _check_size(lane, prices.prices)
        if prices.start_ms < 0 or prices.start_ms % self.step_ms:
            raise UsageError(f"{lane}: its prices do not begin on a step of {spell_ms(self.step_ms)}")

    @property
    def cent(self) -> int:
        """A hundredth of the currency, in the unit of a bill: what bills are rounded to by default."""
        return int(10 ** (self.scale + 4))

    def end_ms(self, lanes: Sequence[str]) -> int | None:
        """When the first of these lanes' price lists ends, Unix ms; None where rules go on for ever."""
        lists = [self.prices[lane] for lane in lanes if lane in self.prices]
        return min(
            (x.start_ms + len(x.prices) * self.step_ms for x in lists if isinstance(x, Dynamic)), default=None
        )

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
                f"{lane}: a price of {self.spell(highest)} is not granted a bill; prices must be between "
                f"-{MAX_PRICE} and {MAX_PRICE} {self.currency} a kWh"
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
        """The prices of each lane over units [a, b), neighbours of one price merged.

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
        weights = {lane: self._merged(lane, size, a, b) for lane in lanes}
        cost = sum(abs(w.price) * (w.end - w.first) for runs in weights.values() for w in runs)
        # 1 W for 3600 ms is 1 mWh.
        if cost * unit_ms * MAX_POWER_W // 3600 >= 2**63 - MAX_QUANTUM:
            raise UsageError(
                f"a bill could pass 2^63 in units of 10^-{self.scale + 6} {self.currency}; "
                "use prices with fewer decimals, or shorter billing periods"
            )
        return weights

    def _merged(self, lane: str, size: int, a: int, b: int) -> list[Weight]:
        merged, first = [], a
        for price, steps in groupby(self._prices(lane, a // size, b // size)):
            end = first + size * sum(1 for _ in steps)
            merged.append(Weight(first, end, price))
            first = end
        return merged

    def _prices(self, lane: str, first: int, end: int) -> Iterable[int]:
        """The price of each step number [first, end), counted from phase 0 of Unix time."""
        prices, zone = self.prices[lane], zone_of(self.zone)
        if isinstance(prices, TimeOfUse):
            known: dict[tuple[int, int], int] = {}
            return [self._by_clock(prices, step * self.step_ms, zone, known) for step in range(first, end)]
        begin = prices.start_ms // self.step_ms
        missing = first if first < begin else max(first, begin + len(prices.prices))
        if missing < end:
            when = _local(missing * self.step_ms, zone).isoformat(timespec="minutes")
            raise UsageError(f"the tariff has no price of {lane} for the step that begins at {when}")
        return prices.prices[first - begin : end - begin]

    def _by_clock(
        self, prices: TimeOfUse, unix_ms: int, zone: ZoneInfo, known: dict[tuple[int, int], int]
    ) -> int:
        """The price from a moment on; `known` keeps those of the week's minutes that were asked for
        before."""
        moment = _local(unix_ms, zone)
        seconds = moment.hour * 3600 + moment.minute * 60 + moment.second
        if (seconds * 1000 + unix_ms % 1000) % self.step_ms:
            raise UsageError(
                f"a step of {spell_ms(self.step_ms)} begins at {moment.isoformat()}, so a price could change "
                "within it; use steps of 15min or less"
            )
        at = moment.weekday(), seconds // 60
        if at not in known:
            price = _by_rule(prices, *at)
            assert price is not None  # rules cover the week
            known[at] = price
        return known[at]


def _check_size(lane: str, prices: Sequence[int]) -> None:
    if not all(-(2**63) <= price < 2**63 for price in prices):
        raise UsageError(f"{lane}: a price passes 2^63, in as many decimals as the tariff's finest price has")


def _local(unix_ms: int, zone: ZoneInfo) -> datetime:
    """A moment as the zone's clocks show it, to the second."""
    try:
        return datetime.fromtimestamp(unix_ms // 1000, zone)
    except (ValueError, OverflowError, OSError):
        raise UsageError("the billing period lies outside the calendar") from None


def _by_rule(prices: TimeOfUse, day: int, minute: int) -> int | None:
    return next((r.price for r in prices.rules if day in r.days and r.begin <= minute < r.end), None)


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
