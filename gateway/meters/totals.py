"""An energy that a meter shows twice: as a total and by tariff (1.8.0 beside 1.8.1 and 1.8.2), or as one
register under two codes. The two are held against each other; the total counts.

How far they may be apart without a fault:

- Each number is cut, or rounded, at its last digit. A meter whose owner has not entered the PIN shows whole
  kWh under any scaler (a real eBZ DD3: 13 024 = 13 023 + 1 kWh), so zeros at a number's end do not count as
  digits, up to 1 kWh; and a 0 is cut where the other numbers are.
- The meter may have read its registers up to a second apart: at 3 x 100 A, 69 kW, this is less than 20 Wh.

A meter may count in more tariffs than it lists. Where it is not known that all are listed, or all of those
listed are 0 because the meter does not use them, the parts may be less than the total, but never more. All
frames of real meters in the tests that list both agree to the last digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from gateway.errors import MeterError

_MWH_PER_KWH = 1_000_000
_SECOND_APART_MWH = 20_000


@dataclass(frozen=True, slots=True)
class Shown:
    """An energy in mWh as a meter shows it, and the `step` of its last digit, in mWh too."""

    mwh: Fraction = field(repr=False)
    step: Fraction

    @property
    def cut_at(self) -> Fraction:
        """The place of the last digit that is not 0, at most 1 kWh: the number is true to this."""
        place = self.step
        while self.mwh and place * 10 <= _MWH_PER_KWH and self.mwh % (place * 10) == 0:
            place *= 10
        return place


def hold_against_parts(lane: str, total: Shown, parts: Sequence[Shown], *, complete: bool) -> None:
    """Hold the total of `lane` against its `parts`, which are all there are if they are `complete`.
    MeterError with both numbers where they differ by more than is explained above."""
    added = sum((part.mwh for part in parts), Fraction(0))
    missing = total.mwh - added
    may_miss = not complete or not added
    if -missing > _explained(total, *parts) or (missing > _explained(total, *parts) and not may_miss):
        raise MeterError(
            f"the meter shows {lane} twice, and the two differ: {_kwh(total.mwh)} kWh in all, but "
            f"{_kwh(added)} kWh as the sum of its tariffs"
        )


def the_finer(lane: str, first: Shown, second: Shown) -> Shown:
    """The one with more digits of two that show the same register of `lane`. MeterError with both numbers
    where they differ; by less than the last digit of the coarser one, where they have different steps."""
    finer, coarser = sorted((first, second), key=lambda shown: shown.step)
    if abs(first.mwh - second.mwh) >= (coarser.step if finer.step < coarser.step else Fraction(1, 10**9)):
        raise MeterError(
            f"the meter has two different registers for {lane}: {_kwh(first.mwh)} kWh and "
            f"{_kwh(second.mwh)} kWh"
        )
    return finer


def _explained(*numbers: Shown) -> Fraction:
    places = [number.cut_at for number in numbers]
    coarsest = max(places)
    each = (place if number.mwh else coarsest for number, place in zip(numbers, places, strict=True))
    return sum(each, Fraction(_SECOND_APART_MWH))


def _kwh(mwh: Fraction) -> str:
    return f"{float(mwh / _MWH_PER_KWH):.3f}"
