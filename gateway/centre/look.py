"""A look at one home's stream: its new windows, verified, without the centre's own words.

A home that goes on where the last pass left it has its next chunks and tokens under keys that are known, and
they are asked for by these. What was taken in before is not read again: the next chunk holds its digest.
Whatever else the store has is found by listing, which also finds out what is wrong.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from gateway.centre.budget import Budget
from gateway.centre.columns import Block
from gateway.centre.kept import Kept, Opened
from gateway.centre.state import Known, Reached
from gateway.chain import share
from gateway.chain.page import add_up
from gateway.chain.seal import U64
from gateway.chain.token import Sealed, incarnation_of, masks
from gateway.chain.windows import GrantWindows
from gateway.errors import GatewayError, Refused, StoreDenied, StoreUnavailable
from gateway.provider.desk import AT_ONCE, side_by_side
from gateway.provider.identity import Identity
from gateway.provider.load import Member, Words, pair, published
from gateway.store.bucket import Bucket
from gateway.stream.chunks import ChainFollower, ChunkMark, check_chunk
from gateway.stream.fetch import first_key, get, objects
from gateway.stream.reader import ANY_AGE_MS, StreamReader
from gateway.stream.seen import Seen
from gateway.stream.times import spell
from gateway.stream.tokens import check_bundle
from gateway.wire import cose, names
from gateway.wire.stream import Chunk, Descriptor, Head

_CHUNKS = 96
"""Chunks of one home that are asked for at once: a day of quarter hours."""
_MOST_BYTES = 2**24
"""Of their ciphertexts: 96 hours of seconds in five lanes are 14 MB. More are read a few chunks at a time."""
_MOST_TOGETHER = 2**30
"""Bytes of objects that all looks hold together, of which one that is on its way counts with the most it may
have: 16 of them."""
_TOGETHER = 512
"""Signatures that are verified one after another."""
_CHUNK = r"[0-9-]{10}/([0-9a-f]{16})\.cose"
"""A chunk's key behind the prefix of its stream's chunks."""
LAST_MS = 253_402_300_800_000
"""The year 10 000, in which nothing begins."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A home after a look at its stream, and its new windows; `more` where there are others behind them."""

    known: Known
    block: Block | None = None
    more: bool = False
    error: GatewayError | None = None


class _Ahead(NamedTuple):
    """What a look at a home found, if these signatures are valid."""

    known: Known
    taken: Taken
    unverified: Sequence[cose.Unverified]


