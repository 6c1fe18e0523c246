"""The household's history: its own sums of any time, read as a provider reads, by grants to itself.

At its first use it makes keys in the state folder and, for each meter and series, own grants from the
beginning of the stream on: one in the steps of day pages, a minute, and one in those of month pages, a
quarter of an hour, which makes a year quick. What is kept on this machine is what the store holds, signed
ciphertext; sums are opened when somebody asks, and are in no file.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gateway.chain.page import SPANS, Calendar
from gateway.chain.window import Granularity, zone_of
from gateway.control.client import ControlClient
from gateway.control.documents import GrantStatus
from gateway.errors import GatewayError, Refused, Unavailable, UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.household.objects import ControlBucket
from gateway.household.own import OwnIdentity, grant_own
from gateway.provider.grants import OwnGrant, own_grants
from gateway.provider.identity import Identity
from gateway.provider.tokens import Opener, nonces
from gateway.store.bucket import Bucket
from gateway.store.kept import KeptBucket
from gateway.stream.chunks import ChainFollower
from gateway.stream.reader import ANY_AGE_MS, StreamReader
from gateway.stream.seen import Seen
from gateway.wire import names
from gateway.wire.stream import Descriptor

Step = Literal["minute", "quarter", "hour", "day", "month", "year"]
STEPS: tuple[Step, ...] = get_args(Step)
PURPOSE = "this home's own history"
MOST_ROWS = 100_000
"""Of one question, at most: two months of minutes, three years of quarters of an hour."""
_FIXED_MS: dict[str, int] = {"minute": 60_000, "quarter": 900_000, "hour": 3_600_000}
_KNOWN_MS = 60_000  # what the gateway said of streams and grants is taken for so long
_REMEMBERED_ROWS = 50_000  # some 2 MB
_PREPARED_S = 300  # how often it is looked whether a stream lacks its own grants
_ABSENT_S = 5  # and while no gateway answers


_Question = tuple[str, int, int, Step, str]


@dataclass(frozen=True, slots=True)
class Row:
    """The sums of [start_ms, end_ms), Unix ms, by lane, in the lane's own integers: mWh, W summed over
    readings, readings. A lane that is not open there is left out."""

    start_ms: int
    end_ms: int
    sums: Mapping[str, int]

    @property
    def import_mwh(self) -> int | None:
        """Energy drawn."""
        return self.sums.get("import")

    @property
    def export_mwh(self) -> int | None:
        """Energy given."""
        return self.sums.get("export")

    @property
    def mean_w(self) -> float | None:
        """The mean of the power that was read; None where it was not."""
        power, count = self.sums.get("power"), self.sums.get("count")
        return power / count if power is not None and count else None


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """The rows of one meter or series, in order. The first and the last are cut where the stream begins, and
    where it ends so far; `complete_ms` is that end, Unix ms. Columns of numbers: `starts_ms`, `ends_ms`, and
    of each lane an int64 in `sums`, which is 0 where `opened` says that it is not open."""

    meter: str
    starts_ms: NDArray[np.int64]
    ends_ms: NDArray[np.int64]
    sums: Mapping[str, NDArray[np.int64]]
    opened: Mapping[str, NDArray[np.bool_]]
    complete_ms: int

    @property
    def lanes(self) -> tuple[str, ...]:
        """The stream's lanes."""
        return tuple(self.sums)

    def __len__(self) -> int:
        return len(self.starts_ms)

    def __iter__(self) -> Iterator[Row]:
        columns = [(lane, d.tolist(), self.opened[lane].tolist()) for lane, d in self.sums.items()]
        for i, (start, end) in enumerate(zip(self.starts_ms.tolist(), self.ends_ms.tolist(), strict=True)):
            yield Row(start, end, {lane: d[i] for lane, d, opened in columns if opened[i]})

    def total(self, lane: str) -> int | None:
        """The sum of a lane over all rows; None where one of them is not open."""
        if lane not in self.sums or not self.opened[lane].all():
            return None
        return int(self.sums[lane].sum())


