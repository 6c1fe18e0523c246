"""What energy costs, for the household to see: by a tariff's file, or by a provider's price series.

Costs are exact: each price times the energy over which it holds, added up as integers, and rounded as a bill
is, so that a sum shown beside a bill is the bill, to the last cent. What has no price, or whose energy is not
known, is left out of a sum and named beside it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from itertools import pairwise
from pathlib import Path
from typing import Literal, Protocol

from gateway.chain.layout import DAY_MS
from gateway.chain.prices import Dynamic
from gateway.chain.tariff import MAX_DECIMALS, MAX_STEPS, Tariff, cent, rounded
from gateway.chain.window import Granularity
from gateway.config.tariff import load_tariff, read_toml
from gateway.errors import UsageError
from gateway.household.prices import Prices, SeriesName
from gateway.provider.invoice import Line, Terms
from gateway.provider.prices import Price
from gateway.stream.times import moment

DECIMALS = MAX_DECIMALS + 6
"""Of exact costs: a price has up to 12 decimals, and energy is in mWh, a millionth of a kWh."""
_CENT = cent(MAX_DECIMALS)
_EXACT = Context(prec=100)
_MOST_ROWS = 2**12  # for which sums are asked at a time
_TWO_PLACES = Decimal("0.01")
_CHUNK_MS = 31 * DAY_MS

Sums = Callable[[Sequence[int], Sequence[str]], Awaitable[Mapping[str, Sequence[int | None]]]]
"""Gives the energy of each of these lanes, in mWh, between each two neighbours of these rising moments, Unix
ms; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A stretch [start_ms, end_ms), Unix ms, of a lane that a cost leaves out, since its "price" or its
    "energy" is not known."""

    lane: str
    start_ms: int
    end_ms: int
    what: Literal["price", "energy"]


@dataclass(frozen=True, slots=True)
class Money:
    """The cost of energy over [start_ms, end_ms), Unix ms. `lanes` has the exact cost of each lane in units
    of 10^-18 of the currency, negative where the household is paid, without what is `missing`."""

    start_ms: int
    end_ms: int
    currency: str
    lanes: Mapping[str, int]
    missing: tuple[Missing, ...] = ()

    @property
    def exact(self) -> Decimal:
        """The cost of what has a price and is known, to the last digit."""
        return money(sum(self.lanes.values()))

    @property
    def amount(self) -> Decimal | None:
        """The cost as a bill has it, rounded to a cent; None where something is missing."""
        return None if self.missing else self.rounded()

    def rounded(self, quantum: int = _CENT) -> Decimal:
        """The cost of what is known as the nearest multiple of `quantum`, in units of 10^-18 of the currency,
        the upper one of two: as a bill is rounded."""
        return money(rounded(sum(self.lanes.values()), quantum))


class Rates(Protocol):
    """What prices energy, of a tariff or of price series."""

    @property
    def currency(self) -> str:
        """The currency of the prices."""

    @property
    def zone(self) -> str:
        """The IANA time zone."""

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lanes that have prices, in the order of all lanes."""

    @property
    def terms(self) -> Terms | None:
        """The other lines of a bill."""

    def prices(self, lane: str, from_ms: int, until_ms: int) -> list[Price]:
        """The prices of a lane over [from_ms, until_ms), Unix ms, in order; what has no price is left out."""