class Look:
    """Looks at homes in a bucket, for the load monitoring centre of this identity, of at most `most` windows
    each. What it has verified once stays in `kept`."""

    def __init__(self, bucket: Bucket, identity: Identity, now_ms: int, kept: Kept, most: int) -> None:
        self._budget = Budget(bucket, _MOST_TOGETHER)
        self._identity = identity
        self._now_ms = now_ms
        self._kept = kept
        self._most = most

    async def at(self, homes: Iterable[Known]) -> AsyncGenerator[Taken, None]:
        """Each home's windows from `next` on, as far as they are sealed and their tokens are in the store; or
        the error, which may be the store's: StoreUnavailable or StoreDenied."""
        waiting: list[_Ahead] = []
        count = 0
        async with aclosing(side_by_side(map(self._ahead, homes), AT_ONCE)) as found:
            async for ahead in found:
                waiting.append(ahead)
                count += 1 + len(ahead.unverified)
                if count >= _TOGETHER:
                    for taken in await self._settled(waiting):
                        yield taken
                    waiting, count = [], 0
        for taken in await self._settled(waiting):
            yield taken

    async def _ahead(self, known: Known) -> _Ahead:
        """A look at a home, by the keys that are known if that is enough."""
        opened = self._kept.get(known.home)
        if opened is not None:
            unverified: list[cose.Unverified] = []
            try:
                with self._budget.look() as bucket:
                    taken = await self._following(bucket, opened, known, unverified)
            except (StoreUnavailable, StoreDenied) as error:  # which listing would only meet again
                return _Ahead(known, _failed(known, error, opened.descriptor), ())
            if taken is not None:
                return _Ahead(known, taken, unverified)
        return _Ahead(known, await self._by_listing(known), ())

    async def _settled(self, looks: Sequence[_Ahead]) -> list[Taken]:
        """What the looks found, if all signatures are valid; what listing finds of the other homes. To verify
        one signature after another takes two thirds of the time that they take among other work, which they
        find and leave out of the processor's caches."""
        valid = [_all_valid(one.unverified) for one in looks]
        others = (self._by_listing(one.known) for one, fits in zip(looks, valid, strict=True) if not fits)
        async with aclosing(side_by_side(others, AT_ONCE)) as listed:
            return [
                one.taken if fits else await anext(listed) for one, fits in zip(looks, valid, strict=True)
            ]

    async def _by_listing(self, known: Known) -> Taken:
        listed, seen, reader = known.home.listed, _Held(known), None
        opened = self._kept.get(known.home)
        try:
            with self._budget.look() as bucket:
                if opened is None:
                    reader = await StreamReader.open(bucket, listed.stream, listed.signer, seen)
                else:
                    reader = StreamReader(bucket, opened.descriptor, b"", seen)
                return await self._listed(reader, seen, opened, known)
        except GatewayError as error:
            return _failed(known, error, None if reader is None else reader.descriptor)

    async def _following(
        self, bucket: Bucket, opened: Opened, known: Known, unverified: list[cose.Unverified]
    ) -> Taken | None:
        """The windows of the chunks that follow the last one, if they end with the head, and all that belongs
        to them is where it likely is and valid; None otherwise. They count once the signatures that are put
        into `unverified` are verified."""
        seen = _Held(known)
        reader = StreamReader(bucket, opened.descriptor, b"", seen)
        windows = GrantWindows(opened.service)
        place, first = known.reached.place, known.next
        try:
            head = None if place is None or windows.calendar else await reader.read_head(unverified)
            if head is None or place is None:
                return None
            reader.head = head
            limit, _ = await opened.limit(reader)
            end = windows.complete(head.next_unit if limit is None else min(head.next_unit, limit))
            ends_ms = _ends_ms(opened.descriptor, limit)
            if (head.seq, first) == (place.mark.seq, end):
                return Taken(replace(known, ends_ms=ends_ms, problem=None))
            if not first < end <= first + self._most:
                return None
            edges = windows.edges(first, end)
            if (edges[0], edges[-1]) != (place.mark.next_unit, head.next_unit):
                return None
            follower = ChainFollower(opened.descriptor, reader.marks(head), place, known.reached.incarnations)
            words = None
            if 1 in (end - first, head.seq - place.mark.seq):  # a bundle is issued with a chunk
                words = await _next_tokens(reader, opened, first, end, unverified)
            if words is None:
                words = await published(await opened.pair(reader), first, end)
            chunks = await _next_chunks(reader, head, place.mark, follower, unverified)
            if not chunks or len(words.incarnations) < end - first:
                return None
            seen.save(_mark(head))
            lanes = opened.service.lanes
            joined = b"".join(
                [chunk.lanes[number] for number in _numbers(opened.descriptor, lanes) for chunk in chunks]
            )
            units = np.frombuffer(joined, "<u8").reshape(len(lanes), end - first, -1)
            c = np.add.reduce(units, axis=2, dtype=np.uint64).T
            return _taken(known, ends_ms, lanes, edges, opened.descriptor, c, words, follower, seen)
        except (StoreUnavailable, StoreDenied):
            raise
        except GatewayError:
            return None

    async def _listed(self, reader: StreamReader, seen: Seen, opened: Opened | None, known: Known) -> Taken:
        """The windows of whatever chunks and tokens the store lists."""
        await reader.refresh(self._now_ms, ANY_AGE_MS)  # a head that is old is that of a home that is late
        if opened is None:
            both = await pair(Member(reader, known.home.listed.grant), self._identity, "centre")
            self._kept.keep(known.home, both)
        else:
            both = await opened.pair(reader)
        own = both.own
        end = 0 if reader.head is None else own.complete(reader.head.next_unit)
        upto = min(end, known.next + self._most)
        ends_ms = _ends_ms(reader.descriptor, own.limit)
        nothing = replace(
            known, ends_ms=ends_ms, reached=replace(known.reached, seen=seen.load()), problem=None
        )
        if upto <= known.next:
            return Taken(nothing)
        words = await published(both, known.next, upto)
        count = len(words.incarnations)
        if not count:
            return Taken(nothing)
        edges = own.windows.edges(known.next, known.next + count)
        follower = ChainFollower(
            reader.descriptor, reader.marks(reader.head), known.reached.place, known.reached.incarnations
        )
        c = await _ciphertexts(reader, edges, own.grant.lanes, follower)
        taken = _taken(known, ends_ms, own.grant.lanes, edges, reader.descriptor, c, words, follower, seen)
        return replace(taken, more=known.next + count < end and count == self._most)


