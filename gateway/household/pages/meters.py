"""Meters: what each shows now, beside its display; readings that are held, to be decided on; and another
meter, searched for, tried, and added to the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import tomli_w
from aiohttp import web

from gateway.control.documents import AcceptRequest, HoldChoice, MeterStatus, ReadingStatus
from gateway.control.setup import ConfigurationOrder, MeterProfile, TrialOrder, digest_of
from gateway.errors import GatewayError, UsageError
from gateway.household.i18n import gettext
from gateway.household.meter_form import FIELDS, free_name, meter_section, search_order
from gateway.household.render import field, home, page, see_other, sentence
from gateway.household.said import said


@dataclass(frozen=True, slots=True)
class _Shown:
    """A meter or a series: how it is, and what it showed last."""

    status: MeterStatus
    reading: ReadingStatus | None


async def _meters(request: web.Request) -> web.Response:
    return await _page(request)


async def _page(request: web.Request, *, problem: str = "", **values: Any) -> web.Response:
    meters: list[_Shown] = []
    try:
        status = await home(request).control.status()
        readings = {one.meter: one for one in await home(request).control.readings()}
        meters = [_Shown(one, readings.get(one.meter)) for one in status.meters]
    except GatewayError as error:
        problem = problem or sentence(error)
    return page(
        request, "meters.html", status=422 if values else 200, problem=problem, meters=meters, **values
    )


async def _ask_to_accept(request: web.Request) -> web.Response:
    return await _decide(request, await _held(request))


async def _decide(request: web.Request, meter: MeterStatus, problem: str = "") -> web.Response:
    meanings = {
        "exchange": gettext("Another meter, or a register that was reset"),
        "correction": gettext("The same meter, and its register is right as it is now"),
        "before": gettext("The held readings were false"),
    }
    consequences = {
        "exchange": gettext(
            "It counts on from the first held register. What was used before that, since the last believed "
            "one, is not known and counts 0."
        ),
        "correction": gettext(
            "The difference is counted. A register that is lower now counts 0 until it has caught up."
        ),
        "before": gettext(
            "They are dropped, and it counts on from the last believed register. Readings that do not fit "
            "are held anew."
        ),
    }
    return page(
        request,
        "meter_held.html",
        status=422 if problem else 200,
        problem=problem,
        meter=meter,
        meanings=meanings,
        consequences=consequences,
    )


async def _accept(request: web.Request) -> web.Response:
    meter, choice = await _held(request), field(request, "choice")
    try:
        if choice not in get_args(HoldChoice):
            raise UsageError(gettext("choose what happened"))
        seen = {}
        for lane in ("import", "export"):
            if text := field(request, f"seen_{lane}"):
                seen[lane] = int(text) if text.isascii() and text.isdigit() else -1
        answer = await home(request).control.accept(
            meter.meter, AcceptRequest.parse({"choice": choice, "seen_mwh": seen})
        )
    except GatewayError as error:
        return await _decide(request, meter, sentence(error))
    return see_other(request, "/meters", said(answer.decision))


async def _held(request: web.Request) -> MeterStatus:
    """The meter of the request's path, whose readings are held."""
    name = request.match_info["name"]
    for meter in (await home(request).control.status()).meters:
        if meter.meter == name and meter.hold is not None:
            return meter
    raise UsageError(gettext("nothing is held of meter %(name)s any more") % {"name": name})


async def _ask_to_add(request: web.Request) -> web.Response:
    return await _adding(request)


async def _adding(request: web.Request, **values: Any) -> web.Response:
    profiles: tuple[MeterProfile, ...] = ()
    problem = values.pop("problem", "")
    name = free_name(())
    try:
        profiles = await home(request).control.profiles()
        name = free_name(one.meter for one in (await home(request).control.status()).meters)
    except GatewayError as error:
        problem = problem or sentence(error)
    given: dict[str, Any] = {
        "typed": {}, "search": None, "trial": None, "ports": (), "problem": problem, "name": name,
    }  # fmt: skip
    return page(
        request, "meter_new.html", status=422 if problem else 200, profiles=profiles, **(given | values)
    )


async def _search(request: web.Request) -> web.Response:
    typed = {name: field(request, name) for name in ("host", "device")}
    try:
        found = await home(request).control.search(search_order(typed))
    except GatewayError as error:
        return await _adding(request, typed=typed, searched=True, problem=sentence(error))
    return await _adding(request, typed=typed, search=found, ports=found.ports)


async def _add(request: web.Request) -> web.Response:
    """Try a meter; with `add`, as the reading was seen, write it into the configuration."""
    typed = {name: field(request, name) for name in FIELDS}
    control = home(request).control
    try:
        section, secrets = meter_section(typed, await control.profiles())
        if not field(request, "add"):
            trial = await control.try_part(TrialOrder(part="meter", section=section, secrets=secrets))
            return await _adding(request, typed=typed, trial=trial)
        present = (await control.configuration()).text
        text = f"{(present or '').rstrip()}\n\n{tomli_w.dumps({'meter': [section]})}"
        order = ConfigurationOrder(text=text, secrets=secrets, replaces=digest_of(present))
        answer = await control.configure(order)
        if answer.mistakes:
            raise UsageError("\n".join(map(said, answer.mistakes)))
    except GatewayError as error:
        return await _adding(request, typed=typed, problem=sentence(error))
    return see_other(request, "/meters", gettext("The meter is added, and the gateway begins again with it."))


routes = (
    web.get("/meters", _meters),
    web.get("/meters/new", _ask_to_add),
    web.post("/meters/new/search", _search),
    web.post("/meters/new", _add),
    web.get("/meters/{name:[a-z0-9-]+}/held", _ask_to_accept),
    web.post("/meters/{name:[a-z0-9-]+}/held", _accept),
)
