"""Pages from templates: everything that a page shows passes through here, escaped, in its language."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from multidict import MultiDictProxy

from gateway.errors import GatewayError
from gateway.household import shown
from gateway.household.files import address
from gateway.household.home import Household
from gateway.household.i18n import gettext, language, ngettext
from gateway.household.said import said, spoken
from gateway.household.security.logins import Login
from gateway.household.settings import LANGUAGES
from gateway.web.forms import TOKEN_FIELD

HOME = web.AppKey("home", Household)
LOGIN: web.RequestKey[Login | None] = web.RequestKey("login", object)  # type: ignore[arg-type]
"""The login of the request's browser; None where it has none."""
TOKEN = web.RequestKey("token", str)
"""The cookie of the browser. A page that logs it in puts another in its place."""
Fields = MultiDictProxy[str | bytes | bytearray | web.FileField]
FORM: web.RequestKey[Fields] = web.RequestKey("form", MultiDictProxy)
"""The fields of a form that was posted, from a page of this server in this browser."""
FORM_TOKEN = web.RequestKey("form_token", str)
"""What the forms of the page carry."""


def home(request: web.Request) -> Household:
    """The home whose pages these are."""
    return request.config_dict[HOME]


def page(request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
    """A page, or a part of one, from a template. It has beside `values` what all of them have: see
    `templates/base.html`."""
    of = home(request)
    login = request.get(LOGIN)
    notice, path = "", request.path
    if login is not None and template_is_whole(template):
        notice, login.notice = login.notice, ""
    given: dict[str, Any] = {
        "home_name": of.settings.choices.name or gettext("Your home"),
        "zone": of.zone,
        "now_ms": of.now_ms,
        "language": language(),
        "languages": LANGUAGES,
        "logged_in": login is not None,
        "path": path,
        "nav": NAVIGATION,
        "form_field": TOKEN_FIELD,
        "form": request.get(FORM_TOKEN, ""),
        "notice": notice,
    }
    text = _environment().get_template(template).render(given | values)
    return web.Response(text=text, status=status, content_type="text/html")


def template_is_whole(template: str) -> bool:
    """Whether a template is of a whole page; those of parts lie in a folder of their page."""
    return "/" not in template


def field(request: web.Request, name: str) -> str:
    """A field of the form that was posted, without space around it; empty where it was left out."""
    value = request[FORM].get(name, "")
    return value.strip() if isinstance(value, str) else ""


def see_other(request: web.Request, path: str, notice: str = "") -> web.Response:
    """Lead the browser to `path`, whose page says `notice` first: after a form."""
    if notice and (login := request.get(LOGIN)) is not None:
        login.notice = notice
    return web.Response(status=303, headers={"Location": path})


def sentence(error: GatewayError) -> str:
    """An error's text as a sentence of a page, in its language as far as that is known."""
    text = said(str(error))
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?', '!')) else '.'}"


NAVIGATION: tuple[tuple[str, str, str], ...] = (
    ("/now", "now", "Now"),
    ("/today", "today", "Today"),
    ("/history", "history", "History"),
    ("/privacy", "privacy", "Privacy"),
    ("/bills", "bills", "Bills"),
    ("/messages", "messages", "Messages"),
    ("/meters", "meters", "Meters"),
    ("/settings", "settings", "Settings"),
    ("/doctor", "doctor", "Doctor"),
)
"""Path, icon and title of each page that the navigation leads to, the four most used ones first. A title is
translated where it is shown."""


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("gateway.household"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.install_gettext_callables(gettext, ngettext, newstyle=True)  # type: ignore[attr-defined]
    filters: Mapping[str, Any] = {
        "kwh": shown.kwh,
        "watts": shown.watts,
        "number": shown.number,
        "money": shown.money,
        "exact": shown.exact,
        "rate": shown.rate,
        "day": shown.day,
        "moment": shown.moment,
        "clock_time": shown.clock_time,
        "ago": shown.ago,
        "foreign": shown.foreign,
        "plain": shown.plain,
        "said": said,
        "spoken": spoken,
    }
    made.filters.update(filters)
    made.globals["asset"] = address
    return made
