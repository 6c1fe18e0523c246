"""The watchdog's condition: whether sealing makes progress, so that systemd need not restart the gateway.

The gateway hangs where a commit of a line takes no step, or the ledger answers nothing, for five minutes, or
where the TPM lets call after call run into its time limit. What the gateway knows of and waits for is no
reason to restart it, since each start steps the TPM's counter, which wears out: a meter that is silent, a
store or a network that is away, a clock that is not set, a disk that is full, a TPM that is busy or not
ready.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

from gateway.daemon.line import Line
from gateway.daemon.watched import WatchedRoot
from gateway.errors import LedgerError
from gateway.host.clock import Clock
from gateway.host.fault_log import FaultLog
from gateway.host.systemd import Notifier
from gateway.ledger.ledger import Ledger

HUNG_S = 300
"""Far above what one step takes: a day of seconds sealed on a slow card, a bundle of 65,536 tokens."""
_ASK_S = 30.0
_log = logging.getLogger(__name__)


class Watchdog:
    """The condition under which one gateway's watchdog is fed. `lines` are those of the session that runs."""

    def __init__(self, clock: Clock, root: WatchedRoot, ledger: Ledger) -> None:
        self.lines: Mapping[str, Line] = {}
        self._clock = clock
        self._root = root
        self._ledger = ledger
        self._asked: int | None = None  # the ledger (ns, monotonic), which has not answered yet
        self._faults = FaultLog(clock, _log.error, _log.warning, "the watchdog is not fed: ")

    async def run(self, notifier: Notifier) -> None:
        """Feed it until cancelled; done at once where there is none."""
        if notifier.watchdog_seconds() is None:
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ask_the_ledger())
            tasks.create_task(notifier.feed_watchdog(self.well, self._clock.sleep))

    def well(self) -> bool:
        """Whether nothing hangs now. What does is logged."""
        sentence = self._hangs()
        if sentence is None:
            self._faults.clear("the watchdog is fed again: nothing hangs")
        else:
            self._faults.report(sentence)
        return sentence is None

    def _hangs(self) -> str | None:
        if self._root.hung:
            return self._root.fault or "the TPM has not answered for minutes"
        if self._asked is not None and (seconds := self._since(self._asked)) >= HUNG_S:
            return f"the ledger has not answered for {seconds} s"
        if self._root.fault is not None:  # lines wait for the TPM, which is asked again within limits
            return None
        for line in self.lines.values():
            stepped = line.stepped
            if stepped is None:
                continue
            if line.finishing:  # lines finish one after the other: a signature is a step of all that wait
                stepped = max(stepped, self._root.answered)
            if (seconds := self._since(stepped)) >= HUNG_S:
                return f"{line.sealer.title}: sealing has taken no step for {seconds} s"
        return None

    def _since(self, moment: int) -> int:
        """Whole seconds since then."""
        return (self._clock.monotonic() - moment) // 1_000_000_000

    async def _ask_the_ledger(self) -> None:
        """Ask the ledger something small every half minute."""
        while True:
            self._asked = self._clock.monotonic()
            with suppress(LedgerError):  # an answer too: the lines report it
                await self._ledger.last_incarnation()
            self._asked = None
            await self._clock.sleep(_ASK_S)
