"""The operator's pages: a small application below /operator, with its own errors, headers and cookie.

A page is shown to an operator who is logged in, and to no one else; every form carries a token of the browser
that it was sent to. Nothing secret is ever in a URL.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from gateway.errors import GatewayError, UsageError
from gateway.host.clock import unix_ms
from gateway.registrar.accounts import normal
from gateway.registrar.page.logins import Login, Logins
from gateway.registrar.page.survey import Survey
from gateway.registrar.routes import Query
from gateway.registrar.service import Registrar
from gateway.web.forms import TOKEN_FIELD, read_form
from gateway.web.html import STYLE, asset, environment, sentence
from gateway.web.logins import read_cookie, set_cookie
from gateway.web.refusals import NotAuthenticated, TooMany, status_of
from gateway.web.tokens import new_token

PATH = "/operator"
_COOKIE = "operator"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not no-referrer: with that, browsers say of a form's origin no more than "null".
    "Referrer-Policy": "same-origin",
}
_PACKAGE = "gateway.registrar.page"
_PAGES = (
    ("", "Overview"),
    ("/households", "Households"),
    ("/providers", "Providers"),
    ("/attempts", "Refused attempts"),
    ("/catalogue", "Catalogue"),
)
_MOST_SERIAL = 2**63 - 1
_LOG = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Shown = Callable[[web.Request, Login], Awaitable[web.Response]]


class TableQuery(Query):
    """What a table's address may have: what is searched for, and which page of it."""

    q: Annotated[str, Field(max_length=80)] = ""
    page: Annotated[int, Field(ge=1, le=10**6)] = 1

    @property
    def search(self) -> str:
        """The text to search for, in the form that names are kept in."""
        return normal(self.q.strip())


class AttemptsQuery(TableQuery):
    """Also which kind of attempts."""

    kind: Annotated[str, Field(max_length=32)] = ""


class CatalogueQuery(TableQuery):
    """Also whether only the streams with a fault."""

    fault: bool = False


def build_pages(registrar: Registrar) -> web.Application:
    """The application of all pages; its routes are relative to PATH."""
    return _Pages(registrar).application()


