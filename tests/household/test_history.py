"""The household's own sums: what the meter showed, to the mWh, in the days and months of the home's clock."""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.layout import Layout
from gateway.chain.window import Granularity
from gateway.config import SeriesSection
from gateway.control.client import ControlClient
from gateway.control.documents import GrantStatus
from gateway.errors import GatewayError, Refused, Unavailable, UsageError
from gateway.household.history import MOST_ROWS, History, Step, Sums, step_edges
from gateway.wire import names
from tests.support.clock import FakeClock
from tests.support.home import LINK_UNITS, MEMORY, Home
from tests.support.pages import Answers
from tests.support.serving import serving

BERLIN = "Europe/Berlin"
DAY_MS = 86_400_000
ZONES = (
    "UTC",
    BERLIN,
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "America/Havana",
    "Africa/Cairo",
)


def local(zone: str, *fields: int) -> int:
    """The moment, Unix ms, of a local time."""
    return int(datetime(*fields, tzinfo=ZoneInfo(zone)).timestamp() * 1000)  # type: ignore[misc,arg-type]


@asynccontextmanager
async def reading(home: Home, state: str = "household") -> AsyncIterator[History]:
    """The household's reader beside a running gateway."""
    (home.folder / state).mkdir(exist_ok=True)
    async with serving(home, home.folder / "s"):
        yield History(home.folder / state, ControlClient(home.folder / "s"), home.clock)


class Truth:
    """What the meter showed at the end of each unit."""

    def __init__(self, home: Home, meter: str = "main") -> None:
        self._unit_ms = home.layout.unit_ms
        self._shown = {unit: shown[-1] for (name, unit), shown in home.read.items() if name == meter}

    def check(self, sums: Sums) -> None:
        """Each row is the difference of the registers, and the sum of the power that was read."""
        for row in sums:
            a, b = row.start_ms // self._unit_ms, row.end_ms // self._unit_ms
            before, last = self._shown[a - 1], self._shown[b - 1]
            assert (row.import_mwh, row.export_mwh) == (last[0] - before[0], last[1] - before[1])
            watts = [self._shown[unit][2] for unit in range(a, b)]
            assert (row.sums["power"], row.sums["count"]) == (sum(watts), len(watts))
            assert row.mean_w == sum(watts) / len(watts)


