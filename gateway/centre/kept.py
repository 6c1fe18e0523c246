"""What was verified of the homes and is written once, kept for as long as a process looks again and again:
descriptors, and the two grants of each load with the centre's key.

A home takes 0.6 kB, so that a million homes fit in the memory of a small machine: what is a home's own is
packed, and the rest is kept once for all that have it alike.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import NamedTuple

from gateway.centre.homes import Home
from gateway.chain.grant import ID_BYTES, Grant
from gateway.chain.keys import KEY_BYTES, STREAM_BYTES, KeyChain
from gateway.provider.grants import OwnGrant, limit_of
from gateway.provider.load import Member, Pair
from gateway.stream.bundles import BundleReader
from gateway.stream.reader import StreamReader
from gateway.wire.cose import SPKI_BYTES
from gateway.wire.stream import Descriptor

_OWN = struct.Struct(f"<{SPKI_BYTES}s{ID_BYTES}s{KEY_BYTES}sQQQQ")
"""The signing key, the id of the service's grant, K_0; the first units of the stream and of the load, and
those from which on the centre's and the service's grant end."""
_NEVER = 2**64 - 1


class Opened(NamedTuple):
    """A home's descriptor and the service's grant, verified; the centre's as far as many homes have it
    `alike`, with its id and the unit from which on it ends; and K_0 of the centre's, with the key chain that
    begins there. The grants are without their serials, times and purposes."""

    descriptor: Descriptor
    service: Grant
    centre_id: bytes
    centre_until: int | None
    alike: Grant
    k_0: bytes
    chain: KeyChain

    @property
    def centre(self) -> Grant:
        """The centre's grant."""
        service = self.service
        return replace(
            self.alike, id=self.centre_id, stream=service.stream, first=service.first, until=self.centre_until
        )

    async def limit(self, reader: StreamReader) -> tuple[int | None, bool]:
        """The unit from which on one of the two grants opens nothing, None where there is none; and whether a
        revocation set it."""
        head = reader.head
        if head is not None and head.revoked == ():
            ends = [end for end in (self.centre_until, self.service.until) if end is not None]
            return min(ends, default=None), False
        limit, revoked = await limit_of(reader, self.centre, head)
        end, cut = await limit_of(reader, self.service, head)
        return (end, cut) if end is not None and (limit is None or end < limit) else (limit, revoked)

    async def pair(self, reader: StreamReader) -> Pair:
        """The pair as `provider.load.pair` has it for the centre, with its revocations read now. Refused for
        an invalid revocation."""
        bundles, centre = BundleReader(reader, self.service), self.centre
        await bundles.settle()
        own = OwnGrant(centre, *await self.limit(reader), self.k_0, bundles)
        return Pair(Member(reader, centre.id), centre, own, centre.k_min or 0, ())


class _Alike(NamedTuple):
    """What many homes have alike: a descriptor and two grants, in which all that is a home's own is 0."""

    descriptor: Descriptor
    centre: Grant
    service: Grant


class _Packed(NamedTuple):
    alike: _Alike
    own: bytes
    chain: KeyChain


class Kept:
    """The homes that were opened. They stay as they are, whatever the store shows later."""

    def __init__(self) -> None:
        self._homes: dict[bytes, _Packed] = {}
        self._alike: dict[_Alike, _Alike] = {}

    def get(self, home: Home) -> Opened | None:
        """What is kept of a home; None where it was not opened yet."""
        packed = self._homes.get(b"".join(home.key))
        if packed is None:
            return None
        (descriptor, centre, service), own, chain = packed
        signing_key, service_id, k_0, start, first, *ends = _OWN.unpack(own)
        stream, grant = home.key
        a, b = (None if end == _NEVER else end for end in ends)
        return Opened(
            replace(descriptor, stream=stream, signing_key=signing_key, start=start),
            replace(service, id=service_id, stream=stream, first=first, until=b, partner=grant),
            grant,
            a,
            centre,
            k_0,
            chain,
        )

    def keep(self, home: Home, pair: Pair) -> None:
        """Keep what was verified of a home."""
        descriptor, centre, service = pair.home.reader.descriptor, pair.centre, pair.own.bundles.grant
        alike = _Alike(
            replace(descriptor, stream=bytes(STREAM_BYTES), signing_key=bytes(SPKI_BYTES), start=0),
            _without_own(centre),
            replace(_without_own(service), partner=bytes(ID_BYTES)),
        )
        ends = (_NEVER if grant.until is None else grant.until for grant in (centre, service))
        k_0, numbers = pair.own.k_0, (descriptor.start, service.first, *ends)
        own = _OWN.pack(descriptor.signing_key, service.id, k_0, *numbers)
        kept = self._alike.setdefault(alike, alike)
        self._homes[b"".join(home.key)] = _Packed(kept, own, KeyChain(k_0))


def _without_own(grant: Grant) -> Grant:
    nothing = bytes(ID_BYTES)
    return replace(grant, id=nothing, stream=nothing, first=0, until=None, serial=0, issued_ms=0, purpose="")
