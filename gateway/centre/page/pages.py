"""The pages: an overview of all regions, the load curve of each, and the alarms.

GET /healthz is answered to anybody: whether the loads are up to date, or one reason why not: `starting`,
`stalled` without looks, `loads` that cannot be asked for, and `sums` where a region has no new ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from gateway.centre.page import shown
from gateway.centre.page.entrance import COOKIE, Entrance
from gateway.centre.watch import LOOK_S, Region, Watch
from gateway.errors import GatewayError, NotFound
from gateway.host.clock import Clock, unix_ms
from gateway.web.forms import TOKEN_FIELD, read_form
from gateway.web.headers import add_headers
from gateway.web.html import STYLE, asset, environment, sentence
from gateway.web.logins import read_cookie, set_cookie
from gateway.web.refusals import NotAuthenticated, TooMany, status_of
from gateway.web.tokens import new_token

_PACKAGE = "gateway.centre.page"
_PAGES = (("/", "Overview"), ("/alarms", "Alarms"))
_SCRIPTS = {
    "page.js": "text/javascript",
    "uPlot.iife.min.js": "text/javascript",
    "uPlot.min.css": "text/css",
}
_OPEN = ("/login", "/healthz", "/style.css", "/centre.css", "/icon.svg")
_STALLED_MS = 20 * LOOK_S * 1000
_MOST_MISSING = 500
"""Homes that a page names."""
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Context = Callable[[web.Request], Mapping[str, Any]]


def build_app(
    watch: Watch, entrance: Entrance, clock: Clock, site: str, scripts: Callable[[str], bytes]
) -> web.Application:
    """The application of all pages. `site` is the centre's name, and `scripts` gives the files of plots."""
    return _Pages(watch, entrance, clock, site, scripts).application()


