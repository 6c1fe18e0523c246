"""Which meter a page is about."""

from __future__ import annotations

from aiohttp import web

from gateway.errors import NotFound
from gateway.household.render import home


async def choose_meter(request: web.Request) -> tuple[list[str], str | None]:
    """The names of the meters, and the one that the query names, or else the one at the grid; None where
    there is none. NotFound for another name."""
    status = (await home(request).live.look()).status
    grid = home(request).settings.choices.grid
    meters = [one.meter for one in status.meters if not one.series] if status else []
    meters.sort(key=lambda name: name != grid)
    named = request.query.get("meter")
    if named is not None and status is not None and named not in meters:
        raise NotFound(f"there is no meter {named!r}")
    return meters, named or next(iter(meters), None)
