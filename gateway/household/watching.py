"""What a monitoring system asks, at the addresses that such systems expect, and no person.

GET /healthz   to anybody in the network: whether all is well, or one reason why not
GET /metrics   to whoever has the token: Prometheus' text format
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from gateway.control.client import ControlClient
from gateway.control.documents import Status
from gateway.control.health import Health
from gateway.control.metrics import CONTENT_TYPE, render
from gateway.errors import GatewayError
from gateway.host.clock import Clock
from gateway.household.security.metrics_token import MetricsToken

PATHS = ("/healthz", "/metrics")
"""What no login is asked for."""
_FRESH_NS = 5 * 10**9
_ANSWER_S = 5.0  # below the 10 s that Prometheus waits


class Watching:
    """The answers of one home. Its gateway is asked for its health once in five seconds, whoever asks how
    often."""

    def __init__(self, control: ControlClient, clock: Clock, token: MetricsToken) -> None:
        self._control = control
        self._clock = clock
        self._token = token
        self._asking = asyncio.Lock()
        self._known: tuple[int, Health] | None = None  # since when (ns, monotonic), and what

    def routes(self) -> list[web.RouteDef]:
        """Both addresses."""
        return [web.get("/healthz", self._get_healthz), web.get("/metrics", self._get_metrics)]

    async def _get_healthz(self, request: web.Request) -> web.Response:
        async with self._asking:
            if self._known is None or self._clock.monotonic() - self._known[0] >= _FRESH_NS:
                found = Health.of(await self._status())
                self._known = self._clock.monotonic(), found
            health = self._known[1]
        return web.json_response(health.model_dump(exclude_unset=True), status=health.http_status)

    async def _get_metrics(self, request: web.Request) -> web.Response:
        if not self._token.any:
            return web.Response(
                status=404, text="There are no metrics: sudo gateway household metrics-token makes a token.\n"
            )
        if not self._token.accepts(request.headers.get("Authorization", "")):
            return web.Response(
                status=401, text="This takes the token.\n", headers={"WWW-Authenticate": "Bearer"}
            )
        text = render(await self._status())
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _status(self) -> Status | None:
        """The gateway's status; None where it does not answer in time, or not in a form that is known."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await self._control.status()
        except (GatewayError, TimeoutError):
            return None
