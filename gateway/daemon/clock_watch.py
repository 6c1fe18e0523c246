"""The watch on the wall clock: steps and waits, as sentences in the log, the audit log and the status."""

from __future__ import annotations

import logging
from collections import deque
from typing import NamedTuple

from gateway.errors import LedgerError
from gateway.host.clock import Clock, unix_ms
from gateway.intervals.clock_check import ClockCheck, ClockEvent
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry

_log = logging.getLogger(__name__)

_HOUR_NS = 3600 * 1_000_000_000
_MOST_AN_HOUR = 20  # a clock that steps to and fro would fill the audit log

_SENTENCES = {
    "unset": "the clock has not been synchronised since boot: readings wait until it is",
    "set": "the clock is synchronised: sealing goes on",
    "ahead": "the clock stepped forward by {by}: readings wait until the new time has stood for ten minutes",
    "late": "the clock is {by} after the last sealed unit: readings wait until it has stood for ten minutes",
    "returned": "the clock shows the time from before its step again: sealing goes on, nothing was filled in",
    "stood": "the clock's new time has stood for ten minutes: sealing goes on, and the units between are "
    "filled in",
    "back": "the clock stepped back by {by}: nothing is sealed until it has passed the last sealed unit",
}


class Moment(NamedTuple):
    """Both clocks, in ns, read at once, and whether the time may be sealed."""

    believed: bool
    wall: int
    monotonic: int


class ClockWatch:
    """The watch on one gateway's clock. `sealed_until` is the end (ns of Unix time) of the last unit that
    earlier runs sealed, None where there is none."""

    def __init__(self, clock: Clock, ledger: Ledger, sealed_until: int | None) -> None:
        self._clock = clock
        self._ledger = ledger
        self._check = ClockCheck(sealed_until)
        self._written: deque[int] = deque(maxlen=_MOST_AN_HOUR)  # when a line was (ns, monotonic)
        self._lines: deque[AuditEntry] = deque()  # not in the audit log yet

    @property
    def waits(self) -> str | None:
        """Why readings wait for the clock, as a sentence; None while they do not."""
        return None if self._check.wait is None else _sentence(self._check.wait)

    async def look(self) -> Moment:
        """Look at the clocks. A step, a wait or its end is durable in the audit log once this returns."""
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        event = self._check.look(trusted=self._clock.trusted(), wall=wall, monotonic=monotonic)
        moment = Moment(self._check.wait is None, wall, monotonic)
        if event is not None:
            self.note(_sentence(event))
        while self._lines:
            line = self._lines.popleft()
            try:
                await self._ledger.audit(line)
            except LedgerError:
                self._lines.appendleft(line)
                raise
        return moment

    def note(self, sentence: str) -> None:
        """Note a line; the next `look` writes it, unless there were too many within the hour."""
        now = self._clock.monotonic()
        if len(self._written) == _MOST_AN_HOUR and now - self._written[0] < _HOUR_NS:
            return
        _log.warning("%s", sentence)
        self._written.append(now)
        self._lines.append(AuditEntry(unix_ms(self._clock), "clock", sentence))


def _sentence(event: ClockEvent) -> str:
    return _SENTENCES[event.kind].format(by=_span(event.by))


def _span(ns: int) -> str:
    """A time span in words, to two digits or more: "45 s", "90 min", "47 h", "30 days"."""
    seconds = round(ns / 1e9)
    for name, long, upto in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < upto:
            return f"{seconds // long} {name}"
    return f"{seconds // 86_400} days"
