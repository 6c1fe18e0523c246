"""What a stream's household granted to this provider: the grants, their revocations, their keys K_0."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from gateway.chain.grant import ID_BYTES, Grant, Kind, open_k0
from gateway.errors import Refused
from gateway.utility.fetch import first_key, get
from gateway.utility.keys import Identity
from gateway.utility.reader import StreamReader
from gateway.utility.times import spell
from gateway.wire import names
from gateway.wire.objects import Descriptor, GrantObject, Revocation, read_grant_body


@dataclass(frozen=True, slots=True)
class Held:
    """A grant to us. `limit`: the unit from which on it opens nothing, by its `until` or a revocation."""

    grant: Grant
    limit: int | None
    revoked: bool
    k_0: bytes = field(repr=False)

    def divides(self, a: int, b: int) -> bool:
        """Whether [a, b) is a whole number of the grant's kind of windows."""
        granularity = self.grant.granularity
        return granularity.align_up(a) == a and granularity.align_up(b) == b

    def covers(self, a: int, b: int) -> bool:
        """Whether [a, b) is a whole number of its windows, all of them granted."""
        granted = self.grant.first <= a and (self.limit is None or b <= self.limit)
        return granted and self.divides(a, b)

    def complete(self, end: int) -> int:
        """How many of its windows are granted and have ended when the units before `end` are sealed."""
        return self.grant.complete(end if self.limit is None else min(end, self.limit))

    def __str__(self) -> str:
        grant = self.grant
        unit_ms = grant.granularity.unit_ms
        what = {
            "windows": f"sums of {grant.granularity} of",
            "bill": f"the bill of each {grant.granularity} for",
            "load": f"a half of sums of {grant.granularity} of",
            "raw": "every unit of",
        }[grant.kind]
        span = f"from {spell(grant.first, unit_ms)}"
        if self.limit is not None:
            span += f" until {spell(self.limit, unit_ms)}" + (", when it was revoked" if self.revoked else "")
        return f"grant {short(grant.id)} opens {what} {', '.join(grant.lanes)}, {span}"


def short(grant_id: bytes) -> str:
    """A grant's id, short enough for a sentence."""
    return f"{grant_id.hex()[:8]}..."


async def held_grants(reader: StreamReader, identity: Identity, kind: Kind = "windows") -> list[Held]:
    """The grants of one kind to `identity`, by id. Refused for a grant or revocation that does not hold,
    also where it may be somebody else's: that cannot be told."""
    held = []
    descriptor = reader.descriptor
    async for grant_id in _grant_ids(reader):
        key = names.grant(descriptor.stream, grant_id)
        found, grant = check_grant(descriptor, key, await get(reader.bucket, key))
        if grant.provider != identity.kid or grant.kind != kind:
            continue
        try:
            k_0 = open_k0(found.sealed_k0, identity.xwing_seed, found.body)
        except Refused as error:
            raise Refused(f"{key}: {error}") from None
        limit, revoked = grant.until, False
        key = names.revocation(descriptor.stream, grant_id)
        data = await get(reader.bucket, key)
        if data is not None:
            from_unit = check_revocation(descriptor, key, data).from_unit
            if limit is None or from_unit < limit:
                limit, revoked = from_unit, True
        held.append(Held(grant, limit, revoked, k_0))
    return held


def check_grant(descriptor: Descriptor, key: str, data: bytes | None) -> tuple[GrantObject, Grant]:
    """The grant that the store holds under `key`; else Refused."""
    if data is None:
        raise Refused(f"{key} is missing, and the store holds other objects of the grant")
    found = GrantObject.read(data, descriptor.signing_key, key)
    grant = read_grant_body(found.body, descriptor.layout.unit_ms, key)
    if grant.stream != descriptor.stream:
        raise Refused(f"{key} holds a grant of another stream, {grant.stream.hex()}")
    if names.grant(grant.stream, grant.id) != key:
        raise Refused(f"{key} holds another grant, {grant.id.hex()}: copied or moved")
    unknown = set(grant.lanes) - {lane.name for lane in descriptor.lanes}
    if unknown:
        raise Refused(f"{key} grants {', '.join(sorted(unknown))}, which the stream does not have")
    return found, grant


def check_revocation(descriptor: Descriptor, key: str, data: bytes | None) -> Revocation:
    """The revocation that the store holds under `key`; else Refused."""
    if data is None:
        raise Refused(f"{key} is listed by the store, and is not there")
    found = Revocation.read(data, descriptor.signing_key, key)
    if found.stream != descriptor.stream or names.revocation(found.stream, found.grant) != key:
        raise Refused(f"{key} holds the revocation of grant {found.grant.hex()}: copied or moved")
    return found


def grant_id_in(name: str) -> bytes | None:
    """The id that a folder's name spells; None where it spells none."""
    return bytes.fromhex(name) if re.fullmatch(f"[0-9a-f]{{{2 * ID_BYTES}}}", name) else None


async def _grant_ids(reader: StreamReader) -> AsyncGenerator[bytes, None]:
    """The ids that name folders below grant/, without listing what the folders hold."""
    prefix, after = names.grants(reader.descriptor.stream), ""
    while (key := await first_key(reader.bucket, prefix, after)) is not None:
        name, slash, _ = key.removeprefix(prefix).partition("/")
        grant_id = grant_id_in(name) if slash else None
        if grant_id is None:
            raise Refused(f"the store holds {key!r}, which is no name that version 1 knows")
        yield grant_id
        after = f"{prefix}{name}0"  # "0" is the character after "/"
