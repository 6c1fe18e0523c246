"""Sums that bills reveal, together and with windows: those in the span of all equations that a holder has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise

import numpy as np

from gateway.chain.consent.bills import Bill, Prices, quantum
from gateway.chain.consent.borders import FAR, NONE, Scale, Units, horizon, scales
from gateway.chain.consent.classes import Lane, Part, Steps, Unknowns
from gateway.chain.consent.held import Finding, Held, sentence
from gateway.chain.consent.span import REST, Residues, Rows, magnitude, random_prime, randoms, sums_of
from gateway.chain.consent.windows import of_lane, opened
from gateway.chain.layout import ENERGY
from gateway.chain.window import spell_ms

_MWH_A_KWH = 10**6


@dataclass(frozen=True, slots=True, eq=False)
class _Equation:
    """A bill's period, with its prices, or a window that overlaps those of another scale."""

    held: tuple[Held, ...]
    first: int
    end: int
    bill: Bill | None = None

    def is_flat(self, lane: str) -> bool:
        """Whether it prices only this lane."""
        assert self.bill is not None
        steps = self.bill.periods[self.first, self.end]
        return {name for name, runs in steps.items() if runs[:, 2].any()} == {lane}


@dataclass(frozen=True, slots=True)
class _Sum:
    """A sum that follows from the equations in `rows`: that of all `parts`, with so much of each of the
    unknowns in `of`."""

    parts: tuple[Part, ...]
    kinds: tuple[int, ...]
    of: dict[int, int]
    rows: Rows

    def weights(self) -> dict[int, int]:
        """How much of each equation makes it, modulo the check's prime."""
        return self.rows.weights(self.of)


@dataclass(frozen=True, slots=True)
class Told:
    """What bills tell: which units each sum is of, and the findings, put in words only where they are new."""

    keys: frozenset[tuple[Part, ...]] = frozenset()
    _findings: Callable[[Collection[tuple[Part, ...]]], Iterator[Finding]] | None = None

    def beyond(self, known: Collection[tuple[Part, ...]]) -> list[Finding]:
        """The findings but for sums that are known."""
        return [] if self._findings is None or self.keys <= set(known) else list(self._findings(known))


def by_bills(held: Sequence[Held], prices: Prices) -> Told:
    """What the holder of these grants learns from bills, beyond the total that a flat bill is.

    Each class whose sum is in the span of the bills and the windows is found, and so is every sum of classes
    that no equation tells apart, such as the dearer hours of days that each have two prices.
    """
    bills = prices.bills(held)
    if not bills:
        return Told()
    equations: list[_Equation] = []
    steps = [_steps_of_bill(bill, equations) for bill in bills]
    first, end = min(x.first for x in equations), max(x.end for x in equations)
    windows = opened(held)
    lanes = []
    for lane in ENERGY:
        apart, across = _apart(scales(of_lane(windows, lane, max(end, horizon(held)))))
        listed = [one.get(lane) for one in steps]
        if any(one is not None for one in listed):
            listed += [_steps_of_windows(scale, first, end, equations) for scale in across]
            lanes.append((lane, listed, apart))
    width = max(len(listed) for _, listed, _ in lanes)
    unknowns = Unknowns(
        [
            Lane.divided(name, [*listed, *[None] * (width - len(listed))], len(bills), apart)
            for name, listed, apart in lanes
        ]
    )
    scales_of = {name: apart for name, _, apart in lanes}
    prime = random_prime()
    sums = _revealed(unknowns, equations, prime)
    return Told(
        frozenset(one.parts for one in sums), partial(_findings, sums, equations, unknowns, scales_of, prime)
    )


