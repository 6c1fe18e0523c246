"""A relay in front of a real S3 server that can answer in its place, or break its answers.

It runs in the test's own event loop: a store that blocked the loop would never be answered.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.store.location import Location


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    """As the client wrote it: a whole URL where it takes the relay for a proxy."""
    values: dict[str, str] = field(repr=False)
    """The headers, by their names in lower case."""

    @property
    def headers(self) -> frozenset[str]:
        return frozenset(self.values)

    @property
    def conditional(self) -> bool:
        return "if-none-match" in self.headers


@dataclass(frozen=True)
class Instead:
    """An answer in the server's place; the server never sees the request."""

    status: str
    body: str = ""
    kind: str = "application/xml"


@dataclass(frozen=True)
class Cut:
    """The server's answer, without its last bytes."""

    missing: int


class Lost:
    """The server does as it is asked, and its answer does not arrive."""


class Silence:
    """The request arrives nowhere, and nothing comes back."""


@dataclass(frozen=True)
class Unheard:
    """The server is asked without this header, and does not know that there was one."""

    header: str


@dataclass(frozen=True)
class Drip:
    """The server's answer, its first bytes at once and then one at a time, each long before anyone would call
    the server silent. `started` is set with the first."""

    at_once: int = 0
    every_s: float = 0.05
    started: asyncio.Event = field(default_factory=asyncio.Event)


Fault = Instead | Cut | Lost | Silence | Unheard | Drip
Plan = Callable[[Request], Fault | None]


def error(status: str, code: str) -> Instead:
    """An answer in S3's form of errors."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>"
    return Instead(status, body)


@dataclass
class Relay:
    """`plan` says, for each request, what goes wrong with it; None: nothing. `seen` keeps them all."""

    location: Location
    behind: Location
    plan: Plan = lambda request: None
    seen: list[Request] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: str) -> None:
        try:
            request, message = await _read_request(reader, writer)
            self.seen.append(request)
            fault = self.plan(request)
            match fault:
                case Silence():
                    await reader.read()  # until the client gives up
                case Instead(status, body, kind):
                    head = (
                        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
                        "\r\nConnection: close\r\n\r\n"
                    )
                    writer.write((head + body).encode())
                case Drip():
                    answer = await _ask(upstream, message)
                    writer.write(answer[: fault.at_once])
                    for at in range(fault.at_once, len(answer)):
                        writer.write(answer[at : at + 1])
                        fault.started.set()
                        await asyncio.sleep(fault.every_s)
                        await writer.drain()
                case _:
                    if isinstance(fault, Unheard):
                        message = _without(fault.header, message, self.behind)
                    answer = await _ask(upstream, message)
                    if isinstance(fault, Cut):
                        answer = answer[: -fault.missing]
                    if not isinstance(fault, Lost):
                        writer.write(answer)
            await writer.drain()
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


@asynccontextmanager
async def relay(behind: Location, tls: ssl.SSLContext | None = None) -> AsyncIterator[Relay]:
    """A relay to the server of `behind`; its own `location` is the same bucket, by way of the relay, which
    with `tls` speaks https."""
    assert behind.endpoint is not None
    made = Relay(behind, behind)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            await made.serve(reader, writer, urlsplit(behind.endpoint or "").netloc)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        host, port = server.sockets[0].getsockname()
        made.location = dataclasses.replace(behind, endpoint=f"http{'s' if tls else ''}://{host}:{port}")
        yield made


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[Request, bytes]:
    """A request, and its bytes as they go on: whole, and without what asks to keep the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.pop("expect", "") == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    headers["connection"] = "close"
    method, path, _ = first.split(" ")
    onward = "\r\n".join([first, *(f"{name}: {value}" for name, value in headers.items()), "", ""])
    return Request(method, path, headers), onward.encode("latin-1") + body


def _without(header: str, message: bytes, behind: Location) -> bytes:
    """The request without a header, signed anew."""
    head, _, body = message.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = dict(line.split(": ", 1) for line in lines)
    for name in (header, "authorization", "amz-sdk-request", "amz-sdk-invocation-id"):
        headers.pop(name, None)
    request = AWSRequest(method, f"http://{headers['host']}{path}", headers, body)
    keys = Credentials(behind.access_key or "", behind.secret_key or "")
    S3SigV4Auth(keys, "s3", behind.region or "").add_auth(request)
    signed = [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join([first, *signed, "", ""]).encode("latin-1") + body


async def _ask(upstream: str, message: bytes) -> bytes:
    host, _, port = upstream.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(message)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer
