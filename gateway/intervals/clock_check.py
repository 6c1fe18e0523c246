"""The check of the wall clock (PROTOCOL.md, rule 5): whether the time that it shows may be sealed. Pure.

A step forward is a wall clock that gained more than 10 s on the monotonic one. The new time is believed once
it has stood for ten minutes. The monotonic clock of an earlier run is not known: there the last sealed unit
takes its place, and a start more than an hour after it counts as a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_NS = 1_000_000_000
STEP_NS = 10 * _NS
_STOOD_NS = 600 * _NS
_OUTAGE_NS = 3600 * _NS

Kind = Literal["unset", "set", "ahead", "late", "returned", "stood", "back"]


@dataclass(frozen=True, slots=True)
class ClockEvent:
    """What the clock did. Three kinds begin a wait: it is not synchronised since boot ("unset"), it stepped
    forward ("ahead"), or the gateway starts long after its last sealed unit ("late"). Three end it: it is
    synchronised ("set"), it shows the time from before the step again ("returned"), or the new time has stood
    ("stood"). It stepped back ("back"): this ends a wait too. `by` is the size of the step, or the time since
    the last sealed unit, in ns."""

    kind: Kind
    by: int = 0


class ClockCheck:
    """The check of one machine's clock. `sealed_until` is the end (ns of Unix time) of the last unit that
    earlier runs sealed, None where there is none. `wait` is the event since which readings wait, None while
    the time is believed; `since` is when it began (ns, monotonic)."""

    def __init__(self, sealed_until: int | None) -> None:
        self.wait: ClockEvent | None = None
        self.since = 0
        self._sealed_until = sealed_until
        self._believed: int | None = None  # wall less monotonic time, in ns, when it was last believed
        self._limit: int | None = None  # the most that it may be by now
        self._limit_set = 0
        self._new = 0  # what it was when the present wait began

    def look(self, *, trusted: bool, wall: int, monotonic: int) -> ClockEvent | None:
        """Compare the clocks (ns) as they are now; the event, if this is one. Call it every few seconds."""
        if not trusted:
            return None if self._waits_for("unset") else self._begin(ClockEvent("unset"), 0, monotonic)
        offset = wall - monotonic
        if self._limit is None and self._sealed_until is not None:
            self._limit = self._sealed_until + _OUTAGE_NS - monotonic
        event = None
        if self._limit is not None and offset > self._limit:
            if not self._waits_for("ahead", "late") or abs(offset - self._new) > STEP_NS:
                return self._begin(self._step(offset, wall), offset, monotonic)
            if monotonic - self.since < _STOOD_NS:
                return None
            event = ClockEvent("stood")
        elif self._believed is not None and offset < self._believed - STEP_NS:
            event = ClockEvent("back", self._believed - offset)
        elif self.wait is not None:
            event = ClockEvent("set" if self.wait.kind == "unset" else "returned")
        self._believe(offset, monotonic)
        return event

    def _waits_for(self, *kinds: Kind) -> bool:
        return self.wait is not None and self.wait.kind in kinds

    def _begin(self, event: ClockEvent, offset: int, monotonic: int) -> ClockEvent:
        self.wait, self._new, self.since = event, offset, monotonic
        return event

    def _step(self, offset: int, wall: int) -> ClockEvent:
        if self._believed is not None:
            return ClockEvent("ahead", offset - self._believed)
        assert self._sealed_until is not None
        return ClockEvent("late", wall - self._sealed_until)

    def _believe(self, offset: int, monotonic: int) -> None:
        self.wait, self._believed = None, offset
        most = offset + STEP_NS
        # Raised only every ten minutes: small steps in a row add up to one.
        if self._limit is None or most < self._limit or monotonic - self._limit_set >= _STOOD_NS:
            self._limit, self._limit_set = most, monotonic