def _findings(
    sums: Iterable[_Sum],
    equations: Sequence[_Equation],
    unknowns: Unknowns,
    scales_of: Mapping[str, Sequence[Scale]],
    prime: int,
    known: Collection[tuple[Part, ...]],
) -> Iterator[Finding]:
    """A finding for each sum that is not known; sums of several periods that differ in nothing else share a
    sentence."""
    alike: dict[tuple[tuple[str, ...], str, tuple[bytes, ...]], list[_Sum]] = defaultdict(list)
    held: dict[bytes, Held] = {}
    for one in sums:
        if one.parts in known:
            continue
        weights = one.weights()
        sources = {x.grant.id: x for x in _sources(weights, equations, scales_of)}
        held |= sources
        lanes = tuple(dict.fromkeys(lane for lane, _, _ in one.parts))
        alike[lanes, _at_prices(one, weights, equations, unknowns), tuple(sources)].append(one)
    for (lanes, prices, ids), several in alike.items():
        of = [held[id_] for id_ in ids]
        text = sentence(_what(lanes, prices, several, equations, of[0].granularity.unit_ms, prime), of)
        for one in several:
            first, end = min(a for _, a, _ in one.parts), max(b for _, _, b in one.parts)
            yield Finding(lanes[0], first, end, ids, text, one.parts)


def _sources(
    weights: Iterable[int], equations: Sequence[_Equation], scales_of: Mapping[str, Sequence[Scale]]
) -> Iterator[Held]:
    """The grants that a sum follows from: of the equations, and of windows of their lanes at the same
    time."""
    for row in weights:
        equation = equations[row]
        yield from equation.held
        if equation.bill is not None:
            for lane in equation.bill.periods[equation.first, equation.end]:
                for scale in scales_of.get(lane, ()):
                    for x in scale.members:
                        if x.first < equation.end and equation.first < x.last:
                            yield x.held


def _at_prices(
    one: _Sum, weights: Collection[int], equations: Sequence[_Equation], unknowns: Unknowns
) -> str:
    """The prices that the sum has in the bills it follows from."""
    prices: dict[str, None] = {}
    for kind in one.kinds:
        for row, price in unknowns.prices(kind).items():
            bill = equations[row].bill
            if row in weights and bill is not None:
                prices[bill.tariff.spell(price)] = None
    if len(prices) > 3:
        return f" at {len(prices)} prices"
    return f" at {' and '.join(prices)} a kWh" if prices else ""


def _what(
    lanes: Sequence[str],
    prices: str,
    several: Sequence[_Sum],
    equations: Sequence[_Equation],
    unit_ms: int,
    prime: int,
) -> str:
    def length(one: _Sum) -> int:
        return sum(b - a for _, a, b in one.parts)

    shortest = min(several, key=length)
    begin = min(a for _, a, _ in shortest.parts) * unit_ms // 1000
    when = datetime.fromtimestamp(begin, UTC).isoformat(timespec="minutes")
    errors = [
        magnitude(weight, prime) * min(map(quantum, bill.held)) / 2
        for row, weight in shortest.weights().items()
        if (bill := equations[row].bill) is not None
    ]
    more = f" and {len(several) - 1} more like it" if len(several) > 1 else ""
    return (
        f"the sum of {' and '.join(lanes)} over {spell_ms(length(shortest) * unit_ms)}{prices}, "
        f"from {when} on, to {sum(errors) / _MWH_A_KWH:.2g} kWh{more}"
    )


def _steps_of_bill(bill: Bill, equations: list[_Equation]) -> dict[str, Steps]:
    parts: dict[str, list[Units]] = defaultdict(list)
    rows: dict[str, list[int]] = defaultdict(list)
    for (a, b), steps in sorted(bill.periods.items()):
        for lane, runs in steps.items():
            parts[lane].append(runs)
            rows[lane].append(len(equations))
        equations.append(_Equation(bill.held, a, b, bill))
    return {
        lane: Steps(x[:, 0], x[:, 1], np.repeat(rows[lane], [len(runs) for runs in several]), x[:, 2])
        for lane, several in parts.items()
        for x in [np.concatenate(several)]
    }


def _steps_of_windows(scale: Scale, first: int, end: int, equations: list[_Equation]) -> Steps | None:
    """Each window between neighbouring borders of a scale as an equation of its own."""
    held, edges, at = tuple(one.held for one in scale.members), [], max(first - 1, scale.first - 1)
    while (at := int(scale.above(np.array([at]))[0])) != FAR:
        edges.append(at)
        if at >= end:
            break
    rows = np.arange(len(equations), len(equations) + len(edges) - 1)
    equations += [_Equation(held, a, b) for a, b in pairwise(edges)]
    array = np.array(edges, dtype=np.int64)
    return Steps(array[:-1], array[1:], rows, np.ones_like(rows)) if len(edges) > 1 else None


