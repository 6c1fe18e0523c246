"""Where hints come from: MQTT brokers, and a store's webhook.

mqtts://HOST             a utility's broker, at which gateways send chunks as they close. Their windows need
                         the head and the tokens too, which are in the store alone: a chunk is a hint
mqtts://USER@HOST/TOPIC  a broker at which a store publishes the keys of new objects
http://HOST:PORT/        an address to listen at, to which a store posts these

A broker that is gone is asked again and again; meanwhile no hints come, and all is found by looking.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from aiohttp import web

from gateway.centre.hints import MOST_BYTES, Hints
from gateway.errors import GatewayError, UsageError
from gateway.host.files import read_private
from gateway.mqtt import topics
from gateway.mqtt.broker import Access, connected
from gateway.web.bodies import read_body
from gateway.web.connections import drop_idle, listening

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_AGAIN_S = 5.0
_IDLE_S = 30.0
_EXPECTED = "expected mqtts://HOST, mqtts://HOST/TOPIC or http://127.0.0.1:PORT/"

_LOG = logging.getLogger(__name__)
_HTTP = logging.getLogger(f"{__name__}.http")
_HTTP.setLevel(logging.CRITICAL)  # what is not HTTP is worth no line: whoever reaches the port can send much


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker, and the topics at which it has notices."""

    access: Access
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address to listen at. Whoever posts there shows `secret` as a bearer token, if there is one."""

    host: str
    port: int
    secret: bytes | None = field(default=None, repr=False)


def read_sources(
    urls: Sequence[str],
    *,
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    secret: Path | None = None,
) -> tuple[Broker | Webhook, ...]:
    """The sources at these URLs; two of one broker are one connection. `ca`, `certificate` and `key` (PEM)
    are for brokers over TLS, the file `secret` for a webhook or a broker's user. UsageError where a URL is of
    another kind, or a file is missing or not usable."""
    if (certificate is None) != (key is None):
        raise UsageError("a broker takes both a certificate and its key, or neither")
    if key is not None:
        read_private(key, "the key of the broker's certificate")
    shared = None if secret is None else _read_secret(secret)
    client_id = f"gateway-centre-{secrets.token_hex(4)}"
    webhooks: list[Webhook] = []
    brokers: dict[Access, list[str]] = {}
    for url in urls:
        parts = _split(url)
        if parts.scheme == "http":
            webhooks.append(_webhook(url, parts, shared))
            continue
        tls = parts.scheme == "mqtts"
        access = Access(
            parts.hostname or "",
            parts.port or _PORTS[parts.scheme],
            tls,
            client_id,
            ca=ca if tls else None,
            certificate=certificate if tls else None,
            key=key if tls else None,
            username=parts.username and unquote(parts.username),
            password=None if parts.username is None else _password(url, shared),
        )
        access.context()
        brokers.setdefault(access, []).append(unquote(parts.path.removeprefix("/")) or topics.CHUNKS)
    if (ca is not None or key is not None) and not any(one.tls for one in brokers):
        raise UsageError("certificates of notices are for a broker over TLS: expected --notices mqtts://HOST")
    if secret is not None and not webhooks and all(one.username is None for one in brokers):
        raise UsageError(
            "the secret of notices is for a broker's user or a webhook: expected --notices mqtts://USER@HOST"
            " or http://HOST:PORT/"
        )
    return (*(Broker(access, tuple(found)) for access, found in brokers.items()), *webhooks)


@asynccontextmanager
async def heeding(
    sources: Sequence[Broker | Webhook], hints: Hints, say: Callable[[str], object]
) -> AsyncIterator[None]:
    """Pass what comes from these sources on to `hints` while the block runs. `say` is called with a sentence
    when a broker is gone, once, and when it is back. UsageError where a webhook's address is taken."""
    async with AsyncExitStack() as stack:
        tasks: list[asyncio.Task[None]] = []
        try:
            for source in sources:
                if isinstance(source, Webhook):
                    await stack.enter_async_context(_answering(source, hints))
                else:
                    tasks.append(asyncio.create_task(_heed(source, hints, say)))
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _heed(broker: Broker, hints: Hints, say: Callable[[str], object]) -> None:
    gone: type[Exception] | None = None
    while True:
        try:
            async with connected(broker.access) as connection:
                await connection.subscribe(broker.topics, retained=False, qos=0)
                if gone is not None:
                    say(f"{connection.url}: connected; notices come again")
                gone = None
                while True:
                    message = await connection.receive()
                    chunk = topics.is_chunk(message.topic)
                    hints.hear(message.topic.encode() if chunk else message.payload)
        except GatewayError as error:
            if type(error) is not gone:
                say(f"{error}; no notices come from there now, and the looks at all homes go on")
            gone = type(error)
        except Exception as error:  # notices are a help, and their fault must not end what they help
            _LOG.exception("%s: this is a bug", broker.access.url)
            gone = type(error)
        await asyncio.sleep(_AGAIN_S)


@asynccontextmanager
async def _answering(webhook: Webhook, hints: Hints) -> AsyncIterator[None]:
    token = None if webhook.secret is None else b"Bearer " + webhook.secret

    async def take(request: web.Request) -> web.Response:
        shown = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if token is not None and not hmac.compare_digest(shown, token):
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
        hints.hear(await read_body(request, MOST_BYTES))
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(app, access_log=None, logger=_HTTP, shutdown_timeout=1)
    await runner.setup()
    assert runner.server is not None
    idle = asyncio.create_task(drop_idle(runner.server, _IDLE_S))
    try:
        try:
            for one in await listening(webhook.host, webhook.port):
                await web.SockSite(runner, one).start()
        except OSError as error:
            where = f"{webhook.host}, port {webhook.port}"
            raise UsageError(f"notices cannot be listened for at {where}: {error.strerror}") from None
        yield
    finally:
        idle.cancel()
        await asyncio.gather(idle, return_exceptions=True)
        await runner.cleanup()


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UsageError(f"--notices {url}: {_EXPECTED}") from None
    if parts.password is not None:
        raise UsageError("--notices holds a password: name a file that has it with --notices-secret")
    try:
        good = parts.scheme in ("http", *_PORTS) and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment:
        raise UsageError(f"--notices {url}: {_EXPECTED}")
    return parts


def _webhook(url: str, parts: SplitResult, secret: bytes | None) -> Webhook:
    host = parts.hostname or ""
    if parts.port is None or parts.username is not None or parts.path not in ("", "/"):
        raise UsageError(f"--notices {url}: {_EXPECTED}")
    try:
        own = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        own = False
    if not own and secret is None:
        raise UsageError(
            f"--notices {url}: whoever reaches it could post there: name a file with a secret, which the"
            " store shows as a bearer token, with --notices-secret; or listen at 127.0.0.1"
        )
    return Webhook(host, parts.port, secret)


def _password(url: str, secret: bytes | None) -> str:
    if secret is None:
        raise UsageError(f"--notices {url}: name a file with this user's password with --notices-secret")
    return secret.decode()


def _read_secret(path: Path) -> bytes:
    secret = read_private(path, "the secret of the notices").strip(b"\r\n")
    if not secret.isascii() or not secret.decode("ascii").isprintable() or not secret:
        raise UsageError(f"{path} does not hold a secret: expected a line of printable ASCII characters")
    return secret
