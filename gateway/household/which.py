"""Which meter a page is about."""

from __future__ import annotations

from aiohttp import web

from gateway.errors import NotFound
from gateway.household.render import home


async def choose_meter(request: web.Request) -> tuple[list[str], str | None]:
    """The names of the meters, and the one that the query names, or else the one at the grid; None where
    there is none. NotFound for another name. Where the gateway does not answer these are the meters that
    were shown before."""
    of = home(request)
    status, grid = (await of.live.look()).status, of.settings.choices.grid
    meters = of.recent.meters if status is None else [one.meter for one in status.meters if not one.series]
    meters.sort(key=lambda name: name != grid)
    named = request.query.get("meter")
    if named is not None and status is not None and named not in meters:
        raise NotFound(f"there is no meter {named!r}")
    return meters, named or next(iter(meters), None)
