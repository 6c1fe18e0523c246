"""Reading by pages gives what chunks give, with few objects, and no page that does not hold is believed."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.layout import Layout
from gateway.errors import Refused
from gateway.provider.query import Query
from gateway.provider.sums import Sums
from gateway.store.bucket import Bucket
from gateway.store.directory import DirectoryBucket
from gateway.stream.chunks import ChainFollower
from gateway.stream.reader import StreamReader
from gateway.stream.seen import Seen
from gateway.wire import names
from gateway.wire.grant import Tokens
from gateway.wire.stream import Chunk, Page
from tests.provider.reading import DAY_MS, expected, problems, read, tally_of
from tests.stream.stream import Home, Provider, Signer, random_readings

pytestmark = pytest.mark.slow

DAY_S = 86_400


def at(*when: int, unit_ms: int = 900_000) -> int:
    """The unit that begins at a UTC date and time."""
    return int(datetime(*when, tzinfo=UTC).timestamp() * 1000) // unit_ms  # type: ignore[misc, arg-type]


def home_of(start: int) -> Home:
    """Units of 15 min, eight of them a chunk, so that chunks pass midnight; links of twenty."""
    return Home(layout=Layout(900_000, 20), start=start // 20 * 20, chunk_units=8)


def keys(home: Home, part: str) -> list[str]:
    return sorted(key for key in home.objects if key.startswith(names.stream_prefix(home.id) + part))


class Counting:
    """A bucket that counts what is fetched, by the folder it lies in."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.got: Counter[str] = Counter()
        self.lists = 0

    async def get(self, key: str) -> bytes:
        parts = key.split("/")
        self.got["/".join([parts[2], *parts[4:-1]]) if parts[2] == "grant" else parts[2]] += 1
        return await self._bucket.get(key)

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        raise AssertionError

    def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        self.lists += 1
        return self._bucket.list(prefix, after)

    async def delete(self, key: str) -> None:
        raise AssertionError

    async def aclose(self) -> None:
        await self._bucket.aclose()


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Provider:
    return Provider.new(tmp_path_factory.mktemp("provider") / "acme")


