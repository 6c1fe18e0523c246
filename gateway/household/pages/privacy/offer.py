"""A new grant: the form, what it would open, and the household's word."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from aiohttp import web

from gateway.control.documents import (
    ConsentStatus,
    GrantAnswer,
    GrantRequest,
    GrantStatus,
    RequestStatus,
)
from gateway.errors import GatewayError, UsageError
from gateway.household.i18n import gettext
from gateway.household.pages.privacy.cards import known_cards
from gateway.household.pages.privacy.days import seen, shown_day, sight
from gateway.household.pages.privacy.draft import Draft
from gateway.household.render import FORM, field, home, page, see_other, sentence
from gateway.household.shown import plain
from gateway.household.words import each, opens, span
from gateway.web.refusals import status_of

GRANULARITIES = ("15min", "1h", "day", "month")
"""Those of the form's list, finest first."""
_NUMBER = re.compile(r"\(grant [0-9a-f]+\)")


async def _ask(request: web.Request) -> web.Response:
    instead = request.query.get("instead", "")
    draft = await _narrowed(request, instead) if instead else Draft()
    return await _form(request, draft)


async def _post(request: web.Request) -> web.Response:
    """Preview, grant, or back to the form: as the button says."""
    try:
        draft = Draft.read(request)
    except UsageError as error:
        return await _form(request, Draft(), error)
    do = field(request, "do")
    if do == "change":
        return await _form(request, draft)
    try:
        if do != "grant":
            answer = await home(request).control.grant(await draft.request(home(request), dry_run=True))
            return await preview(request, "/privacy/grant", dict(draft.hidden()), answer, draft.instead)
        made, answer = await grant(
            request,
            await draft.request(home(request), dry_run=False, fingerprints=compared(request)),
        )
    except GatewayError as error:
        return await _form(request, draft, error)
    if not made:
        return await preview(
            request, "/privacy/grant", dict(draft.hidden()), answer, draft.instead, problem=left_open(answer)
        )
    notice = said(made)
    if draft.instead:
        try:
            await home(request).control.revoke(draft.instead)
        except GatewayError as error:
            raise type(error)(
                gettext("the new grant is made, and the old one is still open: revoke it by hand")
                + f": {error}"
            ) from None
        notice += " " + gettext("The grant before it is revoked.")
    return see_other(request, f"/privacy/grants/{made[0].id}", notice)


async def grant(request: web.Request, wanted: GrantRequest) -> tuple[tuple[GrantStatus, ...], GrantAnswer]:
    """Make a grant, if fingerprints are compared and the findings of the consent check are those that were
    shown and confirmed; none is made otherwise."""
    control = home(request).control
    answer = await control.grant(wanted)
    if not answer.grants and not answer.strangers and field(request, "findings") == digest(answer.consent):
        answer = await control.grant(wanted.model_copy(update={"confirmed": True}))
    return answer.grants, answer


def compared(request: web.Request) -> tuple[str, ...]:
    """The fingerprints that the household says it has compared."""
    return tuple(str(one) for one in request[FORM].getall("fingerprint", []))


async def preview(
    request: web.Request,
    action: str,
    hidden: Mapping[str, str],
    answer: GrantAnswer,
    instead: str = "",
    *,
    problem: str = "",
    asked: RequestStatus | None = None,
) -> web.Response:
    """What a grant would open, and what has to be confirmed before it is made. `action` is where the form
    goes; `asked` is the request that it answers, if one does."""
    of = home(request)
    first = answer.offered[0]
    day, before = await shown_day(of), None
    for one in await of.control.grants() if instead else ():
        if one.id == instead and isinstance(one, GrantStatus):
            before = sight(one, day)
    return page(
        request,
        "privacy-preview.html",
        status=403 if problem else 200,
        action=action,
        asked=asked,
        hidden=hidden,
        offered=[
            (one, opens(one, one.k_min), span(one.from_ms, one.until_ms, of.zone)) for one in answer.offered
        ],
        past=first.from_ms if first.from_ms < of.now_ms - 60_000 else None,
        kind=first.kind,
        answer=answer,
        findings=digest(answer.consent),
        silent=not (answer.consent.provider or answer.consent.pooled),
        amounts=None if answer.bits_a_bill is None else round(2**answer.bits_a_bill),
        instead=instead,
        problem=problem,
        compared=compared(request) if request.method == "POST" else (),
        **seen(day, sight(first, day), first.granularity, before),
    )


def said(made: tuple[GrantStatus, ...]) -> str:
    """What was granted, as a notice."""
    return " ".join(
        gettext("%(provider)s may now open %(opens)s.")
        % {"provider": plain(one.provider), "opens": opens(one, one.k_min)}
        for one in made
    )


def digest(consent: ConsentStatus) -> str:
    """A name for these findings, so that none is confirmed that was not shown. The numbers of grants do not
    count: that of the one that is offered is new each time."""
    text = json.dumps([consent.provider, consent.pooled])
    return hashlib.sha256(_NUMBER.sub("", text).encode()).hexdigest()


def left_open(answer: GrantAnswer) -> str:
    """What still has to be confirmed."""
    if answer.strangers:
        return gettext(
            "Nothing was granted yet: compare the fingerprint with the one that the provider told you by "
            "another way, and say so below."
        )
    return gettext(
        "Nothing was granted yet: more becomes known than the grant says. Read it, and say so below."
    )


async def _form(request: web.Request, draft: Draft, error: GatewayError | None = None) -> web.Response:
    of = home(request)
    meters = [one.meter for one in (await of.control.status()).meters if one.stream is not None]
    return page(
        request,
        "privacy-grant.html",
        status=200 if error is None else status_of(error),
        draft=draft,
        problem="" if error is None else sentence(error),
        cards=await known_cards(of),
        meters=meters,
        granularities=[(one, each(one)) for one in GRANULARITIES],
    )


async def _narrowed(request: web.Request, grant_id: str) -> Draft:
    """A draft of a coarser grant to the same provider."""
    for one in await home(request).control.grants():
        if one.id == grant_id and isinstance(one, GrantStatus):
            known = one.provider_kid in {card.kid for card in await known_cards(home(request))}
            coarser = GRANULARITIES[min(1 + _place(one.granularity), len(GRANULARITIES) - 1)]
            return Draft(
                who=one.provider_kid if known else "",
                kind="windows" if one.kind == "raw" else one.kind,
                granularity="15min" if one.kind == "raw" else coarser,
                lanes=one.lanes[0] if one.lanes in (("import",), ("export",)) else "",
                meter=one.meter,
                purpose=one.purpose,
                instead=one.id,
            )
    raise UsageError(gettext("there is no such grant to narrow"))


def _place(granularity: str) -> int:
    return GRANULARITIES.index(granularity) if granularity in GRANULARITIES else -1


routes = (web.get("/privacy/grant", _ask), web.post("/privacy/grant", _post))
