"""Day and month pages: made once a period is over, exact, chained, whatever fails and wherever a ledger
comes from."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.chain.layout import Layout
from gateway.chain.page import Calendar, add_up
from gateway.daemon.rollback import StoreAhead
from gateway.errors import StoreUnavailable
from gateway.store.directory import DirectoryBucket
from gateway.stream.chunks import Problem
from gateway.stream.verify import verify
from gateway.wire import cose, names
from gateway.wire.grant import Tokens
from gateway.wire.stream import Page, SoFar
from tests.support.home import Home
from tests.support.provider import Provider
from tests.support.stored import Stored

pytestmark = pytest.mark.slow

QUARTER_MS = 900_000
DAY = 96  # units of a quarter of an hour


def quarters(folder: Path, start: datetime) -> Home:
    """A home with units of 15 min, in links of ten hours: chunks and links pass midnight."""
    return Home(folder, layout=Layout(QUARTER_MS, 40), chunk_units=10, start_s=start.timestamp())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return quarters(tmp_path, datetime(2026, 5, 28, 20, tzinfo=UTC))


async def lives(home: Home, days: float) -> None:
    """So many days of readings, with a commit every few hours."""
    await home.runs(round(days * DAY), every=17)


async def pages_of(home: Home, span: str) -> dict[str, Page]:
    """The store's pages by period, each under its own key."""
    stream, found = (await home.stream()).id, {}
    async for key in home.bucket.list(names.pages(stream, span)):
        page = Page.read(await home.bucket.get(key), home.root.public_key, key)
        assert (page.stream, names.page(stream, page.period)) == (stream, key)
        found[page.period] = page
    return found


