"""The chunker: makes sealed units into chunks, signed objects each chained to the one before.

A chunk lies within one link and one incarnation. It is closed when it reaches a border (a multiple of
`chunk_units` in its link), or when its incarnation is over.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gateway.chain.layout import Layout
from gateway.host.clock import Clock, unix_ms
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import ChunkEntry, Outgoing, Sealed, Stream
from gateway.trust.root import Root
from gateway.trust.signing import sign
from gateway.wire import cose, names
from gateway.wire.stream import Chunk


def border(unit: int, layout: Layout, chunk_units: int) -> int:
    """The latest unit at which a chunk that holds `unit` can end."""
    p = layout.position(unit)
    return unit - p + min(layout.link_units, (p // chunk_units + 1) * chunk_units)


def front(
    parts: Sequence[Sealed], layout: Layout, chunk_units: int, incarnation: int
) -> tuple[Sealed, Sealed | None] | None:
    """The first chunk that can be closed, and the rest of its last part, beyond the border.

    None while that chunk can still grow: it has not reached its border, and its incarnation is still the
    current one, `incarnation`.
    """
    if not parts:
        return None
    first = parts[0]
    end = border(first.first, layout, chunk_units)
    pieces: list[Sealed] = []
    rest: Sealed | None = None
    for part in parts:
        if part.incarnation != first.incarnation or part.first >= end:
            break
        pieces.append(part.cut(part.first, end))
        rest = part.cut(end, part.end) if part.end > end else None
    whole = Sealed(first.incarnation, first.first, np.concatenate([piece.c for piece in pieces], axis=1))
    if whole.end < end and first.incarnation == incarnation:
        return None
    return whole, rest


class Chunker:
    """The chunker of one gateway's streams."""

    def __init__(
        self, ledger: Ledger, root: Root, clock: Clock, *, chunk_units: int, incarnation: int
    ) -> None:
        self._ledger = ledger
        self._root = root
        self._clock = clock
        self._chunk_units = chunk_units
        self._incarnation = incarnation

    async def close_ready(self, stream: Stream) -> ChunkEntry | None:
        """Close the chunks that have reached their borders, and return the stream's last chunk, None before
        the first. A commit that fills no chunk costs one query for the stream's position."""
        position = await self._ledger.position(stream)
        first = stream.start if position.last is None else position.last.end
        if position.next_unit < border(first, stream.layout, self._chunk_units):
            return position.last
        return await self.close_all(stream)

    async def close_all(self, stream: Stream) -> ChunkEntry | None:
        """Like `close_ready`, but also close what earlier incarnations left open: called first after a
        start."""
        parts = await self._ledger.open_units(stream)
        last = (await self._ledger.position(stream)).last
        while ready := front(parts, stream.layout, self._chunk_units, self._incarnation):
            whole, rest = ready
            last = await self._close(stream, whole, rest, last)
            parts = [part for part in parts if part.first >= whole.end]
            if rest is not None:
                parts.insert(0, rest)
        return last

    async def _close(
        self, stream: Stream, whole: Sealed, rest: Sealed | None, last: ChunkEntry | None
    ) -> ChunkEntry:
        seq = 0 if last is None else last.seq + 1
        chunk = Chunk(
            stream=stream.id,
            seq=seq,
            incarnation=whole.incarnation,
            first=whole.first,
            count=whole.end - whole.first,
            lanes=tuple(lane.astype("<u8").tobytes() for lane in whole.c),
            previous=stream.descriptor_digest if last is None else last.digest,
            sealed_ms=unix_ms(self._clock),
        )
        data = await sign(self._root, chunk)
        entry = ChunkEntry(seq, whole.incarnation, whole.first, whole.end, cose.digest(data))
        key = names.chunk(stream.id, whole.first, stream.layout.unit_ms)
        await self._ledger.close_chunk(stream, entry, whole, rest, Outgoing("chunk", key, data))
        return entry
