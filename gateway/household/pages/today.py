"""Today, or another day: its power in quarters of an hour, its prices, and when energy is cheapest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from aiohttp import web

from gateway.errors import GatewayError
from gateway.household.appliances import loads
from gateway.household.energy import Energy
from gateway.household.flow import at_grid
from gateway.household.home import Household
from gateway.household.money import Rates
from gateway.household.periods import HOUR_MS, QUARTER_MS, Period, read_day
from gateway.household.plan import Placed, Unplaced, cheapest, plan
from gateway.household.plan_picture import PlanPicture
from gateway.household.recent import Seen
from gateway.household.render import home, page, sentence
from gateway.household.shown import clock_time, local
from gateway.household.shown import day as date_of
from gateway.household.which import choose_meter
from gateway.provider.prices import Price

_LONG_MS = (HOUR_MS, 3 * HOUR_MS)
"""How long what one could run when it is cheapest takes: a wash, a charge."""
_AHEAD_MS = 48 * HOUR_MS
"""How far ahead appliances are planned: prices are known until the end of tomorrow."""


@dataclass(frozen=True, slots=True)
class Row:
    """A quarter of an hour: [start_ms, end_ms), Unix ms; energy in mWh, power in W, its price a kWh, the
    household's money; None of what is not known. `cheap` is for one of the cheapest stretch to come."""

    start_ms: int
    end_ms: int
    imported: int | None
    exported: int | None
    power: int | None
    price: Decimal | None
    cost: Decimal | None
    cheap: bool


@dataclass(frozen=True, slots=True)
class Cheapest:
    """The cheapest stretch of its length: [start_ms, end_ms), Unix ms, and its mean price a kWh."""

    start_ms: int
    end_ms: int
    price: Decimal


@dataclass(frozen=True, slots=True)
class Run:
    """An appliance of the plan: when it runs, in words, and what that costs, in the prices' currency; `saved`
    is by how much running it at once would cost more. No `times` where prices are known for too short a time,
    and then `until_ms` is when it has to be done. `open` says that a cheaper time may still turn up."""

    name: str
    times: tuple[tuple[str, str], ...]
    energy_mwh: int
    cost: Decimal | None
    saved: Decimal | None
    until_ms: int
    open: bool


