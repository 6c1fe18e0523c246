"""What bills reveal: tariffs that isolate one window, and several bills over the same units.

A bill is one linear equation. Alone it reveals a window's sum if its prices were chosen for that; beside
other bills and granted windows it may leave a single solution. Both are computed exactly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import combinations
from math import gcd

from gateway.chain.consent.held import Finding, Held
from gateway.chain.grant import Grant
from gateway.chain.layout import DAY_MS
from gateway.chain.tariff import Tariff, Weight
from gateway.chain.window import spell_ms
from gateway.errors import UsageError

_REVEALED = 10
"""A window counts as revealed when a bill leaves less than a tenth of its possible range open."""
_MEAN_W = 1000
"""The rough average power of a home: the range against which a remainder is judged."""


def isolated(one: Held) -> list[Finding]:
    """The windows whose sum a single bill would reveal, by a tariff made for it, in the first billing period
    that has any.

    Zero except one: no other window has a price. Base N: the price of one window outweighs all others, or all
    other prices share a factor, so that the remainder is that window's.
    """
    for a, b, weights in _billed(one):
        found = _isolated(one.grant, [(lane, w) for lane, runs in weights.items() for w in runs], b - a)
        if found:
            return found
    return []


def _isolated(grant: Grant, runs: Sequence[tuple[str, Weight]], period: int) -> list[Finding]:
    priced = [(lane, w) for lane, w in runs if w.price]
    findings = []
    weight = sum(abs(w.price) * (w.end - w.first) for _, w in priced)
    common = _gcd_of_others([w.price for _, w in priced])
    for (lane, w), others in zip(priced, common, strict=True):
        own = abs(w.price) * (w.end - w.first)
        if 2 * (w.end - w.first) > period:
            continue  # most of the period: that is what a bill is meant to reveal
        remainder = others // gcd(others, w.price) if others else 0
        energy = (w.end - w.first) * grant.granularity.unit_ms * _MEAN_W // 3600
        if (weight - own) * _REVEALED < own or remainder * _REVEALED > energy:
            length = spell_ms((w.end - w.first) * grant.granularity.unit_ms)
            sentence = f"this tariff's bill by itself reveals the sum of {lane} in one window of {length}"
            findings.append(Finding(lane, w.first, w.end, (grant.id,), sentence))
    return findings


def _gcd_of_others(values: Sequence[int]) -> list[int]:
    """The greatest common divisor of all other values, for each value."""
    ahead = [0]
    for value in values:
        ahead.append(gcd(ahead[-1], value))
    behind, out = 0, []
    for at in range(len(values) - 1, -1, -1):
        out.append(gcd(ahead[at], behind))
        behind = gcd(behind, values[at])
    return out[::-1]


Point = tuple[str, int]
Row = dict[Point, Fraction]


def by_bills(opening: Sequence[Held], bills: Sequence[Held]) -> Iterator[Finding]:
    """What bills reveal together, and together with windows: the sums in the span of their equations.

    The unknowns are the running totals at the boundaries; totals whose differences windows open are one
    unknown. The sum of a stretch is known if and only if the difference of the totals at its ends is a
    combination of the equations.
    """
    equations = [equation for one in bills for equation in _equations(one, opening)]
    rows = _reduced(equations)
    known: list[tuple[Point, Point]] = []
    by_rest: dict[frozenset[tuple[Point, Fraction]], list[Point]] = defaultdict(list)
    for pivot, row in rows.items():
        rest = {point: value for point, value in row.items() if point != pivot}
        if len(rest) == 1 and next(iter(rest.values())) == -1:
            known.append((pivot, next(iter(rest))))
        by_rest[frozenset(rest.items())].append(pivot)
    for pivots in by_rest.values():
        known += combinations(pivots, 2)
    ids = tuple(one.grant.id for one in (*opening, *bills))
    for p, q in known:
        (lane, first), (other, end) = sorted((p, q), key=lambda point: point[1])
        if lane == other and not (_ends(first, bills) and _ends(end, bills)):  # a flat bill is its total
            length = spell_ms((end - first) * bills[0].grant.granularity.unit_ms)
            yield Finding(
                lane, first, end, ids, f"bills and windows together reveal one {length} sum of {lane}"
            )


def _ends(unit: int, bills: Sequence[Held]) -> bool:
    """Whether the period of some bill begins or ends with this unit."""
    return any(one.covers(unit, unit) and one.granularity.align_up(unit) == unit for one in bills)


def _billed(one: Held) -> Iterator[tuple[int, int, dict[str, list[Weight]]]]:
    """The billing periods [a, b) that are checked, with their prices: all of a grant that ends, the first
    year's of an open one."""
    tariff, granularity = _tariff(one), one.granularity
    end = one.end
    if end is None:
        end = one.grant.first + 366 * DAY_MS // granularity.unit_ms
    for j in range(max(1, one.grant.number(end))):
        a, b = one.grant.window(j)
        try:
            yield a, b, tariff.weights(one.grant.lanes, granularity.unit_ms, a, b)
        except UsageError:
            return  # a dynamic tariff ends with its prices, and so do its bills


def _equations(one: Held, opening: Sequence[Held]) -> Iterator[Row]:
    for _, _, weights in _billed(one):
        row: Row = defaultdict(Fraction)
        for lane, runs in weights.items():
            for weight in runs:
                _add(row, lane, weight, opening)
        yield {point: value for point, value in row.items() if value}


def _add(row: Row, lane: str, weight: Weight, opening: Sequence[Held]) -> None:
    row[_scale(lane, weight.end, opening)] += weight.price
    row[_scale(lane, weight.first, opening)] -= weight.price


def _scale(lane: str, unit: int, opening: Sequence[Held]) -> Point:
    """The unknown of the running total at `unit`: all boundaries of a windows grant share one."""
    for one in opening:
        if lane in one.grant.lanes and one.covers(unit, unit) and one.granularity.align_up(unit) == unit:
            return lane, one.grant.first
    return lane, unit


def _reduced(equations: Iterable[Row]) -> dict[Point, Row]:
    """The equations in reduced echelon form, by pivot."""
    rows: dict[Point, Row] = {}
    for equation in equations:
        row = dict(equation)
        for pivot in row.keys() & rows.keys():  # no row contains the pivot of another
            _subtract(row, rows[pivot], row[pivot])
        if not row:
            continue
        pivot = min(row)
        scale = row[pivot]
        row = {point: value / scale for point, value in row.items()}
        for known in rows.values():
            _subtract(known, row, known.get(pivot, Fraction(0)))
        rows[pivot] = row
    return rows


def _subtract(row: Row, other: Row, factor: Fraction) -> None:
    if factor:
        for point, value in other.items():
            left = row.get(point, Fraction(0)) - factor * value
            if left:
                row[point] = left
            else:
                row.pop(point, None)


def _tariff(one: Held) -> Tariff:
    if one.tariff is None:
        raise UsageError(f"the tariff of bill grant {one.grant.id.hex()} is needed to check it")
    return one.tariff
