"""Many homes read together give what each gives alone, whatever is wrong with one of them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.layout import ENERGY, LANES, SERIES
from gateway.errors import NotFound, NotGranted, Refused, StoreUnavailable, UsageError
from gateway.provider.desk import Home, opened, read_by_processes, read_home, side_by_side
from gateway.provider.follow import Followed, follow_many
from gateway.provider.homes import read_desk_homes
from gateway.provider.many import Terms
from gateway.provider.query import Query
from gateway.provider.sums import Row, Sums
from gateway.store.directory import DirectoryBucket
from gateway.store.kept import KeptBucket
from gateway.store.location import Location
from gateway.stream.reader import StreamReader
from gateway.wire import names
from tests.provider.reading import DAY_MS
from tests.provider.street import Street, shown
from tests.provider.test_follow import FaultyBucket, StepClock
from tests.stream.stream import START, random_readings
from tests.stream.stream import Home as Gateway

_KINDS = ((*ENERGY, "power", "count"), (*SERIES, "count"))
"""The lanes that a meter's stream may have, and those of a series."""


@pytest.fixture
def street(tmp_path: Path) -> Street:
    """Four homes of four minutes, whose minutes were granted."""
    street = Street.new(tmp_path)
    for _ in range(4):
        gateway = street.joins(Gateway())
        gateway.seal(random_readings(240))
        gateway.grant(street.provider.card, "1min")
    return street