async def _today(request: web.Request) -> web.Response:
    of = home(request)
    now_ms = of.now_ms
    today = local(now_ms, of.zone).date()
    day = read_day(request.query["day"]) if "day" in request.query else today
    period = Period.of("day", of.zone, day)
    meters, meter = await choose_meter(request)
    values: dict[str, Any] = {
        "meters": meters,
        "meter": meter,
        "day": day,
        "before": day - timedelta(days=1),
        "after": day + timedelta(days=1) if day <= today else None,
        "when": (day - today).days,
        "problem": "",
        "old_ms": None,
        "power": None,
        "energy": None,
        "rows": [],
        "stretches": [],
        "price_now": None,
        "currency": "",
        "runs": [],
        "picture": None,
        "appliances": len(of.settings.choices.loads),
    }
    try:
        rates = of.tariffs.rates()
    except GatewayError as error:
        rates, values["problem"] = None, sentence(error)
    try:
        seen = await _energy(of, meter, period, rates)
    except GatewayError as error:
        seen, values["problem"] = None, sentence(error)
    found = seen.energy if seen else None
    if seen and seen.error:
        values["problem"] = sentence(seen.error)
        values["old_ms"] = seen.when_ms if found else None
        values["power"] = at_grid(await of.live.look(), of.settings.choices.grid)
    prices = _prices(rates, period)
    stretches = list(
        _cheapest(prices, max(-(-now_ms // QUARTER_MS) * QUARTER_MS, period.start_ms), period.end_ms)
    )
    if day == today:
        values |= _plan(of, rates, now_ms)
    values.update(
        energy=found,
        rows=_rows(period, found, prices, stretches[:1]),
        stretches=stretches,
        price_now=_price_at(prices, now_ms),
        currency=rates.currency if rates else "",
    )
    return page(request, "today.html", **values)


async def _energy(of: Household, meter: str | None, period: Period, rates: Rates | None) -> Seen | None:
    """What is known of the day; None for one that has not begun, and where there is no meter."""
    if meter is None or period.start_ms >= of.now_ms:
        return None
    return await of.recent.energy(of.history, meter, period, "quarter", rates, of.now_ms)


def _prices(rates: Rates | None, period: Period) -> list[Price]:
    """What drawing a kWh costs over the period."""
    if rates is None or "import" not in rates.lanes:
        return []
    return rates.prices("import", period.start_ms, period.end_ms)


def _plan(of: Household, rates: Rates | None, now_ms: int) -> dict[str, Any]:
    """When the appliances run, as rows and as a picture; nothing while no prices are known."""
    chosen = loads(of.settings.choices.loads)
    if not chosen or rates is None or "import" not in rates.lanes:
        return {}
    prices = rates.prices("import", now_ms, now_ms + _AHEAD_MS)
    if not prices:
        return {}
    found = plan(chosen, prices, now_ms, of.zone)
    placed = [one for one in found if isinstance(one, Placed)]
    return {
        "runs": [_run(one, now_ms, of.zone) for one in found],
        "picture": PlanPicture.of(placed, prices, now_ms, of.zone) if placed else None,
    }


def _run(one: Placed | Unplaced, now_ms: int, zone: str) -> Run:
    name, energy_mwh = one.load.name, one.load.energy_mwh
    if isinstance(one, Unplaced):
        return Run(name, (), energy_mwh, None, None, one.until_ms, True)
    cost = Decimal(one.cost.numerator) / one.cost.denominator
    at_once = one.at_once
    saved = None if at_once is None else Decimal(at_once.numerator) / at_once.denominator - cost
    times = tuple(_stretch(start, end, now_ms, zone) for start, end in one.parts)
    return Run(name, times, energy_mwh, cost, saved, one.until_ms, not one.whole)


def _stretch(start_ms: int, end_ms: int, now_ms: int, zone: str) -> tuple[str, str]:
    """The day of a stretch of time, empty for today, and its times by the clock."""
    times = f"{clock_time(start_ms, zone)} – {clock_time(end_ms, zone)}"
    begins = local(start_ms, zone).date()
    return "" if begins == local(now_ms, zone).date() else date_of(begins, "MMMEd"), times


def _cheapest(prices: Sequence[Price], from_ms: int, until_ms: int) -> list[Cheapest]:
    """The cheapest stretches to come; none where the price does not change."""
    if len({one.price for one in prices if one.end_ms > from_ms}) < 2:
        return []
    found = []
    for length in _LONG_MS:
        start = cheapest(length, prices, from_ms, until_ms)
        if start is not None:
            end = start + length
            parts = [(max(start, one.start_ms), min(end, one.end_ms), one.price) for one in prices]
            mean = sum(((b - a) * price for a, b, price in parts if a < b), Decimal(0)) / length
            found.append(Cheapest(start, end, mean))
    return found


def _price_at(prices: Sequence[Price], when_ms: int) -> Decimal | None:
    return next((one.price for one in prices if one.start_ms <= when_ms < one.end_ms), None)


def _rows(
    period: Period, found: Energy | None, prices: Sequence[Price], cheap: Sequence[Cheapest]
) -> list[Row]:
    lines = {line.start_ms: line for line in found.lines} if found else {}
    rows = []
    for start, end in period.rows("quarter"):
        line = lines.get(start)
        known = line is not None and line.imported is not None
        net = (line.imported or 0) - (line.exported or 0) if line is not None and known else None
        rows.append(
            Row(
                start,
                end,
                line.imported if line else None,
                line.exported if line else None,
                None if net is None else round(net * 3600 / (end - start)),
                _price_at(prices, start),
                line.cost.exact if line and line.cost else None,
                any(one.start_ms < end and start < one.end_ms for one in cheap),
            )
        )
    return rows


routes = (web.get("/today", _today),)