@dataclass(frozen=True, slots=True)
class _Home:
    """A meter's or series' stream, and the ids of the own grants on it."""

    meter: str
    stream: bytes
    signer: bytes
    grants: tuple[bytes, ...]
    asked_ms: int
    """When the gateway was asked for it, Unix ms."""


class History:
    """The household's own reader. `state` is the folder of its keys, and of what it keeps."""

    def __init__(self, state: Path, client: ControlClient, clock: Clock) -> None:
        self._state = state
        self._client = client
        self._clock = clock
        self._own = OwnIdentity(state)
        # In a folder of its own: what is kept is trimmed together with its neighbours.
        self._bucket = KeptBucket(ControlBucket(client), state / "objects" / "store", names.lasts)
        self._granting = asyncio.Lock()
        self._homes: dict[str, _Home] = {}
        self._streams: dict[str, asyncio.Lock] = {}
        self._past = _Past()

    async def meters(self) -> tuple[str, ...]:
        """The names of the meters and series that have a stream. Unavailable where no gateway answers."""
        status = await self._client.status()
        return tuple(one.meter for one in status.meters if one.stream is not None)

    async def prepare(self) -> dict[str, GatewayError]:
        """Make the own grants that are missing; the error of each meter for which that failed."""
        faults: dict[str, GatewayError] = {}
        for meter in await self.meters():
            try:
                await self._home(meter)
            except GatewayError as error:
                faults[meter] = error
        return faults

    @asynccontextmanager
    async def prepared(self) -> AsyncIterator[None]:
        """While the block runs, make own grants as soon as a stream can have them, so that no page waits."""
        task = asyncio.create_task(self._stay_prepared())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _stay_prepared(self) -> None:
        while True:
            pause = _PREPARED_S
            try:
                await self.prepare()
            except Unavailable:  # the gateway starts just as the pages do
                pause = _ABSENT_S
            except (GatewayError, OSError):  # it is not understood, or the disk is full
                pass
            await self._clock.sleep(pause)

    async def sums(self, meter: str, from_ms: int, until_ms: int, step: Step, zone: str) -> Sums:
        """The sums of a meter or series in each `step` of the IANA time zone `zone` between two moments, Unix
        ms. The first and the last step are cut where the question begins and ends.

        UsageError for a meter, a step or times that cannot be; Unavailable where the gateway or its store do
        not answer, or the stream has not begun; Refused where an object in the store is invalid.
        """
        _check(from_ms, until_ms, step)
        known = self._past.get((meter, from_ms, until_ms, step, zone))
        if known is not None:
            return known
        home = await self._home(meter)
        async with self._streams.setdefault(meter, asyncio.Lock()):
            identity = await self._own.open(unix_ms(self._clock))
            question = from_ms, until_ms, step, zone
            try:
                found = await self._read(self._bucket, home, identity, *question)
            except Refused:  # what is kept here may be damaged: what the store has decides
                self._bucket.clear(names.stream_prefix(home.stream))
                found = await self._read(self._bucket.source, home, identity, *question)
            await asyncio.to_thread(self._bucket.trim)
            if until_ms <= found.complete_ms:
                self._past.keep((meter, *question), found)
            return found

    async def all_sums(
        self, from_ms: int, until_ms: int, step: Step, zone: str
    ) -> dict[str, Sums | GatewayError]:
        """The sums of every meter and series, as `sums` has them; of one that cannot be read its error."""
        found: dict[str, Sums | GatewayError] = {}
        for meter in await self.meters():
            try:
                found[meter] = await self.sums(meter, from_ms, until_ms, step, zone)
            except GatewayError as error:
                found[meter] = error
        return found

    async def _home(self, meter: str) -> _Home:
        """The meter's stream with the own grants on it, made where they are missing."""
        async with self._granting:
            known, now_ms = self._homes.get(meter), unix_ms(self._clock)
            if known is None or not 0 <= now_ms - known.asked_ms < _KNOWN_MS:
                known = self._homes[meter] = await self._ask(meter, now_ms)
            return known

    async def _ask(self, meter: str, now_ms: int) -> _Home:
        status = await self._client.status()
        known = {one.meter: one.stream for one in status.meters}
        if meter not in known:
            raise UsageError(f"there is no meter {meter!r}; the meters are {', '.join(known) or 'none'}")
        stream = known[meter]
        if stream is None:
            raise Unavailable(f"meter {meter} has no history yet: `gateway status` says when it begins")
        signer = bytes.fromhex(status.signer)
        identity = await self._own.open(status.now_ms)
        descriptor = (await StreamReader.open(self._bucket, bytes.fromhex(stream), signer)).descriptor
        made = {
            one.granularity: one
            for one in await self._client.grants()
            if isinstance(one, GrantStatus) and _serves(one, stream, identity)
        }
        for granularity in _granularities(descriptor):
            if granularity not in made:
                made[granularity] = await grant_own(
                    self._client,
                    self._own.card(),
                    meter=meter,
                    granularity=granularity,
                    lanes=[lane.name for lane in descriptor.lanes],
                    purpose=PURPOSE,
                    from_ms=0,
                )
        grants = tuple(bytes.fromhex(one.id) for one in made.values())
        return _Home(meter, descriptor.stream, signer, grants, now_ms)

    async def _read(
        self,
        bucket: Bucket,
        home: _Home,
        identity: Identity,
        from_ms: int,
        until_ms: int,
        step: Step,
        zone: str,
    ) -> Sums:
        seen = Seen(self._state, home.stream)
        reader = await StreamReader.open(bucket, home.stream, home.signer, seen, home.grants)
        # of any age: the status says how old the newest reading is
        await reader.refresh(unix_ms(self._clock), ANY_AGE_MS)
        held = await own_grants(reader, identity, only=home.grants)
        lanes = tuple(lane.name for lane in reader.descriptor.lanes)
        edges, complete = _edges(reader, held, from_ms, until_ms, step, zone)
        openers = [Opener(one) for one in sorted(held, key=_size, reverse=True)]
        d = np.zeros((len(lanes), max(0, len(edges) - 1)), dtype=np.uint64)
        opened = np.zeros(d.shape, dtype=np.bool_)
        if d.size:
            r, opened, ready = await nonces(openers, lanes, edges)
            if ready < len(edges) - 1:  # the tokens of the last ones are yet to come
                complete = int(edges[ready])
                edges, r, opened = edges[: ready + 1], r[:, :ready], opened[:, :ready]
            d = r
            if opened.any():
                follower = ChainFollower(reader.descriptor, reader.marks(reader.head))
                d = np.where(opened, await reader.sums(edges, lanes, follower) - r, np.uint64(0))
        unit_ms = reader.descriptor.layout.unit_ms
        return Sums(
            home.meter,
            edges[:-1] * unit_ms,
            edges[1:] * unit_ms,
            dict(zip(lanes, d.view(np.int64), strict=True)),
            dict(zip(lanes, opened, strict=True)),
            complete * unit_ms,
        )


