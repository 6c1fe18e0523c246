"""Lanes divided into classes and cells: the unknowns of the equations that bills are.

Steps of a lane that have the same price in every bill, within each bill's period, are a class: no bill can
tell them apart. Windows divide time into cells whose sums are known. In each cell one class is the reference,
and the energy of every other is an unknown, to which a bill has the difference between its prices of the two.
Outside of all cells each class is an unknown, and its price what a bill has for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gateway.chain.consent.borders import FAR, NONE, Scale, Units, sorted_once
from gateway.chain.consent.span import Residues, spanning

FREE = -2
"""Stands for the reference of an unknown that lies in no cell."""
Part = tuple[str, int, int]
"""Units [first, end) of a lane."""


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """The price steps of one lane under one bill, one after the other: units [first, end), the number of the
    period's equation, and the price."""

    first: Units
    end: Units
    row: Units
    price: Units


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """One lane cut wherever a price changes, or a cell begins or ends in which one does.

    `rows` and `prices` have a column for each list of steps: the equation, or NONE, and its price. `kinds`
    has the numbers of the classes that a stretch belongs to, NONE where it has no price: those of all bills
    together first, and then of each bill alone. `cell` is the first unit of its cell, NONE outside of all
    cells.
    """

    name: str
    first: Units
    end: Units
    rows: Units
    prices: Units
    kinds: Units
    cell: Units

    @classmethod
    def divided(cls, name: str, steps: Sequence[Steps | None], bills: int, scales: Sequence[Scale]) -> Lane:
        """The lane under these steps, of which the first `bills` lists are bills' and the others of windows
        that overlap those of `scales`. What whole windows open is left out of it, once its classes are
        numbered."""
        given = [one for one in steps if one is not None]
        points = sorted_once(*(units for one in given for units in (one.first, one.end)))
        points = sorted_once(points, *(_edges(scale, points) for scale in scales))
        first, end = points[:-1], points[1:]
        rows = np.full((len(first), len(steps)), NONE, dtype=np.int64)
        prices = np.zeros((len(first), len(steps)), dtype=np.int64)
        for at, one in enumerate(steps):
            if one is not None:
                step = np.searchsorted(one.first, first, side="right") - 1
                inside = (step >= 0) & (first < one.end[step])
                rows[inside, at], prices[inside, at] = one.row[step[inside]], one.price[step[inside]]
        kinds = np.full((len(first), 1 + bills), NONE, dtype=np.int64)
        for at, columns in enumerate([slice(bills), *(slice(k, k + 1) for k in range(bills))]):
            number = _numbered(np.column_stack([rows[:, columns], prices[:, columns]])) + kinds.max() + 1
            kinds[:, at] = np.where((rows[:, columns] == NONE).all(axis=1), NONE, number)
        cell = np.full(len(first), NONE, dtype=np.int64)
        for scale in scales:
            inside = (scale.first <= first) & (end <= scale.last)
            cell[inside] = np.where(scale.at(first), first, scale.below(first))[inside]
        return cls(name, first, end, rows, prices, kinds, cell)


def _edges(scale: Scale, points: Units) -> Units:
    """The borders of the cells that the points lie in, and the ends of the scale."""
    cut = points[(scale.first < points) & (points < scale.last) & ~scale.at(points)]
    ends = np.array(
        [unit for unit in (scale.first, scale.last) if points[0] < unit < points[-1]], dtype=np.int64
    )
    edges: Units = np.concatenate([ends, scale.below(cut), scale.above(cut)])
    return np.asarray(edges[(edges != NONE) & (edges != FAR)])


def _numbered(keys: Units) -> Units:
    """A number for each row, the same for equal rows; numbers rise with the first row that has each."""
    numbers = np.zeros(len(keys), dtype=np.int64)
    if not keys.size:
        return numbers
    some = np.random.default_rng(0)
    while True:  # until no two rows that differ have one hash
        hashes = keys @ some.integers(-(2**63), 2**63, keys.shape[1], dtype=np.int64)
        order = np.argsort(hashes)
        ordered = hashes[order]
        alike = np.append(False, ordered[1:] == ordered[:-1])
        at = np.flatnonzero(alike)
        if (keys[order[at]] == keys[order[at - 1]]).all():
            begins = np.flatnonzero(~alike)
            in_order = np.empty(len(begins), dtype=np.int64)
            in_order[np.argsort(np.minimum.reduceat(order, begins))] = np.arange(len(begins))
            numbers[order] = np.repeat(in_order, np.diff([*begins, len(order)]))
            return numbers


