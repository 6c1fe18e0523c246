"""The publisher: sends the outbox to the store in order, until confirmed, and never ahead of the ledger."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.daemon.rollback import RollbackCheck, StoreAhead
from gateway.errors import KeyTaken, LedgerError, StoreDenied, StoreUnavailable
from gateway.host.clock import Clock, unix_ms
from gateway.host.fault_log import FaultLog
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import Queued
from gateway.store.bucket import Bucket

_log = logging.getLogger(__name__)
_BATCH = 16
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_IDLE_S = 1.0

T = TypeVar("T")


class Publisher:
    """The task that empties the outbox. It first lets `rollback` compare the store with the ledger.

    `answered_ms` is the Unix time (ms) of the store's last answer; `compared` is true once the store is known
    not to be ahead of the ledger; `away` says that the store did not answer when it was last asked."""

    def __init__(self, ledger: Ledger, bucket: Bucket, clock: Clock, rollback: RollbackCheck) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._clock = clock
        self._rollback = rollback
        self.answered_ms: int | None = None
        self.compared = False
        self.away = False
        self._faults = FaultLog(clock, _log.warning, _log.warning, "sending is paused, nothing is lost: ")

    @property
    def fault(self) -> str | None:
        """What has failed since the store last answered, as a sentence; None while nothing has."""
        return self._faults.fault

    async def run(self) -> None:
        """Send until cancelled. StoreAhead when the store holds more than the ledger knows."""
        self.compared = False
        pause = _FIRST_PAUSE_S
        while True:
            try:
                asked = not self.compared
                if asked:
                    await self._rollback.compare()
                    self.compared = True
                sent = await self._send()
                self.away = False
                if self.fault is not None:
                    self._faults.clear(f"sending resumes; {await self._ledger.backlog()} objects wait")
            except (StoreUnavailable, StoreDenied, LedgerError) as error:
                self.away = isinstance(error, StoreUnavailable)
                self._faults.report(str(error))
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
                continue
            if sent or asked:  # with an empty outbox nobody asks the store
                self.answered_ms = unix_ms(self._clock)
            pause = _FIRST_PAUSE_S
            if not sent:
                await self._clock.sleep(_IDLE_S)

    async def wait_for(self, ahead: StoreAhead, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` returns as soon as the store answers it. Nothing is sent meanwhile, as `ahead` says."""
        self._faults.report(str(ahead))
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return await read()
            except (StoreUnavailable, StoreDenied) as error:
                self._faults.report(f"{ahead}; taking the store's chain over has to wait: {error}")
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _send(self) -> int:
        """Send the next objects, and return how many. What was sent is confirmed, whatever follows."""
        sent: list[int] = []
        others: list[int] = []
        try:
            for queued in await self._ledger.outbox(_BATCH):
                (sent if await self._put(queued) else others).append(queued.id)
        except BaseException:
            with contextlib.suppress(LedgerError):  # then they are sent again, which is harmless
                await self._ledger.confirm(sent, unix_ms(self._clock), others)
            raise
        if sent or others:
            await self._ledger.confirm(sent, unix_ms(self._clock), others)
        return len(sent) + len(others)

    async def _put(self, queued: Queued) -> bool:
        """Send an object; False if the store has another in its place, which stays."""
        _, key, data = queued.object
        try:
            await self._bucket.put(key, data, replace=queued.object.replaces)
        except KeyTaken:
            if await self._rollback.settle(queued):
                return False
            try:
                await self._bucket.put(key, data, replace=True)
            except KeyTaken as error:
                raise StoreDenied(str(error)) from None
        return True
