"""Sums of a stream's own ciphertexts, by which a bill is weighed: the ledger's chunks and day pages where it
still has them, and the store's, checked as every reader checks them, where it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from gateway.chain.layout import DAY_MS
from gateway.chain.page import Calendar, add_up
from gateway.chain.seal import U64
from gateway.errors import GatewayError, Unavailable
from gateway.host.clock import Clock, unix_ms
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import Stream
from gateway.store.bucket import Bucket
from gateway.stream.chunks import ChainFollower
from gateway.stream.reader import ANY_AGE_MS, StreamReader
from gateway.wire import cose

_WITHIN_S = 20.0  # sealing waits meanwhile
_AGAIN_NS = 300 * 10**9  # and so the store is not asked again at once where it does not give them


class Ciphertexts:
    """The ciphertexts of one gateway's streams."""

    def __init__(self, ledger: Ledger, bucket: Bucket, clock: Clock, public_key: bytes) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._clock = clock
        self._kid = cose.kid_of(public_key)
        self._failed: tuple[int, str] | None = None  # when (monotonic ns) the store did not give them; why

    async def sums(self, stream: Stream, edges: Sequence[int], lanes: Sequence[str]) -> U64:
        """Sums over the windows between `edges`, modulo 2^64: an array [lane, window]. The units must lie in
        closed chunks. Unavailable where the store is needed and does not give them now."""
        rows = [stream.lanes.index(lane) for lane in lanes]
        sums = np.zeros((len(lanes), len(edges) - 1), dtype=np.uint64)
        border = min(edges[-1], await self._dropped_until(stream, edges[-1]))
        if edges[0] < border:
            low = await self._add_days(sums, stream, edges, border, rows)
            if edges[0] < low:
                bounds = [*(edge for edge in edges if edge < low), low]
                sums[:, : len(bounds) - 1] += await self._from_store(stream, bounds, lanes)
        at = max(edges[0], border)
        for chunk in await self._ledger.chunks(stream, at, edges[-1]) if at < edges[-1] else ():
            first = max(chunk.first, border)
            c = (await self._ledger.ciphertexts(stream, chunk))[rows, first - chunk.first :]
            add_up(sums, np.array(edges, dtype=np.int64), first, 1, c)
        return sums

    async def _dropped_until(self, stream: Stream, end: int) -> int:
        """Up to which unit the ledger has dropped ciphertexts: those of days that have their pages."""
        if Calendar.of(stream.layout.unit_ms, stream.start) is None:
            return end
        last = await self._ledger.last_page(stream, "day")
        return stream.start if last is None else last.end

    async def _add_days(
        self, sums: U64, stream: Stream, edges: Sequence[int], border: int, rows: Sequence[int]
    ) -> int:
        """Add the days before `border` whose sums the ledger keeps; the unit from which on they are added."""
        day = DAY_MS // stream.layout.unit_ms
        pages = await self._ledger.day_pages(stream, edges[0] - day, border + day)
        days = [page for page in pages if page.c is not None]
        added = np.zeros_like(sums)
        try:
            for page in days:
                assert page.c is not None
                add_up(added, np.array(edges, dtype=np.int64), page.first, page.step, page.c[rows])
        except ValueError:  # steps shorter than the pages'
            return border
        sums += added
        return days[0].first if days else border

    async def _from_store(self, stream: Stream, bounds: Sequence[int], lanes: Sequence[str]) -> U64:
        now = self._clock.monotonic()
        if self._failed is not None and now < self._failed[0] + _AGAIN_NS:
            raise Unavailable(self._failed[1])
        try:
            async with asyncio.timeout(_WITHIN_S):
                reader = await StreamReader.open(self._bucket, stream.id, self._kid)
                # the stream is this gateway's own: nobody withholds anything from it but itself
                await reader.refresh(unix_ms(self._clock), ANY_AGE_MS)
                if reader.head is None or reader.head.next_unit < bounds[-1]:
                    raise Unavailable(f"the store does not have it up to unit {bounds[-1]} yet")
                follower = ChainFollower(reader.descriptor, reader.marks(reader.head))
                return await reader.sums(bounds, lanes, follower)
        except (GatewayError, TimeoutError) as error:
            why = str(error) or f"the store did not answer within {_WITHIN_S:.0f} s"
            self._failed = now, f"the gateway's own pages cannot be read back: {why}"
            raise Unavailable(self._failed[1]) from None
