"""The equations that bills are, and how much one bill says.

A bill is the sum of price times energy over the steps of its period, rounded to Q. The provider computes with
what it gets as if it were exact, and is wrong by at most half a Q in each bill: so that is how it is checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log2

from gateway.chain.consent.borders import FAR, Units
from gateway.chain.consent.held import Held
from gateway.chain.layout import DAY_MS
from gateway.chain.tariff import Tariff
from gateway.errors import UsageError

MEAN_W = 400
"""The rough average power of a home, chosen: 3500 kWh a year, between what households of two and of three use
in Germany (2890 and 3720 kWh: BDEW 2021, as quoted by stromauskunft.de)."""
_YEAR_MS = 366 * DAY_MS

MOST_STEPS = 2**21
"""Price steps that one check goes through: twenty years of five-minute prices. Chosen: more took a gigabyte
of memory and 10 s."""

Steps = dict[str, Units]
"""Of each lane the price steps of a period: rows of first unit, end and price."""


@dataclass(frozen=True, slots=True, eq=False)
class Bill:
    """The equations of one tariff, of the grants that hold it: one for each billing period [a, b)."""

    held: tuple[Held, ...]
    tariff: Tariff
    periods: dict[tuple[int, int], Steps]


def quantum(one: Held) -> int:
    """Q of a bill grant: what its bills are rounded to, in the unit of a bill."""
    assert one.grant.quantum is not None
    return one.grant.quantum


def bits(one: Held) -> float:
    """The most that one bill of the grant says, in bits: log2(1 + expected bill / Q), for a home that draws
    MEAN_W in each lane that is priced; of the bills of the first year."""
    unit_ms = one.granularity.unit_ms
    year = [(one.grant.first, one.grant.first + _YEAR_MS // unit_ms)]
    bills = [
        sum(int(abs(x[:, 2]) @ (x[:, 1] - x[:, 0])) for x in steps.values())
        for _, _, steps in _billed(one, year)
    ]
    return log2(1 + max(bills, default=0) * unit_ms * MEAN_W / 3600 / quantum(one))


class Prices:
    """The prices of the grants' bills, gone through once: they are asked for of several hands."""

    def __init__(self, held: Sequence[Held]) -> None:
        self._stretches = _years(held)
        self._periods: dict[bytes, dict[tuple[int, int], Steps]] = {}
        self._count = 0

    def bills(self, held: Sequence[Held]) -> list[Bill]:
        """The bills of these grants that begin within a year of the beginning of any grant. One that is held
        twice is one equation. UsageError for more than MOST_STEPS price steps."""
        bills: list[Bill] = []
        for one in held:
            if one.grant.kind != "bill" or not (periods := self._of(one)):
                continue
            for at, other in enumerate(bills):
                alike = other.held[0].grant.lanes == one.grant.lanes and other.tariff == one.tariff
                if alike and other.held[0].granularity == one.granularity:
                    bills[at] = Bill((*other.held, one), other.tariff, periods | other.periods)
                    break
            else:
                bills.append(Bill((one,), _tariff(one), periods))
        return bills

    def _of(self, one: Held) -> dict[tuple[int, int], Steps]:
        if one.grant.id not in self._periods:
            periods: dict[tuple[int, int], Steps] = {}
            for a, b, steps in _billed(one, self._stretches):
                self._count += sum(map(len, steps.values()))
                if self._count > MOST_STEPS:
                    raise UsageError(
                        f"the bills of this meter have more than {MOST_STEPS} prices together, too many to "
                        "check what they reveal: use longer price steps, or revoke other grants of bills"
                    )
                periods[a, b] = steps
            self._periods[one.grant.id] = periods
        return self._periods[one.grant.id]


def _years(held: Sequence[Held]) -> list[tuple[int, int]]:
    """The years that begin with the grants, together."""
    merged: list[tuple[int, int]] = []
    for x in sorted(one.grant.first for one in held):
        y = x + _YEAR_MS // held[0].granularity.unit_ms
        if merged and x <= merged[-1][1]:
            x, _ = merged.pop()
        merged.append((x, y))
    return merged


def _billed(one: Held, stretches: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, Steps]]:
    """The billing periods [a, b) that begin within some of the stretches, with their prices."""
    tariff, windows = _tariff(one), one.granularity
    last, k = FAR if one.end is None else one.end, windows.index(one.grant.first)
    for x, y in stretches:
        k = max(k, windows.index(max(x, one.grant.first)))
        while (a := windows.start(k)) < y and (b := windows.start(k + 1)) <= last:
            try:
                steps = tariff.runs(one.grant.lanes, windows.unit_ms, a, b)
            except UsageError:
                return  # a dynamic tariff ends with its prices, and so do its bills
            yield a, b, steps
            k += 1


def _tariff(one: Held) -> Tariff:
    if one.tariff is None:
        raise UsageError(f"the tariff of bill grant {one.grant.id.hex()} is needed to check it")
    return one.tariff
