"""A home's energy of any time in a test, without a stream behind it: a load by day, a roof in the sun."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gateway.errors import GatewayError
from gateway.household.history import History, Step, Sums, step_edges

MINUTE_MS = 60_000


@dataclass
class FakeHistory(History):
    """Energy in mWh from `begin_ms` to `end_ms`, Unix ms, whole minutes: `imported` and `exported` give that
    of a minute by its number of Unix time. `error` in place of every answer; `asked` has each question."""

    begin_ms: int
    end_ms: int
    closed_ms: range = range(0)
    """The moments from which on rows are not open."""
    error: GatewayError | None = None
    asked: list[tuple[str, int, int, Step, str]] = field(default_factory=list)

    async def meters(self) -> tuple[str, ...]:
        return ("main",)

    async def sums(self, meter: str, from_ms: int, until_ms: int, step: Step, zone: str) -> Sums:
        self.asked.append((meter, from_ms, until_ms, step, zone))
        if self.error is not None:
            raise self.error
        first, last = max(from_ms, self.begin_ms), min(until_ms, self.end_ms)
        edges = np.array(step_edges(first, last, step, zone) if first < last else [first], dtype=np.int64)
        starts, ends = edges[:-1], edges[1:]
        minutes = np.arange(first // MINUTE_MS, max(first, last) // MINUTE_MS)
        of = {"import": imported(minutes), "export": exported(minutes)}
        places = edges // MINUTE_MS - first // MINUTE_MS
        upto = {lane: np.concatenate([[0], np.cumsum(d)])[places] for lane, d in of.items()}
        sums: dict[str, Any] = {lane: np.diff(d) for lane, d in upto.items()}
        opened = {
            lane: np.array([start not in self.closed_ms for start in starts.tolist()], bool) for lane in sums
        }
        return Sums(meter, starts, ends, sums, opened, self.end_ms)


def imported(minute: Any) -> Any:
    """What a minute of Unix time draws, mWh."""
    return np.maximum(0, _net(minute))


def exported(minute: Any) -> Any:
    """What a minute of Unix time gives, mWh."""
    return np.maximum(0, -_net(minute))


def _net(minute: Any) -> Any:
    day = minute / 1440 * 2 * np.pi
    load = 420 + 260 * np.cos(2 * day - 4.4) + 190 * np.sin(minute / 37) ** 8 * 6
    season = 0.55 - 0.45 * np.cos(day / 365.25)
    sun = np.maximum(0, -np.cos(day) - 0.1) * 3400 * season * (0.7 + 0.3 * np.sin(minute / 2011))
    return np.rint((load - sun) * 1000 / 60).astype(np.int64)
