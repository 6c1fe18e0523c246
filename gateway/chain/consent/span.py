"""Exact linear algebra over the rationals: what follows from a few long equations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from math import gcd

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def independent(table: Integers) -> list[int]:
    """The numbers of rows of integers that span all rows of the table, none of them a combination of
    others."""
    across = [[int(i == k) for k in range(table.shape[1])] for i in range(table.shape[1])]
    chosen: list[int] = []
    while across:  # all that is orthogonal to the rows that are chosen
        products = exact_product(table, across)
        others = np.flatnonzero((products != 0).any(axis=1))
        if not len(others):
            break
        chosen.append(int(others[0]))
        values = [int(x) for x in products[others[0]]]
        at = next(i for i, value in enumerate(values) if value)
        pivot, by = across.pop(at), values.pop(at)
        for vector, value in zip(across, values, strict=True):
            new = [by * x - value * y for x, y in zip(vector, pivot, strict=True)]
            common = gcd(*new)
            vector[:] = [x // common for x in new]
    return chosen


def exact_product(table: Integers, vectors: list[list[int]]) -> NDArray[np.generic]:
    """The product of each row of the table with each vector, in Python's integers where 64 bits could
    overflow."""
    if not table.size:
        return np.zeros((len(table), len(vectors)), dtype=np.int64)
    most = table.shape[1] * int(abs(table).max()) * max(abs(x) for vector in vectors for x in vector)
    kind: type = np.int64 if most < 2**63 else object
    return np.asarray(table.astype(kind) @ np.array(vectors, dtype=kind).T)


class Span:
    """Columns that span those of all unknowns, and what they say of combinations of the equations."""

    def __init__(self) -> None:
        # By pivot: a vector with 1 there, and 0 at all other pivots; and of which columns it is made.
        self._reduced: dict[int, tuple[dict[int, Fraction], dict[int, Fraction]]] = {}

    def add(self, name: int, column: Mapping[int, int]) -> bool:
        """Take a column in under a name: what each equation, by its number, has for one unknown. False if it
        is a combination of the columns there are, and so not taken."""
        vector = {row: Fraction(value) for row, value in column.items() if value}
        made_of = {name: Fraction(1)}
        for pivot in vector.keys() & self._reduced.keys():
            known, parts = self._reduced[pivot]
            factor = vector[pivot]
            _subtract(vector, known, factor)
            _subtract(made_of, parts, factor)
        if not vector:
            return False
        pivot = min(vector)
        scale = 1 / vector[pivot]
        vector = {row: value * scale for row, value in vector.items()}
        made_of = {name: value * scale for name, value in made_of.items()}
        for known, parts in self._reduced.values():
            factor = known.get(pivot, Fraction(0))
            _subtract(known, vector, factor)
            _subtract(parts, made_of, factor)
        self._reduced[pivot] = vector, made_of
        return True

    def solved(self) -> Solved:
        """The columns taken, to ask for combinations of the equations."""
        weights: dict[int, list[tuple[int, Fraction]]] = defaultdict(list)
        for pivot, (_, made_of) in self._reduced.items():
            for name, value in made_of.items():
                weights[name].append((pivot, value))
        return Solved(weights)


class Solved:
    """The columns that a span has taken."""

    def __init__(self, weights: Mapping[int, list[tuple[int, Fraction]]]) -> None:
        self._weights = weights

    def weights(self, values: Mapping[int, int]) -> dict[int, Fraction]:
        """How much of each equation makes a combination that has these values for the columns taken, and 0
        for those not named."""
        out: dict[int, Fraction] = defaultdict(Fraction)
        for name, value in values.items():
            for row, weight in self._weights[name]:
                out[row] += weight * value
        return {row: weight for row, weight in out.items() if weight}


def _subtract(vector: dict[int, Fraction], other: Mapping[int, Fraction], factor: Fraction) -> None:
    if not factor:
        return
    for at, value in other.items():
        left = vector.get(at, Fraction(0)) - factor * value
        if left:
            vector[at] = left
        else:
            vector.pop(at, None)
