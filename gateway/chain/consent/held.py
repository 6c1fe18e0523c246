"""A grant as its holder has it, and a finding of the consent check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.chain.grant import Grant
from gateway.chain.tariff import Tariff
from gateway.chain.window import Granularity


@dataclass(frozen=True, slots=True)
class Finding:
    """Sums that become known, of units [first, end) of a lane, by these grants together.

    The sum is that of all `parts`, (lane, first, end), between `first` and `end`; of the whole if there are
    none.
    """

    lane: str
    first: int
    end: int
    grants: tuple[bytes, ...]
    sentence: str
    parts: tuple[tuple[str, int, int], ...] = ()

    @property
    def key(self) -> tuple[tuple[str, int, int], ...]:
        """Which units it is the sum of, whoever learns it and by whatever grants."""
        return self.parts or ((self.lane, self.first, self.end),)


@dataclass(frozen=True, slots=True)
class Held:
    """A grant as its holder has it: with the tariff of a bill, the unit of a revocation, and the names of the
    provider and the meter."""

    grant: Grant
    tariff: Tariff | None = None
    revoked_from: int | None = None
    provider: str = ""
    meter: str = ""

    @property
    def granularity(self) -> Granularity:
        """The windows that it opens; those of a raw grant are single units."""
        unit = Granularity(1, self.grant.granularity.unit_ms)
        return unit if self.grant.kind == "raw" else self.grant.granularity

    @property
    def end(self) -> int | None:
        """The end of its last window, at or before a revocation; None for an open grant."""
        ends = [unit for unit in (self.grant.until, self.revoked_from) if unit is not None]
        windows = self.grant.granularity
        return max(self.grant.first, windows.start(windows.index(min(ends)))) if ends else None

    @property
    def holder(self) -> str:
        """The provider's name, or the beginning of its kid."""
        return self.provider or self.grant.provider.hex()[:8]

    @property
    def described(self) -> str:
        """What it opens and what for: '15min sums of import for "heating" (grant 01234567)'."""
        return f'{self.grant.opens} for "{self.grant.purpose}" (grant {self.grant.id.hex()[:8]})'


def sentence(what: str, held: Sequence[Held]) -> str:
    """Who learns what, of which meter, and from which grants."""
    names = list({one.grant.provider: one.holder for one in held}.values())
    who = f"{' and '.join(names)} {'learns' if len(names) == 1 else 'together learn'}"
    meter = f" at the meter {held[0].meter}" if held[0].meter else ""
    return f"{who} {what}{meter}, from {' and '.join(one.described for one in held)}"
