"""The log of a meter's register events, as sentences in the log and the audit log.

Registers themselves stand in the audit log only, and there only where the owner decided on a hold: the two
that were compared and what the choice counts, so that a bill can be explained years later. The audit log is
not encrypted: it is a part of the ledger, a file that only the gateway's user and root may read, and whoever
copies the disk reads it. Two registers at a moment say what a yearly bill says, and nothing about when energy
was used. The journal, which more people read, has no register of a hold.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from gateway.host.clock import Clock, unix_ms
from gateway.intervals.hold import Choice, Hold, RegisterEvent, counted
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

_CHOICES: Mapping[Choice, str] = {
    "exchange": "another meter, or a register that was reset",
    "correction": "the registers as they are now, as the same meter's",
    "before": "the registers as they were before, and the held readings are dropped",
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

    def decision(self, choice: Choice, hold: Hold) -> str:
        """The owner's decision on a hold as a sentence, with the registers and what counts, in kWh."""
        parts = []
        for lane in hold.lanes:
            if lane.first is None or lane.latest is None or lane.believed is None:
                continue
            parts.append(
                f"{lane.lane} {_kwh(lane.believed.register)} kWh was the last believed register, "
                f"{_kwh(lane.first.register)} kWh the first held one, {_kwh(lane.latest.register)} kWh the "
                f"latest; {_kwh(counted(lane)[choice])} kWh count"
            )
        return f"meter {self._meter}: the owner accepted {_CHOICES[choice]}: " + "; ".join(parts)

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


def _kwh(mwh: int) -> str:
    sign, (whole, rest) = "-" if mwh < 0 else "", divmod(abs(mwh), 1_000_000)
    return f"{sign}{whole}.{rest:06d}"
