"""The HTTP server of the pages: TLS, what each request must be, and headers that bind the browser.

Each request names this machine (`hosts`), comes from a browser that is logged in, and, where it changes
anything, from a page of this server in that browser (`gateway.web.forms`). Only then does a page see it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from gateway.errors import GatewayError, NotFound, UsageError
from gateway.household import answers, i18n
from gateway.household.files import KINDS, address, content
from gateway.household.home import Household
from gateway.household.pages import ROUTES
from gateway.household.render import (
    FORM,
    FORM_TOKEN,
    HOME,
    LOGIN,
    TOKEN,
    Fields,
    home,
    page,
    see_other,
    sentence,
)
from gateway.household.watching import PATHS, Watching
from gateway.web.connections import drop_idle, listening, without_text
from gateway.web.forms import TOKEN_FIELD, check_origin, check_token
from gateway.web.headers import add_headers
from gateway.web.refusals import NotAuthenticated, TooMany, status_of
from gateway.web.tokens import TOKEN_FORM, new_token

_LOG = logging.getLogger(__name__)
_HTTP = logging.getLogger(f"{__name__}.http")
"""The log of what aiohttp itself makes of requests that are not HTTP."""
_HTTP.addFilter(without_text)
_COOKIE = "gateway"
_STOP_S = 2
_BODY_S = 30
_IDLE_S = 30
_RENEWAL_S = 600
_MOST_BYTES = 2**18
_OPEN = ("/login", "/welcome")
_OPEN_BELOW = ("/assets/", "/ca.pem", answers.PATH)
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_ANSWERS = web.AppKey("answers", answers.Answers)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_app(household: Household) -> web.Application:
    """The application of all pages."""
    app = web.Application(middlewares=[_errors, _named, _admitted], client_max_size=_MOST_BYTES)
    app[HOME] = household
    app[_ANSWERS] = answers.Answers(household.clock)
    app.on_response_prepare.append(add_headers)
    app.router.add_get("/assets/{digest}/{name}", _asset)
    app.router.add_get("/ca.pem", _authority)
    app.router.add_get(f"{answers.PATH}{{name}}", _answer)
    app.add_routes(ROUTES)
    app.add_routes(Watching(household.control, household.clock, household.metrics_token).routes())
    return app


@asynccontextmanager
async def serving(household: Household) -> AsyncIterator[str]:
    """Answer until the block ends; gives the URL. UsageError where the address is taken, or a file of TLS
    cannot be used."""
    listen = household.config.listen
    tls = _tls(household)
    runners = [web.AppRunner(build_app(household), access_log=None, logger=_HTTP, shutdown_timeout=_STOP_S)]
    beside: list[asyncio.Task[None]] = []
    try:
        port = await _listen(runners[0], listen.host, listen.port, tls)
        if tls is not None and listen.http_port is not None:
            runners.append(web.AppRunner(_leading(household, port), access_log=None, logger=_HTTP))
            await _listen(runners[1], listen.host, listen.http_port, None)
        if tls is not None and listen.certificate is None:
            beside.append(asyncio.create_task(_renew(household, tls)))
        beside += [
            asyncio.create_task(drop_idle(one.server, _IDLE_S)) for one in runners if one.server is not None
        ]
        name = household.hosts.names[0] if listen.host in ("0.0.0.0", "::") else listen.host  # noqa: S104
        yield f"http{'s' if tls else ''}://{f'[{name}]' if ':' in name else name}:{port}"
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        for runner in runners:
            await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int, tls: ssl.SSLContext | None) -> int:
    await runner.setup()
    try:
        for one in await listening(host, port):
            await web.SockSite(runner, one, ssl_context=tls).start()
    except OSError as error:
        raise UsageError(f"the pages cannot be at {host}, port {port}: {error.strerror}") from None
    taken: int = runner.addresses[0][1]
    return taken


def _tls(household: Household) -> ssl.SSLContext | None:
    listen = household.config.listen
    if not listen.tls:
        return None
    if listen.certificate is None or listen.key is None:
        return household.authority.context()
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        made.load_cert_chain(listen.certificate, listen.key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"the TLS certificate {listen.certificate} and key {listen.key} cannot be used: "
            f"{getattr(error, 'strerror', None) or 'they do not belong together, or are not PEM'}"
        ) from None
    return made


async def _renew(household: Household, tls: ssl.SSLContext) -> None:
    """A new certificate of the home's own authority before the present one ends, or when the clock is set and
    the present one is of another time."""
    folder = household.config.household.state / "tls"
    while True:
        await household.clock.sleep(_RENEWAL_S)
        try:
            if household.authority.prepare():
                tls.load_cert_chain(folder / "server.pem", folder / "server.key")
        except (UsageError, OSError) as error:
            _LOG.error("the certificate is not renewed: %s", error)


def _leading(household: Household, port: int) -> web.Application:
    """What answers without TLS: it leads to the pages, and has the authority's certificate."""

    async def lead(request: web.Request) -> web.StreamResponse:
        if not household.hosts.accept(request):
            raise web.HTTPMisdirectedRequest
        if request.path == "/ca.pem":
            return await _authority(request)
        name = request.url.host or household.hosts.names[0]
        # What watches would take the page that a person is led to for the answer that all is well.
        path = request.path if request.path in PATHS else "/"
        return web.Response(status=308, headers={"Location": f"https://{_bracketed(name)}:{port}{path}"})

    app = web.Application()
    app[HOME] = household
    app.router.add_get("/{path:.*}", lead)
    return app


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name


