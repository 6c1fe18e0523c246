"""Says at once what is wrong, then once a minute how often, and at last that it is over."""

from __future__ import annotations

import logging

from gateway.host.clock import Clock

_EVERY_NS = 60_000_000_000


class Voice:
    """One repeating trouble, told to `log`."""

    def __init__(self, clock: Clock, log: logging.Logger) -> None:
        self._clock = clock
        self._log = log
        self._quiet_until: int | None = None
        self._unsaid = 0
        self._said = False

    def fault(self, sentence: str) -> None:
        """It happened, once more: a line now, or counted for a later one."""
        self._unsaid += 1
        now = self._clock.monotonic()
        if self._quiet_until is not None and now < self._quiet_until:
            return
        times = f" ({self._unsaid} times since the last such line)" if self._unsaid > 1 else ""
        self._log.warning("%s%s", sentence, times)
        self._quiet_until, self._unsaid, self._said = now + _EVERY_NS, 0, True

    def well(self, sentence: str) -> None:
        """It is over: a line, where there was one about the trouble."""
        if self._said:
            self._log.info("%s", sentence)
            self._said = False
