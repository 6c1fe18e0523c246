"""The registrar's HTTP server: TLS, limits, errors as documents, and a log that has no secret.

A line of the log has the request's id, which the answer carries too (X-Request-Id), and the route's pattern,
never the path, a body or a header: ids of registrations and tokens open doors.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import ssl
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from gateway.errors import GatewayError, NotGranted, Unavailable, UsageError
from gateway.registrar.api import ROUTES
from gateway.registrar.openapi import describe
from gateway.registrar.page.pages import PATH, build_pages
from gateway.registrar.routes import Call, Route
from gateway.registrar.service import Registrar
from gateway.registrar.sessions import Session
from gateway.registry.documents import PREFIX, Document, ErrorAnswer
from gateway.web.bodies import read_body
from gateway.web.connections import drop_idle, without_text
from gateway.web.refusals import NotAuthenticated, TooMany, status_of
from gateway.web.tls import load, server_context

_LOG = logging.getLogger(__name__)
_HTTP = logging.getLogger(f"{__name__}.http")
"""The log of what aiohttp itself makes of requests that are not HTTP."""
_IDLE_S = 30
_STOP_S = 10
_TIDY_S = 600
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_ID = web.RequestKey("id", str)


_HTTP.addFilter(without_text)


def build_app(registrar: Registrar) -> web.Application:
    """The application: the API, its description at /openapi.json, and the operator's pages."""
    app = web.Application(middlewares=[_logged, _errors])
    app.on_response_prepare.append(_add_headers)
    description = json.dumps(describe(ROUTES, registrar.identity.card.name)).encode()

    async def openapi(request: web.Request) -> web.Response:
        return web.Response(body=description, content_type="application/json")

    app.router.add_get("/openapi.json", openapi)
    for route in ROUTES:
        app.router.add_route(route.method, PREFIX + route.path, _handler(registrar, route))
    app.add_subapp(PATH, build_pages(registrar))
    return app


@asynccontextmanager
async def serving(registrar: Registrar) -> AsyncIterator[str]:
    """Answer until the block ends; gives the URL. Requests under way are then finished, for up to 10 s.
    UsageError where the address is taken or a TLS file cannot be used."""
    listen = registrar.settings.listen
    files = None if listen.certificate is None or listen.key is None else (listen.certificate, listen.key)
    tls = None if files is None else server_context(*files)
    runner = web.AppRunner(build_app(registrar), access_log=None, logger=_HTTP, shutdown_timeout=_STOP_S)
    await runner.setup()
    beside: list[asyncio.Task[None]] = []
    try:
        site = web.TCPSite(runner, listen.host, listen.port, ssl_context=tls)
        try:
            await site.start()
        except OSError as error:
            raise UsageError(
                f"the registrar cannot listen at {listen.host}, port {listen.port}: {error.strerror}"
            ) from None
        beside.append(asyncio.create_task(_tidy(registrar, tls, files)))
        if runner.server is not None:
            beside.append(asyncio.create_task(drop_idle(runner.server, _IDLE_S)))
        if registrar.indexer is not None:
            beside.append(asyncio.create_task(registrar.indexer.run()))
        port = runner.addresses[0][1]
        yield f"http{'s' if tls else ''}://{listen.host}:{port}"
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await runner.cleanup()


def _handler(registrar: Registrar, route: Route) -> _Handler:
    async def handle(request: web.Request) -> web.Response:
        session = await _session(registrar, route, request) if route.roles else None
        call = Call(registrar, request.remote or "", request.match_info, session)
        arguments: dict[str, Document] = {}
        if route.query is not None:
            arguments["query"] = route.query.parse(request.query)
        if route.asks is not None:
            arguments["asked"] = route.asks.parse(_json(await read_body(request, route.most_bytes)))
        answer = await route.handler(call, **arguments)
        if isinstance(answer, tuple):
            body = f"[{','.join(one.model_dump_json() for one in answer)}]"
        else:
            body = answer.model_dump_json()
        return web.Response(text=body, content_type="application/json")

    return handle


async def _session(registrar: Registrar, route: Route, request: web.Request) -> Session:
    """The session of a request; NotAuthenticated without one, NotGranted where the route is not for it."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated("this takes a session: log in, and send Authorization: Bearer TOKEN")
    session = await registrar.sessions.find(token)
    if session.role not in route.roles:
        raise NotGranted(f"this is for a {' or a '.join(route.roles)}, and the session is a {session.role}'s")
    return session


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise UsageError("the request is not JSON") from None


@web.middleware
async def _errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except GatewayError as error:
        return _error(error, status_of(error))
    except web.HTTPException as refusal:
        sentence = f"the registrar does not accept this {request.method}: {refusal.reason}"
        answer = _error(UsageError(sentence), refusal.status)
        if "Allow" in refusal.headers:
            answer.headers["Allow"] = refusal.headers["Allow"]
        return answer
    except Exception as error:
        # Its type and place, never its text: that may quote a secret.
        place = traceback.extract_tb(error.__traceback__)[-1]
        _LOG.error(
            "%s failed: %s in %s, line %s",
            request[_ID],
            type(error).__name__,
            Path(place.filename).name,
            place.lineno,
        )
        sentence = f"the registrar failed: its operator finds why in the log, by the id {request[_ID]}"
        return _error(GatewayError(sentence), 500)


@web.middleware
async def _logged(request: web.Request, handler: _Handler) -> web.StreamResponse:
    request[_ID] = secrets.token_hex(6)
    began = time.monotonic()
    response = await handler(request)
    response.headers["X-Request-Id"] = request[_ID]
    resource = request.match_info.route.resource
    _LOG.info(
        "%s %s %s from %s: %d in %.0f ms",
        request[_ID],
        request.method,
        "?" if resource is None else resource.canonical,
        request.remote,
        response.status,
        (time.monotonic() - began) * 1000,
    )
    return response


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.secure:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")


def _error(error: GatewayError, status: int) -> web.Response:
    answer = ErrorAnswer.of(error)
    headers = {}
    if isinstance(error, TooMany):
        answer = answer.model_copy(update={"retry_after_s": error.retry_after_s})
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    text = answer.model_dump_json(exclude={"homes"} if answer.homes is None else None)
    return web.Response(text=text, status=status, headers=headers, content_type="application/json")


async def _tidy(registrar: Registrar, tls: ssl.SSLContext | None, files: tuple[Path, Path] | None) -> None:
    """Every ten minutes: delete what has expired, and take a renewed TLS certificate up."""
    while True:
        await asyncio.sleep(_TIDY_S)
        try:
            await registrar.sessions.prune()
            await registrar.access.prune()
            if tls is not None and files is not None:
                load(tls, *files)
        except (Unavailable, UsageError) as error:
            _LOG.error("tidying waits: %s", error)