async def _authority(request: web.Request) -> web.StreamResponse:
    try:
        certificate = await asyncio.to_thread(lambda: home(request).authority.certificate)
    except OSError:
        raise web.HTTPNotFound from None
    return web.Response(
        body=certificate,
        content_type="application/x-x509-ca-cert",
        headers={"Content-Disposition": 'attachment; filename="gateway-ca.pem"'},
    )


async def _asset(request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]
    body = content(name)
    answer = web.Response(body=body, content_type=KINDS[name[name.rfind(".") :]], charset="utf-8")
    if request.path == address(name):
        answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    answer.enable_compression()
    return answer


@web.middleware
async def _named(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Take only requests that name this machine, and settle the page's language."""
    if not home(request).hosts.accept(request):
        raise web.HTTPMisdirectedRequest
    i18n.use(
        home(request).settings.choices.language or i18n.negotiated(request.headers.get("Accept-Language", ""))
    )
    return await handler(request)


@web.middleware
async def _admitted(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Take only requests of who is logged in, and changes only by forms of theirs."""
    if request.path in PATHS and request.method in ("GET", "HEAD"):
        return await handler(request)
    of = home(request)
    given = request.cookies.get(_COOKIE, "")
    token = given if TOKEN_FORM.fullmatch(given) else ""
    login = of.logins.find(token) if token else None
    fresh = not token
    token = token or new_token()
    request[LOGIN], request[TOKEN], request[FORM_TOKEN] = login, token, of.logins.form_token(token)
    if request.method not in ("GET", "HEAD"):
        check_origin(request)
        request[FORM] = await _form(request)
        check_token(
            request.headers.get("X-Form", "") or str(request[FORM].get(TOKEN_FIELD, "")), request[FORM_TOKEN]
        )
    if login is None and request.path not in _OPEN and not request.path.startswith(_OPEN_BELOW):
        if request.method not in ("GET", "HEAD"):
            raise NotAuthenticated("you are not logged in any more, and nothing was changed: log in again")
        return see_other(request, "/login" if of.password.chosen else "/welcome")
    if request.method in ("GET", "HEAD"):
        answer = await handler(request)
    else:
        answer = _led_to(request, await _errors(request, handler))
    if request[TOKEN] != token or (fresh and not answer.prepared):
        _set_cookie(request, answer)
    return answer


def _led_to(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    """The way to the page that answers a form, so that the browser can go back to it and load it again."""
    if not isinstance(answer, web.Response) or not answers.is_page(answer):
        return answer
    return see_other(request, request.app[_ANSWERS].keep(request[TOKEN], request[LOGIN], answer))


async def _answer(request: web.Request) -> web.StreamResponse:
    found = request.app[_ANSWERS].find(request.match_info["name"], request[TOKEN], request[LOGIN])
    if found is None:
        raise NotFound(
            i18n.gettext("this answer is no longer kept: open the page again, and see what is there")
        )
    return found


def _set_cookie(request: web.Request, answer: web.StreamResponse) -> None:
    """For no script, and for no request that another site begins; over TLS alone where there is TLS."""
    answer.set_cookie(
        _COOKIE,
        request[TOKEN],
        path="/",
        max_age=30 * 86_400,
        secure=request.secure,
        httponly=True,
        samesite="Strict",
    )


async def _form(request: web.Request) -> Fields:
    try:
        async with asyncio.timeout(_BODY_S):
            fields = await request.post()
        for name, value in fields.items():  # halves of characters, which some charsets have, are no text
            f"{name}{getattr(value, 'filename', value)}".encode()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    # A LookupError where its charset is unknown, a RuntimeError where a part's encoding is.
    except (ValueError, LookupError, RuntimeError, web.RequestPayloadError, ConnectionError):
        raise UsageError("the request is not a form: send it with a browser") from None
    return fields


@web.middleware
async def _errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """A page for whatever goes wrong."""
    try:
        return await handler(request)
    except GatewayError as error:
        status, text = status_of(error), sentence(error)
        answer = _error_page(request, status, text)
        if isinstance(error, TooMany):
            answer.headers["Retry-After"] = str(error.retry_after_s)
        return answer
    except web.HTTPException as refusal:
        if refusal.status < 400:
            raise
        text = {
            404: i18n.gettext("There is no such page."),
            405: i18n.gettext("This page does not take that."),
            413: i18n.gettext("The form is too large."),
            421: i18n.gettext("This machine has another name: open the page by that, or by its address."),
        }.get(refusal.status, i18n.gettext("The request was not accepted."))
        answer = _error_page(request, refusal.status, text)
        if "Allow" in refusal.headers:
            answer.headers["Allow"] = refusal.headers["Allow"]
        return answer
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            text = i18n.gettext("This machine’s disk does not take it: it is full, read-only or damaged.")
            return _error_page(request, 503, text)
        # Its type and place, never its text: that may quote a secret.
        place = traceback.extract_tb(error.__traceback__)[-1]
        _LOG.error(
            "%s failed: %s in %s, line %s",
            request.match_info.route.resource.canonical if request.match_info.route.resource else "a page",
            type(error).__name__,
            Path(place.filename).name,
            place.lineno,
        )
        return _error_page(request, 500, i18n.gettext("This page failed; the log says where."))


def _error_page(request: web.Request, status: int, text: str) -> web.Response:
    try:
        return page(request, "error.html", status=status, sentence=text)
    except GatewayError as error:  # the files of all pages are missing
        return web.Response(status=status_of(error), text=sentence(error))