def _apart(all_scales: Iterable[Scale]) -> tuple[list[Scale], list[Scale]]:
    """Scales that do not overlap in time, and the others."""
    apart: list[Scale] = []
    across: list[Scale] = []
    for scale in sorted(all_scales, key=lambda x: len(x.members), reverse=True):
        fits = all(scale.last <= other.first or other.last <= scale.first for other in apart)
        (apart if fits else across).append(scale)
    return apart, across


def _revealed(unknowns: Unknowns, equations: Sequence[_Equation], prime: int) -> list[_Sum]:
    rows, x = _solved(unknowns, equations, prime)
    found: dict[tuple[Part, ...], _Sum] = {}
    whole = set()
    for kind, members, shares in unknowns.classes_of_sum_0(x, prime):
        of = dict(zip(members.tolist(), shares.tolist(), strict=True))
        one = _Sum(unknowns.whole(kind), (kind,), of, rows)
        whole.add(tuple(members.tolist()))
        if one.parts not in found and not _is_a_flat_bill(one, unknowns, equations):
            found[one.parts] = one
    for alike in unknowns.alike_of_sum_0(x, prime):
        same = tuple(alike.tolist())
        if same not in whole:
            kinds = sorted(set(unknowns.kinds[alike, 0].tolist()) - {NONE})
            parts = unknowns.stretches(alike)
            found.setdefault(parts, _Sum(parts, tuple(kinds), dict.fromkeys(same, 1), rows))
    return list(found.values())


def _solved(unknowns: Unknowns, equations: Sequence[_Equation], prime: int) -> tuple[Rows, Residues]:
    """The equations in echelon form, and values of all unknowns with which each equation gives 0: random but
    for that.

    Unknowns and equations are gone through in the order of time, equations by their ends, so that what is
    left of one has entries only for the few that overlap its end.
    """
    x, spanning = randoms(len(unknowns.rows), prime), unknowns.spanning(prime)
    numbers = sorted(range(len(equations)), key=lambda k: (equations[k].end, -equations[k].first))
    place = np.empty(len(equations), dtype=np.int64)
    place[numbers] = np.arange(len(numbers))
    columns, basis = Rows(prime), np.zeros(len(x), dtype=bool)
    for unknown, column in _entries(unknowns, np.flatnonzero(spanning), place):
        basis[unknown] = columns.add(unknown, column)
    at, column_ = np.nonzero(unknowns.rows != NONE)
    row, value, inside = place[unknowns.rows[at, column_]], unknowns.values[at, column_], basis[at]
    entries: list[dict[int, int]] = [{} for _ in equations]
    for k, unknown, known in zip(
        row[inside].tolist(), at[inside].tolist(), value[inside].tolist(), strict=True
    ):
        entries[k][unknown] = known
    for k, rest in sums_of(row[~inside], value[~inside] * x[at[~inside]]):
        entries[k][REST] = rest
    rows = Rows(prime)
    for number, entry in zip(numbers, entries, strict=True):
        rows.add(number, entry)
    of_basis = np.flatnonzero(basis)
    values = dict(zip(of_basis.tolist(), x[of_basis].tolist(), strict=True)) | {REST: 1}
    rows.solve(values)
    x[of_basis] = [values[unknown] for unknown in of_basis.tolist()]
    return rows, x


def _entries(unknowns: Unknowns, some: Units, place: Units) -> Iterator[tuple[int, dict[int, int]]]:
    """Some unknowns, and what the equations have for each, by the equations' places."""
    rows, values = unknowns.rows[some], unknowns.values[some]
    places = np.where(rows == NONE, NONE, place[rows])
    for unknown, row, value in zip(some.tolist(), places.tolist(), values.tolist(), strict=True):
        yield unknown, {k: known for k, known in zip(row, value, strict=True) if k != NONE}


def _is_a_flat_bill(one: _Sum, unknowns: Unknowns, equations: Sequence[_Equation]) -> bool:
    """Whether the units are the whole period of a bill that prices nothing else: then their sum is
    granted."""
    if len(one.parts) != 1:
        return False
    ((lane, a, b),) = one.parts
    periods = [equations[row] for kind in one.kinds for row, price in unknowns.prices(kind).items() if price]
    return any((x.first, x.end) == (a, b) and x.bill is not None and x.is_flat(lane) for x in periods)
