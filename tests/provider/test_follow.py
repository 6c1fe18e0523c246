"""Rows as they open: driven by a clock whose sleep is when the home goes on."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from gateway.errors import Refused, StoreUnavailable
from gateway.provider.follow import follow
from gateway.provider.query import Query
from gateway.provider.sums import Row, Sums
from gateway.store.bucket import Bucket
from gateway.store.directory import DirectoryBucket
from gateway.stream.reader import StreamReader
from gateway.stream.seen import Seen
from tests.provider.reading import DAY_MS
from tests.stream.stream import START, Home, Provider, random_readings


class StepClock:
    """Wall time is the machine's; each sleep does the next step, if any, and costs nothing."""

    def __init__(self, steps: Sequence[Callable[[], None]]) -> None:
        self._steps = list(steps)
        self.slept: list[float] = []

    def wall(self) -> int:
        return time.time_ns()

    def monotonic(self) -> int:
        return time.monotonic_ns()

    def trusted(self) -> bool:
        return True

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        assert len(self.slept) < 100, "nothing ends it"
        if self._steps:
            self._steps.pop(0)()


class FaultyBucket:
    """A bucket that does not answer the next `faults` gets that come after `after` more."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.after = self.faults = 0

    async def get(self, key: str) -> bytes:
        if self.after:
            self.after -= 1
        elif self.faults:
            self.faults -= 1
            raise StoreUnavailable("the store is away")
        return await self._bucket.get(key)

    def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        return self._bucket.list(prefix, after)

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        await self._bucket.put(key, data, replace=replace)

    async def delete(self, key: str) -> None:
        await self._bucket.delete(key)

    async def aclose(self) -> None:
        await self._bucket.aclose()


class Following:
    """A home, its store, and a provider that follows it through `steps`."""

    def __init__(self, folder: Path, provider: Provider) -> None:
        (folder / "store").mkdir()
        self.folder = folder / "store"
        self.provider = provider
        self.home = Home(chunk_units=20)
        self.bucket = FaultyBucket(DirectoryBucket(self.folder))
        self.troubles: list[str] = []
        self.slept: list[float] = []
        self.missing: list[str] = []

    def seal(self, count: int) -> None:
        self.home.seal(random_readings(count))
        self.put()

    def put(self) -> None:
        self.home.write(self.folder)

    async def through(self, query: Query, *steps: Callable[[], None], remember: bool = True) -> list[Row]:
        self.put()
        clock = StepClock(steps)
        seen = Seen(self.provider.folder, self.home.id) if remember else None
        reader = await StreamReader.open(self.bucket, self.home.id, self.home.signer.kid, seen)
        sums = await Sums.ask(reader, self.provider.identity, query)
        rows = [row async for row in follow(reader, sums, clock, DAY_MS, self.troubles.append)]
        self.slept = clock.slept
        self.missing = [gap.reason for gap in sums.missing]
        for row in rows:
            a, b = (int(when.timestamp()) for when in (row.start, row.end))
            assert row.sums == {lane: self.home.truth(lane, a, b) for lane in row.sums}
        return rows


@pytest.fixture
def following(tmp_path: Path, provider: Provider) -> Following:
    return Following(tmp_path, provider)


def until(seconds: int) -> Query:
    return Query(until_ms=(START + seconds) * 1000)


def nothing() -> None:
    pass


async def test_rows_come_as_windows_close(following: Following) -> None:
    following.home.grant(following.provider.card, "1min")
    grow = [lambda: following.seal(25)] * 10
    rows = await following.through(until(240), *grow)
    assert [row.start.minute for row in rows] == [0, 1, 2, 3]
    assert len(following.slept) == 10


async def test_it_looks_less_often_while_nothing_comes(following: Following) -> None:
    following.home.grant(following.provider.card, "1min")
    grow = lambda: following.seal(60)  # noqa: E731
    await following.through(until(120), *[nothing] * 6, grow, grow)
    assert following.slept[0] >= 2
    assert following.slept[:7] == sorted(following.slept[:7])
    assert following.slept[6] == 10
    assert following.slept[7] == 2


async def test_adding_up_waits_for_all_the_tokens(following: Following) -> None:
    home = following.home
    home.grant(following.provider.card, "10s")
    home.seal(random_readings(35))
    home.seal(random_readings(25))
    bundle = max(key for key in home.objects if "/new/" in key)
    data = home.objects.pop(bundle)

    def arrive() -> None:
        home.objects[bundle] = data
        following.put()

    query = Query("1min", None, None, (START + 60) * 1000)
    rows = await following.through(query, nothing, arrive)
    assert len(rows) == 1


async def test_a_revocation_ends_it(following: Following) -> None:
    grant = following.home.grant(following.provider.card, "1min")

    def revoke() -> None:
        following.home.revoke(grant)
        following.seal(60)

    rows = await following.through(Query(), lambda: following.seal(130), nothing, revoke)
    assert len(rows) == 2


async def test_a_new_grant_takes_over(following: Following) -> None:
    home = following.home
    grant = home.grant(following.provider.card, "1min", until=START + 120)
    card = following.provider.card

    def renew() -> None:
        home.grant(card, "1min", first=START + 120)
        following.seal(50)

    rows = await following.through(
        until(240), lambda: following.seal(110), renew, lambda: following.seal(60), lambda: following.seal(60)
    )
    assert [row.start.minute for row in rows] == [0, 1, 2, 3]
    assert grant.until == START + 120
    assert following.missing == []


@pytest.mark.slow
@pytest.mark.parametrize("after", range(0, 16))
async def test_a_store_that_is_away_is_asked_again(after: int, following: Following) -> None:
    """Wherever the fault falls, no row is lost, doubled or wrong."""
    following.home.grant(following.provider.card, "10s")

    def away() -> None:
        following.seal(85)
        following.bucket.after, following.bucket.faults = after, 9

    rows = await following.through(until(120), away, *[nothing] * 9, lambda: following.seal(45))
    assert [row.start.second + 60 * row.start.minute for row in rows] == list(range(0, 120, 10))
    assert following.troubles in ([], ["the store is away; trying again", "the store answers again"])
    assert following.troubles or after


async def test_what_is_refused_ends_it(following: Following) -> None:
    following.home.grant(following.provider.card, "1min")

    def tamper() -> None:
        following.home.seal(random_readings(60))
        following.home.objects[following.home.chunks[-2]] = b""
        following.put()

    with pytest.raises(Refused, match=r"chunk/.* is not CBOR"):
        await following.through(until(240), lambda: following.seal(60), tamper)


@pytest.mark.parametrize(
    ("remember", "text"), [(True, "that was seen there before"), (False, "was made to follow: replaced")]
)
async def test_another_history_ends_it(remember: bool, text: str, following: Following) -> None:
    """A store that goes over to another chain, signed by the same gateway, in the middle. Without a
    memory on the disk, the walk from the last chunk to the next one shows it."""
    following.home.grant(following.provider.card, "1min")
    fork = []

    def seal() -> None:
        fork.append(following.home.fork())
        following.seal(60)

    def go_over() -> None:
        fork[0].seal(random_readings(120))
        fork[0].write(following.folder)

    with pytest.raises(Refused, match=text):
        await following.through(until(240), lambda: following.seal(60), seal, go_over, remember=remember)
