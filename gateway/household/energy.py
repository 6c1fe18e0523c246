"""A meter's energy over a period, row by row, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

import numpy as np

from gateway.chain.layout import DAY_MS
from gateway.household.history import History, Row, Step
from gateway.household.money import Money, Rates, Sums, cost, money
from gateway.household.periods import MINUTE_MS, QUARTER_MS, Period

_AT_A_TIME_MS = {MINUTE_MS: 60 * DAY_MS, QUARTER_MS: 900 * DAY_MS}  # below history.MOST_ROWS


@dataclass(frozen=True, slots=True)
class Line:
    """[start_ms, end_ms), Unix ms: what was drawn (`imported`) and given (`exported`) in mWh, and its cost;
    None of what is not known, or has not been yet."""

    start_ms: int
    end_ms: int
    imported: int | None = None
    exported: int | None = None
    cost: Money | None = None


@dataclass(frozen=True, slots=True)
class Energy:
    """The lines of a period, all of them, and their totals. `complete_ms` is the moment until which sums are
    known; `unpriced` says whether `cost` leaves energy out that has no price."""

    lines: tuple[Line, ...]
    imported: int | None
    exported: int | None
    cost: Decimal | None
    currency: str
    unpriced: bool
    complete_ms: int
    whole: bool
    """Whether all of the period is known, or of one that is not over all until now."""

    @property
    def empty(self) -> bool:
        """Whether nothing of it is known."""
        return self.imported is None and self.exported is None

    @property
    def exports(self) -> bool:
        """Whether anything was given."""
        return bool(self.exported)


async def energy(
    history: History, meter: str, period: Period, step: Step, rates: Rates | None = None
) -> Energy:
    """The energy of a meter in each `step` of a period, and its cost by `rates`. Errors are those of
    `History.sums`, and UsageError of rates that cannot be used."""
    found = await history.sums(meter, period.start_ms, period.end_ms, step, period.zone)
    known = list(found)
    lanes = tuple(lane for lane in (rates.lanes if rates else ()) if lane in found.lanes)
    costs: Sequence[Money] = ()
    if rates is not None and known and lanes:
        stretches = [(row.start_ms, row.end_ms) for row in known]
        costs = await cost(rates, stretches, lanes, energy_between(history, meter))
    amounts = dict(zip((row.start_ms for row in known), costs, strict=False))
    return Energy(
        lines=tuple(_lines(period, step, known, amounts)),
        imported=_total(row.import_mwh for row in known),
        exported=_total(row.export_mwh for row in known),
        cost=money(sum(sum(one.lanes.values()) for one in costs)) if costs else None,
        currency=rates.currency if rates else "",
        unpriced=any(one.missing for one in costs),
        complete_ms=found.complete_ms,
        whole=bool(known)
        and known[0].start_ms <= period.start_ms
        and known[-1].end_ms >= min(period.end_ms, found.complete_ms),
    )


def _lines(period: Period, step: Step, known: Sequence[Row], amounts: Mapping[int, Money]) -> Iterator[Line]:
    """All rows of the period, each with what is known of it: the first may have begun within it."""
    rows = iter(known)
    row = next(rows, None)
    for start, end in period.rows(step):
        if row is None or row.start_ms >= end:
            yield Line(start, end)
            continue
        yield Line(start, end, row.import_mwh, row.export_mwh, amounts.get(row.start_ms))
        row = next(rows, None)


def _total(values: Iterator[int | None]) -> int | None:
    """The sum of what is known; None where nothing is."""
    found = [value for value in values if value is not None]
    return sum(found) if found else None


def energy_between(history: History, meter: str) -> Sums:
    """A meter's energy between any moments, as `gateway.household.money` asks for it: those that lie between
    the minutes of its history are not known."""

    async def sums(edges: Sequence[int], lanes: Sequence[str]) -> Mapping[str, Sequence[int | None]]:
        size = QUARTER_MS if all(edge % QUARTER_MS == 0 for edge in edges[1:-1]) else MINUTE_MS
        step: Step = "quarter" if size == QUARTER_MS else "minute"
        bounds: list[int] = []
        upto: dict[str, list[int]] = {lane: [0] for lane in lanes}
        shut: dict[str, list[int]] = {lane: [0] for lane in lanes}
        at = edges[0]
        while at < edges[-1]:
            end = min(edges[-1], at + _AT_A_TIME_MS[size])
            found = await history.sums(meter, at, end, step, "UTC")
            if len(found):
                if bounds and bounds[-1] != found.starts_ms[0]:
                    bounds, upto, shut = [], {lane: [0] for lane in lanes}, {lane: [0] for lane in lanes}
                bounds = bounds or [int(found.starts_ms[0])]
                bounds += found.ends_ms.tolist()
                for lane in lanes:
                    upto[lane] += (upto[lane][-1] + np.cumsum(found.sums[lane])).tolist()
                    shut[lane] += (shut[lane][-1] + np.cumsum(~found.opened[lane])).tolist()
            at = end
        place = {bound: n for n, bound in enumerate(bounds)}

        def between(lane: str, a: int, b: int) -> int | None:
            first, last = place.get(a), place.get(b)
            if first is None or last is None or shut[lane][first] != shut[lane][last]:
                return None
            return upto[lane][last] - upto[lane][first]

        return {lane: [between(lane, a, b) for a, b in pairwise(edges)] for lane in lanes}

    return sums
