"""Whether a figure grows: a straight line through its samples, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_BLOCKS = 12  # samples that follow each other are alike: means of so many stretches are less so
_SURE = 3  # standard errors


@dataclass(frozen=True, slots=True)
class Trend:
    """A line's slope per hour, its standard error, and how long it was looked at."""

    slope: float
    error: float
    hours: float

    def grows(self, allowed: float) -> bool:
        """Whether it surely rises, and by more than `allowed` over the time that it was looked at."""
        return self.slope > _SURE * self.error and self.slope * self.hours > allowed


def trend(seconds: Sequence[float], values: Sequence[float]) -> Trend:
    """The line through `values` at `seconds`, at least three of them, by least squares over the means of
    stretches of samples."""
    count = min(_BLOCKS, len(seconds))
    x = np.array([block.mean() for block in np.array_split(np.asarray(seconds, float), count)]) / 3600
    y = np.array([block.mean() for block in np.array_split(np.asarray(values, float), count)])
    off = x - x.mean()
    slope = float(off @ y / (off @ off))
    left = y - y.mean() - slope * off
    error = float(np.sqrt(left @ left / max(count - 2, 1) / (off @ off)))
    return Trend(slope, error, (seconds[-1] - seconds[0]) / 3600)
