"""Readings regained from a ledger's own units, before a take-over drops them.

A unit holds the rise of each energy register since the unit before. So the registers at the end of the last
unit give those at the end of every unit, and where the meter was read (count 1) they are what it showed.
The values of all other lanes stand in their units as they were read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from gateway.chain.layout import ENERGY

MOST_UNITS = 86_400  # a day of seconds: 3 MB; the oldest go first


class Regained:
    """The readings of one stream's latest units. `add` the units in order, then `settle` them; from then on
    this iterates over (unit, registers), oldest first."""

    def __init__(self, stream: bytes) -> None:
        self.stream = stream
        self.energy = dict.fromkeys(ENERGY, 0)  # of all units added, in mWh
        self._parts: deque[tuple[int, dict[str, NDArray[np.int64]]]] = deque()
        self._units = 0
        self._begin = 0
        self._registers: dict[str, int] = {}
        self._before: dict[str, int] = {}

    @property
    def end(self) -> int:
        """The unit after the last one added; 0 before."""
        if not self._parts:
            return 0
        first, lanes = self._parts[-1]
        return first + len(lanes["count"])

    def add(self, first: int, lanes: dict[str, NDArray[np.int64]]) -> None:
        """Add consecutive units from `first` on: the plaintexts of each lane."""
        lanes = dict(lanes)
        for lane in ENERGY:
            if lane in lanes:
                risen = self.energy[lane] + np.cumsum(lanes[lane])
                lanes[lane], self.energy[lane] = risen, int(risen[-1])
        self._parts.append((first, lanes))
        self._units += len(lanes["count"])
        while self._units > MOST_UNITS:
            self._units -= len(self._parts.popleft()[1]["count"])

    def settle(self, begin: int, registers: Mapping[str, int], before: Mapping[str, int]) -> None:
        """Only units from `begin` on give readings. `registers` are the energy registers at the end of the
        last unit added, `before` those at `begin`: no reading is below them. Both in mWh."""
        self._begin = begin
        self._registers = {lane: value - self.energy[lane] for lane, value in registers.items()}
        self._before = dict(before)

    def __iter__(self) -> Iterator[tuple[int, dict[str, int]]]:
        for first, lanes in self._parts:
            for at, count in enumerate(lanes["count"].tolist()):
                if first + at < self._begin:
                    continue
                registers: dict[str, int] = {}
                if count:
                    registers = {
                        lane: start + int(lanes[lane][at]) for lane, start in self._registers.items()
                    }
                    if any(value < self._before[lane] for lane, value in registers.items()):
                        continue
                for lane in lanes.keys() - {*ENERGY, "count"}:
                    if count or lanes[lane][at]:  # 0 where it was not read
                        registers[lane] = int(lanes[lane][at])
                if registers:
                    yield first + at, registers
