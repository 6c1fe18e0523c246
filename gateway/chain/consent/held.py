"""A grant as its holder has it, and a finding of the consent check."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.chain.grant import Grant
from gateway.chain.tariff import Tariff
from gateway.chain.window import Granularity


@dataclass(frozen=True, slots=True)
class Finding:
    """A sum that becomes known, of units [first, end) of a lane: by these grants, or by one tariff alone."""

    lane: str
    first: int
    end: int
    grants: tuple[bytes, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Held:
    """A grant as its holder has it: with the tariff of a bill, and the unit of a revocation."""

    grant: Grant
    tariff: Tariff | None = None
    revoked_from: int | None = None

    @property
    def granularity(self) -> Granularity:
        """The windows that it opens; those of a raw grant are single units."""
        unit = Granularity(1, self.grant.granularity.unit_ms)
        return unit if self.grant.kind == "raw" else self.grant.granularity

    @property
    def end(self) -> int | None:
        """The unit at which it ends; None for an open grant."""
        ends = [unit for unit in (self.grant.until, self.revoked_from) if unit is not None]
        return min(ends) if ends else None

    def covers(self, first: int, end: int) -> bool:
        """Whether units [first, end) lie between its first unit and its end."""
        return self.grant.first <= first and (self.end is None or end <= self.end)

    def opens(self, first: int, end: int) -> bool:
        """Whether [first, end) is a whole number of its own windows."""
        borders = all(self.granularity.align_up(unit) == unit for unit in (first, end))
        return borders and self.covers(first, end)
