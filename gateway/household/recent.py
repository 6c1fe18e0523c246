"""What pages showed last of the home's energy, for the time in which the store does not answer."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from gateway.errors import Unavailable
from gateway.household.energy import Energy, energy
from gateway.household.history import History, Step
from gateway.household.money import Rates
from gateway.household.periods import Period

_MOST = 8  # pages, of at most 400 lines each


@dataclass(frozen=True, slots=True)
class Seen:
    """The energy of a period as it was known at a moment, Unix ms. `error` is why it is not known as of now;
    the energy is None then where it was not asked for before."""

    energy: Energy | None
    when_ms: int
    error: Unavailable | None = None


@dataclass(slots=True)
class Recent:
    """The answers that were given last, in memory alone."""

    _known: OrderedDict[tuple[str, Period, Step], Seen] = field(default_factory=OrderedDict)

    async def energy(
        self, history: History, meter: str, period: Period, step: Step, rates: Rates | None, now_ms: int
    ) -> Seen:
        """The energy of a meter in each `step` of a period, and its cost by `rates`; the answer before where
        the gateway or its store do not answer. Other errors are those of `energy`."""
        question = meter, period, step
        try:
            seen = Seen(await energy(history, meter, period, step, rates), now_ms)
        except Unavailable as error:
            before = self._known.get(question)
            return Seen(None, now_ms, error) if before is None else Seen(before.energy, before.when_ms, error)
        self._known[question] = seen
        self._known.move_to_end(question)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        return seen
