"""Settings: how the pages look, the password, who is logged in, the home's certificate, and the gateway's
configuration as a text."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from aiohttp import web

from gateway.control.setup import ConfigurationOrder, ConfigurationStatus, digest_of
from gateway.errors import GatewayError, Refused, UsageError
from gateway.household.browsers import browser_name
from gateway.household.i18n import gettext
from gateway.household.render import FORM, LOGIN, field, home, page, see_other, sentence
from gateway.household.said import said
from gateway.household.tariff_form import offered, take_tariff
from gateway.web.refusals import status_of


async def _settings(request: web.Request) -> web.Response:
    return await _page(request)


async def _page(request: web.Request, status: int = 200, **values: Any) -> web.Response:
    of = home(request)
    present = request[LOGIN]
    logins = [(one, browser_name(one.browser), one is present) for one in of.logins.all()]
    known = (await of.live.look()).status
    meters = [one.meter for one in known.meters if not one.series] if known else []
    zones = sorted(zone for zone in available_timezones() if "/" in zone or zone == "UTC")
    given: dict[str, Any] = {"problem": "", "wrong": "", "tariff_problem": ""}
    try:
        rates = of.tariffs.rates()
    except UsageError as error:
        rates, given["tariff_problem"] = None, sentence(error)
    return page(
        request,
        "settings.html",
        status=status,
        choices=of.settings.choices,
        zones=zones,
        meters=meters,
        logins=logins,
        rates=rates,
        offered=offered(of),
        tls=of.config.listen.tls and of.config.listen.certificate is None,
        **(given | values),
    )


async def _change(request: web.Request) -> web.Response:
    settings = home(request).settings
    try:
        settings.change(
            language=field(request, "language") or None,
            zone=field(request, "zone"),
            name=field(request, "name"),
            grid=await _grid(request) if "grid" in request[FORM] else settings.choices.grid,
        )
    except GatewayError as error:
        return await _page(request, status_of(error), problem=sentence(error), wrong="home")
    return see_other(request, "/settings", gettext("Saved."))


async def _grid(request: web.Request) -> str:
    """The meter that the form puts at the grid. UsageError where there is none such, Unavailable where the
    gateway does not answer."""
    name = field(request, "grid")
    if name not in (one.meter for one in (await home(request).control.status()).meters if not one.series):
        raise UsageError(gettext("there is no meter %(name)s") % {"name": name})
    return name


async def _tariff(request: web.Request) -> web.Response:
    try:
        await take_tariff(request)
    except UsageError as error:
        return await _page(request, 422, problem=sentence(error), wrong="tariff")
    return see_other(request, "/settings", gettext("Saved."))


async def _password(request: web.Request) -> web.Response:
    """Another password; every other browser has to log in again."""
    present, new = (str(request[FORM].get(name, "")) for name in ("present", "new"))
    try:
        await home(request).password.change(present, new, request.remote or "")
    except GatewayError as error:
        return await _page(request, status_of(error), problem=sentence(error), wrong="password")
    home(request).logins.end_all(but=request[LOGIN])
    return see_other(
        request, "/settings", gettext("The password is changed, and all other browsers are logged out.")
    )


async def _end(request: web.Request) -> web.Response:
    home(request).logins.end(field(request, "login"))
    return see_other(request, "/settings", gettext("That browser is logged out."))


async def _configuration(request: web.Request) -> web.Response:
    found = await home(request).control.configuration()
    return _editing(request, found, found.text or "")


def _editing(
    request: web.Request,
    found: ConfigurationStatus,
    text: str,
    problem: str = "",
    *,
    edited: str | None = None,
) -> web.Response:
    """The form with a text. `edited` is the digest of the text that it was made from; where the file has
    another one by now, both are shown, and what is sent next takes the place of that one."""
    changed = edited is not None and edited != digest_of(found.text)
    if changed:
        problem = gettext(
            "The configuration was changed meanwhile, and nothing was written. Below are your text and the "
            "present one: put both together in yours, and send it again."
        )
    return page(
        request,
        "settings_configuration.html",
        status=409 if changed else 422 if problem else 200,
        edited=digest_of(found.text),
        changed=changed,
        found=found,
        text=text,
        problem=problem,
    )


async def _configure(request: web.Request) -> web.Response:
    control = home(request).control
    text = str(request[FORM].get("text", "")).replace("\r\n", "\n")
    edited = field(request, "edited") if "edited" in request[FORM] else None
    found = await control.configuration()
    try:
        if edited not in (None, digest_of(found.text)):
            return _editing(request, found, text, edited=edited)
        answer = await control.configure(ConfigurationOrder(text=text, replaces=edited))
    except Refused as error:  # between the two questions
        return _editing(request, await control.configuration(), text, sentence(error), edited=edited)
    except GatewayError as error:
        return _editing(request, found, text, sentence(error))
    if answer.mistakes:
        return _editing(request, found, text, "\n".join(map(said, answer.mistakes)))
    return see_other(
        request, "/settings", gettext("The configuration is written, and the gateway begins again.")
    )


routes = (
    web.get("/settings", _settings),
    web.post("/settings", _change),
    web.post("/settings/tariff", _tariff),
    web.post("/settings/password", _password),
    web.post("/settings/logins/end", _end),
    web.get("/settings/configuration", _configuration),
    web.post("/settings/configuration", _configure),
)
