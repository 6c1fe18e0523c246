"""Settings: how the pages look, the password, who is logged in, the home's certificate, and the gateway's
configuration as a text."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from aiohttp import web

from gateway.control.setup import ConfigurationOrder, ConfigurationStatus
from gateway.errors import GatewayError, UsageError
from gateway.host.files import write_durably
from gateway.household.browsers import browser_name
from gateway.household.home import Household
from gateway.household.i18n import gettext
from gateway.household.money import TariffRates
from gateway.household.render import FORM, LOGIN, field, home, page, see_other, sentence
from gateway.household.settings import ChosenSeries
from gateway.web.refusals import status_of


async def _settings(request: web.Request) -> web.Response:
    return await _page(request)


async def _page(request: web.Request, status: int = 200, **values: Any) -> web.Response:
    of = home(request)
    present = request[LOGIN]
    logins = [(one, browser_name(one.browser), one is present) for one in of.logins.all()]
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
        logins=logins,
        rates=rates,
        offered=_offered(of),
        tls=of.config.listen.tls and of.config.listen.certificate is None,
        **(given | values),
    )


async def _change(request: web.Request) -> web.Response:
    try:
        home(request).settings.change(
            language=field(request, "language") or None,
            zone=field(request, "zone"),
            name=field(request, "name"),
        )
    except UsageError as error:
        return await _page(request, status_of(error), problem=sentence(error), wrong="home")
    return see_other(request, "/settings", gettext("Saved."))


def _offered(of: Household) -> list[tuple[str, str, ChosenSeries]]:
    """The price series that have come: lane, value of the form, and what is chosen by it."""
    return [
        (lane, f"{one.provider.hex()} {one.name}", ChosenSeries(provider=one.provider.hex(), name=one.name))
        for one, lanes in sorted(of.prices.series().items())
        for lane in lanes
    ]


async def _tariff(request: web.Request) -> web.Response:
    """Take the prices of a file, or those of series that come; or none of either."""
    of = home(request)
    try:
        if field(request, "source") == "series":
            offered = {(lane, value): one for lane, value, one in _offered(of)}
            chosen = {
                lane: offered[lane, value]
                for lane in ("import", "export")
                if (lane, value := field(request, lane)) in offered
            }
            if not chosen:
                raise UsageError(gettext("choose the prices of at least one direction"))
            of.settings.change(series=chosen)
        elif field(request, "source") == "file":
            given = request[FORM].get("tariff")
            if not isinstance(given, web.FileField):
                raise UsageError(gettext("choose the tariff's file"))
            text = await asyncio.to_thread(given.file.read)
            await asyncio.to_thread(_keep_tariff, of.settings.tariff_file, text)
            of.settings.change(series={})
        else:
            await asyncio.to_thread(of.settings.tariff_file.unlink, missing_ok=True)
            of.settings.change(series={})
    except UsageError as error:
        return await _page(request, 422, problem=sentence(error), wrong="tariff")
    return see_other(request, "/settings", gettext("Saved."))


def _keep_tariff(path: Path, text: bytes) -> None:
    """Keep a tariff's file once it can be read as one."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        tried = Path(folder) / "tariff.toml"
        tried.write_bytes(text)
        try:
            TariffRates.load(tried)
        except UsageError as error:
            raise UsageError(str(error).replace(f"{tried}: ", "").replace(str(tried), path.name)) from None
    write_durably(path, text)


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


def _editing(request: web.Request, found: ConfigurationStatus, text: str, problem: str = "") -> web.Response:
    return page(
        request,
        "settings_configuration.html",
        status=422 if problem else 200,
        found=found,
        text=text,
        problem=problem,
    )


async def _configure(request: web.Request) -> web.Response:
    control = home(request).control
    text = str(request[FORM].get("text", "")).replace("\r\n", "\n")
    found = await control.configuration()
    try:
        answer = await control.configure(ConfigurationOrder(text=text))
    except GatewayError as error:
        return _editing(request, found, text, sentence(error))
    if answer.mistakes:
        return _editing(request, found, text, "\n".join(answer.mistakes))
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
