"""A grant in somebody's hands, and what is found out about several."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.chain.grant import Grant
from gateway.chain.tariff import Tariff
from gateway.chain.window import Granularity


@dataclass(frozen=True, slots=True)
class Finding:
    """Units [first, end) of a lane become known, by these grants together (or by one tariff alone)."""

    lane: str
    first: int
    end: int
    grants: tuple[bytes, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Held:
    """A grant in somebody's hands, with the tariff of a bill."""

    grant: Grant
    tariff: Tariff | None = None
    revoked_from: int | None = None

    @property
    def granularity(self) -> Granularity:
        """How finely it opens: a raw grant to the unit."""
        unit = Granularity(1, self.grant.granularity.unit_ms)
        return unit if self.grant.kind == "raw" else self.grant.granularity

    @property
    def end(self) -> int | None:
        """The unit at which it ends; None while it is open."""
        ends = [unit for unit in (self.grant.until, self.revoked_from) if unit is not None]
        return min(ends) if ends else None

    def covers(self, first: int, end: int) -> bool:
        """Whether units [first, end) lie between its beginning and its end."""
        return self.grant.first <= first and (self.end is None or end <= self.end)

    def opens(self, first: int, end: int) -> bool:
        """Whether [first, end) is some of its own windows."""
        borders = all(self.granularity.align_up(unit) == unit for unit in (first, end))
        return borders and self.covers(first, end)
