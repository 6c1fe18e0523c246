"""A stream in a store that nobody trusts: its descriptor, its head, its chunks and their sums.

An invalid object is Refused with a sentence that names it, and nothing is handed out unchecked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing, suppress

import numpy as np
from numpy.typing import NDArray

from gateway.chain.page import add_up
from gateway.chain.seal import U64
from gateway.errors import NotFound, Refused, RolledBack
from gateway.store.bucket import Bucket
from gateway.stream.chunks import ChainFollower, ChunkMark, check_chunk, is_chunk_of
from gateway.stream.fetch import first_key, get, holding, numbered, objects
from gateway.stream.pages import FoundPage, Pages
from gateway.stream.seen import Seen
from gateway.stream.times import spell_age
from gateway.wire import cose, names
from gateway.wire.stream import Chunk, Descriptor, Head

ANY_AGE_MS = 2**63
"""The age of a head for who takes any, as one that says itself how old the newest reading is."""
_CHUNK_UNITS = 900  # PROTOCOL.md: the default length of chunks, by which the key of the last one is guessed
_Part = tuple[int, int, FoundPage | None]  # units [first, end), and the page that has them


class StreamReader:
    """One stream, as far as its head. `open` makes a reader, `refresh` reads the head (again).

    `grants` are the ids of the grants to look at, None for all that the store lists.
    """

    def __init__(
        self,
        bucket: Bucket,
        descriptor: Descriptor,
        data: bytes,
        seen: Seen | None,
        grants: Collection[bytes] | None = None,
        *,
        guesses: bool = True,
    ) -> None:
        self.bucket = bucket
        self._guesses = guesses
        self.descriptor = descriptor
        self.descriptor_data = data
        self.head: Head | None = None
        self.seen = seen
        self.grants = grants
        self._pages = Pages(bucket, descriptor)

    @classmethod
    async def open(
        cls,
        bucket: Bucket,
        stream: bytes,
        signer: bytes,
        seen: Seen | None = None,
        grants: Collection[bytes] | None = None,
        *,
        guesses: bool = True,
        later: list[cose.Unverified] | None = None,
    ) -> StreamReader:
        """A reader with the descriptor read. `signer`, the kid of the registered signing key, pins it; `seen`
        remembers the head between runs. `grants` are the ids of the grants that are read: whose credentials
        reach those alone cannot list the others. With `guesses` the last chunk is first asked for where it
        most likely is, and a wrong guess reads one that is not needed. With `later` the descriptor's
        signature is put there, to be verified before the descriptor is used. NotFound where the store has
        nothing of the stream."""
        key = names.descriptor(stream)
        data = await get(bucket, key)
        if data is None:
            listed = names.stream_prefix if grants is None else names.chunks
            if await first_key(bucket, listed(stream)) is None:
                raise NotFound(
                    f"the store holds no stream {stream.hex()}: check its id, and whether it is this store"
                )
            raise Refused(f"{key} is missing, and the store holds other objects of the stream")
        descriptor = Descriptor.read_pinned(key, data, signer, later)
        return cls(bucket, descriptor, data, seen, grants, guesses=guesses)

    @property
    def days_end(self) -> int:
        """The end of the last UTC day that is over at the head, up to which pages and folded bundles reach.
        0 in a stream without pages."""
        return 0 if self.head is None else self._pages.day_begin(self.head.next_unit)

    def marks(self, head: Head | None) -> dict[str, ChunkMark]:
        """The chunks that the chain must contain, keyed by the words that say who claims it."""
        marks: dict[str, ChunkMark] = {}
        if head is not None:
            marks[f"{names.head(head.stream)} names"] = _mark(head)
        seen = self.seen.load() if self.seen is not None else None
        if seen is not None:
            marks["was seen there before"] = seen
        return marks

    async def read_head(self, later: list[cose.Unverified] | None = None) -> Head | None:
        """The head, valid by itself and not older than the one seen last; None where there is none yet. With
        `later` its signature is put there, to be verified before the head is used.

        Refused or RolledBack otherwise. Whether the chain leads up to it is not checked here.
        """
        key = names.head(self.descriptor.stream)
        data = await get(self.bucket, key)
        seen = self.seen.load() if self.seen is not None else None
        if data is None:
            if seen is not None:
                raise RolledBack(f"{key} is missing, and a head with chunk number {seen.seq} was seen before")
            return None
        head = Head.read_at(key, data, self.descriptor.signing_key, self.descriptor.layout.unit_ms, later)
        if head.next_unit <= self.descriptor.start:
            raise Refused(f"{key} lies before the stream's start")
        if seen is not None and head.seq < seen.seq:
            raise RolledBack(
                f"{key} ends with chunk number {head.seq}, and number {seen.seq} was seen before:"
                " the store shows an older state"
            )
        if seen is not None and head.seq == seen.seq and head.digest != seen.digest:
            raise RolledBack(f"{key} names another chunk number {head.seq} than was seen before")
        return head

    async def refresh(self, now_ms: int, max_age_ms: int) -> None:
        """Read the head, and go on to it as `take` does."""
        await self.take(await self.read_head(), now_ms, max_age_ms)

    async def take(self, head: Head | None, now_ms: int, max_age_ms: int) -> None:
        """Go on to a head that `read_head` gave and whose signature is verified. It is checked against the
        chunk that it names and the head that was seen last, and remembered.

        Refused where it is older than `max_age_ms` at `now_ms` (Unix ms): a store that withholds what is new
        looks just like that.
        """
        if head is not None and head != self.head:
            await self._check_end(_mark(head), f"{names.head(head.stream)} names", Refused)
            seen = self.seen.load() if self.seen is not None else None
            if seen is not None and seen.seq < head.seq:
                await self._check_end(seen, "was seen there before", RolledBack)
            self.remember(head)
        self.head = head
        if head is not None:
            self._pages.name(head)
        if head is not None and now_ms - head.time_ms > max_age_ms:
            raise Refused(
                f"{names.head(head.stream)} is {spell_age(now_ms - head.time_ms)} old, and may be"
                f" {spell_age(max_age_ms)} old at most: nothing was sent since, or the store withholds it"
            )

    def day(self, unit: int) -> tuple[int, int] | None:
        """The units [begin, end) of the UTC day that `unit` lies in; None in a stream without pages."""
        end = self._pages.next_day(unit)
        return None if end is None else (self._pages.day_begin(unit), end)

    def remember(self, head: Head) -> None:
        """Remember for later runs that the stream reached this head."""
        if self.seen is not None:
            self.seen.save(_mark(head))

    async def chunks(self, first: int, end: int, follower: ChainFollower) -> AsyncGenerator[Chunk, None]:
        """The checked chunks that hold units [first, end), in order and without a hole.

        The units must lie between the stream's start and the head. `follower` goes along: in two calls with
        the same follower the chunks of the second must follow those of the first.
        """
        needed, hole = first, first - self.descriptor.layout.position(first)
        async with aclosing(objects(self.bucket, holding(self._in_link(first, end), first))) as found:
            async for key, data in found:
                chunk = check_chunk(self.descriptor, key, data)
                assert data is not None
                for problem in follower.follow(key, chunk, data):
                    raise Refused(problem.text)
                if chunk.first > needed:
                    break
                hole = chunk.end
                if chunk.end <= needed:
                    break
                needed = chunk.end
                yield chunk
        if needed < end:
            raise Refused(f"{self._name(hole)} is missing: the units from there on are in no other chunk")

    async def sums(
        self, bounds: Sequence[int] | NDArray[np.int64], lanes: Sequence[str], follower: ChainFollower
    ) -> U64:
        """The sums of ciphertexts, modulo 2^64, over the windows [bounds[i], bounds[i + 1]): an array of
        shape (lanes, windows). Bounds rise, and lie between the stream's start and the head.

        They come from month pages where the bounds lie on steps of these, else from day pages, else from
        chunks.
        """
        numbers = [[lane.name for lane in self.descriptor.lanes].index(name) for name in lanes]
        edges = np.array(bounds, dtype=np.int64)
        sums = np.zeros((len(lanes), len(edges) - 1), dtype=np.uint64)
        async for first, end, page in self._parts(edges):
            if page is not None:
                add_up(sums, edges, first, page.page.step, page.cut(first, end, numbers))
                continue
            day = await self._pages.ending_at(first)
            follower.step_over(first, None if day is None else (day.key, day.page.children[-1]))
            async with aclosing(self.chunks(first, end, follower)) as chunks:
                async for chunk in chunks:
                    c = np.stack([chunk.c(number) for number in numbers])
                    lo, hi = max(first, chunk.first), min(end, chunk.end)
                    add_up(sums, edges, lo, 1, c[:, lo - chunk.first : hi - chunk.first])
        return sums

    async def _parts(self, edges: NDArray[np.int64]) -> AsyncGenerator[_Part, None]:
        """The units between the first and the last edge in parts [first, end), each with the page that has
        its sums; a part without one is in chunks."""
        at, end = int(edges[0]), int(edges[-1])
        ahead: dict[str, bytes | None] = {}
        chunks_from: int | None = None
        while at < end:
            page = await self._pages.best(at, edges, self.days_end, ahead)
            if page is not None:
                if chunks_from is not None:
                    yield chunks_from, at, None
                    chunks_from = None
                upto = min(end, page.period.end)
                yield at, upto, page
            else:
                chunks_from = at if chunks_from is None else chunks_from
                upto = min(end, self._pages.next_day(at) or end)
            at = upto
        if chunks_from is not None:
            yield chunks_from, end, None

    def _in_link(self, unit: int, end: int) -> AsyncGenerator[str, None]:
        """The keys of the chunks from the start of `unit`'s link on; none that begins earlier holds it."""
        start = unit - self.descriptor.layout.position(unit)
        after = self._name(start - 1) if start else ""
        return numbered(self.bucket, names.chunks(self.descriptor.stream), after, end)

    def _name(self, unit: int) -> str:
        return names.chunk(self.descriptor.stream, unit, self.descriptor.layout.unit_ms)

    async def _check_end(self, mark: ChunkMark, who: str, error: type[Refused]) -> None:
        """Raise `error` unless the chunk that ends where `mark` does is the chunk of that mark."""
        if self._guesses and await self._is_at_its_likely_key(mark):
            return
        last: str | None = None
        async with aclosing(self._in_link(mark.next_unit - 1, mark.next_unit)) as keys:
            async for key in keys:
                last = key
        data = None if last is None else await get(self.bucket, last)
        chunk = None if last is None else check_chunk(self.descriptor, last, data)
        if chunk is None or chunk.end < mark.next_unit:
            # A lifecycle rule may have let the chunk expire; its day's page still lists it.
            day = await self._pages.day_of(mark.next_unit - 1)
            if day is not None and mark.digest in day.page.children:
                return
        if chunk is None:
            raise error(
                f"the chunk number {mark.seq} that {who} is missing: it ends at unit {mark.next_unit}"
            )
        assert data is not None
        if _mark_of(chunk, data) != mark:
            raise error(f"{last} is not the chunk number {mark.seq} that {who}")

    async def _is_at_its_likely_key(self, mark: ChunkMark) -> bool:
        """Whether the chunk of `mark` lies where it does in a stream whose chunks have the default length:
        one that has them saves a list."""
        last = mark.next_unit - 1
        key = self._name(last - self.descriptor.layout.position(last) % _CHUNK_UNITS)
        data = await get(self.bucket, key)
        with suppress(Refused):  # it is read again, and refused, if it is the one that should be there
            return data is not None and is_chunk_of(mark, self.descriptor, key, data)
        return False


def _mark_of(chunk: Chunk, data: bytes) -> ChunkMark:
    return ChunkMark(chunk.seq, cose.digest(data), chunk.end)


def _mark(head: Head) -> ChunkMark:
    return ChunkMark(head.seq, head.digest, head.next_unit)
