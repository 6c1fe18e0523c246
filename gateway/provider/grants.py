"""The grants on a stream to this provider, with their revocations and their keys K_0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gateway.chain.grant import Grant, Kind, open_k0
from gateway.chain.windows import GrantWindows
from gateway.errors import Refused
from gateway.provider.identity import Identity
from gateway.stream.bundles import BundleReader
from gateway.stream.grants import grants, revoked_from
from gateway.stream.reader import StreamReader
from gateway.stream.times import spell
from gateway.wire.grant import GrantObject
from gateway.wire.stream import Head


@dataclass(frozen=True, slots=True)
class OwnGrant:
    """A grant to this provider, and the reader of its bundles, which settles the windows of a calendar grant.

    From the unit `limit` on it opens nothing, by its `until` or a revocation.
    """

    grant: Grant
    limit: int | None
    revoked: bool
    k_0: bytes = field(repr=False)
    bundles: BundleReader = field(repr=False, compare=False)

    @property
    def windows(self) -> GrantWindows:
        """Its windows; those of a calendar grant are settled as far as its bundles were read."""
        return self.bundles.windows

    def divides(self, a: int, b: int) -> bool:
        """Whether [a, b) is a whole number of the grant's kind of windows, by this machine's calendar."""
        granularity = self.grant.granularity
        return granularity.align_up(a) == a and granularity.align_up(b) == b

    def covers(self, edges: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of each [edges[i], edges[i + 1]), whether it is a whole number of its windows, all of them
        granted."""
        granted = np.zeros(len(edges), dtype=np.bool_)
        if self.grant.first < edges[-1]:
            granted = self.windows.find(edges)[1]
        if self.limit is not None:
            granted &= edges <= self.limit
        return granted[:-1] & granted[1:]

    def complete(self, end: int) -> int:
        """How many of its windows are granted and have ended when the units before `end` are sealed."""
        return self.windows.complete(end if self.limit is None else min(end, self.limit))

    def edge_from(self, unit: int) -> int:
        """The first edge of its windows at or after `unit`."""
        unit = max(unit, self.grant.first)
        j = self.windows.number(unit)
        return unit if self.windows.edge(j) == unit else self.windows.edge(j + 1)

    @property
    def notes(self) -> list[str]:
        """What a person should know about its windows."""
        unit = self.bundles.cut_otherwise
        if unit is None:
            return []
        where = spell(unit, self.grant.granularity.unit_ms)
        return [
            f"grant {short(self.grant.id)} has windows that this machine's time zone data would cut "
            f"otherwise, first at {where}: the household's count"
        ]

    def __str__(self) -> str:
        grant, unit_ms = self.grant, self.grant.granularity.unit_ms
        zone = None if isinstance(grant.granularity.size, int) else grant.granularity.zone
        span = f"from {spell(grant.first, unit_ms, zone)}"
        if self.limit is not None:
            span += f" until {spell(self.limit, unit_ms, zone)}" + (
                ", when it was revoked" if self.revoked else ""
            )
        return f"grant {short(grant.id)} opens {grant.opens}, {span}"


def short(grant_id: bytes) -> str:
    """A grant's id, short enough for a sentence."""
    return f"{grant_id.hex()[:8]}..."


async def own_grants(
    reader: StreamReader, identity: Identity, kind: Kind = "windows", only: Sequence[bytes] | None = None
) -> list[OwnGrant]:
    """The grants of one kind to `identity`, by id: all that the store lists, or those of the ids `only`.
    Refused for an invalid grant or revocation, even if it may be another provider's, as that cannot be
    known."""
    return [
        await held_by(reader, identity, key, found, grant)
        async for key, found, grant in grants(reader, only)
        if grant.provider == identity.kid and grant.kind == kind
    ]


async def held_by(
    reader: StreamReader, identity: Identity, key: str, found: GrantObject, grant: Grant
) -> OwnGrant:
    """A grant to `identity` with its K_0 opened. Refused where that, or its revocation, is invalid."""
    return await renewed(reader, grant, k_0_of(identity, key, found))


def k_0_of(identity: Identity, key: str, found: GrantObject) -> bytes:
    """K_0 of the grant to `identity` that lies at `key`; Refused where it does not open."""
    try:
        return open_k0(found.sealed_k0, identity.xwing_seed, found.body)
    except Refused as error:
        raise Refused(f"{key}: {error}") from None


async def renewed(reader: StreamReader, grant: Grant, k_0: bytes) -> OwnGrant:
    """A grant whose K_0 was opened before, with its revocation read now."""
    return OwnGrant(grant, *await limit_of(reader, grant, reader.head), k_0, BundleReader(reader, grant))


async def limit_of(reader: StreamReader, grant: Grant, head: Head | None) -> tuple[int | None, bool]:
    """The unit from which on a grant, whoever holds it, opens nothing, None where there is none; and whether
    a revocation set it. `head` is the stream's, where one was read. Refused as for `revoked_from`."""
    from_unit = await revoked_from(reader, grant.id, head)
    if from_unit is not None and (grant.until is None or from_unit < grant.until):
        return from_unit, True
    return grant.until, False
