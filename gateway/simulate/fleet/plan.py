"""The plan of a fleet: its size and times, and the fate of each home, all pure functions of a seed.

Home `number` is in region number % regions. So a larger fleet of as many regions has the homes of a smaller
one. A home's secrets follow from the seed: whoever knows it opens everything.
"""

from __future__ import annotations

import hmac
import math
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway.chain.layout import DAY_MS, Layout
from gateway.chain.window import Granularity, spell_ms
from gateway.errors import UsageError
from gateway.simulate.home import noises

Trouble = Literal["", "late", "chain", "signature", "gap"]
TROUBLES: tuple[Trouble, ...] = ("", "late", "chain", "signature", "gap")
"""`chain`: a chunk that does not follow the one before, though its signature is valid; `signature`: a chunk
whose signature is not; `gap`: a chunk that the store does not have. `late`: the last hours have not come."""
LANES = ("import", "export")
_LATE_MS = 6 * 3_600_000
_LONGEST_OUTAGE_MS = 6 * 3_600_000
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Fates:
    """What happens to homes, an array with an item for each: an index of TROUBLES, and the unit from which on
    nothing is there (late) or nothing counts (broken); the end of the plan for the others."""

    trouble: NDArray[np.int64]
    until: NDArray[np.int64]

    @property
    def late(self) -> NDArray[np.bool_]:
        """Whether the home's last hours are not there."""
        return np.equal(self.trouble, TROUBLES.index("late"))

    @property
    def broken(self) -> NDArray[np.bool_]:
        """Whether the home's chain does not hold."""
        return np.greater(self.trouble, TROUBLES.index("late"))


@dataclass(frozen=True, slots=True)
class Plan:
    """A fleet of `homes` in `regions`, over `days` UTC days from `first` on. Times are in ms.
    `outages`, `late` and `broken` are per cent: of the homes' days, of the homes, of the homes."""

    homes: int
    days: int
    first: date
    regions: int
    seed: int
    unit_ms: int
    chunk_ms: int
    windows_ms: tuple[int, ...]
    """The granularities of the loads."""
    outages: float
    late: float
    broken: float
    until_ms: int | None = None
    """A time in the last day (Unix ms) at which it ends; None: at its end."""

    def __post_init__(self) -> None:
        for name, ms in (("chunk", self.chunk_ms), *(("granularity", ms) for ms in self.windows_ms)):
            if ms % self.unit_ms or DAY_MS % ms:
                raise UsageError(
                    f"a {name} of {spell_ms(ms)}: it must be a whole number of units of "
                    f"{spell_ms(self.unit_ms)}, and divide a day, such as 15min"
                )
        if any(ms % self.window_ms for ms in self.windows_ms):
            raise UsageError(
                f"each granularity must be a multiple of the finest, {spell_ms(self.window_ms)}: by its "
                "windows the truth is stated"
            )
        if self.regions > self.homes:
            raise UsageError(f"{self.regions} regions of {self.homes} homes: each needs at least one")
        if self.late + self.broken > 100:
            raise UsageError("late and broken homes are more than 100 per cent together")
        if self.end <= self.start:
            raise UsageError("a fleet begins with a whole chunk of each home: let it end later")

    @property
    def day_units(self) -> int:
        """How many units a day has."""
        return DAY_MS // self.unit_ms

    @property
    def layout(self) -> Layout:
        """The layout of the streams: a link is a day."""
        return Layout(self.unit_ms, self.day_units)

    @property
    def start(self) -> int:
        """The first unit."""
        return (self.first - _EPOCH).days * self.day_units

    @property
    def step(self) -> int:
        """How many units there are from one border of chunks and of all windows to the next."""
        return math.lcm(self.chunk_ms, *self.windows_ms) // self.unit_ms

    @property
    def end(self) -> int:
        """The unit after the last, on a border of chunks and of all windows."""
        whole = self.start + self.days * self.day_units
        if self.until_ms is None:
            return whole
        return min(whole, self.until_ms // self.unit_ms // self.step * self.step)

    @property
    def window_ms(self) -> int:
        """The finest granularity."""
        return min(self.windows_ms)

    @property
    def windows(self) -> tuple[Granularity, ...]:
        """The granularities."""
        return tuple(Granularity(ms // self.unit_ms, self.unit_ms) for ms in self.windows_ms)

    def day(self, n: int) -> int:
        """The first unit of the n-th day."""
        return self.start + n * self.day_units

    def region_of(self, region: int) -> NDArray[np.int64]:
        """The numbers of a region's homes."""
        return np.arange(region, self.homes, self.regions, dtype=np.int64)

    def region_name(self, region: int) -> str:
        """What a region is called."""
        return f"r{region:04d}"

    def fates(self, numbers: NDArray[np.int64]) -> Fates:
        """The fates of homes. A time is on the borders of chunks and of all windows."""
        step = self.step
        steps = (self.end - self.start) // step
        drawn, when = 100 * noises(self.seed, "fate", numbers), noises(self.seed, "when", numbers)
        kinds = TROUBLES.index("chain") + numbers_of(noises(self.seed, "kind", numbers), 3)
        broken, late = drawn < self.broken, (drawn >= self.broken) & (drawn < self.broken + self.late)
        most = max(1, _LATE_MS // (step * self.unit_ms))
        cut = np.where(
            late, np.maximum(0, steps - 1 - numbers_of(when, most)), numbers_of(when, max(1, steps - 1))
        )
        trouble = np.where(broken, kinds, np.where(late, TROUBLES.index("late"), 0))
        return Fates(trouble, np.where(trouble > 0, self.start + cut * step, self.end))

    def outage(self, numbers: NDArray[np.int64], n: int) -> NDArray[np.int64]:
        """[home, 2]: the positions in the n-th day of the units [x, y) for which a home's gateway was off; it
        begins anew at y. Both are 0 where there was no outage."""
        day = self.start // self.day_units + n
        key = numbers * 2**20 + day
        off = 100 * noises(self.seed, "outage", key) < self.outages
        if self.day_units < 4:
            off[:] = False
        x = 1 + numbers_of(noises(self.seed, "outage begins", key), self.day_units - 2)
        most = max(1, _LONGEST_OUTAGE_MS // self.unit_ms)
        y = np.minimum(self.day_units - 1, x + 1 + numbers_of(noises(self.seed, "outage lasts", key), most))
        return np.where((off & (y > x))[:, None], np.stack((x, y), axis=1), 0)

    def restarts(self, numbers: NDArray[np.int64], n: int) -> NDArray[np.int64]:
        """The incarnation of homes at the beginning of the n-th day: 1, and one more for each outage."""
        found = np.ones(len(numbers), dtype=np.int64)
        for before in range(n):
            found += self.outage(numbers, before)[:, 1] > 0
        return found

    def secret(self, number: int, what: str) -> bytes:
        """32 bytes of a home's own: its keys and ids."""
        return hmac.digest(f"{self.seed}".encode(), f"{number}/{what}".encode(), "sha256")


def numbers_of(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Values from 0 to 1 as integers from 0 to `count` - 1."""
    return np.minimum((values * count).astype(np.int64), count - 1)
