"""The page Messages: what utilities ask of this home and tell it, what became of that, and the receipts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from aiohttp import web

from gateway.control.commands import ENDED_BY_HAND, CommandStatus
from gateway.errors import GatewayError, NotFound, UsageError
from gateway.household import words
from gateway.household.home import Household
from gateway.household.i18n import gettext
from gateway.household.render import LOGIN, field, home, page, see_other, sentence
from gateway.household.shown import clock_time, local, moment, plain, watts
from gateway.web.refusals import status_of

EVERY_S = 5
"""How often the gateway is asked whether something has changed, for each browser that looks."""


class Told(NamedTuple):
    """A command in words: what is asked, from when to when, and what became of it. `open` while it does, or
    may still do, something."""

    one: CommandStatus
    what: str
    when: str
    became: str
    badge: str


class Came(NamedTuple):
    """A provider's prices that came: whose, their name, for what, until when they go (Unix ms), and when the
    last of them were made."""

    provider: str
    name: str
    lanes: str
    until_ms: int
    issued_ms: int


async def _show(request: web.Request) -> web.Response:
    return await _page(request)


async def _decide(request: web.Request) -> web.Response:
    decision = field(request, "decision")
    try:
        if decision == "allow":
            decided = await home(request).control.decide_command(request.match_info["id"], "allow")
        elif decision == "refuse":
            decided = await home(request).control.decide_command(request.match_info["id"], "refuse")
        elif decision == "end":
            decided = await home(request).control.decide_command(request.match_info["id"], "end")
        else:
            raise UsageError(gettext("choose one of the two: allow or refuse"))
    except GatewayError as error:
        return await _page(request, error)
    said = (
        gettext("You have ended the limit of %(provider)s. It gets a signed receipt of that.")
        if decision == "end"
        else gettext("You have refused what %(provider)s asked. It gets a signed receipt of that.")
        if decided.state == "refused"
        else gettext("You have allowed what %(provider)s asked.")
    )
    return see_other(request, "/messages", said % {"provider": plain(decided.provider)})


async def _receipt(request: web.Request) -> web.Response:
    for one in await home(request).control.commands():
        if one.id == request.match_info["id"]:
            return web.Response(
                body=one.receipt,
                content_type="application/cose",
                headers={"Content-Disposition": f'attachment; filename="receipt-{one.id[:8]}.cose"'},
            )
    raise NotFound(gettext("there is no such message any more"))


async def _events(request: web.Request) -> web.StreamResponse:
    """The changing part of the page, whenever it has changed (server-sent events), until the login ends."""
    of = home(request)
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    sent = ""
    try:
        await answer.prepare(request)
        while request[LOGIN] in of.logins.all():
            with suppress(GatewayError):  # the gateway is away: what was shown last stays
                text = page(request, "messages/live.html", **await _seen(of)).text or ""
                if text != sent:
                    lines = "".join(f"data: {line}\n" for line in text.splitlines() if line)
                    await answer.write(f"event: messages\n{lines}\n".encode())
                    sent = text
            await answer.write(b":\n\n")  # says nothing, and fails once the browser has left
            await of.clock.sleep(EVERY_S)
    except (ConnectionError, asyncio.CancelledError):
        pass  # the browser has left, or the server ends
    return answer


async def _page(request: web.Request, error: GatewayError | None = None) -> web.Response:
    return page(
        request,
        "messages.html",
        status=200 if error is None else status_of(error),
        problem="" if error is None else sentence(error),
        **await _seen(home(request)),
    )


async def _seen(of: Household) -> dict[str, Any]:
    """What the template of the changing part shows."""
    all_ = [told(one, of.zone) for one in await of.control.commands()]
    return {
        "asked": [one for one in all_ if one.one.state == "asks"],
        "active": [one for one in all_ if one.one.state in ("waits", "running") or _holds(one.one)],
        "texts": [one for one in all_ if one.one.kind == "message" and one.one.state == "done"],
        "earlier": [one for one in all_ if _is_over(one.one)],
        "prices": await _prices(of),
        "several": len({one.one.meter for one in all_}) > 1,
    }


async def _prices(of: Household) -> list[Came]:
    """The prices that came, by provider and name."""
    if not (series := of.prices.series()):
        return []
    known = {one.kid: one.name for one in await of.control.cards()}
    found = []
    for name, lanes in series.items():
        if (latest := of.prices.latest(name)) is not None:
            until_ms = max(of.prices.until_ms(name, lane) or 0 for lane in lanes)
            whose = known.get(name.provider.hex(), name.provider.hex())
            found.append(Came(whose, name.name, words.lanes(lanes), until_ms, latest.issued_ms))
    return found


def told(one: CommandStatus, zone: str) -> Told:
    """A command in the words of the page."""
    same_day = local(one.from_ms, zone).date() == local(one.until_ms, zone).date()
    when = gettext("from %(begin)s to %(end)s") % {
        "begin": moment(one.from_ms, zone),
        "end": (clock_time if same_day else moment)(one.until_ms, zone),
    }
    badge = {"asks": "warn", "running": "warn", "waits": "", "done": "good", "refused": "bad"}
    return Told(one, _what(one), when, _became(one, zone), badge.get(one.state, ""))


def _holds(one: CommandStatus) -> bool:
    """Whether it is a disconnect that has not been ended: its time does not end it."""
    return one.kind == "disconnect" and one.state == "done"


def _is_over(one: CommandStatus) -> bool:
    shown = one.kind == "message" and one.state == "done"
    return one.state in ("done", "ended", "refused", "expired") and not shown and not _holds(one)


def _what(one: CommandStatus) -> str:
    match one.kind:
        case "disconnect":
            return gettext("Disconnect the home from the grid")
        case "reconnect":
            return gettext("Reconnect the home to the grid")
        case "limit":
            return gettext("Draw no more than %(watts)s") % {"watts": watts(one.limit_w or 0)}
        case _:
            return gettext("Show a message")


def _became(one: CommandStatus, zone: str) -> str:
    said: Mapping[tuple[str, str], str] = {
        ("asks", "owner"): gettext("It waits for your decision."),
        ("waits", "accepted"): gettext("Accepted; its time has not begun."),
        ("waits", "unreached"): gettext("Accepted; the meter does not answer, and is tried again."),
        ("running", "limited"): gettext("In force. It ends by itself: %(end)s."),
        ("done", "switched"): gettext("Carried out."),
        ("done", "shown"): gettext("Shown."),
        ("done", "held"): gettext("Carried out, while another provider keeps the home disconnected."),
        ("ended", "over"): gettext("Its time is over."),
        ("ended", "replaced"): gettext("A later one took its place."),
        ("ended", "reconnected"): gettext("A reconnect ended it."),
        ("refused", "card"): gettext("Refused: the card of its sender is not valid."),
        ("refused", "stream"): gettext("Refused: it is for a meter that is not in this home."),
        ("refused", "serial"): gettext(
            "Refused: a later one had come before; it may be an old one, sent again."
        ),
        ("refused", "reused"): gettext("Refused: its number was used before."),
        ("refused", "late"): gettext("Refused: its time was over when it came."),
        ("refused", "future"): gettext("Refused: it says that it was made in the future."),
        ("refused", "policy"): gettext("Refused: you do not let this provider do that."),
        ("refused", "unable"): gettext("Refused: the meter cannot do that."),
        ("refused", "owner"): (
            gettext("You ended it.") if one.reason == ENDED_BY_HAND else gettext("You refused it.")
        ),
        ("expired", "undecided"): gettext("Its time was over before you decided."),
        ("expired", "unreached"): gettext("Its time was over before the meter answered."),
    }
    found = said.get((one.state, one.code))
    return plain(one.reason) if found is None else found % {"end": moment(one.until_ms, zone)}


routes = (
    web.get("/messages", _show),
    web.get("/messages/events", _events),
    web.post("/messages/{id}", _decide),
    web.get("/messages/{id}/receipt", _receipt),
)
