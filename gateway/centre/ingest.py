"""Takes the homes' new windows in: reads and verifies their streams, takes the centre's own words off, and
writes what is left as Parquet.

A home's windows are taken in once: a batch of files counts from the commit of the state that names them and
says where each home was read to. A home whose stream is refused is passed over, and its reason is kept; it
is looked at again in the next pass. A store that does not answer ends the pass, since it is about no home.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Coroutine, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gateway.centre.columns import Block, clean, merged, write
from gateway.centre.state import Known, Reached, State
from gateway.chain import share
from gateway.chain.page import add_up
from gateway.chain.seal import U64
from gateway.errors import GatewayError, Refused, StoreDenied, StoreUnavailable
from gateway.provider.desk import AT_ONCE, Failure, Progress, side_by_side
from gateway.provider.identity import Identity
from gateway.provider.load import Member, pair, published
from gateway.store.bucket import Bucket
from gateway.stream.chunks import ChainFollower, ChunkMark
from gateway.stream.fetch import first_key
from gateway.stream.reader import StreamReader
from gateway.stream.seen import Seen
from gateway.wire import names

_MOST = 2**14
"""Windows of one home in one batch: a year of minutes comes in 33."""
_BATCH = 2**18
"""Windows from which on a batch is written: 30 MB of two lanes."""
_CROWD = 64
"""Files of one date and region that are merged into one: those of an hour, with a look each minute. The next
pass over all homes removes them, so a load that is being added up meanwhile still finds them."""
_ANY_AGE_MS = 2**63
_LAST_MS = 253_402_300_800_000  # the year 10 000


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass did: windows taken in, in how many files, and of how many homes; and the homes that it
    passed over, each with the reason. `until_ms` is the end of the last window that all others have at which
    it looked."""

    windows: int
    files: int
    homes: int
    passed_over: tuple[Failure, ...]
    until_ms: int | None


@dataclass(frozen=True, slots=True)
class _Taken:
    """A home after a look at its stream, and its new windows; `more` where there are others behind them."""

    known: Known
    block: Block | None = None
    more: bool = False
    error: GatewayError | None = None


async def ingest(
    state: State,
    bucket: Bucket,
    identity: Identity,
    now_ms: int,
    progress: Progress | None = None,
    streams: Collection[bytes] | None = None,
) -> Pass:
    """Take in all windows that are complete in the store, of all homes of the list, or of those alone that
    have one of `streams`; only a pass over all homes merges files, and removes what earlier ones left.
    `progress` is called after each home. StoreUnavailable and StoreDenied where the store does not answer:
    what was taken in before that stays."""
    if streams is None:
        clean(state.folder, state.file_names())
        homes = state.homes()
    else:
        homes = state.homes_of(streams)
    windows = files = done = 0
    waiting: list[_Taken] = []
    last: dict[tuple[bytes, bytes], _Taken] = {}
    reached: set[tuple[bytes, bytes]] = set()

    def commit() -> None:
        nonlocal windows, files
        blocks = [one.block for one in waiting if one.block is not None]
        written = write(state.folder, blocks, state.next_batch()) if blocks else []
        state.take(written, [one.known for one in waiting])
        windows += sum(map(len, blocks))
        files += len(written)
        waiting.clear()

    todo = homes
    while todo:
        again = []
        async with aclosing(side_by_side(_looks(bucket, identity, now_ms, todo), AT_ONCE)) as looks:
            async for taken in looks:
                waiting.append(taken)
                last[taken.known.home.key] = replace(taken, block=None)
                if taken.block is not None:
                    reached.add(taken.known.home.key)
                if taken.more:
                    again.append(taken.known)
                else:
                    done += 1
                    if progress is not None:
                        progress(done, len(homes))
                if sum(len(one.block) for one in waiting if one.block is not None) >= _BATCH:
                    commit()
        commit()
        todo = again
    for crowd in state.crowded(_CROWD) if streams is None else ():
        state.merge(merged(state.folder, crowd, state.next_batch()), crowd)
    failures = [
        Failure(one.known.home.listed.stream, one.error) for one in last.values() if one.error is not None
    ]
    ends = [one.known.until_ms or 0 for one in last.values() if one.error is None]
    return Pass(windows, files, len(reached), tuple(failures), min(ends, default=0) or None)


def _looks(
    bucket: Bucket, identity: Identity, now_ms: int, homes: Sequence[Known]
) -> Iterator[Coroutine[Any, Any, _Taken]]:
    return (_look(bucket, identity, now_ms, known) for known in homes)


async def _look(bucket: Bucket, identity: Identity, now_ms: int, known: Known) -> _Taken:
    try:
        return await _take(bucket, identity, now_ms, known)
    except (StoreUnavailable, StoreDenied):
        raise
    except GatewayError as error:
        return _Taken(replace(known, problem=str(error)), error=error)


async def _take(bucket: Bucket, identity: Identity, now_ms: int, known: Known) -> _Taken:
    """The home's windows from `next` on, as far as they are sealed and their tokens are in the store."""
    listed, seen = known.home.listed, _Held(known)
    reader = await StreamReader.open(bucket, listed.stream, listed.signer, seen)
    await reader.refresh(now_ms, _ANY_AGE_MS)  # a head that is old is that of a home that is late
    both = await pair(Member(reader, listed.grant), identity, "centre")
    own = both.own
    end = 0 if reader.head is None else own.complete(reader.head.next_unit)
    upto = min(end, known.next + _MOST)
    unit_ms = reader.descriptor.layout.unit_ms
    ends_ms = None if own.limit is None else min(own.limit * unit_ms, _LAST_MS)
    nothing = replace(known, ends_ms=ends_ms, reached=replace(known.reached, seen=seen.load()), problem=None)
    if upto <= known.next:
        return _Taken(nothing)
    words = await published(both, known.next, upto)
    count = len(words.incarnations)
    if not count:
        return _Taken(nothing)
    edges = own.windows.edges(known.next, known.next + count)
    follower = ChainFollower(
        reader.descriptor, reader.marks(reader.head), known.reached.place, known.reached.incarnations
    )
    c = await _ciphertexts(reader, edges, own.grant.lanes, follower)
    if edges[-1] * unit_ms > _LAST_MS:
        raise Refused(f"stream {listed.stream.hex()} has windows beyond the year 9999")
    block = Block(
        known.home,
        own.grant.lanes,
        np.array(edges, dtype=np.int64) * unit_ms,
        np.array(words.incarnations, dtype=np.uint64),
        share.blinded(c, words.tokens, words.own),
    )
    place, incarnations = follower.stopped
    taken = Known(
        known.home,
        known.next + count,
        edges[-1] * unit_ms,
        ends_ms,
        Reached(place, incarnations, seen.load()),
    )
    return _Taken(taken, block, more=known.next + count < end and count == _MOST)


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
    numbers = [[lane.name for lane in reader.descriptor.lanes].index(lane) for lane in lanes]
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
