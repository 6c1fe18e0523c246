"""What the meters show now, for every browser that looks: the gateway is asked once for all of them, and not
at all while nobody looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass

from gateway.control.client import ControlClient
from gateway.control.documents import ReadingStatus, Status
from gateway.errors import GatewayError
from gateway.host.clock import Clock, unix_ms

EVERY_S = 2
"""How often the gateway is asked for readings."""
_STATUS_MS = 10_000  # how old its status may be, which takes it longer to say


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the gateway answered at a time, Unix ms: its status, and what the meters showed; or the `error`
    instead."""

    when_ms: int
    status: Status | None = None
    readings: tuple[ReadingStatus, ...] = ()
    error: GatewayError | None = None


class Live:
    """Asks the gateway every two seconds while somebody watches."""

    def __init__(self, control: ControlClient, clock: Clock) -> None:
        self._control = control
        self._clock = clock
        self._watchers = 0
        self._asking: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._latest: Snapshot | None = None
        self._status: tuple[int, Status] | None = None  # with when it was asked for

    async def look(self) -> Snapshot:
        """What is known now; the gateway is asked where that is not of the last two seconds."""
        latest = self._latest
        if latest is None or not 0 <= unix_ms(self._clock) - latest.when_ms < EVERY_S * 1000:
            latest = await self._ask()
        return latest

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        """Each snapshot from the next one on."""
        self._watchers += 1
        if self._asking is None:
            self._asking = asyncio.create_task(self._keep_asking())
        seen = self._latest
        try:
            while True:
                async with self._changed:
                    await self._changed.wait_for(lambda: self._latest is not seen)
                if (seen := self._latest) is not None:
                    yield seen
        finally:
            self._watchers -= 1
            if self._watchers == 0:
                await self.aclose()

    async def aclose(self) -> None:
        """Stop asking."""
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking

    async def _keep_asking(self) -> None:
        while True:
            await self._clock.sleep(EVERY_S)
            await self._ask()

    async def _ask(self) -> Snapshot:
        now_ms = unix_ms(self._clock)
        try:
            if self._status is None or not 0 <= now_ms - self._status[0] < _STATUS_MS:
                self._status = now_ms, await self._control.status()
            found = Snapshot(now_ms, self._status[1], await self._control.readings())
        except GatewayError as error:
            self._status = None
            found = Snapshot(now_ms, error=error)
        async with self._changed:
            self._latest = found
            self._changed.notify_all()
        return found