@dataclass(frozen=True, slots=True)
class TariffRates:
    """The prices of a tariff."""

    tariff: Tariff
    terms: Terms | None = None

    @classmethod
    def load(cls, path: Path) -> TariffRates:
        """From a tariff's file, with its table `bill`. UsageError says what is wrong in it."""
        tariff, raw = load_tariff(path), read_toml(path)
        try:
            return cls(tariff, Terms.read(raw["bill"]) if "bill" in raw else None)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None

    @property
    def currency(self) -> str:
        """The tariff's currency."""
        return self.tariff.currency

    @property
    def zone(self) -> str:
        """The tariff's time zone."""
        return self.tariff.zone

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lanes that have a price."""
        return self.tariff.lanes

    def prices(self, lane: str, from_ms: int, until_ms: int) -> list[Price]:
        """As `Rates` says; neighbouring steps of one price are one. UsageError where clocks change within a
        step."""
        step = self.tariff.step_ms
        first, last = self._priced(lane)
        a, end = max(first, from_ms // step * step), min(last, -(-until_ms // step) * step)
        found: list[Price] = []
        chunk = min(_CHUNK_MS, MAX_STEPS * step)
        while a < end:
            b = min(end, a + chunk)
            for one in self.tariff.weights([lane], 1, a, b)[lane]:
                price = Decimal(one.price).scaleb(-self.tariff.scale)
                x, y = max(one.first, from_ms), min(one.end, until_ms)
                if found and found[-1].end_ms == x and found[-1].price == price:
                    x = found.pop().start_ms
                found.append(Price(x, y, price))
            a = b
        return found

    def _priced(self, lane: str) -> tuple[int, int]:
        """Where the lane's prices begin and end, in whole steps, Unix ms; nowhere for one without prices."""
        tariff, days = self.tariff, Granularity("day", 1, self.tariff.zone)
        prices, calendar, step = tariff.prices.get(lane), tariff.calendar, tariff.step_ms
        if prices is None:
            return 0, 0
        first = 0 if calendar.since is None else -(-days.start(calendar.since) // step) * step
        last = 2**62 if calendar.before is None else days.start(calendar.before) // step * step
        if isinstance(prices, Dynamic):
            first, last = max(first, prices.start_ms), min(last, prices.start_ms + len(prices.prices) * step)
        return first, last


@dataclass(frozen=True, slots=True)
class SeriesRates:
    """The prices of providers' price series, as they come and are corrected; `names` says which has those of
    a lane. What is priced in another currency counts as unpriced."""

    series: Prices
    names: Mapping[str, SeriesName]
    currency: str
    zone: str
    terms: Terms | None = None

    @classmethod
    def open(cls, series: Prices, names: Mapping[str, SeriesName]) -> SeriesRates:
        """In the currency and the zone of the first lane's latest series. UsageError where `names` is empty,
        and where no series with these prices has come yet."""
        latest = None
        for lane, of in names.items():
            if lane not in series.series().get(of, ()):
                raise UsageError(
                    f"no prices of {lane} named {of.name!r} have come from the provider {of.provider.hex()}"
                )
            latest = latest or series.latest(of)
        if latest is None:
            raise UsageError("a tariff of price series needs the name of one, of import or of export")
        return cls(series, names, latest.currency, latest.zone)

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lanes that have a price."""
        return tuple(self.names)

    def prices(self, lane: str, from_ms: int, until_ms: int) -> list[Price]:
        """As `Rates` says."""
        if lane not in self.names:
            return []
        return [
            Price(one.start_ms, one.end_ms, one.price)
            for one in self.series.range(self.names[lane], lane, from_ms, until_ms)
            if one.currency == self.currency
        ]


async def cost(
    rates: Rates, rows: Sequence[tuple[int, int]], lanes: Sequence[str], sums: Sums
) -> list[Money]:
    """The cost of these lanes in each row [start, end), Unix ms; rows are in order and do not overlap. `sums`
    is asked for the energy between the moments at which a row begins or ends or a price changes, and for
    nothing finer. UsageError as for the prices."""
    out: list[Money] = []
    for some in _runs(rows):
        begin, end = some[0][0], some[-1][1]
        prices = {lane: rates.prices(lane, begin, end) for lane in lanes}
        changes = (x for found in prices.values() for one in found for x in (one.start_ms, one.end_ms))
        edges = sorted({begin, *(end for _, end in some), *changes})
        energy = await sums(edges, lanes)
        parts = [_parts(lane, edges, prices[lane], energy[lane]) for lane in lanes]
        out += [_added(rates.currency, row, lanes, parts) for row in some]
    return out


def invoice(rates: Rates, cost: Money) -> list[Line]:
    """The lines of a bill over the row, energy first and the total last, as the provider makes them from the
    amount of a bill grant. UsageError where something is missing, where the tariff says no lines, and where
    a charge counts days or months and the row is not of whole ones."""
    if rates.terms is None:
        raise UsageError("the tariff has no table [bill], so only the cost of energy is known")
    if cost.amount is None:
        raise UsageError("a bill needs the price and the energy of its whole period, and a part is not known")
    start, end = moment(cost.start_ms, 1), moment(cost.end_ms, 1)
    return rates.terms.invoice(cost.amount, start, end, rates.zone)


def money(value: int) -> Decimal:
    """Units of 10^-18 of a currency as an amount of it, without zeros beyond the cents."""
    amount = Decimal(value).scaleb(-DECIMALS, _EXACT).normalize(_EXACT)
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int)  # finite
    return amount.quantize(_TWO_PLACES, context=_EXACT) if exponent > -2 else amount


_Part = tuple[int, int | Missing]
"""A stretch's end, and what its energy costs, or what is missing."""


def _runs(rows: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Rows that follow each other without a gap, a limited number at a time."""
    some: list[tuple[int, int]] = []
    for row in rows:
        if some and (some[-1][1] != row[0] or len(some) == _MOST_ROWS):
            yield some
            some = []
        some.append(row)
    if some:
        yield some


def _parts(
    lane: str, edges: Sequence[int], prices: Sequence[Price], energy: Sequence[int | None]
) -> Iterator[_Part]:
    """Each stretch between two neighbouring edges, in order; none has two prices."""
    left = iter(prices)
    one = next(left, None)
    for (a, b), mwh in zip(pairwise(edges), energy, strict=True):
        if one is not None and one.end_ms <= a:
            one = next(left, None)
        if one is None or a < one.start_ms:
            yield b, Missing(lane, a, b, "price")
        elif mwh is None:
            yield b, Missing(lane, a, b, "energy")
        else:
            yield b, int(one.price.scaleb(MAX_DECIMALS, _EXACT)) * mwh


def _added(
    currency: str, row: tuple[int, int], lanes: Sequence[str], parts: Sequence[Iterator[_Part]]
) -> Money:
    """The cost of a row, with which the next parts of each lane begin and some part ends."""
    costs = dict.fromkeys(lanes, 0)
    missing: list[Missing] = []
    for lane, some in zip(lanes, parts, strict=True):
        for end, what in some:
            if isinstance(what, Missing):
                _leave_out(missing, what)
            else:
                costs[lane] += what
            if end == row[1]:
                break
    return Money(*row, currency, costs, tuple(missing))


def _leave_out(missing: list[Missing], one: Missing) -> None:
    last = missing[-1] if missing else None
    if last is not None and (last.lane, last.what, last.end_ms) == (one.lane, one.what, one.start_ms):
        missing[-1] = replace(last, end_ms=one.end_ms)
    else:
        missing.append(one)
