"""Takes the homes' new windows in: reads and verifies their streams, takes the centre's own words off, and
writes what is left as Parquet.

A home's windows are taken in once: a batch of files counts from the commit of the state that names them and
says where each home was read to. A home whose stream is refused, or not given by the store, is passed over,
and its reason is kept; it is looked at again in the next pass. A store that gives no home's, or has none of
the list's, ends the pass.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import groupby
from typing import NoReturn

from gateway.centre.columns import clean, merged, write
from gateway.centre.kept import Kept
from gateway.centre.look import LAST_MS, Look, Taken
from gateway.centre.state import Known, State
from gateway.errors import GatewayError, NotFound, StoreDenied, StoreUnavailable
from gateway.provider.desk import Failure, Progress
from gateway.provider.identity import Identity
from gateway.store.bucket import Bucket
from gateway.wire import names

_MOST = 2**14
"""Windows of one home in one batch: a year of minutes comes in 33."""
_BATCH = 2**18
"""Windows from which on a batch is written: 30 MB of two lanes."""
HOMES = 2**13
"""Homes from which on a batch ends with its region, so that a pass writes a file for each date and region:
30 MB."""
_SILENT = 16
"""Homes in a row whose objects the store does not give, after which it is asked for one that it gave before:
if it does not give that either, it is the store's fault, and no home's."""
_CROWD = 64
"""Files of one date and region that are merged into one: those of an hour, with a look each minute. The next
pass over all homes removes them, so a load that is being added up meanwhile still finds them."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass did: windows taken in, in how many files, and of how many homes; and the homes that it
    passed over, each with the reason, once where all its grants have the same. `until_ms` is the end of the
    last window that all others have at which it looked."""

    windows: int
    files: int
    homes: int
    passed_over: tuple[Failure, ...]
    until_ms: int | None


async def ingest(
    state: State,
    bucket: Bucket,
    identity: Identity,
    now_ms: int,
    progress: Progress | None = None,
    kept: Kept | None = None,
    streams: Collection[bytes] | None = None,
) -> Pass:
    """Take in all windows that are complete in the store, region by region: of all homes of the list, or of
    those alone that have one of `streams`; only a pass over all homes merges files, and removes what earlier
    ones left. `progress` is called after each home. What is `kept` of earlier passes is not read again.
    StoreUnavailable and StoreDenied where the store gives no home's objects, or has nothing of any home of
    the list: what was taken in before that stays."""
    regions: Iterable[Sequence[Known]]
    if streams is None:
        clean(state.folder, state.file_names())
        total, regions = state.count(), map(state.homes, state.regions())
    else:
        named = state.homes_of(streams)
        total, regions = len({one.home.listed.stream for one in named}), _by_region(named)
    look, batch = Look(bucket, identity, now_ms, Kept() if kept is None else kept, _MOST), _Batch(state)
    silent = _Silence(bucket, batch)
    reached = done = 0
    end_ms = LAST_MS
    failures: dict[tuple[bytes, str], Failure] = {}
    for homes in regions:  # a home's grants are all in one
        new, through = set[bytes](), set[bytes]()
        async with aclosing(_region(look, homes)) as looks:
            async for taken in looks:
                await silent.hear(taken)
                known, stream = taken.known, taken.known.home.listed.stream
                if taken.block is not None:
                    new.add(stream)
                if taken.more:
                    continue
                through.add(stream)
                if taken.error is not None:
                    failures.setdefault((stream, str(taken.error)), Failure(stream, taken.error))
                else:
                    end_ms = min(end_ms, known.until_ms or 0)
                if progress is not None:
                    progress(done + len(through), total)
        reached, done = reached + len(new), done + len(through)
        batch.end_region()
    silent.end(total if streams is None else None)
    batch.commit()
    for crowd in state.crowded(_CROWD) if streams is None else ():
        state.merge(merged(state.folder, crowd, state.next_batch()), crowd)
    until_ms = None if end_ms in (0, LAST_MS) else end_ms
    return Pass(batch.written, batch.files, reached, tuple(failures.values()), until_ms)


def _by_region(homes: Sequence[Known]) -> Iterable[list[Known]]:
    def region(known: Known) -> str:
        return known.home.region

    return (list(some) for _, some in groupby(sorted(homes, key=region), region))


async def _region(look: Look, homes: Sequence[Known]) -> AsyncGenerator[Taken, None]:
    """Looks at homes, at each until there is nothing more."""
    while homes:
        again = []
        async with aclosing(look.at(homes)) as looks:
            async for taken in looks:
                if taken.more:
                    again.append(taken.known)
                yield taken
        homes = again


class _Silence:
    """Tells a store that does not answer, or is another one, from one that does not give some homes' objects,
    which are added to the batch once it has given another home's."""

    def __init__(self, bucket: Bucket, batch: _Batch) -> None:
        self._bucket = bucket
        self._batch = batch
        self._silent: list[Taken] = []
        self._absent: list[Taken] = []  # all homes so far of which the store has said something
        self._heard = False
        self._given: bytes | None = None  # the stream of the last home that the store has

    async def hear(self, taken: Taken) -> None:
        """Add to the batch, or hold. Where the store is silent the batch is written, and its error raised."""
        if isinstance(taken.error, StoreUnavailable | StoreDenied):
            self._silent.append(taken)
            if len(self._silent) == _SILENT:
                if not await self._gives_again():
                    self._give_up(taken.error)
                self._release(self._silent)
            return
        self._heard = True
        self._release(self._silent)
        if isinstance(taken.error, NotFound) and self._given is None:
            self._absent.append(taken)
            return
        self._given = taken.known.home.listed.stream
        self._release(self._absent)
        self._batch.add(taken)

    async def _gives_again(self) -> bool:
        """Whether the store gives what it gave before."""
        if self._given is None:
            return False
        try:
            await self._bucket.get(names.descriptor(self._given))
        except (StoreUnavailable, StoreDenied):
            return False
        except GatewayError:  # an answer too
            return True
        return True

    def end(self, homes: int | None) -> None:
        """Add to the batch what is held; raise the store's error where it has given no home's objects, and
        StoreDenied where it has none of all these homes."""
        if self._silent and not self._heard:
            self._give_up(self._silent[0].error)
        absent = len({one.known.home.listed.stream for one in self._absent})
        if absent == homes and absent > 1:
            self._give_up(
                StoreDenied(
                    f"the store holds none of the {absent} homes of the list: check that it is this store"
                )
            )
        self._release(self._silent)
        self._release(self._absent)

    def _release(self, held: list[Taken]) -> None:
        for one in held:
            self._batch.add(one)
        held.clear()

    def _give_up(self, error: GatewayError | None) -> NoReturn:
        self._batch.commit()
        assert error is not None
        raise error


class _Batch:
    """What was taken in and is not written yet; `written` windows in `files` are."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._waiting: list[Taken] = []
        self._windows = 0
        self.written = 0
        self.files = 0

    def add(self, taken: Taken) -> None:
        """Write the batch, if it is large enough with this."""
        self._waiting.append(taken)
        self._windows += 0 if taken.block is None else len(taken.block)
        if self._windows >= _BATCH:
            self.commit()

    def end_region(self) -> None:
        """Write the batch, if it is of many homes."""
        if len(self._waiting) >= HOMES:
            self.commit()

    def commit(self) -> None:
        """Write what is waiting."""
        blocks = [one.block for one in self._waiting if one.block is not None]
        files = write(self._state.folder, blocks, self._state.next_batch()) if blocks else []
        self._state.take(files, [one.known for one in self._waiting])
        self.written += self._windows
        self.files += len(files)
        self._waiting.clear()
        self._windows = 0