class _Index:
    """Where each number stands in a table: which rows have it in any column."""

    def __init__(self, *tables: Units) -> None:
        self._parts = []
        for table in tables:
            order = np.argsort(table, axis=None)
            self._parts.append(
                (table.ravel()[order], order // (table.size // len(table)) if len(table) else order)
            )

    def rows(self, numbers: Iterable[int]) -> Units:
        """The rows that have any of these numbers, in order."""
        found = [np.empty(0, dtype=np.int64)]
        for number in numbers:
            for values, rows in self._parts:
                found.append(rows[slice(*np.searchsorted(values, [number, number + 1]))])
        return sorted_once(*found)


class Unknowns:
    """The unknowns of all lanes, each the energy of one class in one cell, or of one class outside of cells.

    `rows` and `values` are what the equations have for an unknown: a row is NONE where there is nothing.
    `kinds` are its classes, numbered over all lanes, and `reference` those of its cell's reference, FREE
    outside of cells. Unknowns of the same `column` have the same in all equations.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        parts, self._lanes, most, count = [], [], 0, 0
        for lane in lanes:
            numbers, kinds, reference, rows, values = _of_lane(lane)
            parts.append((_shift(kinds, most), _shift(reference, most), rows, values))
            lane, numbers = replace(lane, kinds=_shift(lane.kinds, most)), _shift(numbers, count)
            self._lanes.append((lane, _Index(lane.kinds), _Index(numbers)))
            count, most = count + len(kinds), max(most, int(lane.kinds.max()) + 1)
        self.kinds, self.reference, rows, values = (np.concatenate(x) for x in zip(*parts, strict=True))
        order = np.argsort(rows, axis=1, kind="stable")
        self.rows, self.values = np.take_along_axis(rows, order, 1), np.take_along_axis(values, order, 1)
        self.column = _numbered(np.column_stack([self.rows, self.values]))
        self._of = _Index(self.kinds, self.reference)

    def spanning(self, prime: int) -> NDArray[np.bool_]:
        """Which unknowns have columns that span those of all others, modulo the prime: there may be more than
        needed."""
        numbers, width = _numbered(self.rows), self.rows.shape[1]
        some = (self.rows != NONE).any(axis=1)
        taken: NDArray[np.bool_] = some & (np.bincount(numbers)[numbers] <= width)
        order = np.flatnonzero(some & ~taken)
        order = order[np.argsort(numbers[order], kind="stable")]
        for group in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(order) else ():
            columns = self.rows[group[0]] != NONE
            taken[group[spanning(self.values[group][:, columns], prime)]] = True
        return taken

    def classes_of_sum_0(self, x: Residues, prime: int) -> Iterator[tuple[int, Units, Units]]:
        """The classes whose sums are 0 if the unknowns have these values, each with its unknowns and shares
        as `of_class` has them."""
        numbers = np.hstack([self.kinds, self.reference])
        at, column = np.nonzero(numbers >= 0)
        signs = np.where(column < self.kinds.shape[1], 1, -1)
        for kind in _near_0(numbers[at, column], _parts(x, prime)[at] * signs):
            members, shares = self.of_class(kind)
            if len(members) and (x[members] @ shares) % prime == 0:
                yield kind, members, shares

    def alike_of_sum_0(self, x: Residues, prime: int) -> Iterator[Units]:
        """The unknowns of each column whose sum is 0 if the unknowns have these values."""
        for column in _near_0(self.column, _parts(x, prime)):
            members = np.flatnonzero(self.column == column)
            if x[members].sum() % prime == 0:
                yield members

    def of_class(self, kind: int) -> tuple[Units, Units]:
        """The unknowns for which a class's sum has something beside what is known, and how much: 1 for an
        unknown of the class, less 1 where the class is the reference."""
        found = self._of.rows([kind])
        mine, other = self.kinds[found] == kind, self.reference[found] == kind
        shares = mine.any(axis=1).astype(np.int64) - other.any(axis=1)
        some = shares != 0
        return np.asarray(found[some]), np.asarray(shares[some])

    def stretches(self, unknowns: Units) -> tuple[Part, ...]:
        """The units that these unknowns are the energy of."""
        return tuple(x for lane, _, of in self._lanes for x in _merged(lane, of.rows(unknowns.tolist())))

    def whole(self, kind: int) -> tuple[Part, ...]:
        """All units of a class."""
        return tuple(x for lane, of, _ in self._lanes for x in _merged(lane, of.rows([kind])))

    def prices(self, kind: int) -> dict[int, int]:
        """The price of a class in each equation that has the same one for all of it."""
        for lane, of, _ in self._lanes:
            within = of.rows([kind])
            if len(within):
                pairs = np.stack([lane.rows[within], lane.prices[within]])
                same = (pairs == pairs[:, :1]).all(axis=(0, 1))
                return {row: price for row, price in pairs[:, 0, same].T.tolist() if row != NONE}
        return {}


def _parts(x: Residues, prime: int) -> NDArray[np.float64]:
    """How much of the prime each value is, rounded."""
    return np.asarray((x / prime).astype(np.float64))


def _near_0(numbers: Units, parts: NDArray[np.float64]) -> list[int]:
    """The numbers beside which the sum of parts may be a whole number: a sum of 10^5 floats below 1 is right
    to far less than 10^-4."""
    sums = np.bincount(numbers, parts)
    return [int(x) for x in np.flatnonzero((abs(sums - np.rint(sums)) < 1e-4) & (np.bincount(numbers) > 0))]


def _of_lane(lane: Lane) -> tuple[Units, Units, Units, Units, Units]:
    """The unknown of each stretch; of each unknown its classes, those of its reference, rows and values."""
    atom = _numbered(np.column_stack([lane.cell, lane.rows, lane.prices]))
    at = np.empty(atom.max() + 1, dtype=np.int64)  # a stretch of each atom
    at[atom] = np.arange(len(atom))
    kinds, cell, rows, prices = lane.kinds[at], lane.cell[at], lane.rows[at], lane.prices[at]
    order = np.lexsort((*prices.T[::-1], cell))  # the reference is what costs least
    _, begin = np.unique(cell[order], return_index=True)
    first_of = np.empty(len(at), dtype=np.int64)  # the cell's reference
    first_of[order] = np.repeat(order[begin], np.diff([*begin, len(at)]))
    free = cell == NONE
    unknown = np.where(free, (rows != NONE).any(axis=1), first_of != np.arange(len(at)))
    theirs = np.where(free[:, None], NONE, rows[first_of])
    less = np.where(free[:, None], 0, prices[first_of])
    same = rows == theirs
    rows = np.hstack([rows, np.where(same, NONE, theirs)])
    values = np.hstack([prices - np.where(same, less, 0), np.where(same, 0, -less)])
    rows = np.where(values == 0, NONE, rows)
    numbers = np.where(unknown, np.cumsum(unknown) - 1, NONE)[atom]
    reference = np.where(free[:, None], FREE, kinds[first_of])
    return numbers, kinds[unknown], reference[unknown], rows[unknown], values[unknown]


def _shift(numbers: Units, by: int) -> Units:
    return np.where(numbers < 0, numbers, numbers + by)


def _merged(lane: Lane, at: Units) -> Iterator[Part]:
    """These stretches of a lane, neighbours as one."""
    first, end = lane.first[at], lane.end[at]
    apart = first[1:] != end[:-1]
    begins, ends = np.append(True, apart)[: len(at)], np.append(apart, True)[: len(at)]
    for a, b in zip(first[begins].tolist(), end[ends].tolist(), strict=True):
        yield lane.name, a, b
