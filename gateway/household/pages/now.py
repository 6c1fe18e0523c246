"""Now: what flows in and out of the home at this moment, and what is wrong, as it changes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import Any

from aiohttp import web

from gateway.errors import GatewayError
from gateway.household.flow import Flow, shown
from gateway.household.home import Household
from gateway.household.live import Snapshot
from gateway.household.periods import Period
from gateway.household.picture import Picture
from gateway.household.render import LOGIN, home, page, see_other
from gateway.household.shown import local
from gateway.household.troubles import troubles, unreachable

_OLD_MS = 60_000
"""From when on a reading is said to be old."""
_SUMMED_MS = 60_000
"""How often the day is summed up, for each browser."""


async def _now(request: web.Request) -> web.Response:
    of = home(request)
    snapshot = await of.live.look()
    if snapshot.status is None:
        with suppress(GatewayError):  # then it does not answer at all
            if (await of.control.configuration()).text is None:
                return see_other(request, "/setup")
    return page(request, "now.html", **_seen(of, snapshot))


async def _events(request: web.Request) -> web.StreamResponse:
    """The changing part of the page, again and again (server-sent events), until the login ends."""
    of = home(request)
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    summed_ms: int | None = None
    try:
        await answer.prepare(request)
        async with aclosing(of.live.watch()) as snapshots:
            async for snapshot in snapshots:
                if request[LOGIN] not in of.logins.all():
                    break
                await answer.write(_event("now", page(request, "now/live.html", **_seen(of, snapshot))))
                if summed_ms is None or not 0 <= snapshot.when_ms - summed_ms < _SUMMED_MS:
                    summed_ms = snapshot.when_ms
                    if (day := await _day(of, snapshot)) is not None:
                        await answer.write(_event("today", page(request, "now/today.html", **day)))
    except (ConnectionError, asyncio.CancelledError):
        pass  # the browser has left, or the server ends
    return answer


def _event(name: str, part: web.Response) -> bytes:
    lines = "".join(f"data: {line}\n" for line in (part.text or "").splitlines() if line)
    return f"event: {name}\n{lines}\n".encode()


async def _day(of: Household, snapshot: Snapshot) -> dict[str, Any] | None:
    """The energy of the day so far, or as it was known last, and the price now; None while neither is known,
    which the pages with more of it explain."""
    meters = shown(snapshot, of.settings.choices.grid)
    if not meters:
        return None
    today = Period.of("day", of.zone, local(snapshot.when_ms, of.zone).date())
    try:
        rates = of.tariffs.rates()
        seen = await of.recent.energy(of.history, meters[0].name, today, "day", rates, snapshot.when_ms)
        prices = rates.prices("import", snapshot.when_ms, snapshot.when_ms + 1) if rates else []
    except GatewayError:
        return None
    price = prices[0].price if prices else None
    found = None if seen.energy is None or seen.energy.empty else seen.energy
    if found is None and price is None:
        return None
    return {
        "energy": found,
        "price": price,
        "currency": rates.currency if rates else "",
        "old_ms": seen.when_ms if seen.error is not None else None,
    }


def _seen(of: Household, snapshot: Snapshot) -> dict[str, Any]:
    """What the template shows of a snapshot."""
    if snapshot.status is None:
        assert snapshot.error is not None
        return {"troubles": [unreachable(snapshot.error)], "meters": [], "flow": None, "picture": None}
    meters = shown(snapshot, of.settings.choices.grid)
    flow = Flow.of([(one.name, one.power) for one in meters])
    return {
        "troubles": troubles(snapshot.status),
        "meters": meters,
        "flow": flow,
        "picture": flow and Picture.of(flow),
        "old_ms": _OLD_MS,
    }


routes = (web.get("/now", _now), web.get("/now/events", _events))