class _Past:
    """Answers about times that were over when they were asked for: those that were given last, up to
    _REMEMBERED_ROWS rows, in this process alone. What is sealed stays as it is."""

    def __init__(self) -> None:
        self._answers: OrderedDict[_Question, Sums] = OrderedDict()
        self._rows = 0

    def get(self, question: _Question) -> Sums | None:
        """The answer, if it is known."""
        found = self._answers.get(question)
        if found is not None:
            self._answers.move_to_end(question)
        return found

    def keep(self, question: _Question, answer: Sums) -> None:
        """Remember an answer, and forget those that were needed the longest ago."""
        if question in self._answers:  # two asked at once
            return
        self._answers[question] = answer
        self._rows += 1 + len(answer)
        while self._rows > _REMEMBERED_ROWS:
            _, gone = self._answers.popitem(last=False)
            self._rows -= 1 + len(gone)


def step_edges(from_ms: int, until_ms: int, step: Step, zone: str) -> list[int]:
    """The moments (Unix ms) between which the steps of `zone` lie, from `from_ms` to `until_ms`, which are
    the first and the last. An hour of a day's clock that is shown twice is two steps.

    >>> step_edges(0, 3_600_000, "quarter", "UTC")
    [0, 900000, 1800000, 2700000, 3600000]
    """
    edges = [from_ms]
    while edges[-1] < until_ms:
        edges.append(min(until_ms, _next(edges[-1], step, zone)))
        if len(edges) > MOST_ROWS + 1:
            raise UsageError(
                f"the time asked for has more than {MOST_ROWS} steps of a {step}: ask for a shorter one, or "
                "for longer steps"
            )
    return edges


