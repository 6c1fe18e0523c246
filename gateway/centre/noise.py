"""Noise on the loads of small sets, by OpenDP, before a centre publishes them: differential privacy towards
those who read the numbers.

It does not protect a home from the centre, which has the exact sums: that a set has k_min homes does. Noise
against the centre would be the summing service's to add, before it answers.

A number is the sum of a set in a window and a lane, in mWh. It gets discrete Laplace noise of the scale
sensitivity / epsilon, where the sensitivity is the most that one home can change of it: a limit in W, such as
its main fuse's, times the window. Homes are not held to that limit, as nobody sees what one of them used. So
a number tells of a home, whether it was there and what it used, within a factor of e^epsilon. What several
numbers tell adds up: two lanes of a window take 2 epsilon, a day of quarter hours 96, and hours beside them
24 more.

The noise of a number is drawn once and kept: the mean of many draws would be the exact sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.centre.state import Members, State, Times
from gateway.chain.layout import ENERGY
from gateway.errors import UsageError
from gateway.provider.load import Windows
from gateway.stream.times import spell

HOME_LIMIT_W = 43_470
"""3 phases of 230 V and 63 A: the least for which DIN 18015-1 has a house's main line made."""

Number = tuple[Times, int, str]
"""A window, a set's number in it, and a lane."""

_MOST = 2**54
"""The largest scale, in mWh: that noise leaves 62 bits has a probability of e^-256."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Noise for sets of fewer homes than `below`: `epsilon` a number, where a home changes the power of its
    set by `limit_w` at most. UsageError where epsilon is not above 0."""

    below: int
    epsilon: float
    limit_w: int = HOME_LIMIT_W

    def __post_init__(self) -> None:
        if not (0 < self.epsilon < math.inf and self.limit_w > 0):
            raise UsageError(
                f"epsilon {self.epsilon} and a home's limit of {self.limit_w} W: both must be above 0"
            )

    def check(self, windows: Windows) -> None:
        """UsageError where numbers of these windows cannot have it: for a lane that is no energy, and where
        it would be so large that 64 bits cut it off, which would show the sum."""
        if not set(windows.lanes) <= set(ENERGY):
            raise UsageError(
                f"noise is for {' and '.join(ENERGY)}, and {', '.join(windows.lanes)} were asked for: of"
                " other lanes nobody knows how much a home can change"
            )
        most = max(self.sensitivity(times) for times in windows.times)
        if most > self.epsilon * _MOST:
            raise UsageError(
                f"epsilon {self.epsilon:g} and a home's limit of {self.limit_w} W: noise of that size is"
                " beyond all energy that is counted; expected more of the one, or less of the other"
            )

    def sensitivity(self, times: Times) -> int:
        """The most that a home can change in a window, in mWh."""
        return -(-self.limit_w * (times[1] - times[0]) // 3600)

    def draw(self, times: Times) -> int:
        """Discrete Laplace noise for a number of a window, in mWh."""
        import opendp.prelude as dp  # noqa: PLC0415 - two seconds

        dp.enable_features("contrib")
        scale = self.sensitivity(times) / self.epsilon
        laplace = dp.m.make_laplace(dp.atom_domain(T="i64"), dp.absolute_distance(T="i64"), scale=scale)
        return int(laplace(0))


def noises(
    state: State,
    region: str,
    windows: Windows,
    sets: Mapping[int, Mapping[int, Members]],
    noise: Noise,
) -> dict[int, Sequence[int]]:
    """The noise of the windows that have sets of fewer homes than `noise.below`, lane by lane, in mWh; `sets`
    are those that were summed, by the window's number and by theirs. UsageError where a number was published
    with another noise."""
    small = [
        (windows.times[i], number, lane)
        for i, several in sets.items()
        for number, members in several.items()
        if len(members) < noise.below
        for lane in windows.lanes
    ]
    start_ms, end_ms = windows.times[0][0], windows.times[-1][1]
    kept = state.noises(region, start_ms, end_ms)
    _check_same(small, kept, noise)  # before any is drawn for a load that is refused
    if any(one not in kept for one in small):
        drawn = {one: noise.draw(one[0]) for one in small if one not in kept}
        state.keep_noises(region, noise.epsilon, noise.limit_w, drawn)
        kept = state.noises(region, start_ms, end_ms)  # another process may have been first
        _check_same(small, kept, noise)
    return {
        i: [
            sum(
                kept[windows.times[i], number, lane][2]
                for number, members in several.items()
                if len(members) < noise.below
            )
            for lane in windows.lanes
        ]
        for i, several in sets.items()
        if any(len(members) < noise.below for members in several.values())
    }


def _check_same(small: Sequence[Number], kept: Mapping[Number, tuple[float, int, int]], noise: Noise) -> None:
    for number in small:
        epsilon, limit_w, _ = kept.get(number, (noise.epsilon, noise.limit_w, 0))
        if (epsilon, limit_w) != (noise.epsilon, noise.limit_w):
            raise UsageError(
                f"the load from {spell(number[0][0], 1)} on was given noise of epsilon {epsilon:g} and a"
                f" home's limit of {limit_w} W before: use these, since a second draw would tell more than"
                " either"
            )
