"""Units, links and lanes: how a stream's time is divided, and what is measured in each unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from gateway.errors import UsageError

MAX_UNIT_MS = 3_600_000
DAY_MS = 86_400_000
_PROMPT_MS = 1000


@dataclass(frozen=True, slots=True)
class Lane:
    """One quantity of a stream: an integer for each unit, `scale` of `unit` each."""

    name: str
    unit: str
    scale: str


# PROTOCOL.md, "Words": all lanes. Energy is the rise of the meter's cumulative register. Units of what a
# household adds are those of SenML: https://www.iana.org/assignments/senml (W, Cel, W/m2).
LANES = {
    lane.name: lane
    for lane in (
        Lane("import", "Wh", "0.001"),
        Lane("export", "Wh", "0.001"),
        Lane("power", "W", "1"),
        Lane("temperature", "Cel", "0.01"),
        Lane("irradiance", "W/m2", "1"),
        Lane("appliances", "W", "1"),
        Lane("occupancy", "persons", "1"),
        Lane("count", "readings", "1"),
    )
}


ENERGY = ("import", "export")
"""The lanes of energy."""

SERIES = ("temperature", "irradiance", "appliances", "occupancy")
"""The lanes that a household may add: a series. They lie in streams of their own, beside `count`."""

MOST_LANES = 1 + len(SERIES)
"""The most that one stream has."""


@dataclass(frozen=True, slots=True)
class Factor:
    """By what a meter's readings are multiplied before they are sealed: its energies, and its power."""

    energy: Decimal = Decimal(1)
    power: Decimal = Decimal(1)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The factor that `str` wrote."""
        return cls(*map(Decimal, text.split()))

    def __str__(self) -> str:
        return " ".join(f"{part.normalize():f}" for part in (self.energy, self.power))


NO_FACTOR = Factor()


@dataclass(frozen=True, slots=True)
class Layout:
    """The division of a stream's time: units of `unit_ms` milliseconds, links of `link_units` units."""

    unit_ms: int = 1000
    link_units: int = 3600

    def __post_init__(self) -> None:
        if not 1 <= self.unit_ms <= MAX_UNIT_MS:
            raise UsageError(f"unit_ms = {self.unit_ms}: a unit is 1 ms to 1 h, so 1 to {MAX_UNIT_MS}")
        if not 1 <= self.link_units <= 2**20:
            raise UsageError(f"link_units = {self.link_units}: a link has 1 to {2**20} units")

    def link(self, unit: int) -> int:
        """The number n of the link that `unit` lies in."""
        return unit // self.link_units

    def position(self, unit: int) -> int:
        """The place p of `unit` in its link, 0 to link_units - 1."""
        return unit % self.link_units

    def unit_at(self, wall_ns: int) -> int:
        """The unit that covers a moment of Unix time, given in nanoseconds."""
        return wall_ns // (self.unit_ms * 1_000_000)

    @property
    def closing_delay(self) -> int:
        """How many units a meter's reading is after the unit that it closes (PROTOCOL.md, rule 4): 0 for
        units of up to a second; 1 for longer ones, which would otherwise be sealed before they have ended,
        with the energy of the unit before."""
        return int(self.unit_ms > _PROMPT_MS)

    def split(self, first: int, end: int) -> Iterator[tuple[int, int, int]]:
        """[first, end) cut at link borders: (n, x, y) for units x to y - 1 of the stream in link n."""
        while first < end:
            n = self.link(first)
            y = min(end, (n + 1) * self.link_units)
            yield n, first, y
            first = y


@dataclass(frozen=True, slots=True)
class Run:
    """Units [first, end) sealed under one incarnation."""

    incarnation: int
    first: int
    end: int
