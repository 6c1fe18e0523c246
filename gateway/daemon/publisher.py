"""Sends the outbox to the store, in order, again until confirmed; never ahead of the ledger."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass

from gateway.daemon.takeover import Takeover
from gateway.errors import KeyTaken, LedgerError, StoreDenied, StoreUnavailable
from gateway.host.clock import Clock
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import Queued
from gateway.store.bucket import Bucket

_log = logging.getLogger(__name__)
_BATCH = 16
_LONGEST_PAUSE_S = 60.0
_IDLE_S = 1.0


@dataclass(slots=True)
class StoreState:
    """How the store fares, for the status: Unix ms of the last answer, and what failed since."""

    answered_ms: int | None = None
    error: str | None = None


class Publisher:
    """One task that empties the outbox. It first lets `takeover` compare the store with the ledger."""

    def __init__(self, ledger: Ledger, bucket: Bucket, clock: Clock, takeover: Takeover) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._clock = clock
        self._takeover = takeover
        self.state = StoreState()

    async def run(self) -> None:
        """For ever. Raises StoreAhead when the store holds more than the ledger knows."""
        compared = False
        pause = 1.0
        while True:
            try:
                if not compared:
                    await self._takeover.compare()
                    compared = True
                sent = await self._send()
                if self.state.error is not None:
                    _log.warning("sending goes on; %d objects wait", await self._ledger.backlog())
            except (StoreUnavailable, StoreDenied, LedgerError) as error:
                if self.state.error is None:
                    _log.warning("nothing is lost, sending waits: %s", error)
                self.state.error = str(error)
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
                continue
            self.state = StoreState(self._clock.wall() // 1_000_000)
            pause = 1.0
            if not sent:
                await self._clock.sleep(_IDLE_S)

    async def _send(self) -> int:
        """Send the next objects; how many there were. What was sent is confirmed, whatever follows."""
        sent: list[int] = []
        try:
            for queued in await self._ledger.outbox(_BATCH):
                await self._put(queued)
                sent.append(queued.id)
        except BaseException:
            with contextlib.suppress(LedgerError):  # they are sent again then, which is harmless
                await self._ledger.confirm(sent)
            raise
        if sent:
            await self._ledger.confirm(sent)
        return len(sent)

    async def _put(self, queued: Queued) -> None:
        key, data, replace = queued.object
        try:
            await self._bucket.put(key, data, replace=replace)
        except KeyTaken:
            if await self._takeover.settle(queued):
                return
            try:
                await self._bucket.put(key, data, replace=True)
            except KeyTaken as error:
                raise StoreDenied(str(error)) from None
