"""Stays connected to a broker: connects, again after each loss, and says what is wrong meanwhile."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from gateway.errors import GatewayError
from gateway.host.clock import Clock
from gateway.host.fault_log import FaultLog
from gateway.mqtt.broker import Access, Connection, Retained, connected

_FIRST_S, _LONGEST_S = 1.0, 60.0
_SETTLED_NS = 60_000_000_000
"""A connection that lasted as long was a good one: the next try comes soon."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """Whether the broker at `url` is connected, and a sentence that says why not."""

    url: str
    connected: bool
    fault: str | None


class Link:
    """The connection to one broker; `name` stands in its sentences: "the utility's broker".

    `access` and `will` are asked for before each try, since certificates are renewed; `serve` runs while a
    connection lasts. Waits grow from 1 s to a minute, less up to a quarter so that gateways do not all come
    back at once.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        access: Callable[[], Awaitable[tuple[Access, Retained]]],
        serve: Callable[[Connection], Awaitable[None]],
    ) -> None:
        self._clock = clock
        self._access = access
        self._serve = serve
        self._name = name
        self._faults = FaultLog(clock, _log.warning, _log.info, f"{name}: ")
        self._url = ""
        self._connected = False

    @property
    def status(self) -> LinkStatus:
        """As it stands now."""
        return LinkStatus(self._url, self._connected, self._faults.fault)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        wait = _FIRST_S
        while True:
            began = None
            try:
                access, will = await self._access()
                self._url = access.url
                async with connected(access, will) as connection:
                    began = self._clock.monotonic()
                    self._connected = True
                    self._faults.clear(f"{self._name}: connected to {access.url}")
                    await self._serve(connection)
            except GatewayError as error:
                self._faults.report(str(error))
            except Exception as error:  # one broker's fault must not end the other's, nor the pages
                _log.exception("%s: this is a bug", self._name)
                self._faults.report(f"a bug, {type(error).__name__}: please report it, with the log")
            finally:
                self._connected = False
            if began is not None and self._clock.monotonic() - began >= _SETTLED_NS:
                wait = _FIRST_S
            await self._clock.sleep(wait * random.uniform(0.75, 1))  # noqa: S311 - no secret
            wait = min(2 * wait, _LONGEST_S)


async def together(*parts: Coroutine[Any, Any, None]) -> None:
    """Run the parts until one fails, and end the others; its error is raised as it is."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def sleep_or(event: asyncio.Event, clock: Clock, seconds: float) -> None:
    """Wait so long, or until the event is set."""
    either = {asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(event.wait())}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in either:
            one.cancel()
        await asyncio.gather(*either, return_exceptions=True)
