"""What providers ask for through the registrar: approved as it stands, through the preview, or declined."""

from __future__ import annotations

from aiohttp import web

from gateway.control.documents import GrantAnswer, GrantRequest, RequestStatus
from gateway.errors import GatewayError, NotFound
from gateway.household.i18n import gettext
from gateway.household.pages.privacy.offer import compared, grant, left_open, preview, said
from gateway.household.render import home, see_other
from gateway.household.shown import plain


async def _ask(request: web.Request) -> web.Response:
    asked = await _find(request)
    answer = await home(request).control.grant(_as_asked(asked, dry_run=True))
    return await _preview(request, asked, answer)


async def _approve(request: web.Request) -> web.Response:
    asked = await _find(request)
    wanted = _as_asked(asked, dry_run=False, fingerprints=compared(request))
    made, answer = await grant(request, wanted)
    if not made:
        return await _preview(request, asked, answer, left_open(answer))
    try:
        await home(request).control.decide(asked.id, "granted")
    except GatewayError as error:
        raise type(error)(
            gettext(
                "the grant was made, and the registrar does not know it: the request stays in the list until "
                "it does; do not grant it again"
            )
            + f": {error}"
        ) from None
    return see_other(request, f"/privacy/grants/{made[0].id}", said(made))


async def _decline(request: web.Request) -> web.Response:
    asked = await _find(request)
    await home(request).control.decide(asked.id, "declined")
    notice = gettext("The request of %(provider)s is declined.") % {"provider": plain(asked.provider)}
    return see_other(request, "/privacy", notice)


async def _preview(
    request: web.Request, asked: RequestStatus, answer: GrantAnswer, problem: str = ""
) -> web.Response:
    path = f"/privacy/requests/{asked.id}"
    return await preview(request, path, {}, answer, problem=problem, asked=asked)


def _as_asked(asked: RequestStatus, *, dry_run: bool, fingerprints: tuple[str, ...] = ()) -> GrantRequest:
    return GrantRequest(
        kind=asked.kind,
        cards=(asked.card,),
        granularity=asked.granularity,
        zone=asked.zone,
        lanes=asked.lanes,
        purpose=asked.purpose,
        from_ms=asked.from_ms,
        until_ms=asked.until_ms,
        meter=asked.meter,
        tariff=asked.tariff,
        confirmed=False,
        fingerprints=fingerprints,
        dry_run=dry_run,
    )


async def _find(request: web.Request) -> RequestStatus:
    for one in await home(request).control.requests():
        if one.id == request.match_info["id"]:
            return one
    raise NotFound(gettext("there is no such request any more"))


routes = (
    web.get("/privacy/requests/{id}", _ask),
    web.post("/privacy/requests/{id}", _approve),
    web.post("/privacy/requests/{id}/decline", _decline),
)
