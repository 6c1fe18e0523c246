"""Bills: what each supplier was told, period by period, beside the household's own sum."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.control.documents import GrantStatus
from gateway.errors import GatewayError
from gateway.household.bills import BillPeriod, SupplierBills, Why, bills
from gateway.household.energy import energy_between
from gateway.household.i18n import gettext
from gateway.household.periods import midnight_ms
from gateway.household.render import home, page, sentence
from gateway.household.shown import day, days, local

_YEARS = 2
"""How far back bills are shown: the years whose bills are disputed."""


async def _bills(request: web.Request) -> web.Response:
    of = home(request)
    values: dict[str, Any] = {"suppliers": [], "problem": "", "tariff_problem": ""}
    try:
        rates = of.tariffs.rates()
    except GatewayError as error:
        rates, values["tariff_problem"] = None, sentence(error)
    today = local(of.now_ms, of.zone).date()
    since = midnight_ms(today.replace(year=today.year - _YEARS, day=1), of.zone)
    try:
        grants = [one for one in await of.control.grants() if isinstance(one, GrantStatus)]
        values["suppliers"] = await bills(
            grants,
            of.control.tariff,
            lambda meter: energy_between(of.history, meter),
            of.now_ms,
            rates=rates,
            from_ms=since,
        )
    except GatewayError as error:
        values["problem"] = sentence(error)
    return page(
        request, "bills.html", **values, why=_why(), span=_span, newest=_newest, meters=_meters, day_of=_day
    )


def _newest(supplier: SupplierBills) -> list[BillPeriod]:
    return sorted(supplier.periods, key=lambda one: -one.start_ms)


def _meters(suppliers: list[SupplierBills]) -> bool:
    """Whether a bill has to say of which meter it is."""
    return len({one.meter for one in suppliers}) > 1


def _span(period: BillPeriod, zone: str) -> str:
    """What a billing period is called: a month by its name, and else its first and its last day."""
    first = local(period.start_ms, zone).date()
    last = local(period.end_ms - 1, zone).date()
    after = local(period.end_ms, zone).date()
    if first.day == 1 and after.day == 1 and (after - first).days <= 31:
        return day(first, "yMMMM")
    return day(first) if first == last else days(first, last)


def _day(when_ms: int, zone: str) -> str:
    return day(local(when_ms, zone).date())


def _why() -> dict[Why, str]:
    """How what a supplier was told comes about, for the household."""
    return {
        "rounded": gettext("rounded"),
        "exact": gettext("worked out from windows"),
        "running": gettext("still running"),
        "waiting": gettext("not told yet"),
        "revoked": gettext("revoked before its end"),
        "unpriced": gettext("a part has no price"),
        "unknown": gettext("told, but your own sums do not reach as far"),
        "coarse": gettext("its windows are too coarse for these prices"),
    }


routes = (web.get("/bills", _bills),)