def _next(ms: int, step: Step, zone: str) -> int:
    """The end of the step that `ms` lies in."""
    if step in _FIXED_MS:
        offset = datetime.fromtimestamp(ms / 1000, zone_of(zone)).utcoffset() or timedelta()
        shift = offset // timedelta(milliseconds=1)
        return (ms + shift) // _FIXED_MS[step] * _FIXED_MS[step] + _FIXED_MS[step] - shift
    calendar = Granularity("day" if step == "day" else "month", 1, zone)
    k = calendar.index(ms)
    return calendar.start((k // 12 + 1) * 12 if step == "year" else k + 1)


def _check(from_ms: int, until_ms: int, step: Step) -> None:
    if step not in STEPS:
        raise UsageError(f"step {step!r}: expected one of {', '.join(STEPS)}")
    if not 0 <= from_ms < until_ms < 2**47:
        raise UsageError("the time asked for ends before it begins, or lies outside the calendar")


def _serves(grant: GrantStatus, stream: str, identity: Identity) -> bool:
    """Whether an own grant opens the whole stream, and gets its tokens."""
    return (
        grant.own
        and grant.stream == stream
        and grant.provider_kid == identity.kid.hex()
        and grant.purpose == PURPOSE
        and grant.revoked_from_ms is None
        and grant.fault is None
    )


def _granularities(descriptor: Descriptor) -> list[str]:
    """Those of the own grants on a stream, in the gateway's words: the steps of its pages, of a day and of a
    month. A stream without pages has a grant of the least whole units that are a minute."""
    unit_ms = descriptor.layout.unit_ms
    calendar = Calendar.of(unit_ms, descriptor.start)
    sizes = [-(-60_000 // unit_ms)] if calendar is None else [calendar.step(span) for span in SPANS]
    return list(dict.fromkeys(str(Granularity(size, unit_ms)) for size in sizes))


def _size(held: OwnGrant) -> int:
    size = held.grant.granularity.size
    assert isinstance(size, int)  # as they were made
    return size


def _edges(
    reader: StreamReader, held: Sequence[OwnGrant], from_ms: int, until_ms: int, step: Step, zone: str
) -> tuple[NDArray[np.int64], int]:
    """The units between which the rows lie, all edges of the finest windows; and the end of the last of these
    that has closed."""
    finest = min(held, key=_size)
    size, unit_ms = _size(finest), reader.descriptor.layout.unit_ms
    first = finest.grant.first
    end = first if reader.head is None else max(first, reader.head.next_unit // size * size)
    from_ms, until_ms = max(from_ms, first * unit_ms), min(until_ms, end * unit_ms)
    if from_ms >= until_ms:
        return np.zeros(1, dtype=np.int64), end
    moments = np.array(step_edges(from_ms, until_ms, step, zone), dtype=np.int64)
    edges = -(-moments // (size * unit_ms)) * size
    return edges[np.diff(edges, prepend=-1) > 0], end  # np.unique would load numpy.ma, 2 MiB