class _Pages:
    def __init__(self, registrar: Registrar) -> None:
        self._registrar = registrar
        self._templates = environment(_PACKAGE)
        self._survey = Survey(registrar.database, registrar.clock)
        self._logins = Logins(registrar.database, registrar.access, registrar.accounts, registrar.clock)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._errors])
        app.router.add_get("/style.css", _asset(asset(STYLE), "text/css"))
        app.router.add_get("/icon.svg", _asset(asset("icon.svg", _PACKAGE), "image/svg+xml"))
        app.router.add_get("/login", self._ask_to_log_in)
        app.router.add_post("/login", self._log_in)
        app.router.add_post("/logout", self._log_out)
        for path, shown in (
            ("", self._overview),
            ("/households", self._households),
            ("/providers", self._providers),
            ("/attempts", self._attempts),
            ("/catalogue", self._catalogue),
            (r"/certificates/{serial:[0-9]{1,19}}/revoke", self._ask_to_revoke),
        ):
            app.router.add_get(path, self._for_operators(shown))
        app.router.add_post(r"/certificates/{serial:[0-9]{1,19}}/revoke", self._for_operators(self._revoke))
        return app

    def _for_operators(self, shown: _Shown) -> _Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            login = await self._logins.find(_token(request))
            if login is None:
                if request.method == "POST":
                    raise NotAuthenticated(
                        "you are not logged in any more, and nothing was changed: log in again"
                    )
                return _to("/login")
            return await shown(request, login)

        return handle

    async def _ask_to_log_in(self, request: web.Request) -> web.Response:
        if await self._logins.find(_token(request)) is not None:
            return _to("")
        return self._login_page(request, 200, "")

    async def _log_in(self, request: web.Request) -> web.Response:
        token = _token(request)
        form = await read_form(request, self._logins.form_token(token))
        name, password = form.get("name", ""), form.get("password", "")
        try:
            begun = await self._logins.begin(name, password, request.remote or "")
        except (NotAuthenticated, TooMany) as error:
            return self._login_page(request, status_of(error), sentence(error), error)
        self._logins.end(token)
        answer = _to("")
        set_cookie(request, answer, _COOKIE, begun, PATH)
        return answer

    async def _log_out(self, request: web.Request) -> web.Response:
        token = _token(request)
        await read_form(request, self._logins.form_token(token))
        self._logins.end(token)
        answer = _to("/login")
        answer.del_cookie(_COOKIE, path=PATH)
        return answer

    async def _overview(self, request: web.Request, login: Login) -> web.Response:
        Query.parse(request.query)
        found = await self._survey.overview()
        indexed = self._registrar.indexer is not None
        return self._page(request, login, "overview.html", found=found, indexed=indexed)

    async def _households(self, request: web.Request, login: Login) -> web.Response:
        query = TableQuery.parse(request.query)
        table = await self._survey.households(query.search, query.page)
        return self._page(request, login, "households.html", table=table, query=query)

    async def _providers(self, request: web.Request, login: Login) -> web.Response:
        query = TableQuery.parse(request.query)
        table = await self._survey.providers(query.search, query.page)
        return self._page(request, login, "providers.html", table=table, query=query)

    async def _attempts(self, request: web.Request, login: Login) -> web.Response:
        query = AttemptsQuery.parse(request.query)
        table = await self._survey.attempts(query.kind, query.search, query.page)
        kinds = await self._survey.kinds()
        return self._page(request, login, "attempts.html", table=table, query=query, kinds=kinds)

    async def _catalogue(self, request: web.Request, login: Login) -> web.Response:
        query = CatalogueQuery.parse(request.query)
        table = await self._survey.streams(query.search, query.fault, query.page)
        indexed = self._registrar.indexer is not None
        return self._page(request, login, "catalogue.html", table=table, query=query, indexed=indexed)

    async def _ask_to_revoke(self, request: web.Request, login: Login) -> web.Response:
        found = await self._survey.certificate(_serial(request))
        return self._page(request, login, "revoke.html", found=found)

    async def _revoke(self, request: web.Request, login: Login) -> web.Response:
        await read_form(request, self._logins.form_token(_token(request)))
        found = await self._survey.certificate(_serial(request))
        serial = found.certificate.serial
        await self._registrar.cards.revoke(serial)
        _LOG.warning("the operator %s revoked certificate %d", login.name, serial)
        login.notice = f"Certificate {serial} of {found.name} and all others of its key are revoked."
        return _to("/providers" if found.role == "provider" else "/households")

    @web.middleware
    async def _errors(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            answer = await handler(request)
        except GatewayError as error:
            answer = await self._error_page(request, status_of(error), sentence(error))
        except web.HTTPException as refusal:
            said = {
                404: "There is no such page.",
                405: f"This page does not take {request.method}.",
                413: "The form is too large.",
            }.get(refusal.status, f"The request was not accepted: {refusal.reason}.")
            answer = await self._error_page(request, refusal.status, said)
            if "Allow" in refusal.headers:
                answer.headers["Allow"] = refusal.headers["Allow"]
        for name, value in _HEADERS.items():
            answer.headers[name] = value
        return answer

    def _login_page(
        self, request: web.Request, status: int, problem: str, error: GatewayError | None = None
    ) -> web.Response:
        token = _token(request) or new_token()
        answer = self._render(
            "login.html", status, login=None, problem=problem, form=self._logins.form_token(token)
        )
        set_cookie(request, answer, _COOKIE, token, PATH)
        if isinstance(error, TooMany):
            answer.headers["Retry-After"] = str(error.retry_after_s)
        return answer

    async def _error_page(self, request: web.Request, status: int, said: str) -> web.Response:
        token, login = _token(request), None
        with suppress(GatewayError):  # the database does not answer, which the page says already
            login = await self._logins.find(token)
        form = self._logins.form_token(token)
        return self._render("error.html", status, login=login, form=form, sentence=said)

    def _page(self, request: web.Request, login: Login, name: str, **values: Any) -> web.Response:
        notice, login.notice = login.notice, ""
        form = self._logins.form_token(_token(request))
        return self._render(name, 200, login=login, form=form, notice=notice, **values)

    def _render(self, name: str, status: int, **values: Any) -> web.Response:
        text = self._templates.get_template(name).render(
            kind="registrar",
            site=self._registrar.identity.card.name,
            pages=_PAGES if values["login"] else (),
            now_ms=unix_ms(self._registrar.clock),
            form_field=TOKEN_FIELD,
            base=PATH,
            status=status,
            **{"notice": ""} | values,
        )
        return web.Response(text=text, status=status, content_type="text/html")


def _asset(text: str, kind: str) -> _Handler:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(text=text, content_type=kind)

    return handle


def _token(request: web.Request) -> str:
    return read_cookie(request, _COOKIE)


def _serial(request: web.Request) -> int:
    serial = int(request.match_info["serial"])
    if serial > _MOST_SERIAL:
        raise UsageError("a certificate's serial is a number below 2^63")
    return serial


def _to(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": PATH + path})
