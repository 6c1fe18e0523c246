"""One grant: what it opens and how far it was served; narrowed, revoked."""

from __future__ import annotations

from aiohttp import web

from gateway.control.documents import GrantRecordStatus, GrantStatus
from gateway.errors import GatewayError, NotFound
from gateway.household.i18n import gettext
from gateway.household.pages.privacy.days import seen, shown_day, sight
from gateway.household.pages.privacy.overview import shown
from gateway.household.render import home, page, see_other, sentence
from gateway.web.refusals import status_of


async def _show(request: web.Request) -> web.Response:
    of, one = home(request), await _find(request)
    day = await shown_day(of)
    seen_by_them = {}
    if isinstance(one, GrantStatus):
        seen_by_them = {"kind": one.kind, **seen(day, sight(one, day), one.granularity)}
    return page(
        request,
        "privacy-one.html",
        one=one,
        shown=shown(one, of.zone),
        readable=isinstance(one, GrantStatus),
        signer=(await of.control.status()).signer,
        **seen_by_them,
    )


async def _ask_to_revoke(request: web.Request) -> web.Response:
    one = await _find(request)
    return page(request, "privacy-revoke.html", one=one, shown=shown(one, home(request).zone), problem="")


async def _revoke(request: web.Request) -> web.Response:
    one = await _find(request)
    try:
        await home(request).control.revoke(one.id)
    except GatewayError as error:
        return page(
            request,
            "privacy-revoke.html",
            status=status_of(error),
            one=one,
            shown=shown(one, home(request).zone),
            problem=sentence(error),
        )
    return see_other(
        request,
        "/privacy",
        gettext("The grant is revoked: no window that ends from now on will ever be opened."),
    )


async def _find(request: web.Request) -> GrantStatus | GrantRecordStatus:
    wanted = request.match_info["id"]
    for one in await home(request).control.grants():
        if one.id == wanted:
            return one
    raise NotFound(gettext("there is no such grant"))


routes = (
    web.get("/privacy/grants/{id}", _show),
    web.get("/privacy/grants/{id}/revoke", _ask_to_revoke),
    web.post("/privacy/grants/{id}/revoke", _revoke),
)
