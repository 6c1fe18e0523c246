"""The log of a meter's register events, as sentences in the log and the audit log."""

from __future__ import annotations

import logging

from gateway.host.clock import Clock, unix_ms
from gateway.intervals.hold import RegisterEvent
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry

_log = logging.getLogger(__name__)

_EVERY_NS = 600_000_000_000  # or a register that falls every second would fill the audit log

_SENTENCES = {
    "fell": "its {lanes} register fell; readings are held until it is back",
    "rose": "its {lanes} register rose by more than a home can draw; readings are held until it is back",
    "other": "a reading has another meter's serial number; such readings are held until it is clear which "
    "meter they are from",
    "back": "its registers are back where they were",
    "rolled": "its {lanes} register started again from 0, as it does when it is full; nothing is lost",
    "exchanged": "another meter answers in its place; its registers count from the first held reading on, "
    "and the energy between the old meter's last reading and that one is not known and counts as 0",
}


class RegisterLog:
    """The log of one meter's register events. That readings are held again is written at most every ten
    minutes."""

    def __init__(self, meter: str, ledger: Ledger, clock: Clock) -> None:
        self._meter = meter
        self._ledger = ledger
        self._clock = clock
        self._written: int | None = None  # when a hold was last written (ns, monotonic)
        self._skipped = False  # whether the current hold was not

    def sentence(self, event: RegisterEvent) -> str:
        """The event as a sentence with the meter's name."""
        return f"meter {self._meter}: " + _SENTENCES[event.kind].format(lanes=" and ".join(event.lanes))

    async def write(self, event: RegisterEvent) -> None:
        """Write an event, unless it repeats; durable once this returns."""
        holds, now = event.kind in ("fell", "rose", "other"), self._clock.monotonic()
        if holds and self._written is not None and now - self._written < _EVERY_NS:
            self._skipped = True
            return
        if self._skipped and event.kind == "back":
            return
        self._skipped = False
        sentence = self.sentence(event)
        await self._ledger.audit(AuditEntry(unix_ms(self._clock), "meter", sentence))
        _log.warning("%s", sentence)
        if holds:
            self._written = now
