"""Logs a repeating fault: at once, then once a minute with a count, and once more when it clears."""

from __future__ import annotations

from collections.abc import Callable

from gateway.host.clock import Clock

_EVERY_NS = 60_000_000_000


class FaultLog:
    """The log of one kind of fault: `fault` is the sentence of the present one, None while there is none.

    Lines go to `warn`, the last one to `inform`; `context` stands before each sentence in the log.
    """

    def __init__(
        self, clock: Clock, warn: Callable[[str], object], inform: Callable[[str], object], context: str = ""
    ) -> None:
        self.fault: str | None = None
        self._clock = clock
        self._warn = warn
        self._inform = inform
        self._context = context
        self._quiet_until: int | None = None
        self._unlogged = 0
        self._logged = False

    def report(self, sentence: str) -> None:
        """The fault occurs, or occurs again: log a line now, or count it in a later one."""
        self.fault = sentence
        self._unlogged += 1
        now = self._clock.monotonic()
        if self._quiet_until is not None and now < self._quiet_until:
            return
        times = f" ({self._unlogged} times since the last such line)" if self._unlogged > 1 else ""
        self._warn(f"{self._context}{sentence}{times}")
        self._quiet_until, self._unlogged, self._logged = now + _EVERY_NS, 0, True

    def clear(self, sentence: str) -> None:
        """The fault is over: log a line, if there was one about the fault."""
        self.fault = None
        if self._logged:
            self._inform(sentence)
            self._logged = False
