"""The HTTP server of the operator's pages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from gateway.errors import UsageError
from gateway.web.connections import drop_idle, listening, without_text
from gateway.web.tls import load, server_context

_LOG = logging.getLogger(__name__)
_HTTP = logging.getLogger(f"{__name__}.http")
"""The log of what aiohttp itself makes of requests that are not HTTP."""
_HTTP.addFilter(without_text)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_IDLE_S = 30
_STOP_S = 2
_RENEWAL_S = 600


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pages are, and the TLS certificate and its key, if they have one."""

    host: str
    port: int
    tls: tuple[Path, Path] | None = None

    def check(self, password: str | None) -> None:
        """UsageError for pages that others can reach without TLS, or without a password."""
        if self.host in _LOOPBACK:
            return
        if self.tls is None:
            raise UsageError(
                f"the pages at {self.host} would cross the network in clear: give --tls-certificate and"
                " --tls-key, or leave --host out, behind a proxy that has them"
            )
        if password is None:
            raise UsageError(
                f"anybody who reaches {self.host} could read the pages: give a file with their password,"
                " --password FILE"
            )


@asynccontextmanager
async def serving(app: web.Application, place: Place) -> AsyncIterator[str]:
    """Answer until the block ends; gives the URL. UsageError where the address is taken, or a file of TLS
    cannot be used."""
    tls = None if place.tls is None else server_context(*place.tls)
    runner = web.AppRunner(app, access_log=None, logger=_HTTP, shutdown_timeout=_STOP_S)
    beside: list[asyncio.Task[None]] = []
    try:
        await runner.setup()
        try:
            for one in await listening(place.host, place.port):
                await web.SockSite(runner, one, ssl_context=tls).start()
        except OSError as error:
            raise UsageError(
                f"the pages cannot be at {place.host}, port {place.port}: {error.strerror}"
            ) from None
        if runner.server is not None:
            beside.append(asyncio.create_task(drop_idle(runner.server, _IDLE_S)))

        async def renew() -> None:
            while tls is not None and place.tls is not None:
                await asyncio.sleep(_RENEWAL_S)
                try:
                    load(tls, *place.tls)
                except UsageError as error:
                    _LOG.error("the certificate is not renewed: %s", error)

        beside.append(asyncio.create_task(renew()))
        name = f"[{place.host}]" if ":" in place.host else place.host
        yield f"http{'s' if tls else ''}://{name}:{runner.addresses[0][1]}"
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await runner.cleanup()
