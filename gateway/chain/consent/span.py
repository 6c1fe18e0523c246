"""Linear algebra modulo a random prime: what follows from many long equations of integers.

A sum follows from equations if its coefficients are a combination of theirs, and then it is 0 for every
solution of the equations with 0 on the right. So one solution that is random in all that the equations leave
free answers for all sums at once. The answer is wrong in two rare cases:

- a sum that does not follow is 0 by chance: once in 2^126 sums;
- the prime divides a minor of the equations that is not 0, and a sum that follows is missed. A minor of 10^5
  equations has less than 2^23 bits (Hadamard's bound, with 60 bits for each equation), so fewer than 2^17 of
  the more than 2^119 primes of this size divide it: once in 2^102 checks. The prime is drawn anew for each
  check, so that no tariff can be made to fit it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush
from math import isqrt

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Residues = NDArray[np.object_]
"""Numbers modulo a prime, as Python's integers."""
REST = 2**62
"""Stands for all unknowns that rows are not solved for, together: it is the last, and never a pivot."""
_BITS = 127
_ROUNDS = 40
"""Miller and Rabin's test passes a composite number with a chance of at most 1/4 a round."""


def random_prime() -> int:
    """A prime of 127 bits."""
    while True:
        odd = 1 << (_BITS - 1) | secrets.randbits(_BITS - 1) | 1
        if all(_may_be_prime(odd) for _ in range(_ROUNDS)):
            return odd


def _may_be_prime(odd: int) -> bool:
    twos = ((odd - 1) & (1 - odd)).bit_length() - 1
    x = pow(2 + secrets.randbelow(odd - 3), (odd - 1) >> twos, odd)
    if x in (1, odd - 1):
        return True
    return any((x := x * x % odd) == odd - 1 for _ in range(twos - 1))


class Rows:
    """Rows of integers modulo a prime, in echelon form: no row has anything for the pivots of those before
    it."""

    def __init__(self, prime: int) -> None:
        self._prime = prime
        self._at: dict[int, int] = {}  # the row of each pivot
        self._pivots: list[int] = []
        self._reduced: list[dict[int, int]] = []  # without the pivot, where each has 1
        self._names: list[int] = []
        self._taken: list[tuple[int, dict[int, int]]] = []  # a row is so much of its own and of these others

    def __len__(self) -> int:
        return len(self._pivots)

    def add(self, name: int, row: Mapping[int, int]) -> bool:
        """Take a row in under a name: what it has for each unknown, the first of which becomes its pivot.
        False, and it is not taken, if it is a combination of the rows there are."""
        vector = {at: left for at, value in row.items() if (left := value % self._prime)}
        others = self._reduce(vector)
        pivot = min(vector, default=REST)
        if pivot == REST:
            return False
        own = vector.pop(pivot)
        inverse = pow(own, -1, self._prime)
        self._at[pivot] = len(self._pivots)
        self._pivots.append(pivot)
        self._reduced.append({at: value * inverse % self._prime for at, value in vector.items()})
        self._names.append(name)
        self._taken.append((inverse, others))
        return True

    def _reduce(self, vector: dict[int, int]) -> dict[int, int]:
        """Take from a vector what it has for any pivot; how much of each row that was."""
        prime, places = self._prime, self._at
        heap = [places[at] for at in vector if at in places]
        heapify(heap)
        taken: dict[int, int] = {}
        while heap:
            k = heappop(heap)
            factor = vector.pop(self._pivots[k], 0)
            if not factor:
                continue
            taken[k] = factor
            for at, value in self._reduced[k].items():
                before = vector.get(at)
                if before is None:
                    vector[at] = -factor * value % prime
                    if at in places:
                        heappush(heap, places[at])
                elif left := (before - factor * value) % prime:
                    vector[at] = left
                else:
                    del vector[at]
        return taken

    def solve(self, free: dict[int, int]) -> None:
        """Give the pivots values with which the product of each row is 0; all other unknowns have theirs."""
        for pivot, row in zip(reversed(self._pivots), reversed(self._reduced), strict=True):
            free[pivot] = -sum(value * free[at] for at, value in row.items()) % self._prime

    def weights(self, row: Mapping[int, int]) -> dict[int, int]:
        """How much of each row, by its name, makes one that has the same for all pivots, modulo the prime."""
        vector = {at: value % self._prime for at, value in row.items()}
        left = self._reduce(vector)
        heap = [-k for k in left]
        heapify(heap)
        out: dict[int, int] = {}
        while heap:
            k = -heappop(heap)
            value = left.pop(k, 0)
            if not value:
                continue
            inverse, others = self._taken[k]
            out[self._names[k]] = weight = value * inverse % self._prime
            for j, factor in others.items():
                if j not in left:
                    heappush(heap, -j)
                left[j] = (left.get(j, 0) - weight * factor) % self._prime
        return out


def magnitude(value: int, prime: int) -> float:
    """The size of the fraction that this number stands for, if its numerator and denominator are below 2^63:
    Wang's rational reconstruction. Of a fraction of larger numbers, that of some other."""
    most = isqrt(prime // 2)
    a, b, x, y = prime, value, 0, 1
    while b > most:
        a, b, x, y = b, a % b, y, x - a // b * y
    return b / abs(y)


def spanning(table: Integers, prime: int) -> list[int]:
    """The numbers of some rows of a table that span all of its rows, modulo the prime."""
    width, chosen = table.shape[1], list[int]()
    rows, others = Rows(prime), np.arange(len(table))
    while len(others):
        for at in others[:: -(-len(others) // (2 * width))].tolist():
            if rows.add(at, dict(enumerate(table[at].tolist()))):
                chosen.append(at)
        if len(rows) == width:
            break
        across = dict(enumerate(randoms(width, prime).tolist()))
        rows.solve(across)  # what a row that they do not span has anything for
        others = np.flatnonzero(table.astype(object) @ np.array([across[at] for at in range(width)]) % prime)
    return chosen


def randoms(count: int, prime: int) -> Residues:
    """Random numbers below the prime."""
    size = _BITS // 4  # twice as many bits, so that none is likelier than others
    data = secrets.token_bytes(size * count)
    numbers = [int.from_bytes(data[at : at + size]) % prime for at in range(0, size * count, size)]
    return np.array(numbers, dtype=object)


def sums_of(numbers: Integers, values: Residues) -> Iterator[tuple[int, int]]:
    """Each number once, in order, and the sum of the values beside it."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    begins = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    if len(begins):
        yield from zip(ordered[begins].tolist(), np.add.reduceat(values[order], begins).tolist(), strict=True)