@pytest.mark.slow
@settings(max_examples=12)
@given(data=st.data())
def test_homes_read_together_give_what_each_gives_alone(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        street = Street.new(Path(folder))
        for _ in range(data.draw(st.integers(1, 5), "homes")):
            kinds = st.sampled_from(data.draw(st.sampled_from(_KINDS), "kind"))
            lanes = data.draw(st.lists(kinds, min_size=1, unique=True), "lanes")
            gateway = street.joins(Gateway([lane for lane in LANES if lane in lanes]))
            units = data.draw(st.integers(0, 200), "units")
            if units:
                gateway.seal(random_readings(units, gateway.lanes))
            for _ in range(data.draw(st.integers(0, 2), "grants")):
                first = START + data.draw(st.integers(0, 200), "first")
                granularity = data.draw(st.sampled_from(["10s", "1min"]), "granularity")
                gateway.grant(street.provider.card, granularity, first=first)
        query = Query(data.draw(st.sampled_from([None, "1min", "7s"]), "asked"))
        at_once = data.draw(st.integers(1, 6), "at once")
        together = asyncio.run(street.read(query, at_once=at_once))
        assert [one.home for one in together] == street.homes
        for answer in together:
            alone = asyncio.run(street.alone(answer.home, query))
            assert shown(answer) == shown(alone)
            assert type(answer.error) is type(alone.error)
            assert answer.said == alone.said


async def test_processes_read_what_one_reads(street: Street) -> None:
    street.write()
    query = Query("2min")
    terms = Terms(query, int(time.time() * 1000), DAY_MS * 10**6)
    told: list[tuple[int, int | None]] = []
    place = Location.parse(str(street.store))
    found = [
        one
        async for one in read_by_processes(
            place, street.homes, street.provider.folder, terms, lambda *done: told.append(done)
        )
    ]
    assert [(one.home, shown(one), one.error) for one in found] == [
        (one.home, shown(one), one.error) for one in await street.read(query)
    ]
    assert told == [(done, 4) for done in (1, 2, 3, 4)]


def flip(gateway: Gateway, key: str) -> None:
    data = bytearray(gateway.objects[key])
    data[len(data) // 2] ^= 1
    gateway.objects[key] = bytes(data)


def drop(gateway: Gateway, key: str) -> None:
    del gateway.objects[key]


@pytest.mark.parametrize("harm", [flip, drop])
@pytest.mark.parametrize("what", ["stream.cose", "grant.cose", "/chunk/", "head.cose"])
async def test_a_corrupted_home_changes_no_other(
    street: Street, what: str, harm: Callable[[Gateway, str], None]
) -> None:
    before = await street.read()
    bad = street.gateways[1]
    harm(bad, next(key for key in bad.objects if what in key))
    after = await street.read()
    for number in (0, 2, 3):
        assert shown(after[number]) == shown(before[number])
        assert len(shown(after[number])[0]) == 4
    if (what, harm) == ("head.cose", drop):  # which is how a stream looks before its first chunk
        assert shown(after[1]) == ([], "")
    else:
        assert isinstance(after[1].error, Refused)
        assert bad.id.hex() in str(after[1].home.failed(after[1].error))


async def test_each_home_has_its_own_error(street: Street) -> None:
    street.joins(Gateway()).seal(random_readings(60))
    nobody = Home(bytes(16), bytes(16))
    wrong = Home(street.gateways[0].id, street.gateways[1].signer.kid)
    answers = await street.read(homes=[nobody, *street.homes[1:], wrong])
    found = [type(one.error) for one in answers]
    assert found == [NotFound, type(None), type(None), type(None), NotGranted, Refused]
    assert "names the signing key" in str(answers[-1].error)


async def test_progress_counts_to_the_end(street: Street) -> None:
    seen: list[tuple[int, int | None]] = []
    await street.read(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


async def test_nothing_to_read(street: Street) -> None:
    assert await street.read(homes=[]) == []


class Crowd:
    """Work that counts how many of it are under way."""

    def __init__(self) -> None:
        self.under_way = self.most = self.begun = self.finished = 0

    async def one(self, number: int, rounds: int) -> int:
        self.begun += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            for _ in range(rounds):
                await asyncio.sleep(0)
            self.finished += 1
        finally:
            self.under_way -= 1
        return number


@given(rounds=st.lists(st.integers(0, 5), max_size=20), at_once=st.integers(1, 8))
def test_results_come_in_order_and_no_more_are_under_way(rounds: list[int], at_once: int) -> None:
    crowd = Crowd()

    async def gather() -> list[int]:
        work = (crowd.one(number, each) for number, each in enumerate(rounds))
        return [number async for number in side_by_side(work, at_once)]

    assert asyncio.run(gather()) == list(range(len(rounds)))
    assert crowd.most <= at_once
    if min(rounds, default=0) > at_once:
        assert crowd.most == min(at_once, len(rounds))


async def test_work_is_done_side_by_side() -> None:
    """Each waits until all three have begun."""
    begun = 0
    all_begun = asyncio.Event()

    async def one() -> int:
        nonlocal begun
        begun += 1
        if begun == 3:
            all_begun.set()
        await all_begun.wait()
        return begun

    assert [found async for found in side_by_side((one() for _ in range(3)), 3)] == [3, 3, 3]


async def test_what_is_left_is_cancelled_where_the_reader_stops() -> None:
    crowd = Crowd()
    results = side_by_side((crowd.one(number, 10**5 * number) for number in range(5)), 3)
    async for _ in results:
        break
    await results.aclose()
    assert (crowd.under_way, crowd.finished) == (0, 1)
    assert crowd.begun <= 3


async def test_a_mistake_in_one_is_raised() -> None:
    async def fails() -> int:
        raise ZeroDivisionError

    crowd = Crowd()

    def work() -> AsyncIterator[int]:
        return side_by_side(iter([crowd.one(0, 1), fails(), crowd.one(2, 10**6)]), 3)

    with pytest.raises(ZeroDivisionError):
        async for _ in work():
            pass
    assert crowd.under_way == 0


class TestKept:
    """What is kept of an S3 store on this machine; here of a directory."""

    def bucket(self, street: Street, tmp_path: Path) -> KeptBucket:
        return KeptBucket(DirectoryBucket(street.write()), tmp_path / "kept" / "one", names.lasts)

    async def test_a_damaged_home_costs_no_other_what_is_kept(self, street: Street, tmp_path: Path) -> None:
        before = await street.read(bucket=self.bucket(street, tmp_path))
        files = {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()}
        assert len(files) == 4  # the grants
        damaged = next(path for path in files if street.gateways[2].id.hex() in str(path))
        damaged.write_bytes(b"what nobody wrote")
        others = [path for path in files if path != damaged]
        for path in others:
            path.touch()
        stamps = [path.stat().st_mtime_ns for path in others]
        after = await street.read(bucket=self.bucket(street, tmp_path))
        assert [shown(one) for one in after] == [shown(one) for one in before]
        assert [path.stat().st_mtime_ns for path in others] == stamps
        assert not damaged.exists()

    async def test_an_error_is_about_the_store(self, street: Street, tmp_path: Path) -> None:
        await street.read(bucket=self.bucket(street, tmp_path))
        bad = street.gateways[0]
        flip(bad, next(key for key in bad.objects if "/chunk/" in key))
        bucket = self.bucket(street, tmp_path)
        answer = await read_home(
            bucket,
            street.homes[0],
            street.provider.identity,
            Query(),
            now_ms=time.time_ns() // 1_000_000,
            max_age_ms=DAY_MS,
        )
        assert isinstance(answer.error, Refused)


async def test_a_directory_is_opened_as_it_is(street: Street) -> None:
    async with opened(Location.parse(str(street.write()))) as bucket:
        assert isinstance(bucket, DirectoryBucket)


class TestFollow:
    async def followed(self, street: Street, query: Query, bucket: FaultyBucket) -> list[Followed]:
        found = []
        for home in street.homes:
            reader = await StreamReader.open(bucket, home.stream, home.signer)
            await reader.refresh(time.time_ns() // 1_000_000, DAY_MS)
            found.append(Followed(home, reader, await Sums.ask(reader, street.provider.identity, query)))
        return found

    async def through(
        self, street: Street, *steps: Callable[[], None], until: int = 360
    ) -> tuple[dict[bytes, list[int]], dict[bytes, str], list[str]]:
        """The minutes of each home that came, the errors, and the sentences said."""
        bucket = FaultyBucket(DirectoryBucket(street.write()))
        homes = await self.followed(street, Query(until_ms=(START + until) * 1000), bucket)
        minutes: dict[bytes, list[int]] = {home.stream: [] for home in street.homes}
        errors: dict[bytes, str] = {}
        said: list[str] = []
        async for home, item in follow_many(homes, StepClock(steps), DAY_MS, said.append):
            if isinstance(item, Row):
                minutes[home.stream].append(item.start.minute)
            else:
                errors[home.stream] = str(item)
        return minutes, errors, said

    async def test_rows_of_all_homes_come_as_they_open(self, street: Street) -> None:
        def grows() -> None:
            for gateway in street.gateways:
                gateway.seal(random_readings(60))
            street.write()

        minutes, errors, _ = await self.through(street, grows, grows)
        assert set(map(tuple, minutes.values())) == {(0, 1, 2, 3, 4, 5)}
        assert errors == {}

    async def test_one_that_is_refused_ends_alone(self, street: Street) -> None:
        bad = street.gateways[0]

        def grows() -> None:
            for gateway in street.gateways:
                gateway.seal(random_readings(120))
            flip(bad, bad.chunks[-3])
            street.write()

        minutes, errors, _ = await self.through(street, grows)
        assert list(errors) == [bad.id]
        assert bad.chunks[-3] in errors[bad.id]
        assert [len(minutes[gateway.id]) for gateway in street.gateways[1:]] == [6, 6, 6]

    async def test_an_outage_is_said_once_and_no_row_is_lost(self, street: Street) -> None:
        class Away(FaultyBucket):
            """Does not answer once for each head."""

            def __init__(self, bucket: DirectoryBucket) -> None:
                super().__init__(bucket)
                self.heads: set[str] = set()

            async def get(self, key: str) -> bytes:
                if key in self.heads:
                    self.heads.remove(key)
                    raise StoreUnavailable("the store is away")
                return await super().get(key)

        bucket = Away(DirectoryBucket(street.write()))
        homes = await self.followed(street, Query(until_ms=(START + 240) * 1000), bucket)
        bucket.heads = {names.head(home.stream) for home in street.homes}
        said: list[str] = []
        rows = [item async for _, item in follow_many(homes, StepClock([]), DAY_MS, said.append)]
        assert len(rows) == 16
        assert said == ["the store is away; trying again", "the store answers again"]

    async def test_a_mistake_is_raised(self, street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
        async def fails(self: StreamReader, now_ms: int, max_age_ms: int) -> None:
            raise ZeroDivisionError

        homes = await self.followed(street, Query(), FaultyBucket(DirectoryBucket(street.write())))
        monkeypatch.setattr(StreamReader, "refresh", fails)
        with pytest.raises(ZeroDivisionError):
            async for _ in follow_many(homes, StepClock([]), DAY_MS, print):
                pass


A, B = "000102030405060708090a0b0c0d0e0f", "101112131415161718191a1b1c1d1e1f"


class TestLists:
    def test_homes_with_names_and_without(self) -> None:
        [home] = read_desk_homes(f"stream,signer\n{A},{B}\n", "homes.csv")
        assert home == Home(bytes.fromhex(A), bytes.fromhex(B))
        [named] = read_desk_homes(
            f'\ufeffstream, signer, name\r\n{A},{B},"Mill Lane 1, left"\r\n', "homes.csv"
        )
        assert (named, named.name, named.verified) == (home, "Mill Lane 1, left", True)

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("", "homes.csv, line 1: expected the heading stream,signer[,name]"),
            ("signer,stream\n", "line 1: expected the heading stream,signer[,name]"),
            ("stream,signer,grant\n", "line 1: expected the heading stream,signer[,name]"),
            ("stream,signer\n", "homes.csv names no home: expected a line stream,signer for each"),
            (f"stream,signer\n{A}\n", "line 2: 1 cells: expected stream,signer"),
            (f"stream,signer\n{A},{B},x\n", "line 2: 3 cells: expected stream,signer"),
            (f"stream,signer\n{A},5f\n", "line 2: signer '5f': expected 32 hexadecimal digits"),
            (f"stream,signer\n\n{A[1:]},{B}\n", f"line 3: stream '{A[1:]}': expected 32 hexadecimal digits"),
            (
                f"stream,signer\n{A},{B}\n{A.upper()},{B}\n",
                f"line 3: stream {A} stands in line 2 already: name each home once",
            ),
            (f'stream,signer,name\n{A},{B},"x\n', "expected CSV"),
        ],
    )
    def test_a_wrong_list(self, text: str, sentence: str) -> None:
        with pytest.raises(UsageError) as error:
            read_desk_homes(text, "homes.csv")
        assert sentence in str(error.value)
