"""Sums that bills reveal, together and with windows: those in the span of all equations that a holder has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from functools import partial
from itertools import pairwise
from math import lcm

import numpy as np

from gateway.chain.consent.bills import Bill, Prices
from gateway.chain.consent.borders import FAR, NONE, Scale, Units, horizon, scales
from gateway.chain.consent.classes import FREE, Lane, Part, Steps, Unknowns
from gateway.chain.consent.held import Finding, Held, sentence
from gateway.chain.consent.span import Span, independent
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
    """A sum that follows from equations with these weights, with all unknowns that they touch."""

    parts: tuple[Part, ...]
    kinds: tuple[int, ...]
    weights: dict[int, Fraction]


def by_bills(held: Sequence[Held], prices: Prices) -> list[Finding]:
    """What the holder of these grants learns from bills, beyond the total that a flat bill is.

    Each class whose sum is in the span of the bills and the windows is found, and so is every sum of classes
    that no equation tells apart, such as the dearer hours of days that each have two prices.
    """
    bills = prices.bills(held)
    if not bills:
        return []
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
    return list(_findings(_revealed(unknowns, equations), equations, unknowns, scales_of))


def _findings(
    sums: Iterable[_Sum],
    equations: Sequence[_Equation],
    unknowns: Unknowns,
    scales_of: Mapping[str, Sequence[Scale]],
) -> Iterator[Finding]:
    """A finding for each sum; sums of several periods that differ in nothing else share a sentence."""
    alike: dict[tuple[tuple[str, ...], str, tuple[bytes, ...]], list[_Sum]] = defaultdict(list)
    held: dict[bytes, Held] = {}
    for one in sums:
        sources = {x.grant.id: x for x in _sources(one, equations, scales_of)}
        held |= sources
        lanes = tuple(dict.fromkeys(lane for lane, _, _ in one.parts))
        alike[lanes, _at_prices(one, equations, unknowns), tuple(sources)].append(one)
    for (lanes, prices, ids), several in alike.items():
        of = [held[id_] for id_ in ids]
        text = sentence(_what(lanes, prices, several, equations, of[0].granularity.unit_ms), of)
        for one in several:
            first, end = min(a for _, a, _ in one.parts), max(b for _, _, b in one.parts)
            yield Finding(lanes[0], first, end, ids, text, one.parts)


def _sources(
    one: _Sum, equations: Sequence[_Equation], scales_of: Mapping[str, Sequence[Scale]]
) -> Iterator[Held]:
    """The grants that a sum follows from: of the equations, and of windows of their lanes at the same
    time."""
    for row in one.weights:
        equation = equations[row]
        yield from equation.held
        if equation.bill is not None:
            for lane in equation.bill.periods[equation.first, equation.end]:
                for scale in scales_of.get(lane, ()):
                    for x in scale.members:
                        if x.first < equation.end and equation.first < x.last:
                            yield x.held


def _at_prices(one: _Sum, equations: Sequence[_Equation], unknowns: Unknowns) -> str:
    """The prices that the sum has in the bills it follows from."""
    prices: dict[str, None] = {}
    for kind in one.kinds:
        for row, price in unknowns.prices(kind).items():
            bill = equations[row].bill
            if row in one.weights and bill is not None:
                prices[bill.tariff.spell(price)] = None
    if len(prices) > 3:
        return f" at {len(prices)} prices"
    return f" at {' and '.join(prices)} a kWh" if prices else ""


def _what(
    lanes: Sequence[str], prices: str, several: Sequence[_Sum], equations: Sequence[_Equation], unit_ms: int
) -> str:
    def length(one: _Sum) -> int:
        return sum(b - a for _, a, b in one.parts)

    shortest = min(several, key=length)
    begin = min(a for _, a, _ in shortest.parts) * unit_ms // 1000
    when = datetime.fromtimestamp(begin, UTC).isoformat(timespec="minutes")
    error = sum(
        abs(weight) * bill.tariff.cent / 2
        for row, weight in shortest.weights.items()
        if (bill := equations[row].bill) is not None
    )
    more = f" and {len(several) - 1} more like it" if len(several) > 1 else ""
    return (
        f"the sum of {' and '.join(lanes)} over {spell_ms(length(shortest) * unit_ms)}{prices}, "
        f"from {when} on, to {float(error) / _MWH_A_KWH:.2g} kWh{more}"
    )


def _steps_of_bill(bill: Bill, equations: list[_Equation]) -> dict[str, Steps]:
    parts: dict[str, list[Units]] = defaultdict(list)
    for (a, b), steps in sorted(bill.periods.items()):
        for lane, runs in steps.items():
            parts[lane].append(np.column_stack([runs, np.full(len(runs), len(equations))]))
        equations.append(_Equation(bill.held, a, b, bill))
    arrays = {lane: np.concatenate(several) for lane, several in parts.items()}
    return {lane: Steps(x[:, 0], x[:, 1], x[:, 3], x[:, 2]) for lane, x in arrays.items()}


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


def _revealed(unknowns: Unknowns, equations: Sequence[_Equation]) -> list[_Sum]:
    span, taken = Span(), []
    for group in unknowns.groups():
        for at in group[independent(unknowns.values[group])].tolist():
            if span.add(at, unknowns.entries(at)):
                taken.append(at)
    # A sum that follows has something for one of the unknowns that span all others.
    values: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for at in taken:
        for sign, kinds in ((1, unknowns.kinds[at]), (-1, unknowns.reference[at])):
            for kind in {*kinds.tolist()} - {NONE, FREE}:
                values[kind][at] += sign
    solved = span.solved()
    found: dict[tuple[Part, ...], _Sum] = {}
    for kind, wanted in sorted(values.items()):
        weights = solved.weights(wanted)
        of_class = unknowns.of_class(kind)
        if _follows(unknowns, weights, of_class, partial(unknowns.share, kind)):
            parts = unknowns.whole(kind)
            found.setdefault(parts, _Sum(parts, (kind,), weights))
    whole = {tuple(unknowns.of_class(one.kinds[0]).tolist()) for one in found.values()}
    found = {parts: one for parts, one in found.items() if not _is_a_flat_bill(one, unknowns, equations)}
    for at in taken:
        weights = solved.weights({at: 1})
        alike = np.flatnonzero(unknowns.column == unknowns.column[at])
        if tuple(alike.tolist()) not in whole and _follows(unknowns, weights, alike, partial(_in, alike)):
            parts = unknowns.stretches(alike)
            kinds = sorted(set(unknowns.kinds[alike, 0].tolist()) - {NONE})
            found.setdefault(parts, _Sum(parts, tuple(kinds), weights))
    return list(found.values())


def _in(alike: Units, unknowns: Units) -> Units:
    return np.isin(unknowns, alike).astype(np.int64)


def _follows(
    unknowns: Unknowns, weights: Mapping[int, Fraction], members: Units, wanted: Callable[[Units], Units]
) -> bool:
    """Whether the equations with these weights have what is wanted of each unknown, that is, of the `members`
    and of all that the equations have something for."""
    if not weights:
        return False
    rows, scale = sorted(weights), lcm(*(x.denominator for x in weights.values()))
    factors = [int(weights[row] * scale) for row in rows] + [0]
    for several in (members, unknowns.touching(rows)):
        begin, size = 0, 64  # most that do not follow show it at once
        while begin < len(several):
            some = several[begin : begin + size]
            at = np.searchsorted(rows, unknowns.rows[some])
            at = np.where(np.append(rows, NONE)[at] == unknowns.rows[some], at, len(rows))
            values = unknowns.values[some]
            big = max(map(abs, factors)) * int(abs(values).max()) * values.shape[1] >= 2**62
            kind: type = object if big else np.int64
            have = (np.array(factors, dtype=kind)[at] * values.astype(kind)).sum(axis=1)
            if (have != wanted(some).astype(kind) * scale).any():
                return False
            begin, size = begin + size, 4 * size
    return True


def _is_a_flat_bill(one: _Sum, unknowns: Unknowns, equations: Sequence[_Equation]) -> bool:
    """Whether the units are the whole period of a bill that prices nothing else: then their sum is
    granted."""
    if len(one.parts) != 1:
        return False
    ((lane, a, b),) = one.parts
    periods = [equations[row] for kind in one.kinds for row, price in unknowns.prices(kind).items() if price]
    return any((x.first, x.end) == (a, b) and x.bill is not None and x.is_flat(lane) for x in periods)
