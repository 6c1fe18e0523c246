"""Energy between two readings, shared among the units in proportion to time (PROTOCOL.md, rule 4)."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from gateway.intervals.validation import Total

MOST_WAITING = 14_400  # readings, powers or totals: four hours of seconds; then every other one is dropped


class EnergyLane:
    """One energy lane's totals at the ends of units: `origin` at or before the last unit that came out,
    `coming` after it."""

    def __init__(self) -> None:
        self.origin: Total | None = None
        self.coming: deque[Total] = deque()

    def expect(self, total: Total) -> None:
        if len(self.coming) >= MOST_WAITING:  # the other lane is silent
            self.coming = deque(list(self.coming)[1::2])
        self.coming.append(total)

    def at(self, unit: int) -> int:
        """The total at the end of `unit`, the last unit that came out."""
        assert self.origin is not None
        if unit == self.origin.unit:
            return self.origin.mwh
        gap = self.coming[0].unit - self.origin.unit  # a gap that comes out in parts
        return self.origin.mwh + (self.coming[0].mwh - self.origin.mwh) * (unit - self.origin.unit) // gap

    def take(self, units: NDArray[np.int64], first: int, known: NDArray[np.int64]) -> None:
        """Fill `units`, from unit `first` on, with their energy; add 1 to `known` where it was read."""
        assert self.origin is not None
        at, end = first, first + len(units)
        while at < end:
            total = self.coming[0]
            after = min(total.unit + 1, end)
            gap, since = total.unit - self.origin.unit, at - 1 - self.origin.unit
            units[at - first : after - first] = shares(
                total.mwh - self.origin.mwh, gap, since, after - 1 - self.origin.unit
            )
            if after > total.unit:
                known[total.unit - first] += 1
                self.origin = self.coming.popleft()
            at = after


def shares(energy: int, units: int, after: int, upto: int) -> NDArray[np.int64]:
    """The shares of units `after` + 1 to `upto`, an int64 each, where `energy` is spread over `units` units
    in proportion to time: the first k units together have floor(energy * k / units)."""
    each, rest = divmod(energy, units)
    carried = rest * after % units
    # rest < units, so the product stays below units * (upto - after): far from 2^63 for 10^5 units at a time
    risen = (carried + rest * np.arange(upto - after + 1, dtype=np.int64)) // units
    return each + np.diff(risen)
