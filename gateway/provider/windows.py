"""Bills from sums of windows: the same amounts as bill grants give, exact, and the energy at each price.

Each price step of a billing period must be opened whole by windows that the household granted: one grant's,
or those of several that follow each other. Nothing is estimated: a period of which a part stays closed gets
no bill, and `WindowBills` says what is missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from gateway.chain.seal import signed
from gateway.chain.tariff import Tariff, Weight
from gateway.chain.window import Granularity
from gateway.errors import NotGranted, UsageError
from gateway.provider.bill import Bill, Step
from gateway.provider.grants import OwnGrant, own_grants
from gateway.provider.identity import Identity
from gateway.provider.tokens import Opener, nonces
from gateway.stream.chunks import ChainFollower
from gateway.stream.reader import StreamReader
from gateway.stream.times import moment, spell


@dataclass(frozen=True, slots=True)
class _Opened:
    """What the grants open of one lane in a period: the nonce R of each price step, and the grants' ids."""

    r: list[int]
    grants: list[bytes]


class WindowBills:
    """The bills of whole periods of a calendar in the tariff's zone, from grants of windows.

    `missing` has a sentence for each period that has ended and of which some price step stays closed;
    `waiting` is a sentence where the last periods wait for their tokens.
    """

    def __init__(
        self, reader: StreamReader, tariff: Tariff, period: Granularity, held: Sequence[OwnGrant]
    ) -> None:
        self.missing: list[str] = []
        self.waiting: str | None = None
        self.held = held
        self._reader = reader
        self._tariff = tariff
        self._period = period
        self._openers = [Opener(one) for one in held]
        granted = {lane for one in held for lane in one.grant.lanes}
        self.lanes = tuple(lane for lane in tariff.lanes if lane in granted)

    @classmethod
    async def ask(cls, reader: StreamReader, identity: Identity, tariff: Tariff, period: str) -> WindowBills:
        """Bills for each `period`, such as "month", "month-15" or "day". NotGranted where no window of a lane
        with a price is granted; UsageError where the period is not one of the calendar."""
        granularity = Granularity.parse(period, reader.descriptor.layout.unit_ms, tariff.zone)
        if isinstance(granularity.size, int):
            raise UsageError(
                f"billing period {period!r}: it must be day, month, or month-2 to month-28 for months that "
                "begin on that day"
            )
        held = await own_grants(reader, identity)
        for one in held:
            await one.bundles.settle()
        bills = cls(reader, tariff, granularity, held)
        if not bills.lanes:
            others = "; ".join(map(str, held)) or "there is no grant of windows to this provider"
            raise NotGranted(f"no window of {' or '.join(tariff.lanes)} is granted: {others}")
        bills.held = [one for one in held if set(one.grant.lanes) & set(bills.lanes)]
        bills._openers = [Opener(one) for one in bills.held]
        return bills

    async def bills(
        self, from_ms: int | None = None, until_ms: int | None = None
    ) -> AsyncGenerator[Bill, None]:
        """The bills of the periods that lie between two moments, Unix ms, and have ended; None means from the
        first grant on, or as far as the stream and the grants go. UsageError where the tariff has no price
        for a step of such a period; Refused for an invalid object."""
        head = self._reader.head
        if head is None:
            return
        follower = ChainFollower(self._reader.descriptor, self._reader.marks(head))
        for a, b in self._periods(from_ms, until_ms, head.next_unit):
            weights = self._tariff.weights(self.lanes, self._period.unit_ms, a, b)
            bill = await self._bill(a, b, weights, follower)
            if self.waiting is not None:
                return
            if bill is not None:
                yield bill

    def _periods(self, from_ms: int | None, until_ms: int | None, head: int) -> Iterator[tuple[int, int]]:
        period = self._period
        first = max(self._reader.descriptor.start, min(one.grant.first for one in self.held))
        if from_ms is not None:
            first = max(first, -(-from_ms // period.unit_ms))
        limits = [one.limit for one in self.held]
        ends = [head, *([] if until_ms is None else [until_ms // period.unit_ms])]
        if None not in limits:
            ends.append(max(limit for limit in limits if limit is not None))
        k = period.index(period.align_up(first))
        while (b := period.start(k + 1)) <= min(ends):
            yield period.start(k), b
            k += 1

    async def _bill(
        self, a: int, b: int, weights: Mapping[str, Sequence[Weight]], follower: ChainFollower
    ) -> Bill | None:
        """The bill of [a, b); None where a part of it stays closed or waits, as `missing` or `waiting`
        says."""
        opened: dict[str, _Opened] = {}
        for lane, runs in weights.items():
            found = await self._open(lane, runs)
            if found is None:
                return None
            opened[lane] = found
        bounds = sorted({a, *(w.end for runs in weights.values() for w in runs)})
        c = await self._reader.sums(bounds, self.lanes, follower)
        energy: dict[tuple[str, int], int] = defaultdict(int)
        for (lane, runs), row in zip(weights.items(), c, strict=True):
            upto = dict(zip(bounds, accumulate(map(int, row), initial=0), strict=True))
            for w, r in zip(runs, opened[lane].r, strict=True):
                energy[lane, w.price] += signed(upto[w.end] - upto[w.first] - r)
        start, end = (moment(unit, self._period.unit_ms) for unit in (a, b))
        return Bill(
            start,
            end,
            self.lanes,
            sum(price * mwh for (_, price), mwh in energy.items()),
            1,
            self._tariff,
            self._period.zone,
            tuple(Step(lane, price, mwh) for (lane, price), mwh in energy.items()),
            tuple(dict.fromkeys(grant for one in opened.values() for grant in one.grants)),
        )

    async def _open(self, lane: str, runs: Sequence[Weight]) -> _Opened | None:
        openers = [one for one in self._openers if lane in one.held.grant.lanes]
        steps = [(w.first, w.end) for w in runs]
        alone = np.any([one.held.covers(_edges(steps)) for one in openers], axis=0)
        cut: list[tuple[int, int]] = []
        for w, whole in zip(runs, alone.tolist(), strict=True):
            parts = [(w.first, w.end)] if whole else _parts(openers, w)
            if not parts:
                self.missing.append(self._why(lane, runs, w))
                return None
            cut += parts
        edges = _edges(cut)
        r, opened, _ = await nonces(openers, [lane], edges)
        if not opened.all():
            at = spell(int(edges[int((~opened[0]).argmax())]), self._period.unit_ms, self._tariff.zone)
            self.waiting = f"the tokens of {lane} from {at} on are not in the store yet"
            return None
        sums = np.add.reduceat(r[0], np.searchsorted(edges, [first for first, _ in steps]))
        used = [one.held.grant.id for one in openers if one.held.covers(edges).any()]
        return _Opened(sums.tolist(), used)

    def _why(self, lane: str, runs: Sequence[Weight], step: Weight) -> str:
        """A sentence about a price step that stays closed."""
        unit_ms, zone = self._period.unit_ms, self._tariff.zone
        a, b, x, y = (
            spell(unit, unit_ms, zone) for unit in (runs[0].first, runs[-1].end, step.first, step.end)
        )
        return (
            f"{a} to {b}: no granted windows add up to the price step of {lane} from {x} to {y}, at "
            f"{self._tariff.spell(step.price)} a kWh: {'; '.join(map(str, self.held))}"
        )


def _edges(steps: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """The edges of windows that follow each other."""
    return np.array([steps[0][0], *(end for _, end in steps)], dtype=np.int64)


def _parts(openers: Sequence[Opener], step: Weight) -> list[tuple[int, int]]:
    """A price step in parts that one grant each opens; none where there are no such parts."""
    points = {step.first, step.end}
    for held in (one.held for one in openers):
        end = step.end if held.limit is None else min(step.end, held.limit)
        if held.grant.first < end:
            points |= {held.edge_from(step.first), held.windows.edge(held.windows.number(end))}
    ordered = sorted(point for point in points if step.first <= point <= step.end)
    ways: dict[int, list[tuple[int, int]]] = {step.first: []}
    for i, b in enumerate(ordered):
        for a in (point for point in ordered[:i] if point in ways):
            if any(one.held.covers(_edges([(a, b)])).all() for one in openers):
                ways[b] = [*ways[a], (a, b)]
                break
    return ways.get(step.end, [])