class _Pages:
    def __init__(
        self,
        watch: Watch,
        entrance: Entrance,
        clock: Clock,
        site: str,
        scripts: Callable[[str], bytes],
    ) -> None:
        self._watch = watch
        self._entrance = entrance
        self._clock = clock
        self._site = site
        self._scripts = scripts
        self._templates = environment(_PACKAGE)
        self._templates.filters |= {"kw": shown.kw, "clock_time": shown.clock_time, "span": shown.span}
        self._templates.filters |= {"day_time": shown.day_time, "said": shown.said}
        self._templates.globals |= {"share": shown.share, "highest": shown.highest, "spark": shown.spark}

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._errors, self._admitted])
        app.on_response_prepare.append(add_headers)
        for address, text, kind in (
            ("/style.css", asset(STYLE), "text/css"),
            ("/centre.css", asset("centre.css", _PACKAGE), "text/css"),
            ("/icon.svg", asset("icon.svg", _PACKAGE), "image/svg+xml"),
        ):
            app.router.add_get(address, _file(text.encode(), kind))
        for name, kind in _SCRIPTS.items():
            app.router.add_get(f"/{name}", _file(self._scripts(name), kind))
        for path, template, context in (
            ("/", "overview", self._overview),
            ("/region", "region", self._region),
            ("/alarms", "alarms", self._alarms),
        ):
            app.router.add_get(path, self._page(template, context))
            app.router.add_get(f"/events/{template}", self._events(template, context))
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/login", self._ask_to_log_in)
        app.router.add_post("/login", self._log_in)
        app.router.add_post("/logout", self._log_out)
        return app

    def _overview(self, request: web.Request) -> Mapping[str, Any]:
        regions = list(self._watch.regions.values())
        return {
            "events": "/events/overview",
            "regions": regions,
            "total": shown.Total.of(regions),
            "standing": self._watch.alarms.standing,
        }

    def _region(self, request: web.Request) -> Mapping[str, Any]:
        region = self._named(request)
        return {
            "events": "/events/region?" + urlencode({"name": region.name}),
            "region": region,
            "rows": shown.rows(region),
            "missing": (region.missing or ())[:_MOST_MISSING],
            "standing": [one for one in self._watch.alarms.standing if one.region == region.name],
        }

    def _named(self, request: web.Request) -> Region:
        name = request.query.get("name", "")
        if name not in self._watch.regions:
            raise NotFound(f"there is no region {name!r}: the overview has all")
        return self._watch.regions[name]

    def _alarms(self, request: web.Request) -> Mapping[str, Any]:
        alarms = self._watch.alarms
        return {"events": "/events/alarms", "standing": alarms.standing, "past": alarms.past}

    def _page(self, template: str, context: _Context) -> _Handler:
        async def handle(request: web.Request) -> web.Response:
            return self._render(request, f"{template}.html", **context(request))

        return handle

    def _events(self, template: str, context: _Context) -> _Handler:
        """The changing parts of a page now and after each look (server-sent events), until the login ends."""

        async def handle(request: web.Request) -> web.StreamResponse:
            context(request)  # a page that is not there is said before the stream begins
            answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            sent: dict[str, str] = {}
            try:
                await answer.prepare(request)
                async with aclosing(self._watch.changes()) as changes:
                    async for _ in changes:
                        if not self._entrance.admits(read_cookie(request, COOKIE)):
                            break
                        for name, text in self._parts(template, context(request)).items():
                            if sent.get(name) != text:
                                lines = "".join(f"data: {line}\n" for line in text.splitlines() if line)
                                await answer.write(f"event: {name}\n{lines}\n".encode())
                                sent[name] = text
                        await answer.write(b":\n\n")  # says nothing, and fails once the browser has left
            except (ConnectionError, NotFound, asyncio.CancelledError):
                pass  # the browser has left, the region has no homes any more, or the server ends
            return answer

        return handle

    def _parts(self, template: str, context: Mapping[str, Any]) -> dict[str, str]:
        """The changing parts of a page, by the names of their events."""
        names = ("now", "loads", "missing") if template == "region" else ("now",)
        found = {name: f"{template}/{name}.html" for name in names} | {"looked": "looked.html"}
        return {
            name: self._templates.get_template(path).render(watch=self._watch, **context)
            for name, path in found.items()
        }

    async def _healthz(self, request: web.Request) -> web.Response:
        looked_ms, reason = self._watch.looked_ms, None
        if looked_ms is None:
            reason = "starting"
        elif unix_ms(self._clock) - looked_ms > _STALLED_MS:
            reason = "stalled"
        elif self._watch.fault is not None:
            reason = "loads"
        elif any(one.silent for one in self._watch.regions.values()):
            reason = "sums"
        if reason is None:
            return web.json_response({"ok": True})
        return web.json_response({"ok": False, "reason": reason}, status=503)

    async def _ask_to_log_in(self, request: web.Request) -> web.Response:
        if self._entrance.admits(read_cookie(request, COOKIE)):
            return _to("/")
        return self._login_page(request, 200)

    async def _log_in(self, request: web.Request) -> web.Response:
        token = read_cookie(request, COOKIE)
        form = await read_form(request, self._entrance.logins.form_token(token))
        if self._entrance.open:
            return _to("/")
        try:
            begun = self._entrance.log_in(form.get("password", ""), request.remote or "")
        except (NotAuthenticated, TooMany) as error:
            return self._login_page(request, status_of(error), error)
        self._entrance.logins.end(token)
        answer = _to("/")
        set_cookie(request, answer, COOKIE, begun, "/")
        return answer

    async def _log_out(self, request: web.Request) -> web.Response:
        token = read_cookie(request, COOKIE)
        await read_form(request, self._entrance.logins.form_token(token))
        self._entrance.logins.end(token)
        answer = _to("/login")
        answer.del_cookie(COOKIE, path="/")
        return answer

    def _login_page(
        self, request: web.Request, status: int, error: GatewayError | None = None
    ) -> web.Response:
        token = read_cookie(request, COOKIE) or new_token()
        problem = "" if error is None else sentence(error)
        answer = self._render(request, "login.html", status, token=token, problem=problem)
        set_cookie(request, answer, COOKIE, token, "/")
        if isinstance(error, TooMany):
            answer.headers["Retry-After"] = str(error.retry_after_s)
        return answer

    @web.middleware
    async def _admitted(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not self._entrance.named(request):
            raise web.HTTPMisdirectedRequest
        if request.path not in _OPEN and not self._entrance.admits(read_cookie(request, COOKIE)):
            if request.method == "POST":
                raise NotAuthenticated("you are not logged in any more: log in again")
            return _to("/login")
        return await handler(request)

    @web.middleware
    async def _errors(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except GatewayError as error:
            return self._render(request, "error.html", status_of(error), sentence=sentence(error))
        except web.HTTPException as refusal:
            if refusal.status < 400:
                raise
            said = {
                404: "There is no such page.",
                405: f"This page does not take {request.method}.",
                413: "The form is too large.",
                421: "Without a password these pages answer to localhost alone.",
            }.get(refusal.status, f"The request was not accepted: {refusal.reason}.")
            answer = self._render(request, "error.html", refusal.status, sentence=said)
            if "Allow" in refusal.headers:
                answer.headers["Allow"] = refusal.headers["Allow"]
            return answer

    def _render(
        self, request: web.Request, name: str, status: int = 200, token: str | None = None, **values: Any
    ) -> web.Response:
        token = read_cookie(request, COOKIE) if token is None else token
        inside = self._entrance.named(request) and self._entrance.admits(token)
        text = self._templates.get_template(name).render(
            kind="centre",
            site=self._site,
            base="",
            pages=_PAGES if inside else (),
            login={"name": "operator"} if inside and not self._entrance.open else None,
            now_ms=unix_ms(self._clock),
            form_field=TOKEN_FIELD,
            form=self._entrance.logins.form_token(token),
            notice="",
            watch=self._watch,
            status=status,
            **values,
        )
        return web.Response(text=text, status=status, content_type="text/html")


def _file(body: bytes, kind: str) -> _Handler:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8")

    return handle


def _to(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": path})
