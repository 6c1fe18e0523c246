"""The page itself: pictures of one day, who may open what, and what that reveals together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from aiohttp import web

from gateway.control.documents import GrantRecordStatus, GrantStatus, MeterStatus, RequestStatus, Status
from gateway.errors import GatewayError, UsageError
from gateway.household.home import Household
from gateway.household.i18n import gettext
from gateway.household.pages.privacy import pictures
from gateway.household.pages.privacy.days import descriptor, seen, shown_day, sight
from gateway.household.pages.privacy.follows import followed
from gateway.household.render import home, page, sentence
from gateway.household.shown import spelt
from gateway.household.view import views
from gateway.household.words import each, opens, span

STEPS = ("15min", "1h", "day", "month")
"""The granularities in which the pictures show a provider's day."""
ASKED_S = 2.0
"""How long the page waits for what the registrar has."""


class Shown(NamedTuple):
    """A grant in words; `opens` and `span` are empty where the gateway cannot read it."""

    id: str
    provider: str
    meter: str
    opens: str
    span: str
    purpose: str
    windows: int
    ended: bool
    fault: str | None
    picture: pictures.Picture | None
    """What its holder sees of the day of the pictures."""


class Left(NamedTuple):
    """What left the house of a meter: chunks, since when (Unix ms), about how many bytes, in words."""

    meter: str
    chunks: int
    since_ms: int
    size: str


async def _overview(request: web.Request) -> web.Response:
    of = home(request)
    granted = await of.control.grants()
    theirs = [one for one in granted if not one.own]
    status = await of.control.status()
    asked, problem = await _requests(of, status)
    step = request.query.get("step", "")
    if step not in STEPS:
        step = _finest(theirs)
    day = await shown_day(of)
    return page(
        request,
        "privacy.html",
        **seen(day, pictures.provider(day, step, of.zone), step),
        step=step,
        steps=[(one, each(one)) for one in STEPS],
        grants=[shown(one, of.zone, day) for one in theirs if not _ended(one, of)],
        ended=[shown(one, of.zone) for one in theirs if _ended(one, of)],
        followed=await followed(of),
        consents=[found for found in await of.control.consent() if found.provider or found.pooled],
        asked=[(one, opens(one), span(one.from_ms, one.until_ms, of.zone)) for one in asked],
        asked_problem=problem,
        gateway=status,
        views=[one.name for one in await views(of.control) if one.open],
        left=[await _left(of, one) for one in status.meters if one.start_ms is not None],
        tokens=sum(one.windows_served for one in theirs),
    )


async def _requests(of: Household, status: Status) -> tuple[Sequence[RequestStatus], str]:
    """What providers ask for, or why that is not known: the rest of the page is of this house, and does not
    wait for a registrar that is away."""
    if status.registration is None:
        return (), ""
    try:
        async with asyncio.timeout(ASKED_S):
            return await of.control.requests(), ""
    except TimeoutError:
        return (), gettext("The registrar does not answer in time.")
    except GatewayError as error:
        return (), sentence(error)


async def _left(of: Household, one: MeterStatus) -> Left:
    """How much of a meter's stream lies in the store. Its size is that of the sealed words, 8 bytes each."""
    size = ""
    with suppress(GatewayError):  # of the store, when it is away
        found = await descriptor(of, bytes.fromhex(one.stream or ""))
        units = ((one.chunked_until_ms or one.start_ms or 0) - (one.start_ms or 0)) // found.layout.unit_ms
        size = spelt(units * len(found.lanes) * 8)
    return Left(one.meter, one.chunks, one.start_ms or 0, size)


def shown(one: GrantStatus | GrantRecordStatus, zone: str, day: pictures.Day | None = None) -> Shown:
    """A grant in words, with a picture of the day if one is given."""
    picture = None
    if isinstance(one, GrantStatus) and day is not None:
        with suppress(UsageError):  # of a time zone that this machine does not know any more
            picture = sight(one, day)
    return Shown(
        id=one.id,
        provider=one.provider,
        meter=one.meter,
        opens=opens(one, one.k_min) if isinstance(one, GrantStatus) else "",
        span=span(one.from_ms, one.until_ms, zone) if isinstance(one, GrantStatus) else "",
        purpose=one.purpose if isinstance(one, GrantStatus) else gettext("what it opens cannot be read"),
        windows=one.windows_served,
        ended=one.revoked_from_ms is not None,
        fault=one.fault,
        picture=picture,
    )


def _ended(one: GrantStatus | GrantRecordStatus, of: Household) -> bool:
    if one.revoked_from_ms is not None:
        return True
    return isinstance(one, GrantStatus) and one.until_ms is not None and one.until_ms <= of.now_ms


def _finest(granted: Sequence[GrantStatus | GrantRecordStatus]) -> str:
    """The finest of the pictures' granularities that is granted; an hour where nothing is."""
    open_ = {
        one.granularity for one in granted if isinstance(one, GrantStatus) and one.revoked_from_ms is None
    }
    return next((step for step in STEPS if step in open_), "1h")


routes = (web.get("/privacy", _overview),)
