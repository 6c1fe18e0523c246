"""What was verified of the homes and is written once, kept for as long as a process looks again and again:
descriptors, and the two grants of each load with the centre's key.

A home takes 0.6 kB: what many homes have alike is kept once for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from gateway.centre.homes import Home
from gateway.chain.grant import Grant
from gateway.chain.keys import KeyChain
from gateway.provider.grants import OwnGrant, limit_of
from gateway.provider.load import Member, Pair
from gateway.stream.bundles import BundleReader
from gateway.stream.reader import StreamReader
from gateway.wire.stream import Descriptor

_DESCRIPTOR = ("layout", "lanes", "factor")
_GRANT = ("provider", "lanes", "granularity", "purpose")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Opened:
    """A home's descriptor and its pair of grants, verified; and K_0 of the centre's, with the key chain that
    begins there."""

    descriptor: Descriptor
    centre: Grant
    service: Grant
    k_0: bytes = field(repr=False)
    chain: KeyChain = field(repr=False, compare=False)

    async def limit(self, reader: StreamReader) -> tuple[int | None, bool]:
        """The unit from which on one of the two grants opens nothing, None where there is none; and whether a
        revocation set it."""
        limit, revoked = await limit_of(reader, self.centre, reader.head)
        end, cut = await limit_of(reader, self.service, reader.head)
        return (end, cut) if end is not None and (limit is None or end < limit) else (limit, revoked)

    async def pair(self, reader: StreamReader) -> Pair:
        """The pair as `provider.load.pair` has it for the centre, with its revocations read now. Refused for
        an invalid revocation."""
        bundles = BundleReader(reader, self.service)
        await bundles.settle()
        own = OwnGrant(self.centre, *await self.limit(reader), self.k_0, bundles)
        return Pair(Member(reader, self.centre.id), self.centre, own, self.centre.k_min or 0, ())


class Kept:
    """The homes that were opened. They stay, whatever the store shows later."""

    def __init__(self) -> None:
        self._homes: dict[bytes, Opened] = {}
        self._alike: dict[object, object] = {}

    def get(self, home: Home) -> Opened | None:
        """What is kept of a home; None of one that was not opened yet."""
        return self._homes.get(b"".join(home.key))

    def keep(self, home: Home, pair: Pair) -> None:
        """Keep what was verified of a home."""
        stream, grant = home.listed.stream, home.listed.grant
        descriptor = replace(self._lean(pair.home.reader.descriptor, _DESCRIPTOR), stream=stream)
        centre = replace(self._lean(pair.centre, _GRANT), stream=stream, id=grant)
        service = replace(self._lean(pair.own.bundles.grant, _GRANT), stream=stream, partner=grant)
        k_0 = pair.own.k_0
        self._homes[b"".join(home.key)] = Opened(descriptor, centre, service, k_0, KeyChain(k_0))

    def _lean(self, item: T, fields: Sequence[str]) -> T:
        """An equal item, whose fields of these names are kept once for all that have the same there."""
        values = (getattr(item, name) for name in fields)
        alike = {name: self._alike.setdefault(one, one) for name, one in zip(fields, values, strict=True)}
        return replace(item, **alike)  # type: ignore[type-var]
