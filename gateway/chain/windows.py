"""A grant's windows by number: arithmetic for whole units, edges for the calendar.

The edges of calendar windows are settled when tokens are issued: they stand in the bundles, and are kept.
Beyond them this machine's time zone table cuts, and the next version of that table may cut otherwise.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gateway.chain.grant import Grant


class GrantWindows:
    """The windows of one grant; window j is units [edge(j), edge(j + 1)), and never empty: a date that a zone
    skips has none. `edges` are the settled ones, from window 0's beginning on."""

    def __init__(self, grant: Grant, edges: Sequence[int] = ()) -> None:
        self._granularity = grant.granularity
        self._first = grant.first
        self._until = grant.until
        self._size = grant.granularity.size if isinstance(grant.granularity.size, int) else None
        self._edges = list(edges) or [grant.first]
        self._settled = len(self._edges)

    @property
    def calendar(self) -> bool:
        """Whether they are days or months."""
        return self._size is None

    @property
    def settled(self) -> Sequence[int]:
        """The settled edges of calendar windows; at least where the first window begins."""
        return self._edges[: self._settled]

    def edge(self, j: int) -> int:
        """Where window j begins."""
        if self._size is not None:
            return self._first + j * self._size
        while len(self._edges) <= j:
            self._edges.append(self._after(self._edges[-1]))
        return self._edges[j]

    def window(self, j: int) -> tuple[int, int]:
        """Window j as units [a, b)."""
        return self.edge(j), self.edge(j + 1)

    def edges(self, first: int, end: int) -> list[int]:
        """The edges of windows `first` to `end` - 1, one more than there are windows."""
        return [self.edge(j) for j in range(first, end + 1)]

    def number(self, unit: int) -> int:
        """The number of the window that holds `unit`; negative before the first."""
        if self._size is not None:
            return (unit - self._first) // self._size
        while self._edges[-1] <= unit:
            self._edges.append(self._after(self._edges[-1]))
        return bisect_right(self._edges, unit) - 1

    def is_edge(self, unit: int) -> bool:
        """Whether a window begins or ends with `unit`."""
        j = self.number(unit)
        return j >= 0 and self.edge(j) == unit

    def find(self, units: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Of each of the units, `number` and `is_edge`."""
        if self._size is not None:
            j, inside = np.divmod(units - self._first, self._size)
            return j, (inside == 0) & (j >= 0)
        self.number(int(units.max(initial=0)))
        edges = np.array(self._edges, dtype=np.int64)
        j = np.searchsorted(edges, units, side="right") - 1
        return j, (j >= 0) & (edges[j] == units)

    def complete(self, end: int) -> int:
        """How many windows have ended when the units before `end` are sealed."""
        return max(0, self.number(end if self._until is None else min(end, self._until)))

    def settle(self, first: int, edges: Sequence[int]) -> int | None:
        """Take the edges of calendar windows from `first` on as they were issued; the first at which this
        machine's table would have cut otherwise, None where there is none.

        A ValueError where they do not rise, do not go on where the windows before them end, or are other
        than they were issued before: then nothing is taken.
        """
        end = first + len(edges)
        ours = self.edges(first, end - 1)
        if any(b <= a for a, b in pairwise(edges)):
            raise ValueError("edges that do not rise")
        if edges[0] != ours[0]:
            raise ValueError("edges that do not go on where the ones before end")
        otherwise = next((i for i, edge in enumerate(edges) if edge != ours[i]), None)
        if otherwise is not None and first + otherwise < self._settled:
            raise ValueError("edges other than those issued before")
        if self._settled < end:
            self._edges[first:] = edges
            self._settled = end
        return None if otherwise is None else ours[otherwise]

    def _after(self, edge: int) -> int:
        """The next edge by this machine's table. An edge that another table cut stands for the nearest one of
        this, so that no window is much shorter than a day or a month."""
        k = self._granularity.index(edge)
        a, b = self._granularity.start(k), self._granularity.start(k + 1)
        return self._granularity.start(k + 2) if b - edge < edge - a else b
