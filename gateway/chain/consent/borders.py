"""The borders between the windows of grants, and which grants share them.

The windows of a grant follow each other, so it opens the differences of one running total between its
borders. Grants that share a border put their totals on one scale, and the total between any two of their
borders becomes known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import lcm

import numpy as np
from numpy.typing import NDArray

from gateway.chain.consent.held import Held
from gateway.chain.layout import DAY_MS
from gateway.chain.window import Granularity

Units = NDArray[np.int64]
FAR = 2**60
"""A unit after all others: the end of an open grant."""
NONE = -1
_CALENDAR_MS = 2 * 366 * DAY_MS


@dataclass(frozen=True, slots=True, eq=False)
class Borders:
    """The borders of one grant, from `first` to `last`: the multiples of `size`, or, of calendar windows,
    those that are `listed`."""

    held: Held
    first: int
    last: int
    size: int
    listed: Units | None = None

    def at(self, x: Units) -> NDArray[np.bool_]:
        """Whether each of these units is a border."""
        if self.listed is not None:
            return np.asarray(
                self.listed[np.searchsorted(self.listed, x).clip(max=len(self.listed) - 1)] == x
            )
        return np.asarray((x % self.size == 0) & (self.first <= x) & (x <= self.last))

    def below(self, x: Units) -> Units:
        """The last border before each of these units, or NONE."""
        if self.listed is not None:
            return np.concatenate([[NONE], self.listed])[np.searchsorted(self.listed, x)]
        y = np.minimum(x - 1, self.last) // self.size * self.size
        return np.where(y < self.first, NONE, y)

    def above(self, x: Units) -> Units:
        """The first border after each of these units, or FAR."""
        if self.listed is not None:
            return np.concatenate([self.listed, [FAR]])[np.searchsorted(self.listed, x, side="right")]
        y = np.maximum(x // self.size + 1, self.first // self.size) * self.size
        return np.where(y > self.last, FAR, y)


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """Grants whose borders are on one scale: the sum between any two of them is known."""

    members: tuple[Borders, ...]

    @property
    def first(self) -> int:
        """The first border."""
        return min(one.first for one in self.members)

    @property
    def last(self) -> int:
        """The last border, or FAR."""
        return max(one.last for one in self.members)

    def at(self, x: Units) -> NDArray[np.bool_]:
        """Whether each of these units is a border."""
        return np.asarray(np.logical_or.reduce([one.at(x) for one in self.members]))

    def below(self, x: Units) -> Units:
        """The last border before each of these units, or NONE."""
        return np.asarray(np.maximum.reduce([one.below(x) for one in self.members]))

    def above(self, x: Units) -> Units:
        """The first border after each of these units, or FAR."""
        return np.asarray(np.minimum.reduce([one.above(x) for one in self.members]))


def horizon(held: Sequence[Held]) -> int:
    """The unit up to which calendar windows are gone through: two years after the last grant has begun."""
    return max(one.grant.first for one in held) + _CALENDAR_MS // held[0].grant.granularity.unit_ms


def borders(held: Iterable[Held], until: int) -> list[Borders]:
    """The borders of those grants that open a window, with calendar windows up to the unit `until`."""
    out = []
    for one in held:
        first, last, granularity = one.grant.first, FAR if one.end is None else one.end, one.granularity
        listed = None
        if not isinstance(granularity.size, int):
            listed = _calendar(granularity, first, min(last, until))
            last = int(listed[-1])
        if first < last:
            size = granularity.size if isinstance(granularity.size, int) else 0
            out.append(Borders(one, first, last, size, listed))
    return out


@lru_cache(maxsize=64)
def _calendar(granularity: Granularity, first: int, until: int) -> Units:
    k = range(granularity.index(first), max(granularity.index(first), granularity.index(until)) + 1)
    return np.array([granularity.start(x) for x in k], dtype=np.int64)


def scales(all_borders: Iterable[Borders]) -> list[Scale]:
    """The grants in groups that share borders, directly or through others."""
    groups: list[list[Borders]] = []
    for one in all_borders:
        near = [group for group in groups if any(share(one, other) for other in group)]
        groups = [group for group in groups if group not in near]
        groups.append([*(other for group in near for other in group), one])
    return [Scale(tuple(group)) for group in groups]


def share(one: Borders, other: Borders) -> bool:
    """Whether two grants have a border in common."""
    if one.listed is not None:
        return bool(other.at(one.listed).any())
    if other.listed is not None:
        return share(other, one)
    common = lcm(one.size, other.size)
    return -(-max(one.first, other.first) // common) * common <= min(one.last, other.last)


def sorted_once(*units: Units) -> Units:
    """All these units, each once, in order."""
    x = np.sort(np.concatenate(units))
    return np.asarray(x[np.append(True, x[1:] != x[:-1])[: len(x)]])