def _failed(known: Known, error: GatewayError, descriptor: Descriptor | None) -> Taken:
    """A home that is passed over, with the error as an operator reads it: the stream's chunks by their times,
    and its other objects without its id, which stands before the sentence."""
    stream, text = known.home.listed.stream, str(error)
    if descriptor is not None:
        unit_ms = descriptor.layout.unit_ms
        chunk = re.escape(names.chunks(stream)) + _CHUNK
        text = re.sub(chunk, lambda found: f"chunk {spell(int(found[1], 16), unit_ms)}", text)
    text = text.replace(names.stream_prefix(stream), "")
    return Taken(replace(known, problem=text), error=error if text == str(error) else type(error)(text))


def _all_valid(signatures: Sequence[cose.Unverified]) -> bool:
    try:
        for one in signatures:
            one.verify()
    except Refused:
        return False
    return True


def _taken(
    known: Known,
    ends_ms: int | None,
    lanes: tuple[str, ...],
    edges: Sequence[int],
    descriptor: Descriptor,
    c: U64,
    words: Words,
    follower: ChainFollower,
    seen: Seen,
) -> Taken:
    """A home with the new windows between these edges, whose sums of c are [window, lane]."""
    unit_ms, count = descriptor.layout.unit_ms, len(words.incarnations)
    if edges[-1] * unit_ms > LAST_MS:
        raise Refused(f"stream {descriptor.stream.hex()} has windows beyond the year 9999")
    block = Block(
        known.home,
        lanes,
        np.array(edges, dtype=np.int64) * unit_ms,
        np.array(words.incarnations, dtype=np.uint64),
        share.blinded(c, words.tokens, words.own),
    )
    reached, end_ms = Reached(*follower.stopped, seen.load()), edges[-1] * unit_ms
    return Taken(Known(known.home, known.next + count, end_ms, ends_ms, reached), block)


def _numbers(descriptor: Descriptor, lanes: Sequence[str]) -> list[int]:
    """The numbers of lanes in the stream."""
    return [[lane.name for lane in descriptor.lanes].index(lane) for lane in lanes]


def _mark(head: Head) -> ChunkMark:
    return ChunkMark(head.seq, head.digest, head.next_unit)


def _ends_ms(descriptor: Descriptor, limit: int | None) -> int | None:
    return None if limit is None else min(limit * descriptor.layout.unit_ms, LAST_MS)


