"""The consent check: what a holder of several grants could derive that no single one of them opens.

A grant's windows follow each other, so what it opens are the differences of one running total between
its boundaries. Two grants that share a boundary put their totals on one scale, and every stretch
between a boundary of one and a boundary of the other becomes known: 15 min and 10 min of a lane give
5 min. Bills add one linear equation each. All of it is computed exactly, over the boundaries that the
grants have from the first of them to the horizon.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, pairwise
from math import gcd, lcm

from gateway.chain.grant import Grant
from gateway.chain.tariff import Tariff, Weight
from gateway.chain.window import Granularity, spell_ms
from gateway.errors import UsageError

_DAY_MS = 86_400_000
_HORIZON_MS = 2 * 366 * _DAY_MS
_MOST_POINTS = 500_000
_TOLD = 10
"""A window counts as told when a bill leaves less than a tenth of its possible range open."""
_MEAN_W = 1000
"""What a home draws on average, roughly: the range against which a remainder is judged."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Units [first, end) of a lane become known, by these grants together (or by one tariff alone)."""

    lane: str
    first: int
    end: int
    grants: tuple[bytes, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Held:
    """A grant in somebody's hands, with the tariff of a bill."""

    grant: Grant
    tariff: Tariff | None = None
    revoked_from: int | None = None

    @property
    def granularity(self) -> Granularity:
        """How finely it opens: a raw grant to the unit."""
        unit = Granularity(1, self.grant.granularity.unit_ms)
        return unit if self.grant.kind == "raw" else self.grant.granularity

    @property
    def end(self) -> int | None:
        """The unit at which it ends; None while it is open."""
        ends = [unit for unit in (self.grant.until, self.revoked_from) if unit is not None]
        return min(ends) if ends else None


def check(held: Sequence[Held]) -> list[Finding]:
    """What the holder of these grants of one stream learns beyond what each opens by itself.

    For what all providers could learn if they pooled what they hold, give the grants of all. UsageError
    where the grants' windows have no common pattern short enough to go through.
    """
    findings: list[Finding] = []
    opening = list(_opening(held))
    findings += _by_halves(opening)
    for lane in dict.fromkeys(lane for one in opening for lane in one.grant.lanes):
        findings += _by_windows(lane, [one for one in opening if lane in one.grant.lanes])
    bills = [one for one in held if one.grant.kind == "bill"]
    for one in bills:
        findings += isolated(one)
    if bills:
        findings += _by_bills(opening, bills)
    return findings


def _opening(held: Sequence[Held]) -> Iterator[Held]:
    """The grants that open windows: both halves of a load grant in one hand are one of them."""
    ids = {one.grant.id for one in held}
    for one in held:
        halves = one.grant.kind == "load" and one.grant.partner in ids
        if one.grant.kind in ("windows", "raw") or halves:
            yield one


def _by_halves(opening: Sequence[Held]) -> Iterator[Finding]:
    """What both halves of a load in one hand open, unless it is open anyway."""
    for one in opening:
        a, b = one.grant.window(0)
        for lane in one.grant.lanes:
            others = [other for other in opening if other.grant.kind != "load" and lane in other.grant.lanes]
            if one.grant.kind == "load" and not any(_opens(other, a, b) for other in others):
                names = " and ".join(f"grant {id_.hex()[:8]}" for id_ in _halves(one))
                sentence = f"{names}, two halves, together open {one.granularity} sums of {lane}"
                yield Finding(lane, a, b, _halves(one), sentence)


def _halves(one: Held) -> tuple[bytes, bytes]:
    assert one.grant.partner is not None
    return one.grant.partner, one.grant.id


def _by_windows(lane: str, held: Sequence[Held]) -> Iterator[Finding]:
    """For each group of grants on one scale: the shortest stretch that none of them opens."""
    stretches = _stretches(held)
    points = {one.grant.id: _boundaries(one, held, stretches) for one in held}
    for group in _connected(held, points):
        together = sorted(set().union(*(points[one.grant.id] for one in group)))
        finer = [
            (a, b)
            for x, y in stretches
            for a, b in pairwise(point for point in together if x <= point <= y)
            if not any(_opens(one, a, b) for one in group)
        ]
        if not finer:
            continue
        first, end = min(finer, key=lambda stretch: stretch[1] - stretch[0])
        near = [one for one in group if _covers(one, first, first) or _covers(one, end, end)]
        near.sort(key=lambda one: one.grant.serial)
        names = " and ".join(f"{one.granularity} of grant {one.grant.id.hex()[:8]}" for one in near)
        length = spell_ms((end - first) * held[0].grant.granularity.unit_ms)
        ids = tuple(one.grant.id for one in near)
        yield Finding(lane, first, end, ids, f"{names} together open {length} sums of {lane}")


def _covers(one: Held, first: int, end: int) -> bool:
    return one.grant.first <= first and (one.end is None or end <= one.end)


def _opens(one: Held, first: int, end: int) -> bool:
    """Whether [first, end) is some of the grant's own windows."""
    borders = all(one.granularity.align_up(unit) == unit for unit in (first, end))
    return borders and _covers(one, first, end)


def _stretches(held: Sequence[Held]) -> list[tuple[int, int]]:
    """Where to look: around every beginning and end, so far that each pattern is seen whole.

    Patterns of whole units meet again after their least common multiple; those of the calendar are gone
    through for two years.
    """
    sizes = [one.granularity.size for one in held]
    whole = [size for size in sizes if isinstance(size, int)]
    calendar = _HORIZON_MS // held[0].grant.granularity.unit_ms if len(whole) < len(sizes) else 0
    span = max(2 * lcm(*whole), calendar)
    merged: list[tuple[int, int]] = []
    for edge in sorted({edge for one in held for edge in (one.grant.first, one.end) if edge is not None}):
        x, y = edge - span, edge + span
        if merged and x <= merged[-1][1]:
            x, _ = merged.pop()
        merged.append((x, y))
    return merged


def _boundaries(one: Held, among: Sequence[Held], stretches: Sequence[tuple[int, int]]) -> set[int]:
    """The grant's boundaries that can bring up something new beside the others'.

    Between the borders of windows that it divides itself a grant opens all there is, so there only the
    others' borders count.
    """
    others = [other for other in among if other is not one]
    size = one.granularity.size
    if not isinstance(size, int) or not all(_divides(size, other) for other in others):
        return set(_walk(one, stretches))
    ends = {one.grant.first} if one.end is None else {one.grant.first, one.end}
    return ends | {unit for other in others for unit in _walk(other, stretches) if _covers(one, unit, unit)}


def _divides(size: int, other: Held) -> bool:
    """Whether all of the other grant's borders lie on a multiple of `size`: zones shift by quarter hours."""
    theirs = other.granularity.size
    if isinstance(theirs, int):
        return theirs % size == 0
    return 900_000 % (size * other.granularity.unit_ms) == 0


def _walk(one: Held, stretches: Sequence[tuple[int, int]]) -> Iterator[int]:
    """The grant's borders within the stretches."""
    granularity = one.granularity
    for x, y in stretches:
        first = max(x, one.grant.first)
        end = y if one.end is None else min(y, one.end)
        if isinstance(granularity.size, int) and (end - first) // granularity.size > _MOST_POINTS:
            raise UsageError(
                f"windows of {granularity} beside the other grants' have no pattern short enough to check; "
                "choose granularities that divide each other"
            )
        k = granularity.index(granularity.align_up(first))
        while (point := granularity.start(k)) <= end:
            yield point
            k += 1


def _connected(held: Sequence[Held], points: Mapping[bytes, set[int]]) -> list[list[Held]]:
    """The grants in groups: those in one group share boundaries, directly or over others."""
    groups: list[tuple[set[int], list[Held]]] = []
    for one in held:
        mine, members = points[one.grant.id], [one]
        apart = []
        for theirs, others in groups:
            if mine.isdisjoint(theirs):
                apart.append((theirs, others))
            else:
                mine = mine | theirs
                members = others + members
        groups = [*apart, (mine, members)]
    return [members for _, members in groups]


# --- bills


def isolated(one: Held) -> list[Finding]:
    """The windows whose sum a single bill would tell, by a tariff made for it, in the first period that
    has any.

    Zero-except-one: no other window has a price. Base-N: one window's price outweighs all others', or
    all others' prices share a factor that leaves its remainder.
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
            continue  # most of the period: a bill is meant to tell about that
        remainder = others // gcd(others, w.price) if others else 0
        energy = (w.end - w.first) * grant.granularity.unit_ms * _MEAN_W // 3600
        if (weight - own) * _TOLD < own or remainder * _TOLD > energy:
            length = spell_ms((w.end - w.first) * grant.granularity.unit_ms)
            sentence = f"this tariff's bill tells the sum of {lane} of one window of {length} by itself"
            findings.append(Finding(lane, w.first, w.end, (grant.id,), sentence))
    return findings


def _gcd_of_others(values: Sequence[int]) -> list[int]:
    """For each value, the greatest common divisor of all the others."""
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


def _by_bills(opening: Sequence[Held], bills: Sequence[Held]) -> Iterator[Finding]:
    """What bills tell together, and together with windows: in the span of their equations.

    The unknowns are the running totals at the boundaries; those that windows tie together are one. A
    stretch is known exactly where the difference of its ends' totals is a combination of the equations.
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
        if lane == other and not (_ends(first, bills) and _ends(end, bills)):  # a flat bill tells its total
            length = spell_ms((end - first) * bills[0].grant.granularity.unit_ms)
            yield Finding(
                lane, first, end, ids, f"bills and windows together tell one {length} sum of {lane}"
            )


def _ends(unit: int, bills: Sequence[Held]) -> bool:
    """Whether some bill's period begins or ends with this unit."""
    return any(_covers(one, unit, unit) and one.granularity.align_up(unit) == unit for one in bills)


def _billed(one: Held) -> Iterator[tuple[int, int, dict[str, list[Weight]]]]:
    """The billing periods [a, b) that are checked, with their prices: all where the grant ends, else the
    first year's."""
    tariff, granularity = _tariff(one), one.granularity
    end = one.end
    if end is None:
        end = one.grant.first + 366 * _DAY_MS // granularity.unit_ms
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
    """The unknown that the running total at `unit` belongs to: one for all boundaries of a windows grant."""
    for one in opening:
        if lane in one.grant.lanes and _covers(one, unit, unit) and one.granularity.align_up(unit) == unit:
            return lane, one.grant.first
    return lane, unit


def _reduced(equations: Iterable[Row]) -> dict[Point, Row]:
    """The equations in reduced echelon form, by pivot."""
    rows: dict[Point, Row] = {}
    for equation in equations:
        row = dict(equation)
        for pivot in row.keys() & rows.keys():  # no row holds another's pivot
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
