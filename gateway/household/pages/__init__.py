"""The pages, a module for each. A module has `routes`, which ROUTES joins. All but those of `entry` are for
who is logged in, and a POST is only ever taken from a page of this server: `server` sees to both.

A handler answers with `render.page(request, "TEMPLATE.html", ...)`; after a form with `render.see_other`.
"""

from __future__ import annotations

from aiohttp import web

from gateway.household.pages import (
    appliances,
    bills,
    doctor,
    entry,
    history,
    messages,
    meters,
    now,
    privacy,
    settings,
    setup,
    today,
)

_PAGES = (entry, now, today, history, bills, privacy, messages, meters, settings, appliances, doctor, setup)
ROUTES: tuple[web.RouteDef, ...] = tuple(route for page in _PAGES for route in page.routes)
