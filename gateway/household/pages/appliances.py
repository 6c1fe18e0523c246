"""Appliances: what the household runs when energy is cheapest; added, changed and removed."""

from __future__ import annotations

from aiohttp import web

from gateway.errors import NotFound, UsageError
from gateway.household.appliances import FIELDS, read_load, replaced, spelt_minute, typed_of
from gateway.household.i18n import gettext
from gateway.household.render import field, home, page, see_other, sentence

_PATH = "/settings/appliances"
_NEW = {"name": "", "power": "", "minutes": "", "earliest": "", "finish": "", "split": ""}


async def _show(request: web.Request) -> web.Response:
    if (name := request.query.get("change")) is None:
        return _page(request, _NEW)
    for one in home(request).settings.choices.loads:
        if one.name == name:
            return _page(request, typed_of(one), was=name)
    raise NotFound(gettext("there is no such appliance any more"))


def _page(request: web.Request, typed: dict[str, str], was: str = "", problem: str = "") -> web.Response:
    return page(
        request,
        "appliances.html",
        status=422 if problem else 200,
        loads=home(request).settings.choices.loads,
        typed=typed,
        was=was,
        problem=problem,
        time_of=spelt_minute,
    )


async def _save(request: web.Request) -> web.Response:
    settings = home(request).settings
    typed, was = {name: field(request, name) for name in FIELDS}, field(request, "was")
    try:
        settings.change(loads=replaced(settings.choices.loads, was, read_load(typed)))
    except UsageError as error:
        return _page(request, typed, was, sentence(error))
    return see_other(request, _PATH, gettext("Saved."))


async def _remove(request: web.Request) -> web.Response:
    settings, name = home(request).settings, field(request, "name")
    settings.change(loads=tuple(one for one in settings.choices.loads if one.name != name))
    return see_other(request, _PATH, gettext("%(name)s is removed.") % {"name": name})


routes = (
    web.get(_PATH, _show),
    web.post(_PATH, _save),
    web.post(f"{_PATH}/remove", _remove),
)