async def check(home: Home) -> Stored:
    """Every day and month that is over has its page, with the sums and digests of what is in the store."""
    assert await home.publishes_all() == 0
    stored = await home.stored()
    unit_ms, start, end = home.layout.unit_ms, stored.start, stored.end
    stream = stored.descriptor.stream
    first = datetime.fromtimestamp(start * unit_ms / 1000, UTC).replace(hour=0, minute=0, second=0)
    dates = [first + timedelta(days=n) for n in range(2 + (end - start) * unit_ms // 86_400_000)]
    days: dict[str, tuple[int, int]] = {}
    months: dict[str, tuple[int, int]] = {}
    for day in dates:
        unit = round(day.timestamp() * 1000) // unit_ms
        days[f"{day:%Y-%m-%d}"] = unit, unit + 86_400_000 // unit_ms
    for day in dates:
        month = day.replace(day=1)
        begin, after = month.timestamp(), (month + timedelta(days=31)).replace(day=1).timestamp()
        months[f"{day:%Y-%m}"] = round(begin * 1000) // unit_ms, round(after * 1000) // unit_ms
    chunks = [(chunk.first, chunk.end, await digest(home, chunk.first)) for chunk in stored.chunks]
    of_days: list[tuple[int, int, bytes]] = []
    for span, periods, below in (("day", days, chunks), ("month", months, of_days)):
        previous = None
        found = await pages_of(home, span)
        if span == "month":
            await check_so_far(home, stored, of_days)
        for name, (begin, over) in periods.items():
            step = 1  # a unit of 15 min, in days and months alike
            if over > end or max(begin, start) >= over:
                assert name not in found
                continue
            page = found.pop(name)
            assert (page.step, page.first, page.end) == (step, max(begin, start), over)
            for row, lane in enumerate(home.lanes):
                c = stored.c[lane][page.first - start : page.end - start]
                assert page.c(row).tolist() == c.tolist()
            assert list(page.children) == [one for x, y, one in below if x < over and y > begin]
            assert page.previous == previous
            data = await home.bucket.get(names.page(stream, name))
            previous = cose.digest(data)
            if span == "day":
                of_days.append((page.first, page.end, previous))
        assert found == {}
    problems: list[Problem] = []
    signer = cose.kid_of(home.root.public_key)
    await verify(home.bucket, stream, signer, None, problems.append, lambda _: None)
    assert problems == []
    return stored


async def check_so_far(home: Home, stored: Stored, days: list[tuple[int, int, bytes]]) -> None:
    """What the store has of months so far: the month's sums and days up to a day's end, after the month
    before."""
    stream = stored.descriptor.stream
    months = {name: page.first for name, page in (await pages_of(home, "month")).items()}
    async for key in home.bucket.list(names.pages(stream, "so-far")):
        found = SoFar.read_at(key, await home.bucket.get(key), home.root.public_key, home.layout.unit_ms)
        begin = datetime.fromisoformat(f"{found.period[:7]}-01T00:00Z")
        end = datetime.fromisoformat(f"{found.period}T00:00Z") + timedelta(days=1)
        first, over = (round(one.timestamp() * 1000) // home.layout.unit_ms for one in (begin, end))
        assert end.day > 1
        assert (found.step, found.first, found.end) == (1, max(first, stored.start), over)
        for row, lane in enumerate(home.lanes):
            c = stored.c[lane][found.first - stored.start : found.end - stored.start]
            assert found.c(row).tolist() == c.tolist()
        assert list(found.children) == [one for x, y, one in days if first <= x and y <= over]
        before = [name for name in months if name < found.period[:7]]
        data = await home.bucket.get(names.page(stream, max(before))) if before else None
        assert found.previous == (None if data is None else cose.digest(data))


async def digest(home: Home, first: int) -> bytes:
    stream = await home.stream()
    return cose.digest(await home.bucket.get(names.chunk(stream.id, first, home.layout.unit_ms)))


async def kept(home: Home) -> tuple[list[int], list[str]]:
    """What the ledger keeps for pages to come: chunks' ends, and the days with sums."""

    def work(db):  # type: ignore[no-untyped-def]
        chunks = db.execute("SELECT end FROM chunk WHERE c IS NOT NULL ORDER BY end").fetchall()
        pages = db.execute("SELECT period FROM page WHERE c IS NOT NULL ORDER BY period").fetchall()
        return [end for (end,) in chunks], [period for (period,) in pages]

    return await home.database.do(work)


class TestSteps:
    @pytest.mark.parametrize(
        ("unit_ms", "day", "month"),
        [
            (1, 60_000, 900_000),
            (1000, 60, 900),
            (36_000, 2, 30),  # 72 s; 25 units of 15 min are no whole number of its steps
            (45_000, 2, 20),
            (60_000, 1, 15),
            (QUARTER_MS, 1, 1),
            (3_600_000, 1, 1),
            (1_200_000, 1, 1),
        ],
    )
    def test_a_step_is_long_enough_and_divides(self, unit_ms: int, day: int, month: int) -> None:
        calendar = Calendar.of(unit_ms, 0)
        assert calendar is not None
        assert (calendar.step("day"), calendar.step("month")) == (day, month)

    @given(unit_ms=st.sampled_from([ms for ms in range(1, 3_600_001) if 86_400_000 % ms == 0]))
    def test_of_any_unit(self, unit_ms: int) -> None:
        calendar = Calendar.of(unit_ms, 0)
        assert calendar is not None
        units = 86_400_000 // unit_ms
        day, month = calendar.step("day"), calendar.step("month")
        assert units % day == units % month == month % day == 0
        assert day * unit_ms >= 60_000
        assert month * unit_ms >= 900_000

    def test_no_pages_where_a_unit_does_not_divide_a_day(self) -> None:
        assert Calendar.of(7000, 0) is None

    def test_periods_are_those_of_the_calendar_in_utc(self) -> None:
        """Also where clocks change: on 29 March 2026 in Europe."""
        calendar = Calendar(QUARTER_MS, round(datetime(2026, 3, 1, 5, tzinfo=UTC).timestamp()) // 900)
        for when in (datetime(2026, 3, 29, 12, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)):
            day = calendar.period("day", int(when.timestamp()) // 900)
            assert (day.name, day.end - day.begin, day.count) == (f"{when:%Y-%m-%d}", DAY, DAY)
        month = calendar.period("month", calendar.start)
        assert (month.name, month.end - month.begin) == ("2026-03", 31 * DAY)
        assert month.first == calendar.start

    @given(
        st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40),
        st.integers(0, 30),
        st.sets(st.integers(0, 60), min_size=2, max_size=8),
        st.integers(1, 3),
    )
    def test_adding_up_is_what_slices_add_up_to(
        self, values: list[int], first: int, bounds: set[int], step: int
    ) -> None:
        edges = sorted(bounds)
        sums = np.zeros((1, len(edges) - 1), dtype=np.uint64)
        add_up(sums, np.array(edges) * step, first * step, step, np.array([values], dtype=np.uint64))
        for i, (a, b) in enumerate(pairwise(edges)):
            inside = [value for at, value in enumerate(values, first) if a <= at < b]
            assert int(sums[0, i]) == sum(inside) % 2**64

    def test_an_edge_inside_a_step_is_a_mistake(self) -> None:
        with pytest.raises(ValueError, match="inside a step"):
            add_up(np.zeros((1, 1), np.uint64), np.array([0, 7]), 0, 2, np.ones((1, 10), np.uint64))


async def test_pages_follow_the_end_of_their_periods(home: Home) -> None:
    async with home:
        await lives(home, 5.3)
        stored = await check(home)
        assert (
            list(await pages_of(home, "day"))
            == [
                "2026-05-28",
                "2026-05-29",
                "2026-05-30",
                "2026-05-31",
                "2026-06-01",
            ][-len(await pages_of(home, "day")) :]
        )
        assert list(await pages_of(home, "month")) == ["2026-05"]
        chunks, days = await kept(home)
        june = round(datetime(2026, 6, 2, tzinfo=UTC).timestamp()) // 900
        assert chunks == [chunk.end for chunk in stored.chunks if chunk.end > june]
        assert days == list(await pages_of(home, "day"))
        await lives(home, 29)
        await home.publish()
        assert list(await pages_of(home, "month")) == ["2026-05", "2026-06"]
        _, days = await kept(home)
        assert [days[0], days[-1]] == ["2026-06-01", "2026-06-30"]  # those of the month before are kept


async def test_a_day_without_a_whole_step_has_no_page(tmp_path: Path) -> None:
    """The stream starts with the last unit of a day and a month, of 45 s; a day's steps have two of them."""
    start = datetime(2026, 5, 31, 23, 55, tzinfo=UTC)
    home = Home(tmp_path, layout=Layout(45_000, 101), chunk_units=101, start_s=start.timestamp())
    async with home:
        await home.runs(2100, every=99)
        june = round(datetime(2026, 6, 1, tzinfo=UTC).timestamp()) // 45
        assert (await home.stream()).start == june - 1
        await home.publish()
        found = await pages_of(home, "day")
        assert list(found) == ["2026-06-01"]
        page = found["2026-06-01"]
        assert (page.step, page.first, page.count, page.previous) == (2, june, 960, None)
        stored = await home.stored()
        c = stored.c["import"][1:1921].reshape(-1, 2).sum(axis=1, dtype=np.uint64)
        assert page.c(0).tolist() == c.tolist()
        assert len(page.children) == len([chunk for chunk in stored.chunks if chunk.first < june + 1920])


async def test_a_unit_that_does_not_divide_a_day_has_no_pages_and_keeps_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path, layout=Layout(3_599_000, 20), chunk_units=10)
    async with home:
        await home.runs(80, every=11)
        await home.publish()
        assert await kept(home) == ([], [])
        assert not [key for key, _ in home.bucket.puts if "/day/" in key or "/month/" in key]
        await home.check_energy()


async def test_an_outage_is_caught_up_with_day_by_day(home: Home) -> None:
    async with home:
        await lives(home, 1.5)
        home.reads(4.7 * 86_400, 12_345, 678)
        await lives(home, 0.5)
        await check(home)
        assert "2026-05" in await pages_of(home, "month")


async def test_tokens_are_folded_with_their_day_and_month(home: Home) -> None:
    async with home:
        await lives(home, 1.2)
        provider = Provider(home.clock.now_ms)
        await home.grants(provider, "30min", from_ms=0)
        await home.grants(provider, "day", zone="Europe/Berlin", from_ms=0)
        gone = await home.grants(provider, "1h", from_ms=0)
        await lives(home, 0.7)
        await home.granter.revoke(gone.id)
        await lives(home, 4)
        stored = await check(home)
        for record in await home.ledger.grants():
            grant = await home.check_grant(provider, record, stored)
            tokens: dict[str, dict[int, list[int]]] = {}
            for fold in names.FOLDS:
                tokens[fold] = {}
                async for key in home.bucket.list(names.bundles(grant.stream, grant.id, fold)):
                    bundle = Tokens.read(await home.bucket.get(key), home.root.public_key, key)
                    assert key == names.bundle(grant.stream, grant.id, bundle.first_window, fold)
                    table = bundle.table(grant.words).tolist()
                    tokens[fold] |= dict(enumerate(table, bundle.first_window))
            ends = min(stored.end, record.revoked_from or stored.end)
            over = round(datetime(2026, 6, 3, tzinfo=UTC).timestamp()) // 900
            may = round(datetime(2026, 6, 1, tzinfo=UTC).timestamp()) // 900
            assert over <= stored.end
            for fold, until in (("day", over), ("month", may)):
                windows = range(grant.complete(min(until, ends)))
                assert {j: tokens["new"][j] for j in windows}.items() <= tokens[fold].items()
                assert tokens[fold].items() <= tokens["new"].items()


async def test_with_a_days_tokens_go_those_of_its_month_so_far(home: Home) -> None:
    """The same tokens, of each day in which a window ended, but a month's last; of a grant into the past, of
    the last such day alone. Not of calendar windows."""
    async with home:
        await lives(home, 2.2)  # into 30 May
        provider = Provider(home.clock.now_ms)
        for granularity in ("30min", "36h"):
            await home.grants(provider, granularity, from_ms=0)
        await home.grants(provider, "day", zone="Europe/Berlin", from_ms=0)
        gone = await home.grants(provider, "1h", from_ms=0)
        await lives(home, 1.7)
        await home.granter.revoke(gone.id)
        await lives(home, 3)
        stored = await check(home)
        written = [key for key, _ in home.bucket.puts if "/so-far/" in key]
        assert sorted(set(written)) == sorted(written)  # once
        for record in await home.ledger.grants():
            grant = await home.check_grant(provider, record, stored)
            prefix = names.tokens_so_far(grant.stream, grant.id, 0).removesuffix(f"{0:016x}.cose")
            found = {}
            async for key in home.bucket.list(prefix):
                bundle = Tokens.read(await home.bucket.get(key), home.root.public_key, key)
                found[names.number_in(key)] = bundle
                assert (bundle.so_far, bundle.end_window(grant.words)) == (names.number_in(key),) * 2
            if record.edges:
                assert found == {}
                continue
            tokens: dict[int, list[int]] = {}
            async for key in home.bucket.list(names.bundles(grant.stream, grant.id)):
                bundle = Tokens.read(await home.bucket.get(key), home.root.public_key, key)
                tokens |= dict(enumerate(bundle.table(grant.words).tolist(), bundle.first_window))
            ended = {}
            for day in (29, 30, 32, 33, 34):  # of May; 31 are those of the whole month
                begin = round(datetime(2026, 5 if day < 32 else 6, 1, tzinfo=UTC).timestamp()) // 900
                over = round((datetime(2026, 5, 1, tzinfo=UTC) + timedelta(days=day)).timestamp()) // 900
                until = min(over, record.revoked_from or over)
                if grant.complete(min(over - 96, until)) < grant.complete(until) and over <= stored.end:
                    ended[grant.complete(until)] = grant.complete(begin)
            assert {end: bundle.first_window for end, bundle in found.items()} == ended
            for end, bundle in found.items():
                table = bundle.table(grant.words).tolist()
                assert table == [tokens[j] for j in range(bundle.first_window, end)]


async def test_a_page_leaves_after_the_tokens_folded_with_it_and_before_the_head(home: Home) -> None:
    async with home:
        await lives(home, 1)
        await home.grants(Provider(home.clock.now_ms), "15min", from_ms=0)
        await lives(home, 4)
        await home.publish()
        keys = [key.split("/", 2)[2] for key, _ in home.bucket.puts]
        at = keys.index("month/2026-05.cose")
        assert keys[at - 1].startswith("grant/")
        assert "/month/" in keys[at - 1]
        day = keys.index("day/2026-05-31.cose")
        assert "/day/" in keys[day - 1]
        assert day < at < keys.index("head.cose")


async def test_with_each_day_go_the_sums_of_its_month_so_far(home: Home) -> None:
    """After the day's page and before the head; not with the last day of a month, whose page is made."""
    async with home:
        for _ in range(6):
            await lives(home, 1)
            await home.publish()
        await check(home)
        keys = [key.split("/", 2)[2] for key, _ in home.bucket.puts]
        days = [key for key in keys if key.startswith("day/")]
        assert {"day/2026-05-30.cose", "day/2026-05-31.cose", "day/2026-06-01.cose"} <= set(days)
        made = [key for key in keys if key.startswith("so-far/")]
        assert made == [key.replace("day", "so-far") for key in days if "05-31" not in key]
        for key in made:
            at = keys.index(key)
            assert keys.index(key.replace("so-far", "day")) < at
            assert "head.cose" in keys[at:]


async def test_no_sums_of_a_month_while_the_month_before_has_no_page(home: Home) -> None:
    """All days that are over have their pages before the month's is made."""
    async with home:
        await home.runs(round(7 * DAY), every=round(7 * DAY))
        await check(home)
        stream = (await home.stream()).id
        found = [key async for key in home.bucket.list(names.pages(stream, "so-far"))]
        assert [key for key in found if "2026-06" in key] == []


@pytest.mark.parametrize("what", ["ledger", "root", "crash"])
async def test_whatever_fails_the_next_turn_goes_on(home: Home, what: str) -> None:
    """At every call, in turn, over the days on which a month ends."""
    async with home:
        await lives(home, 2.5)
        await home.grants(Provider(home.clock.now_ms), "1h", from_ms=0)
        for after in range(60):
            await lives(home, 0.03 if what != "crash" else 0.05)
            if what in ("ledger", "crash"):
                home.database.fuse.set(after % 15, None if what == "crash" else 1)
            if what in ("root", "crash"):
                home.root.fuse.set(after % 7, None if what == "crash" else 1)
            for _ in range(5):
                home.reads(900)
            await home.commit()
            if what == "crash":
                await home.crashes_and_starts()
        home.mend()
        await lives(home, 0.5)
        await check(home)
        assert "2026-05" in await pages_of(home, "month")


class TestRolledBack:
    @pytest.mark.parametrize("since", [0.25, 1.3, 4.2])
    @pytest.mark.parametrize("before", [0.4, 3.0, 4.5])
    async def test_the_stores_pages_are_adopted_and_followed(
        self, home: Home, before: float, since: float
    ) -> None:
        async with home:
            await lives(home, before)
            await home.grants(Provider(home.clock.now_ms), "15min", from_ms=0)
            await home.publish()
            home.copies("old")
            await lives(home, since)
            await home.publish()
            pages = {key: data for key, data in home.bucket.puts if "/day/" in key or "/month/" in key}
            await home.restores("old")
            home.bucket.away = True
            await lives(home, 2.1)
            await home.publish()
            home.bucket.away = False
            assert await home.publishes_all() == 1
            await lives(home, 5)
            await check(home)
            home.check_puts()
            for key, data in pages.items():
                assert await home.bucket.get(key) == data

    async def test_a_page_in_the_way_tells(self, home: Home) -> None:
        """The copy was made between a day's last chunk and its page."""
        async with home:
            await lives(home, 2.2)
            await home.publish()
            made = 0
            while made == 0:
                home.copies("old")
                before = len(await pages_of(home, "day"))
                home.reads(900)
                head = await home.ledger.position(await home.stream())
                home.root.fail_after(1)  # the chunk's signature, then not the page's
                await home.commit()
                home.mend()
                if (await home.ledger.position(await home.stream())).last != head.last:
                    home.copies("old")
                await home.commit()
                await home.publish()
                made = len(await pages_of(home, "day")) - before
            await home.restores("old")
            await home.line().commit()
            with pytest.raises(StoreAhead, match=r"day/.* is already in the store, with other bytes"):
                await home.publish()
            assert await home.publishes_all() == 1
            await lives(home, 4)
            await check(home)

    async def test_a_page_that_the_store_lost_is_made_again(self, home: Home) -> None:
        async with home:
            await lives(home, 3)
            await home.publish()
            home.copies("old")
            await lives(home, 2)
            await home.publish()
            stream = await home.stream()
            await DirectoryBucket(home.folder / "store").delete(names.page(stream.id, "2026-06-01"))
            await home.restores("old")
            assert await home.publishes_all() == 1
            await lives(home, 3)
            await home.publishes_all()
            assert "2026-06-01" in await pages_of(home, "day")

    async def test_foreign_bytes_in_a_pages_place_are_overwritten(self, home: Home) -> None:
        async with home:
            await lives(home, 2.5)
            stream = await home.stream()
            bucket = DirectoryBucket(home.folder / "store")
            await bucket.put(names.page(stream.id, "2026-05-31"), b"not a page")
            await home.publish()
            earlier = names.page(stream.id, "2026-05-30")
            await bucket.put(names.page(stream.id, "2026-06-01"), await bucket.get(earlier))
            await lives(home, 4)
            await check(home)


@settings(max_examples=8)
@given(
    acts=st.lists(
        st.tuples(
            st.sampled_from(["lives", "gap", "crash", "copy", "restore", "publish", "cut off"]),
            st.integers(1, 12),
        ),
        max_size=14,
    )
)
@example([("lives", 2), ("publish", 1), ("restore", 1), ("cut off", 1)])
def test_any_life_gives_exact_pages(acts: list[tuple[str, int]]) -> None:
    async def live() -> None:
        with tempfile.TemporaryDirectory(prefix="home-") as folder:
            async with quarters(Path(folder), datetime(2026, 5, 28, 20, tzinfo=UTC)) as home:
                await lives(home, 1)
                home.copies("old")
                for what, much in acts:
                    match what:
                        case "lives":
                            await lives(home, much / 6)
                        case "gap":
                            home.reads(much * 11_111, 777, 7)
                        case "crash":
                            await home.crashes_and_starts()
                        case "copy":
                            home.copies("old")
                        case "restore":
                            await home.restores("old")
                        case "publish":
                            await home.publishes_all()
                        case "cut off":
                            home.bucket.fuse.set(much, None)
                            with suppress(StoreUnavailable):  # in the midst of a take-over
                                await home.publishes_all()
                            home.mend()
                            await home.publishes_all()
                await lives(home, 2)
                await home.publishes_all()
                await check(home)

    asyncio.run(live())