async def _next_chunks(
    reader: StreamReader,
    head: Head,
    last: ChunkMark,
    follower: ChainFollower,
    unverified: list[cose.Unverified],
) -> list[Chunk]:
    """The chunks behind `last` as far as the head, if all are equally long; none where one is not where it
    would be then, is longer, or does not follow, and where they are too large to be held at once. The last
    one has the head's seq, and so must be the one that it names.
    """
    count, units = head.seq - last.seq, head.next_unit - last.next_unit
    if not 0 < count <= _CHUNKS or units % count or 8 * units * len(reader.descriptor.lanes) > _MOST_BYTES:
        return []
    stream, unit_ms = head.stream, reader.descriptor.layout.unit_ms
    firsts = range(last.next_unit, head.next_unit, units // count)
    keys = [names.chunk(stream, first, unit_ms) for first in firsts]
    chunks = []
    async with aclosing(_in_order(reader.bucket, keys)) as found:
        async for key, data in found:
            if data is None:
                return []
            chunk = check_chunk(reader.descriptor, key, data, unverified)
            if chunk.end - chunk.first != units // count or follower.follow(key, chunk, data):
                return []
            chunks.append(chunk)
    return chunks


async def _in_order(bucket: Bucket, keys: Sequence[str]) -> AsyncGenerator[tuple[str, bytes | None], None]:
    """The objects under these keys, a few of several at a time; None for one that is not there."""
    if len(keys) == 1:  # as is usual, and without a task
        yield keys[0], await get(bucket, keys[0])
        return

    async def each() -> AsyncGenerator[str, None]:
        for key in keys:
            yield key

    async with aclosing(objects(bucket, each())) as found:
        async for one in found:
            yield one


async def _next_tokens(
    reader: StreamReader, opened: Opened, first: int, end: int, unverified: list[cose.Unverified]
) -> Words | None:
    """The words of windows `first` to `end` - 1, if one bundle begins with them that was not folded."""
    grant = opened.service
    key = names.bundle(grant.stream, grant.id, first)
    data = await get(reader.bucket, key)
    if data is None:
        return None
    bundle, width = check_bundle(reader.descriptor, grant, key, data, unverified), grant.words
    if bundle.end_window(width) != end:
        return None
    sealed = [Sealed(*one) for one in bundle.sealed]
    own = masks(opened.chain, sealed, first, end, width)
    return Words(bundle.table(width), own, tuple(incarnation_of(sealed, j) for j in range(first, end)))


async def _ciphertexts(
    reader: StreamReader, edges: Sequence[int], lanes: Sequence[str], follower: ChainFollower
) -> U64:
    """The sums of c, [window, lane], from the chunks, so that a chain that does not hold shows: pages alone
    would give the same sums. They serve for windows from before the oldest chunk: a store may let chunks
    expire."""
    cut = 0
    if follower.stopped[0] is None:
        oldest = await first_key(reader.bucket, names.chunks(reader.descriptor.stream))
        begin = edges[-1] if oldest is None else names.number_in(oldest)
        cut = min(bisect_left(edges, begin), len(edges) - 1)
    early = (await reader.sums(edges[: cut + 1], lanes, follower)).T if cut else _no_sums(0, lanes)
    numbers = _numbers(reader.descriptor, lanes)
    later = np.array(edges[cut:], dtype=np.int64)
    sums = _no_sums(len(later) - 1, lanes)
    if len(later) > 1:
        first, end = int(later[0]), int(later[-1])
        async with aclosing(reader.chunks(first, end, follower)) as chunks:
            async for chunk in chunks:
                c = np.stack([chunk.c(number) for number in numbers])
                a, b = max(first, chunk.first), min(end, chunk.end)
                add_up(sums.T, later, a, 1, c[:, a - chunk.first : b - chunk.first])
    return np.concatenate([early, sums])


def _no_sums(count: int, lanes: Sequence[str]) -> U64:
    return np.zeros((count, len(lanes)), dtype=np.uint64)


class _Held(Seen):
    """A stream's head that was seen last, as the state has it; it is written with the windows."""

    def __init__(self, known: Known) -> None:
        self._mark = known.reached.seen

    def load(self) -> ChunkMark | None:
        return self._mark

    def save(self, mark: ChunkMark) -> None:
        self._mark = mark
