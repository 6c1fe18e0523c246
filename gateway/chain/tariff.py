"""Tariffs: the paper's weights w_i. Each price step of a lane has an integer price, and a bill is
sum of price[w] * d[w]: linear, so it can be computed on ciphertexts and opened by one nonce.

Prices are integers of 10^-scale of the currency for a kWh, energy is in mWh, so a bill is an integer
of 10^-(scale + 6) of the currency: exact, whatever the prices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gateway.chain.window import check_zone, spell_ms
from gateway.errors import UsageError

MAX_STEPS = 366 * 24 * 60
MAX_POWER_W = 1_000_000
"""What no home's connection carries: it bounds a step's energy, and so the bill below 2^63."""
_DAY_MIN = 24 * 60


class Weight(NamedTuple):
    """Units [first, end) all have this price."""

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
        if not self.prices or not set(self.prices) <= {"import", "export"}:
            raise UsageError("a tariff has prices for import, for export, or for both")
        if not 0 <= self.scale <= 12:
            raise UsageError(f"a tariff's prices have 0 to 12 decimals, not {self.scale}")
        if self.step_ms <= 0 or 86_400_000 % self.step_ms:
            raise UsageError(
                f"a tariff's step of {self.step_ms} ms does not divide a day; usual are 15min and 1h"
            )
        check_zone(self.zone)
        for lane, prices in self.prices.items():
            if isinstance(prices, TimeOfUse):
                self._check_rules(lane, prices)
            elif prices.start_ms % self.step_ms:
                raise UsageError(f"{lane}: its prices do not begin on a step of {spell_ms(self.step_ms)}")

    def _check_rules(self, lane: str, prices: TimeOfUse) -> None:
        for rule in prices.rules:
            if any(minute * 60_000 % self.step_ms for minute in (rule.begin, rule.end)):
                raise UsageError(
                    f"{lane}: a price changes within a step of {spell_ms(self.step_ms)}; make steps shorter"
                )

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lanes with a price, in the order of all lanes."""
        return tuple(lane for lane in ("import", "export") if lane in self.prices)

    def weights(self, lane: str, unit_ms: int, a: int, b: int) -> list[Weight]:
        """The prices of `lane` over units [a, b), neighbours of one price merged.

        UsageError where the steps are no whole units, a step has no price, or the bill could pass 2^63.
        """
        if self.step_ms % unit_ms:
            raise UsageError(
                f"the tariff's steps of {spell_ms(self.step_ms)} are no whole units of {spell_ms(unit_ms)}"
            )
        size = self.step_ms // unit_ms
        if a % size or b % size:
            raise UsageError(
                f"the billing period does not begin and end on a step of {spell_ms(self.step_ms)}"
            )
        if (b - a) // size > MAX_STEPS:
            raise UsageError(f"a billing period has at most {MAX_STEPS} steps; bill shorter ones")
        merged: list[Weight] = []
        for first, price in zip(range(a, b, size), self._prices(lane, a // size, b // size), strict=True):
            if merged and merged[-1].price == price:
                merged[-1] = Weight(merged[-1].first, first + size, price)
            else:
                merged.append(Weight(first, first + size, price))
        # 1 W for 3600 ms is 1 mWh.
        most = sum(abs(w.price) * (w.end - w.first) for w in merged) * unit_ms * MAX_POWER_W // 3600
        if most >= 2**63:
            raise UsageError(
                f"{lane}: a bill could pass 2^63 in units of 10^-{self.scale + 6} {self.currency}; "
                "give the prices fewer decimals"
            )
        return merged

    def _prices(self, lane: str, first: int, end: int) -> Iterator[int]:
        """The price of each step number [first, end), counted from phase 0 of Unix time."""
        prices = self.prices[lane]
        zone = ZoneInfo(self.zone)
        for step in range(first, end):
            if isinstance(prices, Dynamic):
                at = step - prices.start_ms // self.step_ms
                price = prices.prices[at] if 0 <= at < len(prices.prices) else None
            else:
                price = _by_rule(prices, _local(step * self.step_ms, zone))
            if price is None:
                when = _local(step * self.step_ms, zone).isoformat(timespec="minutes")
                raise UsageError(f"the tariff has no price of {lane} for the step that begins at {when}")
            yield price


def _local(unix_ms: int, zone: ZoneInfo) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=unix_ms)).astimezone(zone)


def _by_rule(prices: TimeOfUse, moment: datetime) -> int | None:
    minute, day = moment.hour * 60 + moment.minute, moment.weekday()
    return next((r.price for r in prices.rules if day in r.days and r.begin <= minute < r.end), None)
