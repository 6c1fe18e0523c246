"""Limits on attempts: who has failed often waits ever longer, twice as long each time.

An attempt is charged before it is checked, and given back where it succeeds: so a thousand at once count a
thousand.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from gateway.host.clock import Clock
from gateway.web.refusals import TooMany

_HOUR_MS = 3_600_000
_MOST_KEYS = 100_000


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last_ms: int = 0
    told_ms: int = 0


class Limits:
    """How often each key has failed of late, in memory. The first `free` failures cost nothing; each further
    one makes the key wait twice as long, from 1 s to `most_s`. An hour without one forgets them."""

    def __init__(self, clock: Clock, free: int, most_s: int) -> None:
        self._clock = clock
        self._free = free
        self._most_s = most_s
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def charge(self, key: str) -> None:
        """Count a failure ahead of time; TooMany while the key has to wait."""
        now_ms = self._clock.monotonic() // 1_000_000
        known = self._failures.setdefault(key, _Failures())
        self._failures.move_to_end(key)
        if len(self._failures) > _MOST_KEYS:
            self._failures.popitem(last=False)
        if now_ms - known.last_ms > _HOUR_MS:
            known.count = 0
        elif (left_ms := known.last_ms + self._wait_s(known.count) * 1000 - now_ms) > 0:
            seconds = -(-left_ms // 1000)
            raise TooMany(f"too many attempts have failed: try again in {seconds} s", seconds)
        known.count += 1
        known.last_ms = now_ms

    def first_in_a_minute(self, key: str) -> bool:
        """Whether this was not asked of the key for a minute: a flood is recorded once a minute."""
        now_ms = self._clock.monotonic() // 1_000_000
        known = self._failures.setdefault(key, _Failures())
        first = not known.told_ms or now_ms - known.told_ms >= 60_000
        if first:
            known.told_ms = now_ms
        return first

    def give_back(self, key: str) -> None:
        """The attempt succeeded: it is not counted."""
        if (known := self._failures.get(key)) is not None and known.count:
            known.count -= 1

    def forget(self, key: str) -> None:
        """Forget all failures."""
        self._failures.pop(key, None)

    def _wait_s(self, count: int) -> int:
        return 0 if count < self._free else min(self._most_s, 2 ** min(count - self._free, 30))
