"""The objects of some homes of a region, as they come into being, and the truth about them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gateway.simulate.fleet.energy import energy
from gateway.simulate.fleet.objects import HomeObjects, Object, Parties
from gateway.simulate.fleet.plan import LANES, TROUBLES, Plan
from gateway.simulate.fleet.truth import Truth


class Block:
    """The homes of these `numbers`, all of one region. Their energy is computed for all at once, a day at a
    time."""

    def __init__(self, plan: Plan, region: int, numbers: NDArray[np.int64], parties: Parties) -> None:
        self._plan = plan
        self._region = region
        self._fates = plan.fates(numbers)
        self.numbers = numbers
        fates = zip(numbers.tolist(), self._fates.trouble.tolist(), self._fates.until.tolist(), strict=True)
        self.homes = [
            HomeObjects(plan, number, parties, TROUBLES[trouble], until) for number, trouble, until in fates
        ]
        self.truths: list[Truth] = []
        """Of the days whose stage has begun."""

    def stages(self) -> Iterator[Iterator[Object]]:
        """The objects: those of one stage may be put in any order, but after all of the stage before."""
        yield (item for home in self.homes for item in home.begin())
        for n in range(self._plan.days):
            yield self._day(n)
        yield (item for home in self.homes for item in home.end())

    def _day(self, n: int) -> Iterator[Object]:
        plan = self._plan
        d = energy(plan, self._region, self.numbers, n)
        size = plan.window_ms // plan.unit_ms
        mwh = d.reshape(len(self.numbers), len(LANES), -1, size).sum(axis=3)
        self.truths.append(Truth.of(plan, n, mwh, self._fates))
        outages, begins = plan.outage(self.numbers, n).tolist(), plan.restarts(self.numbers, n).tolist()
        for home, own, incarnation, outage in zip(self.homes, d, begins, outages, strict=True):
            yield from home.day(n, own, incarnation, outage)
