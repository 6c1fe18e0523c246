"""A meter's energy over a period, row by row, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

import numpy as np

from gateway.chain.layout import DAY_MS
from gateway.household.history import History, Step
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
    rows = period.rows(step)
    edges = {period.start_ms, *(end for _, end in rows)}
    edges |= {edge for edge in _changes(rates, period) if period.start_ms < edge < period.end_ms}
    read = await _read(history, meter, sorted(edges))
    known = [(max(a, read.begin_ms), min(b, read.end_ms)) for a, b in rows]
    stretches = [(a, b) for a, b in known if a < b]
    lanes = tuple(lane for lane in (rates.lanes if rates else ()) if lane in read.lanes)
    costs: Sequence[Money] = ()
    if rates is not None and stretches and lanes:
        costs = await cost(rates, stretches, lanes, read.sums)
    amounts = {one.start_ms: one for one in costs}
    lines = tuple(
        Line(*row, read.between("import", a, b), read.between("export", a, b), amounts.get(a))
        if a < b
        else Line(*row)
        for row, (a, b) in zip(rows, known, strict=True)
    )
    return Energy(
        lines=lines,
        imported=_total(line.imported for line in lines),
        exported=_total(line.exported for line in lines),
        cost=money(sum(sum(one.lanes.values()) for one in costs)) if costs else None,
        currency=rates.currency if rates else "",
        unpriced=any(one.missing for one in costs),
        complete_ms=read.complete_ms,
        whole=bool(stretches)
        and stretches[0][0] == period.start_ms
        and stretches[-1][1] == min(period.end_ms, read.complete_ms),
    )


def _changes(rates: Rates | None, period: Period) -> Iterator[int]:
    """The moments at which a price begins or ends, Unix ms."""
    if rates is not None:
        for lane in rates.lanes:
            for one in rates.prices(lane, period.start_ms, period.end_ms):
                yield from (one.start_ms, one.end_ms)


def energy_between(history: History, meter: str) -> Sums:
    """A meter's energy between any moments, as `gateway.household.money` asks for it: those that lie between
    the minutes of its history are not known."""

    async def sums(edges: Sequence[int], lanes: Sequence[str]) -> Mapping[str, Sequence[int | None]]:
        return await (await _read(history, meter, edges)).sums(edges, lanes)

    return sums


@dataclass(frozen=True, slots=True)
class _Read:
    """Sums that were read, added up: `upto` has for each lane the sum from the first of the moments `places`
    until each of them, and `shut` how many of the sums before it are not open."""

    places: Mapping[int, int]
    upto: Mapping[str, Sequence[int]]
    shut: Mapping[str, Sequence[int]]
    complete_ms: int

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lanes that were read."""
        return tuple(self.upto)

    @property
    def begin_ms(self) -> int:
        """The first moment from which on energy is known; in the far future where none is."""
        return next(iter(self.places), 2**62)

    @property
    def end_ms(self) -> int:
        """The moment until which it is."""
        return next(reversed(self.places), 0)

    def between(self, lane: str, start_ms: int, end_ms: int) -> int | None:
        """The energy between two moments; None where it is not known, or not to the moment."""
        a, b = self.places.get(start_ms), self.places.get(end_ms)
        if lane not in self.upto or a is None or b is None or self.shut[lane][a] != self.shut[lane][b]:
            return None
        return self.upto[lane][b] - self.upto[lane][a]

    async def sums(self, edges: Sequence[int], lanes: Sequence[str]) -> Mapping[str, Sequence[int | None]]:
        """As `gateway.household.money` asks for it."""
        return {lane: [self.between(lane, a, b) for a, b in pairwise(edges)] for lane in lanes}


async def _read(history: History, meter: str, edges: Sequence[int]) -> _Read:
    """The sums that make up the energy between rising moments: of quarters of an hour where these are enough,
    and of minutes where not, a part at a time."""
    size = QUARTER_MS if all(edge % QUARTER_MS == 0 for edge in edges[1:-1]) else MINUTE_MS
    step: Step = "quarter" if size == QUARTER_MS else "minute"
    moments: list[int] = []
    upto: dict[str, list[int]] = {}
    shut: dict[str, list[int]] = {}
    complete_ms = 0
    for at in range(edges[0], edges[-1], _AT_A_TIME_MS[size]):
        found = await history.sums(meter, at, min(edges[-1], at + _AT_A_TIME_MS[size]), step, "UTC")
        complete_ms = found.complete_ms
        if len(found) and moments[-1:] != [int(found.starts_ms[0])]:  # the history begins
            moments = [int(found.starts_ms[0])]
            upto = {lane: [0] for lane in found.lanes}
            shut = {lane: [0] for lane in found.lanes}
        if len(found):
            moments += found.ends_ms.tolist()
            for lane, d in found.sums.items():
                upto[lane] += (upto[lane][-1] + np.cumsum(d)).tolist()
                shut[lane] += (shut[lane][-1] + np.cumsum(~found.opened[lane])).tolist()
    return _Read({moment: n for n, moment in enumerate(moments)}, upto, shut, complete_ms)


def _total(values: Iterable[int | None]) -> int | None:
    """The sum of what is known; None where nothing is."""
    found = [value for value in values if value is not None]
    return sum(found) if found else None
