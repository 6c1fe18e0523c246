"""Raw grants: every unit of the links whose keys were granted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.chain.raw import LinkKeys, read_links
from gateway.chain.seal import unseal, words
from gateway.errors import NotGranted, Refused
from gateway.provider.grants import OwnGrant, own_grants
from gateway.provider.identity import Identity
from gateway.provider.tokens import Opener
from gateway.stream.chunks import ChainFollower
from gateway.stream.reader import StreamReader
from gateway.wire.stream import Chunk, Descriptor


@dataclass(frozen=True, slots=True)
class RawUnits:
    """Opened units from `first` on: for each lane of the grant an int64 for each unit."""

    first: int
    lanes: Mapping[str, NDArray[np.int64]]

    @property
    def count(self) -> int:
        """The number of units."""
        return len(next(iter(self.lanes.values())))


async def raw_grants(reader: StreamReader, identity: Identity) -> list[OwnGrant]:
    """The grants of raw links, the earliest first. NotGranted where there is none."""
    held = await own_grants(reader, identity, "raw")
    if not held:
        raise NotGranted("there is no raw grant to this provider, so it cannot open single units")
    return sorted(held, key=lambda one: one.grant.first)


async def units(reader: StreamReader, held: Sequence[OwnGrant]) -> AsyncGenerator[RawUnits, None]:
    """The units of all links that are granted, over and served, a chunk at a time; a link that two grants
    of the same lanes open comes once. Refused for an invalid object."""
    given: dict[tuple[str, ...], set[int]] = {}
    for one in held:
        before, links = given.setdefault(one.grant.lanes, set()), set()
        async with aclosing(_of_grant(reader, one, before)) as found:
            async for opened in found:
                links.add(reader.descriptor.layout.link(opened.first))
                yield opened
        before |= links


async def _of_grant(
    reader: StreamReader, held: OwnGrant, without: set[int]
) -> AsyncGenerator[RawUnits, None]:
    """The units of one grant, except those of the links `without`."""
    head, layout = reader.head, reader.descriptor.layout
    if head is None:
        return
    follower = ChainFollower(reader.descriptor, reader.marks(head))
    async with aclosing(Opener(held).raw(0, held.complete(head.next_unit))) as tokens:
        async for j, plaintext in tokens:
            keys = {(key.n, key.incarnation): key for key in read_links(plaintext, held.grant.lanes)}
            async with aclosing(reader.chunks(*held.windows.window(j), follower)) as chunks:
                async for chunk in chunks:
                    n = layout.link(chunk.first)
                    if n not in without:
                        yield _open(reader.descriptor, held, chunk, keys.get((n, chunk.incarnation)))


def _open(descriptor: Descriptor, held: OwnGrant, chunk: Chunk, key: LinkKeys | None) -> RawUnits:
    layout, names = descriptor.layout, [lane.name for lane in descriptor.lanes]
    if key is None:
        raise Refused(
            f"the raw token of grant {held.grant.id.hex()} has no key for units from {chunk.first} on, "
            f"sealed in incarnation {chunk.incarnation}"
        )
    opened = {}
    for lane, secret in zip(held.grant.lanes, key.keys, strict=True):
        w, c = words(secret, layout.link_units), chunk.c(names.index(lane))
        opened[lane] = unseal(w, layout.position(chunk.first), c).view(np.int64)
    return RawUnits(chunk.first, opened)
