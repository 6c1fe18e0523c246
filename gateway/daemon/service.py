"""The service: opens the root, the ledger and the store, runs sessions, and stops in order.

If the store turns out to hold more than the ledger knows, the session goes on without sending until the store
has been read. Then it ends, the ledger takes the store's chain over, and a new session begins under a new
incarnation with the readings of the units that were dropped.

A stop takes seconds, whatever hangs: what is not done by then is cut off, as by a power cut, and every step
is durable before the next begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any

from gateway.config import Config, location
from gateway.daemon.answers import check_free
from gateway.daemon.regained import Regained
from gateway.daemon.registration import Registration
from gateway.daemon.session import Session, TakeoverDue
from gateway.daemon.setup import Setup
from gateway.daemon.watchdog import Watchdog
from gateway.daemon.watched import WatchedRoot
from gateway.errors import RolledBack
from gateway.host.clock import Clock
from gateway.host.systemd import Notifier
from gateway.ledger.ledger import Ledger
from gateway.store.bucket import Bucket
from gateway.store.opening import open_bucket
from gateway.trust.opening import open_root

_log = logging.getLogger(__name__)

STOP_S = 6.0
"""What is under way when the gateway is stopped has this long to end by itself."""
_OPENING_S = 600
"""For the root and the ledger to open, as the unit's TimeoutStartSec has it: a TPM that is not ready is
waited for for five minutes."""


class Daemon:
    """The gateway's service: `run` works until `stop` is called."""

    def __init__(self, config: Config, clock: Clock, setup: Setup | None = None) -> None:
        """`setup` answers what is asked about the configuration; without one, nothing may be."""
        self._setup = setup
        self._config = config
        self._clock = clock
        self._stopped = asyncio.Event()
        self._notifier = Notifier()
        self._taken_over: tuple[bytes, str] | None = None  # stream and key that caused the last take-over
        self._regained: Regained | None = None  # by the last take-over, and not sealed anew yet

    def stop(self) -> None:
        """End the run, once what was read is durable, or in seconds where something hangs."""
        _log.info("the gateway stops")
        self._stopped.set()

    async def run(self) -> None:
        """Run until stopped. A GatewayError says why the gateway cannot run at all."""
        work = asyncio.create_task(self._run())
        stopping = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([work], timeout=STOP_S)
            if not work.done():
                _log.warning("the TPM, the store or the disk hangs: the gateway stops without it")
        finally:
            stopping.cancel()
            work.cancel()
            (outcome,) = await asyncio.gather(work, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise outcome

    async def _run(self) -> None:
        config = self._config
        async with contextlib.AsyncExitStack() as stack:
            opening = asyncio.create_task(self._feed_while_opening())
            stack.callback(opening.cancel)
            opened = await open_root(config.trust.root, config.gateway.trust, config.trust.tcti)
            root = WatchedRoot(opened, self._clock)
            stack.push_async_callback(root.aclose)
            ledger = await Ledger.open(config.gateway.ledger)
            stack.push_async_callback(ledger.close)
            check_free(config.gateway.socket)  # before a session costs a step of the TPM's counter
            registration = Registration(config.gateway.state, root, ledger, self._clock)
            bucket = open_bucket(location(config.store, registration))
            stack.push_async_callback(bucket.aclose)
            if root.assurance == "software":
                _log.warning(
                    "the root is in software: anyone who copies this machine's disk can open every reading"
                )
            opening.cancel()
            watchdog = Watchdog(self._clock, root, ledger)
            beside = [
                asyncio.create_task(watchdog.run(self._notifier)),
                asyncio.create_task(registration.run()),
            ]
            try:
                while not self._stopped.is_set() or self._regained is not None:
                    await self._session(root, ledger, bucket, registration, watchdog)
            finally:
                for task in beside:
                    task.cancel()
                self._notifier.notify("STOPPING=1")

    async def _feed_while_opening(self) -> None:
        """Feed the watchdog, which runs already where the gateway waited for its configuration before."""
        began = self._clock.monotonic()
        await self._notifier.feed_watchdog(
            lambda: self._clock.monotonic() - began < _OPENING_S * 10**9, self._clock.sleep
        )

    async def _session(
        self,
        root: WatchedRoot,
        ledger: Ledger,
        bucket: Bucket,
        registration: Registration,
        watchdog: Watchdog,
    ) -> None:
        session = Session(
            self._config, self._clock, root, ledger, bucket, registration, self._regained, self._setup
        )
        await session.open()
        self._regained = None
        self._notifier.notify("READY=1")
        _log.info("the gateway is running")
        watchdog.lines = session.lines
        try:
            await self._unless_stopped(session.run())
        except TakeoverDue as due:
            ahead = due.ahead
            if (ahead.stream, ahead.key) == self._taken_over:
                raise RolledBack(f"{ahead}; taking the store's chain over did not resolve this") from None
            self._taken_over = ahead.stream, ahead.key
            watchdog.lines = {}
            # Not cut short when the gateway is stopped: what is regained here is in memory alone.
            self._regained = await due.takeover.apply(due.read)

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` until it ends or the gateway is stopped; raise its first failure, unwrapped."""
        task = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
        while isinstance(outcome, BaseExceptionGroup):
            outcome = outcome.exceptions[0]
        if isinstance(outcome, Exception):
            raise outcome
