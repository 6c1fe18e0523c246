"""The whole check: what each provider alone, and all together, learn beyond what their grants open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.chain.consent.bills import Prices
from gateway.chain.consent.held import Finding, Held
from gateway.chain.consent.sums import Told, by_bills
from gateway.chain.consent.windows import Hands, by_units, by_windows


@dataclass(frozen=True, slots=True)
class Findings:
    """What one provider alone learns, and what all learn if they pool what they hold."""

    provider: list[Finding]
    pooled: list[Finding]


def check(held: Sequence[Held], new: Sequence[Held] = ()) -> Findings:
    """What grants of one stream reveal beyond what each of them opens: what is added by `new` to those
    `held`, or, if nothing is new, all of it."""
    everything = [*held, *new]
    bills = _Bills(everything)
    hands: dict[bytes, list[Held]] = {}
    for one in everything:
        hands.setdefault(one.grant.provider, []).append(one)
    ids = {one.grant.id for one in new}
    alone = []
    for hand in hands.values():
        old = [one for one in hand if one.grant.id not in ids]
        if not new or len(old) < len(hand):
            alone += _found(hand, [old] if new else [], bills)
    return Findings(alone, _found(everything, [*hands.values(), *([held] if new else [])], bills))


def _found(hand: Sequence[Held], before: Hands, bills: _Bills) -> list[Finding]:
    told = bills.of(hand)
    known = {key for other in before for key in bills.of(other).keys} if told.keys else set()
    added = told.beyond(known)
    return [*by_units(hand, before), *by_windows(hand, before), *added]


class _Bills:
    """What bills reveal to each hand, worked out once."""

    def __init__(self, everything: Sequence[Held]) -> None:
        self._prices = Prices(everything) if everything else None
        self._told: dict[frozenset[bytes], Told] = {}

    def of(self, hand: Sequence[Held]) -> Told:
        ids = frozenset(one.grant.id for one in hand)
        if ids not in self._told:
            self._told[ids] = by_bills(hand, self._prices) if self._prices is not None else Told()
        return self._told[ids]
