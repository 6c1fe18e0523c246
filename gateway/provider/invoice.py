"""The invoice of a billing period: its energy, then the provider's own lines, such as VAT.

They stand in the tariff's file, and are no part of the tariff that the household grants a bill for:

    [bill]
    round = "0.01"              # what each line is rounded to; halves go away from zero

    [[bill.line]]               # in the order of the paper
    name = "Standing charge"
    amount = "0.5012"
    per = "day"                 # each local day, month, or billing period
    [[bill.line]]
    name = "VAT"
    percent = "20"              # of all lines above

The total is the sum of the rounded lines. A levy for each kWh is part of the tariff's price.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from typing import Any, NamedTuple

from gateway.chain.window import Granularity, zone_of
from gateway.errors import UsageError
from gateway.stream.times import unix_ms

_PER = ("day", "month", "period")
_MOST_LINES = 100
_MOST_DIGITS = 12  # on each side of the decimal point
_PRECISION = 100  # digits, more than any sum or product of a bill and a line has


class Line(NamedTuple):
    """A line of an invoice: `amount` of the currency."""

    name: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Charge:
    """An amount for each day, month or billing period."""

    name: str
    amount: Decimal
    per: str


@dataclass(frozen=True, slots=True)
class Tax:
    """Percent of the lines above."""

    name: str
    percent: Decimal


@dataclass(frozen=True, slots=True)
class Terms:
    """The lines besides energy, and what each line is rounded to."""

    lines: tuple[Charge | Tax, ...]
    unit: Decimal

    @classmethod
    def read(cls, raw: Any) -> Terms:
        """From a file's table `bill`. UsageError for what is invalid in it."""
        _known(raw, {"round", "line"}, "bill")
        unit = _number("bill: round", raw.get("round", "0.01"))
        if unit <= 0:
            raise UsageError(f'bill: round is {unit:f}; it must be more than 0, such as "0.01"')
        lines = raw.get("line", [])
        if not isinstance(lines, list) or len(lines) > _MOST_LINES:
            raise UsageError(f"bill: line must be up to {_MOST_LINES} tables [[bill.line]]")
        return cls(tuple(map(_line, lines)), unit)

    def invoice(self, energy: Decimal, start: datetime, end: datetime, zone: str) -> list[Line]:
        """The lines for a billing period [start, end), whose energy costs so much; the last is the total.
        UsageError where a charge counts days or months, and the period is not of whole ones in the zone."""
        lines: list[Line] = []
        with localcontext(prec=_PRECISION):
            lines.append(Line("energy", self._rounded(energy)))
            for line in self.lines:
                if isinstance(line, Charge):
                    amount = line.amount * count(line, start, end, zone)
                else:
                    amount = sum(above.amount for above in lines) * line.percent / 100
                lines.append(Line(line.name, self._rounded(amount)))
            lines.append(Line("total", sum((line.amount for line in lines), Decimal())))
        return lines

    def _rounded(self, amount: Decimal) -> Decimal:
        return (amount / self.unit).quantize(Decimal(1), ROUND_HALF_UP) * self.unit + 0  # never -0


def count(charge: Charge, start: datetime, end: datetime, zone: str) -> int:
    """How many days or months of the zone a billing period [start, end) has, 1 where the charge counts
    neither. UsageError where these are not whole ones."""
    if charge.per == "period":
        return 1
    days = Granularity("day", 1, zone)
    first, last = (days.index(unix_ms(moment)) for moment in (start, end))
    whole = all(days.align_up(unix_ms(moment)) == unix_ms(moment) for moment in (start, end))
    if whole and charge.per == "day":
        return last - first
    a, b = (moment.astimezone(zone_of(zone)) for moment in (start, end))
    if not whole or a.day != b.day:
        raise UsageError(
            f"bill: {charge.name} is charged per {charge.per}, and the billing period from {a:%Y-%m-%d %H:%M}"
            f" until {b:%Y-%m-%d %H:%M} in {zone} is not of whole {charge.per}s; charge it per "
            + ("day or period" if whole else "period")
        )
    return (b.year - a.year) * 12 + b.month - a.month


def _line(raw: Any) -> Charge | Tax:
    _known(raw, {"name", "amount", "per", "percent"}, "bill.line")
    name = raw.get("name")
    if not isinstance(name, str) or not name or not name.isprintable():
        raise UsageError(f'bill.line: name is {name!r}; it must be text such as "Standing charge"')
    what = f"bill: {name}"
    if "percent" in raw:
        if raw.keys() & {"amount", "per"}:
            raise UsageError(f"{what}: a line has a percent, or an amount and per; not both")
        return Tax(name, _number(f"{what}: percent", raw["percent"]))
    if raw.get("per") not in _PER:
        raise UsageError(f"{what}: per is {raw.get('per')!r}; it must be one of {', '.join(_PER)}")
    return Charge(name, _number(f"{what}: amount", raw.get("amount")), raw["per"])


def _known(raw: Any, keys: set[str], what: str) -> None:
    if not isinstance(raw, Mapping):
        raise UsageError(f"{what} must be a table")
    unknown = sorted(raw.keys() - keys)
    if unknown:
        raise UsageError(
            f"{what}: {', '.join(unknown)} is not a known key; known are {', '.join(sorted(keys))}"
            + ("; a levy for each kWh is part of the tariff's prices" if what == "bill.line" else "")
        )


def _number(what: str, text: Any) -> Decimal:
    try:
        value = Decimal(text) if isinstance(text, str) else Decimal("NaN")
    except InvalidOperation:
        value = Decimal("NaN")
    if value.is_finite() and abs(value.adjusted()) < _MOST_DIGITS:
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and -exponent <= _MOST_DIGITS:
            return value
    raise UsageError(f'{what} is {text!r}; it must be a number as text, such as "0.5012"')
