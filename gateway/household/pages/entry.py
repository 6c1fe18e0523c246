"""The way in: the first choice of a password, logging in and out."""

from __future__ import annotations

from aiohttp import web

from gateway.errors import GatewayError
from gateway.household.i18n import gettext
from gateway.household.render import FORM, LOGIN, TOKEN, home, page, see_other, sentence
from gateway.web.refusals import TooMany, status_of

_FIRST = "/now"
_SETUP = "/setup"


async def _begin(request: web.Request) -> web.Response:
    return see_other(request, _FIRST)


async def _ask_to_log_in(request: web.Request) -> web.Response:
    if request[LOGIN] is not None:
        return see_other(request, _FIRST)
    if not home(request).password.chosen:
        return see_other(request, "/welcome")
    return page(request, "login.html", problem="")


async def _log_in(request: web.Request) -> web.Response:
    try:
        await home(request).password.check(_secret(request, "password"), request.remote or "")
    except GatewayError as error:
        return _again(request, "login.html", error)
    _begin_login(request)
    return see_other(request, _FIRST)


async def _log_out(request: web.Request) -> web.Response:
    if (login := request[LOGIN]) is not None:
        home(request).logins.end(login.id)
    return see_other(request, "/login")


async def _ask_for_password(request: web.Request) -> web.Response:
    if home(request).password.chosen:
        return see_other(request, "/login")
    return page(request, "welcome.html", problem="")


async def _choose_password(request: web.Request) -> web.Response:
    code, password = _secret(request, "code"), _secret(request, "password")
    try:
        await home(request).password.choose(code, password, request.remote or "")
    except GatewayError as error:
        return _again(request, "welcome.html", error)
    home(request).logins.end_all()  # of a password that was forgotten
    _begin_login(request)
    return see_other(request, _SETUP, gettext("The password is chosen."))


def _secret(request: web.Request, name: str) -> str:
    """A field as it was typed: space around a password belongs to it."""
    value = request[FORM].get(name, "")
    return value if isinstance(value, str) else ""


def _begin_login(request: web.Request) -> None:
    """A new token in place of the one that the browser had: who put that there does not share the login."""
    logins = home(request).logins
    if (before := request[LOGIN]) is not None:
        logins.end(before.id)
    request[TOKEN] = logins.begin(request.headers.get("User-Agent", ""), request.remote or "")
    request[LOGIN] = logins.find(request[TOKEN])


def _again(request: web.Request, template: str, error: GatewayError) -> web.Response:
    answer = page(request, template, status=status_of(error), problem=sentence(error))
    if isinstance(error, TooMany):
        answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer


routes = (
    web.get("/", _begin),
    web.get("/login", _ask_to_log_in),
    web.post("/login", _log_in),
    web.post("/logout", _log_out),
    web.get("/welcome", _ask_for_password),
    web.post("/welcome", _choose_password),
)
