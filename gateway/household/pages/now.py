"""Now: what flows in and out of the home at this moment, and what is wrong, as it changes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from aiohttp import web

from gateway.household.flow import Flow, shown
from gateway.household.live import Snapshot
from gateway.household.picture import Picture
from gateway.household.render import LOGIN, home, page
from gateway.household.troubles import troubles, unreachable

_OLD_MS = 60_000
"""From when on a reading is said to be old."""


async def _now(request: web.Request) -> web.Response:
    return page(request, "now.html", **_seen(await home(request).live.look()))


async def _events(request: web.Request) -> web.StreamResponse:
    """The changing part of the page, again and again (server-sent events), until the login ends."""
    of = home(request)
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    try:
        async with aclosing(of.live.watch()) as snapshots:
            async for snapshot in snapshots:
                if request[LOGIN] not in of.logins.all():
                    break
                part = page(request, "now/live.html", **_seen(snapshot)).text or ""
                lines = "".join(f"data: {line}\n" for line in part.splitlines() if line)
                await answer.write(f"{lines}\n".encode())
    except (ConnectionError, asyncio.CancelledError):
        pass  # the browser has left, or the server ends
    return answer


def _seen(snapshot: Snapshot) -> dict[str, Any]:
    """What the template shows of a snapshot."""
    if snapshot.status is None:
        assert snapshot.error is not None
        return {"troubles": [unreachable(snapshot.error)], "meters": [], "flow": None, "picture": None}
    meters = shown(snapshot)
    flow = Flow.of([(one.name, one.power) for one in meters])
    return {
        "troubles": troubles(snapshot.status),
        "meters": meters,
        "flow": flow,
        "picture": flow and Picture.of(flow),
        "old_ms": _OLD_MS,
    }


routes = (web.get("/now", _now), web.get("/now/events", _events))