@pytest.fixture(scope="module")
def whole(provider: Provider) -> Home:
    """From late January to the tenth of April 2026, over Berlin's change of clocks, in two runs."""
    home = home_of(at(2026, 1, 30, 17))
    grant = home.grant(provider.card, "15min", bundle=8)
    readings = at(2026, 4, 10, 13) - home.start
    for count in (readings // 3, readings - readings // 3):
        for _ in range(count // 96 + 1):
            home.seal(random_readings(min(96, at(2026, 4, 10, 13) - home.end)))
            if home.end == at(2026, 4, 10, 13):
                break
        home.restart()
    assert home._served[grant.id].done == home.end - grant.first
    return home


@pytest.fixture
def home(whole: Home) -> Home:
    return whole.fork()


def test_everything_holds(whole: Home) -> None:
    assert problems(whole) == []
    assert len(keys(whole, "month/")) == 3
    assert len(keys(whole, "day/")) == 70 == tally_of(whole).pages - 3


@pytest.mark.parametrize(
    ("why", "change"),
    [
        ("says that it ends before window", lambda found: replace(found, words=found.words[:-32])),
        ("holds the object that belongs at", lambda found: replace(found, so_far=found.so_far - 1)),
        ("holds the object that belongs at", lambda found: replace(found, so_far=None)),
        ("in which incarnations", lambda found: replace(found, sealed=found.sealed[:1] * 2)),
        (
            "for other units than the chunks hold",
            lambda found: replace(found, sealed=((found.first_window, 9),)),
        ),
    ],
)
def test_tokens_so_far_are_verified(home: Home, why: str, change: Callable[[Tokens], Tokens]) -> None:
    """Of each day but the last of a month; no window's token is missed where none are there."""
    (grant_id,) = home._served
    days = [names.number_in(key) for key in keys(home, f"grant/{grant_id.hex()}/day/")]
    kept = keys(home, f"grant/{grant_id.hex()}/so-far/")
    ends = [names.number_in(key) for key in kept]
    assert len(ends) == 70 - 3
    assert set(ends) <= {*days[1:], home._served[grant_id].windows.complete(at(2026, 4, 10))}
    found = Tokens.read(home.objects[kept[-1]], home.signer.public, kept[-1])
    home.objects[kept[-1]] = home.signer.sign(change(found))
    (problem,) = problems(home)
    assert problem.key == kept[-1]
    assert why in problem.text
    for key in kept:
        del home.objects[key]
    assert problems(home) == []


@pytest.mark.parametrize("granularity", ["15min", "30min", "1h", "day", "month", "45min"])
def test_rows_by_pages_are_exact(granularity: str, home: Home, provider: Provider) -> None:
    home.grant(provider.card, "day", zone="Europe/Berlin")
    answer = read(home, provider, Query(granularity))
    expected(home, answer)
    assert len(answer.rows) > (0 if granularity == "month" else 60)


def test_a_year_is_few_objects(provider: Provider, tmp_path: Path) -> None:
    """ "A year at 15 minutes is some 12 month pages, 30 day pages and today's chunks", and so its tokens."""
    home = Home(("import",), layout=Layout(900_000, 20), start=at(2025, 3, 31, 9) // 20 * 20, chunk_units=4)
    home.grant(provider.card, "15min")
    while home.end < at(2026, 3, 31, 13):
        home.seal(random_readings(min(24, at(2026, 3, 31, 13) - home.end), ("import",)))

    async def fetched() -> Counting:
        bucket = Counting(DirectoryBucket(home.write(tmp_path)))
        reader = await StreamReader.open(bucket, home.id, home.signer.kid)
        await reader.refresh(time.time_ns() // 1_000_000, DAY_MS)
        sums = await Sums.ask(reader, provider.identity, Query())
        assert len([row async for row in sums.rows()]) == home.end - home.start
        return bucket

    bucket = asyncio.run(fetched())
    assert bucket.got["month"] == 12
    assert bucket.got["day"] == 30
    assert bucket.got["chunk"] <= 13 + 3  # an hour each, the head's, and some to find the first
    assert bucket.got["grant/month"] == 12
    assert bucket.got["grant/day"] == 30
    assert bucket.got["grant/new"] <= 13 // 6 + 3
    assert bucket.lists < 130


def test_small_objects_may_expire(home: Home, provider: Provider) -> None:
    """Chunks, days and fresh tokens of months that are over can go; what is left opens every window."""
    first_of_april = at(2026, 4, 1)
    for key in [*keys(home, "chunk/"), *keys(home, "grant/")]:
        if ("chunk/" in key or "/new/" in key) and names.number_in(key) < first_of_april - (
            home.start if "/new/" in key else 0
        ) - 8:
            del home.objects[key]
    for key in keys(home, "day/"):
        if "/day/2026-04" not in key and "/day/2026-03-31" not in key:
            del home.objects[key]
    answer = read(home, provider)
    assert len(answer.rows) == home.end - home.start
    expected(home, answer)


def test_a_chunk_seen_last_may_expire(home: Home, tmp_path: Path) -> None:
    provider = Provider.new(tmp_path / "acme")
    home.grant(provider.card, "1h", first=at(2026, 4, 11))
    read(home, provider, remember=True)
    seen = home.chunks[-1]
    for _ in range(3):
        home.seal(random_readings(96))
    del home.objects[seen]
    read(home, provider, Query(None, None, at(2026, 4, 12) * 900_000), remember=True)
    del home.objects[keys(home, "day/2026-04-10")[0]]
    fresh = Seen(provider.folder, home.id)
    assert fresh.load() is not None


@settings(max_examples=15)
@given(data=st.data())
def test_sums_by_pages_and_by_chunks_are_the_same(data: st.DataObject) -> None:
    unit_ms = data.draw(st.sampled_from([900_000, 3_600_000, 36_000 * 6, 60_000]), "unit")
    link_units = data.draw(st.sampled_from([50, 96, 1000]), "link")
    day = DAY_S * 1000 // unit_ms
    start = at(2026, 2, 26, data.draw(st.integers(0, 23)), unit_ms=unit_ms) // link_units * link_units
    home = Home(("import",), layout=Layout(unit_ms, link_units), start=start, chunk_units=link_units // 2)
    home.seal(random_readings(int(day * data.draw(st.floats(0.1, 4.2), "days")) + 1, ("import",)))
    home.restart()
    home.seal(random_readings(data.draw(st.integers(1, 100)), ("import",)))
    assert problems(home) == []
    grids = [data.draw(st.sampled_from([1, home.step("day"), home.step("month")])) for _ in range(8)]
    drawn = {data.draw(st.integers(home.start, home.end)) // grid * grid for grid in grids}
    bounds = sorted({bound for bound in drawn if bound > home.start} | {home.start})
    check_same(home, bounds[data.draw(st.integers(0, max(0, len(bounds) - 2))) :])


@pytest.mark.parametrize("unit_ms", [1000, 36_000, 7000, 86_400_000 // 1440 * 7])
def test_units_of_any_length(unit_ms: int) -> None:
    """7 s and 7 min divide no day: there are no pages, and chunks give all sums."""
    start = at(2026, 2, 28, 23, unit_ms=unit_ms) // 100 * 100
    home = Home(("import",), layout=Layout(unit_ms, 100), start=start, chunk_units=50)
    for _ in range(2):
        home.seal(random_readings(13 * 3_600_000 // unit_ms, ("import",)))
    assert problems(home) == []
    pages = [key.rpartition("/")[2] for key in [*keys(home, "day/"), *keys(home, "month/")]]
    assert pages == ([] if unit_ms % 7000 == 0 else ["2026-02-28.cose", "2026-03-01.cose", "2026-02.cose"])
    steps = 900_000 // unit_ms if unit_ms != 36_000 else 30
    check_same(home, [*range(-(-home.start // steps) * steps, home.end, steps)])
    check_same(home, [home.start, home.start + 1, home.end - 1, home.end])


def test_part_of_a_month_after_a_day_of_chunks() -> None:
    """The first window begins inside a step of its day's page, and ends days later on one of the month's."""
    home = Home(
        ("import",), layout=Layout(36_000, 100), start=at(2026, 2, 26, unit_ms=36_000), chunk_units=50
    )
    home.seal(random_readings(4 * 2400, ("import",)))
    check_same(home, [home.start + 101, home.start + 2 * 2400, home.end - 1230, home.end - 7])


def check_same(home: Home, bounds: list[int]) -> None:
    """Sums between bounds are the same with and without pages."""
    without = home.fork()
    for key in [*keys(home, "day/"), *keys(home, "month/")]:
        del without.objects[key]

    async def sums(of: Home) -> list[int]:
        with tempfile.TemporaryDirectory() as folder:
            reader = await StreamReader.open(DirectoryBucket(of.write(Path(folder))), of.id, of.signer.kid)
            await reader.refresh(time.time_ns() // 1_000_000, DAY_MS)
            found = await reader.sums(
                bounds, ["import"], ChainFollower(reader.descriptor, reader.marks(reader.head))
            )
            return [int(value) for value in found[0]]

    assert asyncio.run(sums(home)) == asyncio.run(sums(without))


def flip(home: Home, key: str) -> None:
    changed = bytearray(home.objects[key])
    changed[len(changed) // 2] ^= 1
    home.objects[key] = bytes(changed)


def resign(home: Home, key: str) -> None:
    home.objects[key] = Signer().sign(Page.read(home.objects[key], home.signer.public, key))


def of_another_stream(home: Home, key: str) -> None:
    page = Page.read(home.objects[key], home.signer.public, key)
    home.objects[key] = home.signer.sign(replace(page, stream=bytes(16)))


def of_another_period(home: Home, key: str) -> None:
    there = sorted(other for other in home.objects if other.rpartition("/")[0] == key.rpartition("/")[0])
    home.objects[key] = home.objects[there[there.index(key) - 1]]


def made_again(home: Home, key: str) -> None:
    """The same page under a second signature, as a ledger that was rolled back could make it."""
    home.objects[key] = home.signer.sign(Page.read(home.objects[key], home.signer.public, key))


def of_other_steps(home: Home, key: str) -> None:
    page = Page.read(home.objects[key], home.signer.public, key)
    home.objects[key] = home.signer.sign(replace(page, first=page.first - page.step))


CHANGES = [flip, resign, of_another_stream, of_another_period, made_again, of_other_steps]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["day/2026-03-15", "day/2026-03-31", "day/2026-04-05", "month/2026-02"])
def test_a_page_that_does_not_hold_is_named(
    change: Callable[[Home, str], None], name: str, home: Home
) -> None:
    [key] = keys(home, name)
    change(home, key)
    [problem] = problems(home)
    assert problem.key == key


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["day/2026-04-05", "month/2026-02"])
def test_a_page_that_does_not_hold_is_not_read(
    change: Callable[[Home, str], None], name: str, home: Home, provider: Provider
) -> None:
    [key] = keys(home, name)
    change(home, key)
    with pytest.raises(Refused) as refusal:
        read(home, provider)
    assert key in str(refusal.value)


@pytest.mark.parametrize("name", ["day/2026-03-15", "day/2026-03-31", "day/2026-04-09", "month/2026-02"])
def test_a_dropped_page_is_named_and_not_missed(name: str, home: Home, provider: Provider) -> None:
    [key] = keys(home, name)
    del home.objects[key]
    [problem] = problems(home)
    assert (problem.key, "is missing" in problem.text) == (key, True)
    expected(home, read(home, provider, Query("1h")))


@pytest.mark.parametrize("name", ["day/2026-03-15", "month/2026-03"])
def test_sums_and_children_that_are_not_those_of_what_is_there(name: str, home: Home) -> None:
    """A gateway gone wrong."""
    [key] = keys(home, name)
    page = Page.read(home.objects[key], home.signer.public, key)
    lane = bytearray(page.sums[1])
    lane[-1] ^= 1
    for wrong, text in (
        (replace(page, sums=(page.sums[0], bytes(lane))), "its sums are not those"),
        (replace(page, children=page.children[1:]), "lists other"),
        (replace(page, children=page.children[::-1]), "lists other"),
    ):
        home.objects[key] = home.signer.sign(wrong)
        assert any(problem.key == key and text in problem.text for problem in problems(home))


def test_a_bad_chunk_is_named_alone(home: Home) -> None:
    """Also where its day's page tells: the first of a day, the last, one across midnight."""
    across = [key for key in home.chunks if 0 < -names.number_in(key) % 96 < 8]
    for key in (across[20], home.chunks[home.chunks.index(across[20]) - 1], home.chunks[300]):
        chunk = Chunk.read(home.objects[key], home.signer.public, key)
        again = home.signer.sign(replace(chunk, sealed_ms=chunk.sealed_ms + 1))
        for data in (None, b"not a chunk", again):
            bad = home.fork()
            bad.objects = {other: old for other, old in home.objects.items() if other != key}
            if data is not None:
                bad.objects[key] = data
            assert [problem.key for problem in problems(bad)] == [key]


def test_a_page_of_another_history_does_not_join_todays_chunks(home: Home, provider: Provider) -> None:
    """Both were signed by the gateway, and only digests tell."""
    other = home.fork()
    for fork in (home, other):
        fork.names_day = False
        fork.seal(random_readings(96))
    [key] = keys(home, "day/2026-04-10")
    home.objects[key] = other.objects[key]
    with pytest.raises(Refused, match=r"does not go on where .* ends: it is of another history"):
        read(home, provider, Query("1h"))


@pytest.mark.parametrize("change", CHANGES)
def test_the_last_days_page_is_the_one_that_the_head_names(
    change: Callable[[Home, str], None], home: Home, provider: Provider
) -> None:
    [key] = keys(home, "day/2026-04-09")
    change(home, key)
    with pytest.raises(Refused, match=f"^{key} is not the page that .*/head.cose names: replaced$"):
        read(home, provider)
    assert [problem.key for problem in problems(home)] in ([key], [key, key])


def test_the_signature_of_a_page_that_the_head_names_is_not_needed(home: Home, provider: Provider) -> None:
    [key] = keys(home, "day/2026-04-09")
    resign(home, key)
    home.publish()
    expected(home, read(home, provider, Query("1h")))


@pytest.mark.parametrize("name", ["month/2026-03", "day/2026-04-01"])
def test_a_month_of_another_history_does_not_join_its_days(name: str, provider: Provider) -> None:
    home = home_of(at(2026, 3, 29))
    home.grant(provider.card, "15min")
    home.seal(random_readings(96))
    other = home.fork()
    for fork in (home, other):
        fork.seal(random_readings(5 * 96))
    [key] = keys(home, name)
    home.objects[key] = other.objects[key]
    with pytest.raises(
        Refused, match=r"day/2026-04-0\d.cose does not go on where .* ends: it is of another history"
    ):
        read(home, provider, Query("1h", None, None, at(2026, 4, 2) * 900_000))


class TestFoldedTokens:
    def test_a_fold_that_does_not_hold_is_named(self, home: Home, provider: Provider) -> None:
        [grant_id] = {key.split("/")[3] for key in keys(home, "grant/")}
        for key in (keys(home, f"grant/{grant_id}/day/")[40], keys(home, f"grant/{grant_id}/month/")[1]):
            bad = home.fork()
            flip(bad, key)
            assert [problem.key for problem in problems(bad)] == [key]
        flip(home, key)
        with pytest.raises(Refused, match=key):
            read(home, provider)

    def test_without_folds_the_fresh_ones_serve(self, home: Home, provider: Provider) -> None:
        [grant_id] = {key.split("/")[3] for key in keys(home, "grant/")}
        days, months = keys(home, f"grant/{grant_id}/day/"), keys(home, f"grant/{grant_id}/month/")
        for key in [days[20], days[21], days[65], months[1]]:
            del home.objects[key]
        expected(home, read(home, provider))
        assert problems(home) == []

    def test_a_window_that_no_fold_holds_is_named(self, home: Home, provider: Provider) -> None:
        [grant_id] = {key.split("/")[3] for key in keys(home, "grant/")}
        for key in [*keys(home, f"grant/{grant_id}/day/"), *keys(home, f"grant/{grant_id}/month/")]:
            del home.objects[key]
        new = keys(home, f"grant/{grant_id}/new/")[20]
        del home.objects[new]
        assert [problem.key for problem in problems(home)] == [new]
        with pytest.raises(Refused, match=f"{new} is missing"):
            read(home, provider)