async def test_a_year_in_every_step_is_what_the_meter_showed() -> None:
    """With a day of 23 hours and one of 25, read twice: from the store, and from what was kept of it."""
    luck = random.Random(7)
    begin = datetime(2025, 11, 20, 21, 52, tzinfo=UTC).timestamp()
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        async with Home(Path(folder), layout=Layout(900_000, 96), chunk_units=96, start_s=begin) as home:
            for unit in range(375 * 96):
                home.reads(
                    900, luck.randrange(3_000_000), luck.randrange(900_000), luck.randrange(-5000, 9000)
                )
                if unit % 96 == 95:
                    await home.commit()
            await home.publish()
            truth, stream = Truth(home), await home.stream()
            first, now = stream.start * 900_000, home.clock.now_ms
            async with reading(home) as history:
                year: dict[Step, Sums] = {}
                for _ in range(2):
                    for step in ("quarter", "hour", "day", "month", "year"):
                        found = year[step] = await history.sums("main", 0, 2**46, step, BERLIN)
                        truth.check(found)
                        assert found.starts_ms[0] == first
                        assert found.ends_ms[-1] == found.complete_ms
                        assert found.complete_ms > now - 2 * DAY_MS
                        assert found.starts_ms[1:].tolist() == found.ends_ms[:-1].tolist()
                assert len({sums.total("import") for sums in year.values()}) == 1
                lengths = {row.start_ms: (row.end_ms - row.start_ms) // 3_600_000 for row in year["day"]}
                assert lengths[local(BERLIN, 2026, 3, 29)] == 23
                assert lengths[local(BERLIN, 2026, 10, 25)] == 25
                assert set(list(lengths.values())[1:-1]) == {23, 24, 25}
                assert [row.start_ms for row in year["month"]][1:] == [
                    local(BERLIN, 2025, 12, 1),
                    *(local(BERLIN, 2026, month, 1) for month in range(1, 12)),
                ]
                assert [row.start_ms for row in year["year"]] == [first, local(BERLIN, 2026, 1, 1)]
                # Both 02:00 of the day with 25 hours.
                a, b = local(BERLIN, 2026, 10, 25), local(BERLIN, 2026, 10, 26)
                hours = await history.sums("main", a, b, "hour", BERLIN)
                assert [row.start_ms for row in hours] == list(range(a, b, 3_600_000))
                assert len(hours) == 25
                # Parts of a time add up to it, wherever they are cut.
                cuts = sorted(luck.sample(range(a - 40 * DAY_MS, b), 7))
                parts = [
                    (await history.sums("main", x, y, "day", BERLIN)).total("import")
                    for x, y in pairwise(cuts)
                ]
                whole = await history.sums("main", cuts[0], cuts[-1], "month", BERLIN)
                assert sum(part or 0 for part in parts) == whole.total("import")
                # In India an hour begins at half past of UTC.
                india = await history.sums("main", a, b, "hour", "Asia/Kolkata")
                truth.check(india)
                assert {row.start_ms % 3_600_000 for row in india} == {0, 1_800_000}
                assert not len(await history.sums("main", 0, first, "day", BERLIN))
                assert not len(await history.sums("main", 2**45, 2**46, "day", BERLIN))
            # Only two grants were made for it, one where a day's steps are as long as a month's.
            assert [one.own for one in await home.ledger.grants()] == [True]


async def test_minutes_up_to_the_last_chunk(tmp_path: Path) -> None:
    async with Home(tmp_path) as home:
        await home.runs(20 * LINK_UNITS)
        async with reading(home) as history:
            before = await history.sums("main", 0, 2**46, "minute", BERLIN)
            Truth(home).check(before)
            await home.runs(5 * LINK_UNITS)
            after = await history.sums("main", 0, 2**46, "minute", BERLIN)
            Truth(home).check(after)
            assert len(after) == len(before) + 5
            grants = await ControlClient(home.folder / "s").grants()
            made = {(one.granularity, one.own) for one in grants if isinstance(one, GrantStatus)}
            assert made == {("1min", True), ("15min", True)}
            assert len(grants) == 2
            stream = await home.stream()
            consent = await home.granter.consent(stream, [])
            assert consent.silent
        async with reading(home) as again:  # the keys and the grants are there
            assert len(await again.sums("main", 0, 2**46, "minute", BERLIN)) == len(after)
        assert len(await home.ledger.grants()) == 2
        assert (home.folder / "household" / "identity" / "key.cbor").stat().st_mode & 0o077 == 0


async def test_units_that_fit_no_day_are_added_up_all_the_same(tmp_path: Path) -> None:
    async with Home(tmp_path, layout=Layout(7000, 60)) as home, reading(home) as history:
        await home.runs(200)
        found = await history.sums("main", 0, 2**46, "minute", "UTC")
        Truth(home).check(found)
        assert {row.end_ms - row.start_ms for row in found} == {63_000}


async def test_one_meters_failure_stops_no_other(tmp_path: Path) -> None:
    series = SeriesSection(name="weather", lanes=("temperature",))
    async with Home(tmp_path, meters=("main", "pv"), series=(series,)) as home:
        await home.runs(4 * LINK_UNITS)
        await home.publish()
        async with reading(home) as history:
            assert await history.meters() == ("main", "pv")
            assert await history.prepare() == {}
            key = names.descriptor((await home.stream("pv")).id)
            path = home.folder / "store" / key
            path.write_bytes(path.read_bytes()[:-1] + b"\0")
            found = await history.all_sums(0, 2**46, "minute", BERLIN)
            assert isinstance(found["main"], Sums)
            Truth(home).check(found["main"])
            assert isinstance(found["pv"], Refused)
            assert key in str(found["pv"])
            with pytest.raises(Unavailable, match="weather has no history yet"):
                await history.sums("weather", 0, 2**46, "hour", BERLIN)
            with pytest.raises(
                UsageError, match="there is no meter 'attic'; the meters are main, pv, weather"
            ):
                await history.sums("attic", 0, 2**46, "hour", BERLIN)


async def test_a_series_has_a_history_too(tmp_path: Path) -> None:
    series = SeriesSection(name="weather", lanes=("temperature",))
    async with Home(tmp_path, series=(series,)) as home, reading(home) as history:
        shown = [Decimal("20.5"), Decimal("-3.25"), Decimal(0)]
        for minute in range(6):
            for second in range(60):
                if second == 30:
                    home.session.series["weather"].put({"temperature": shown[minute % 3]})
                home.reads()
            await home.commit()
        found = await history.sums("weather", 0, 2**46, "minute", "UTC")
        values = {(row.sums["temperature"], row.sums["count"]) for row in found}
        assert values <= {(2050, 1), (-325, 1), (0, 1)}
        assert len(values) > 1
        assert found.lanes == ("temperature", "count")
        assert [row.import_mwh for row in found] == [None] * len(found)


async def test_damage_to_what_is_kept_is_mended_by_the_store(tmp_path: Path) -> None:
    async with Home(tmp_path, layout=Layout(900_000, 96), chunk_units=96) as home:
        await home.runs(96 * 70, every=96)
        await home.publish()
        async with reading(home) as history:
            before = await history.sums("main", 0, 2**46, "day", "UTC")
            kept = list((home.folder / "household" / "objects").rglob("*.cose"))
            assert any("/month/" in str(path) for path in kept)
            for path in kept:
                path.write_bytes(b"damaged")
            after = await history.sums("main", 0, 2**46, "day", "UTC")
            assert list(after) == list(before)
            assert not any(path.exists() and path.read_bytes() == b"damaged" for path in kept)


async def test_a_grant_that_gets_no_tokens_any_more_is_made_anew(tmp_path: Path) -> None:
    """As after a restored ledger, with which its key was lost; or one that was revoked."""
    async with Home(tmp_path) as home:
        await home.runs(4 * LINK_UNITS)
        async with reading(home) as history:
            await history.prepare()
            asked = await ControlClient(home.folder / "s").grants()
            (fine,) = [one for one in asked if isinstance(one, GrantStatus) and one.granularity == "1min"]
            await home.granter.revoke(bytes.fromhex(fine.id))
            home.clock.pass_s(61)
            await home.runs(4 * LINK_UNITS)
            found = await history.sums("main", 0, 2**46, "minute", BERLIN)
            assert len(found) >= 6
            assert found.total("count") is not None
            grants = await home.ledger.grants()
            assert [one.revoked_from is None for one in grants].count(True) == 2
            assert len(grants) == 3


async def test_while_gateway_or_store_are_away(tmp_path: Path) -> None:
    async with Home(tmp_path) as home:
        await home.runs(4 * LINK_UNITS)
        await home.publish()
        async with reading(home) as history:
            await history.sums("main", 0, 2**46, "minute", BERLIN)
            now_ms = home.clock.now_ms
            end = now_ms - now_ms % 60_000 - 60_000
            seen = await history.sums("main", 0, end, "minute", BERLIN)
            home.bucket.away = True
            with pytest.raises(Unavailable, match="the store does not answer"):
                await history.sums("main", 0, 2**46, "minute", BERLIN)
            assert await history.sums("main", 0, end, "minute", BERLIN) is seen
        with pytest.raises(Unavailable, match="no gateway answers"):
            await history.sums("main", 0, 2**46, "minute", BERLIN)
        assert await history.sums("main", 0, end, "minute", BERLIN) is seen


async def test_what_is_over_is_remembered_and_what_is_not_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.household.history._REMEMBERED_ROWS", 20)
    async with Home(tmp_path) as home, reading(home) as history:
        await home.runs(12 * LINK_UNITS)
        end = home.clock.now_ms // 60_000 * 60_000
        before = await history.sums("main", end - 8 * 60_000, end + 60_000, "minute", BERLIN)
        past = await history.sums("main", end - 9 * 60_000, end - 60_000, "minute", BERLIN)
        assert await history.sums("main", end - 9 * 60_000, end - 60_000, "minute", BERLIN) is past
        assert await history.sums("main", end - 9 * 60_000, end - 60_000, "minute", "UTC") is not past
        await home.runs(2 * LINK_UNITS)
        after = await history.sums("main", end - 8 * 60_000, end + 60_000, "minute", BERLIN)
        Truth(home).check(after)
        assert len(after) > len(before)
        # It is bounded: what was needed the longest ago goes first.
        for minutes in (5, 6, 7):
            await history.sums("main", end - minutes * 60_000, end - 60_000, "minute", BERLIN)
        assert len(history._past._answers) < 5
        again = await history.sums("main", end - 9 * 60_000, end - 60_000, "minute", BERLIN)
        assert again is not past
        assert list(again) == list(past)


@pytest.mark.parametrize(
    ("times", "step", "sentence"),
    [
        ((5, 5), "day", "ends before it begins"),
        ((-1, 5), "day", "outside the calendar"),
        ((0, 2**60), "day", "outside the calendar"),
        ((0, 5), "week", "step 'week': expected one of minute, quarter, hour, day, month, year"),
    ],
)
async def test_what_cannot_be_asked(
    tmp_path: Path, times: tuple[int, int], step: Step, sentence: str
) -> None:
    history = History(tmp_path, ControlClient(tmp_path / "s"), Home(tmp_path).clock)
    with pytest.raises(UsageError, match=sentence):
        await history.sums("main", *times, step, BERLIN)


def test_a_question_has_an_end() -> None:
    with pytest.raises(UsageError, match=f"more than {MOST_ROWS} steps of a minute"):
        step_edges(0, 2**40, "minute", "UTC")


@given(
    st.sampled_from(ZONES),
    st.integers(0, 2**41),
    st.integers(1, 400 * DAY_MS),
    st.sampled_from(["day", "month"]),
)
def test_days_and_months_are_those_of_grants(zone: str, start: int, length: int, step: Step) -> None:
    """Whatever clocks do: twice 00:00, no 00:00, one in the past again after the midnight."""
    edges = step_edges(start, start + length, step, zone)
    assert (edges[0], edges[-1]) == (start, start + length)
    assert edges == sorted(set(edges))
    calendar = Granularity(step, 1, zone)
    assert all(calendar.align_up(edge) == edge for edge in edges[1:-1])
    assert calendar.index(edges[-1] - 1) - calendar.index(edges[0]) == len(edges) - 2


@given(st.sampled_from(ZONES), st.integers(0, 2**41), st.sampled_from(["quarter", "hour", "minute"]))
def test_hours_are_those_of_the_homes_clock(zone: str, start: int, step: Step) -> None:
    length = {"minute": 60_000, "quarter": 900_000, "hour": 3_600_000}[step]
    edges = step_edges(start, start + 50 * length, step, zone)
    assert edges == sorted(set(edges))
    assert max(b - a for a, b in pairwise(edges)) <= length
    for edge in edges[1:-1]:
        clock = datetime.fromtimestamp(edge / 1000, ZoneInfo(zone))
        since = (clock.minute * 60 + clock.second) * 1000
        before = datetime.fromtimestamp(edge / 1000 - 1, ZoneInfo(zone))
        assert since % min(length, 1_800_000 if before.utcoffset() != clock.utcoffset() else length) == 0


def test_a_year_begins_in_january() -> None:
    begin, end = local(BERLIN, 2024, 5, 17, 12), local(BERLIN, 2027, 2, 1)
    assert step_edges(begin, end, "year", BERLIN)[1:-1] == [
        local(BERLIN, year, 1, 1) for year in (2025, 2026, 2027)
    ]


async def test_own_grants_are_made_before_anybody_asks(tmp_path: Path) -> None:
    """As soon as a stream has begun; and a gateway that does not answer yet is asked again."""
    async with Home(tmp_path / "h") as home:
        (home.folder / "household").mkdir()
        history = History(home.folder / "household", ControlClient(home.folder / "s"), home.clock)
        async with history.prepared():
            await home.clock.asleep()
            async with serving(home, home.folder / "s"):
                await home.runs(2 * LINK_UNITS)
                home.clock.pass_s(300)
                await home.clock.asleep()
                made = await ControlClient(home.folder / "s").grants()
    assert made
    assert all(isinstance(one, GrantStatus) and one.own for one in made)


async def test_an_answer_that_is_not_understood_ends_no_preparation(tmp_path: Path) -> None:
    clock, gateway = (
        FakeClock(),
        Answers(error=GatewayError("the gateway answers in a form that is not known")),
    )
    async with History(tmp_path, gateway, clock).prepared():
        for times in (1, 2, 3):
            await clock.asleep()
            assert gateway.asked == times
            clock.pass_s(3600)


async def test_the_household_is_no_provider_that_anything_is_granted_to(tmp_path: Path) -> None:
    """Its card is in no list of those to grant to, nor would what it signs be a provider's command."""
    home = Home(tmp_path)
    async with home, reading(home) as history:
        await home.runs(2 * LINK_UNITS)
        await home.publish()
        assert await history.prepare() == {}
        assert any(record.own for record in await home.ledger.grants())
        assert await ControlClient(home.folder / "s").cards() == ()
