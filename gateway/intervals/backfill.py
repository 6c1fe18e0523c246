"""The readings that a meter recorded during an outage, without impossible ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from gateway.chain.layout import ENERGY
from gateway.meters.reading import Reading

_AT_ONCE_NS = 1_000_000_000


def plausible(readings: Iterable[tuple[int, Reading]]) -> deque[tuple[int, Reading]]:
    """Readings, each with its arrival (ns, monotonic), without those that a meter cannot have recorded: of
    readings that arrived together, an older one with a higher register than the last one."""
    kept: deque[tuple[int, Reading]] = deque()
    last: tuple[int, Reading] | None = None
    for came, reading in reversed(list(readings)):
        if (
            last is None
            or last[0] - came > _AT_ONCE_NS
            or last[1].monotonic - reading.monotonic < _AT_ONCE_NS
        ):
            last = came, reading
        now = last[1].registers
        if all(
            reading.registers[lane] <= now[lane]
            for lane in ENERGY
            if lane in now and lane in reading.registers
        ):
            kept.appendleft((came, reading))
    return kept
