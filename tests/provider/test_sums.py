"""Opened sums equal what was sealed, over any cut of time; what is not granted stays closed."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.layout import Layout
from gateway.errors import NotGranted, Refused, UsageError
from gateway.provider import sums
from gateway.provider.query import Query
from gateway.wire import names
from gateway.wire.stream import Assurance
from tests.provider.reading import Answer, expected, opened, read, tally_of
from tests.stream.stream import START, Home, Provider, random_readings


def ask(
    granularity: str | None = None, first: int | None = None, until: int | None = None, *lanes: str
) -> Query:
    """A question in seconds since the test's start."""
    return Query(
        granularity,
        lanes or None,
        None if first is None else (START + first) * 1000,
        None if until is None else (START + until) * 1000,
    )


@pytest.fixture
def home() -> Home:
    """Four minutes and a half, in nine chunks of links of a minute, under two incarnations."""
    home = Home()
    home.seal(random_readings(100))
    home.restart()
    home.seal(random_readings(170))
    return home


def test_every_window_is_exact(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "1min")
    answer = read(home, provider)
    assert len(answer.rows) == 4
    assert answer.rows[0].start == datetime(2026, 3, 1, tzinfo=UTC)
    expected(home, answer)
    assert answer.sums.missing == []
    assert answer.sums.tail is None


@pytest.mark.slow
@settings(max_examples=40)
@given(data=st.data())
def test_any_layout_opens_to_what_was_sealed(data: st.DataObject) -> None:
    link_units = data.draw(st.integers(1, 40), "link_units")
    layout = Layout(data.draw(st.sampled_from([500, 1000, 60_000]), "unit_ms"), link_units)
    start = data.draw(st.integers(0, 10**9), "start") // link_units * link_units
    assurance: Assurance = data.draw(st.sampled_from(("tpm", "software")), "assurance")
    home = Home(
        ("import", "power", "count"),
        layout=layout,
        start=start,
        chunk_units=data.draw(st.integers(1, 40), "chunk_units"),
        assurance=assurance,
    )
    runs = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=4), "runs")
    drawn = st.lists(st.integers(0, 2**64 - 1), min_size=len(runs), max_size=len(runs), unique=True)
    incarnations = data.draw(drawn, "incarnations")
    for count, incarnation in zip(
        runs, incarnations if assurance == "software" else sorted(incarnations), strict=True
    ):
        home.restart(incarnation)
        home.seal(random_readings(count, home.lanes))
    with tempfile.TemporaryDirectory() as folder:
        provider = Provider.new(Path(folder) / "acme")
        size = data.draw(st.integers(1, 30), "window")
        first = data.draw(st.integers(home.start, home.end), "first")
        grant = home.grant(
            provider.card,
            f"{size * layout.unit_ms}ms",
            ("count", "import"),
            first=first,
            bundle=data.draw(st.integers(1, 9), "bundle"),
        )
        times = data.draw(st.integers(1, 4), "times")
        if grant.granularity.align_up(first) + times * size > home.end:
            answer = read(home, provider)
            assert len(answer.rows) == grant.complete(home.end)
        else:
            answer = read(home, provider, Query(f"{times * size * layout.unit_ms}ms"))
            assert len(answer.rows) == home.end // (times * size) - -(-grant.first // (times * size))
    assert all(set(row.sums) == {"import", "count"} for row in answer.rows)
    expected(home, answer)


def test_a_sum_wraps_and_is_read_back_signed(provider: Provider) -> None:
    home = Home(("import", "export"))
    home.seal({"import": [-(2**40)] * 60, "export": [2**62 - 1, -(2**62), 0] * 20})
    home.grant(provider.card, "1min")
    [row] = read(home, provider).rows
    assert row.sums == {"import": -60 * 2**40, "export": -20}


def test_a_part_of_the_time(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "10s")
    answer = read(home, provider, ask(None, 95, 155))
    assert [row.start.minute * 60 + row.start.second for row in answer.rows] == [100, 110, 120, 130, 140]
    expected(home, answer)


def test_a_part_of_the_lanes(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "1min")
    answer = read(home, provider, ask(None, None, None, "export"))
    assert [set(row.sums) for row in answer.rows] == [{"export"}] * 4
    expected(home, answer)


def test_days_and_months_of_a_place(provider: Provider) -> None:
    # The Sunday in March 2026 on which Berlin's clocks go forward has 23 hours.
    start = int(datetime(2026, 3, 28, 0, tzinfo=UTC).timestamp()) // 60
    home = Home(layout=Layout(60_000, 60), start=start, chunk_units=60)
    home.seal(random_readings(3 * 1440))
    home.grant(provider.card, "day", zone="Europe/Berlin")
    home.grant(provider.card, "1h")
    answer = read(home, provider, Query("day"))
    assert [(row.end - row.start).total_seconds() / 3600 for row in answer.rows] == [23, 24]
    expected(home, answer)


def test_hours_make_up_the_days_of_the_zone_that_is_asked_for(provider: Provider) -> None:
    start = int(datetime(2026, 3, 28, 0, tzinfo=UTC).timestamp()) // 60
    home = Home(layout=Layout(60_000, 60), start=start, chunk_units=60)
    home.seal(random_readings(3 * 1440))
    home.grant(provider.card, "1h")
    answer = read(home, provider, Query("day", zone="Europe/Berlin"))
    assert [row.start for row in answer.rows] == [
        datetime(2026, 3, day, hour, tzinfo=UTC) for day, hour in ((28, 23), (29, 22))
    ]
    expected(home, answer)
    assert [row.start.hour for row in read(home, provider, Query("day")).rows] == [0, 0, 0]
    home.grant(provider.card, "day", ("export",), zone="Australia/Lord_Howe")
    with pytest.raises(NotGranted, match="it does not open windows of day in Asia/Kolkata"):
        read(home, provider, Query("day", zone="Asia/Kolkata"))


def test_a_day_that_hours_do_not_fill(provider: Provider) -> None:
    """On Lord Howe summer time is half an hour: days begin at a full hour UTC in summer only."""
    start = int(datetime(2026, 4, 3, 0, tzinfo=UTC).timestamp()) // 60
    home = Home(layout=Layout(60_000, 60), start=start, chunk_units=60)
    home.seal(random_readings(4 * 1440))
    home.grant(provider.card, "day", ("export",), zone="Australia/Lord_Howe")
    home.grant(provider.card, "1h", ("import",))
    answer = read(home, provider, Query("day"))
    assert [set(row.sums) for row in answer.rows] == [{"import", "export"}, {"export"}, {"export"}]
    expected(home, answer)
    [gap] = answer.sums.missing
    assert (gap.start, gap.lanes) == (datetime(2026, 4, 4, 13, tzinfo=UTC), ("import",))


class TestCoarserThanGranted:
    def test_windows_are_added_up_and_it_says_so(self, home: Home, provider: Provider) -> None:
        home.grant(provider.card, "10s", bundle=4)
        answer = read(home, provider, ask("2min"))
        assert len(answer.rows) == 2
        expected(home, answer)
        [source] = answer.sums.sources
        assert "opens 10s sums of import, export" in source
        assert "added up to sums of 2min" in source

    def test_a_coarser_grant_is_preferred(self, home: Home, provider: Provider) -> None:
        fine = home.grant(provider.card, "10s")
        home.grant(provider.card, "1min")
        for key in [key for key in home.objects if f"{fine.id.hex()}/new" in key]:
            del home.objects[key]
        answer = read(home, provider, ask("1min"))
        expected(home, answer)
        assert [source.split()[3] for source in answer.sums.sources] == ["1min", "10s"]

    def test_a_grant_whose_tokens_do_not_come_is_stood_in_for(self, home: Home, provider: Provider) -> None:
        home.grant(provider.card, "10s")
        coarse = home.grant(provider.card, "1min", bundle=1)
        for key in [key for key in home.objects if f"{coarse.id.hex()}/new" in key][2:]:
            del home.objects[key]
        answer = read(home, provider, ask("1min"))
        assert len(answer.rows) == 4
        expected(home, answer)


class TestNotGranted:
    def test_finer_windows(self, home: Home, provider: Provider) -> None:
        grant = home.grant(provider.card, "1min")
        with pytest.raises(NotGranted) as refusal:
            read(home, provider, ask("10s"))
        assert refusal.value.kind == "not_granted"
        assert str(refusal.value) == (
            f"10s sums of import, export are not granted: grant {grant.id.hex()[:8]}... opens 1min sums"
            " of import, export, from 2026-03-01T00:00:00Z; it does not open windows of 10s"
        )

    @pytest.mark.parametrize("granularity", ["90s", "59s", "61s", "1s"])
    def test_windows_across_its_own(self, granularity: str, home: Home, provider: Provider) -> None:
        home.grant(provider.card, "1min")
        with pytest.raises(NotGranted, match=f"it does not open windows of {granularity}"):
            read(home, provider, ask(granularity))

    def test_units_within_days(self, home: Home, provider: Provider) -> None:
        home.grant(provider.card, "day")
        with pytest.raises(NotGranted, match="it does not open windows of 1h"):
            read(home, provider, ask("1h"))

    def test_a_lane(self, home: Home, provider: Provider) -> None:
        home.grant(provider.card, "1min", ("import",))
        with pytest.raises(
            NotGranted, match=r"1min sums of export are not granted: .*; it does not open export$"
        ):
            read(home, provider, ask("1min", None, None, "import", "export"))

    @pytest.mark.parametrize(("first", "until"), [(None, 60), (0, 119), (180, None), (180, 240), (121, 240)])
    def test_a_time(self, first: int | None, until: int | None, home: Home, provider: Provider) -> None:
        home.grant(provider.card, "1min", first=START + 60, until=START + 180)
        with pytest.raises(NotGranted, match="it does not open a whole window in the requested time"):
            read(home, provider, ask("1min", first, until))

    def test_every_grant_is_told_of(self, home: Home, provider: Provider) -> None:
        home.grant(provider.card, "1min", ("import",))
        home.grant(provider.card, "30s", ("export",))
        with pytest.raises(NotGranted) as refusal:
            read(home, provider, ask("10s"))
        assert str(refusal.value).count(" sums of ") == 3

    def test_nothing_at_all(self, home: Home, provider: Provider) -> None:
        with pytest.raises(NotGranted, match=f"no grant of sums to this provider, {provider.card.kid.hex()}"):
            read(home, provider)

    def test_to_somebody_else(self, home: Home, provider: Provider, tmp_path: Path) -> None:
        home.grant(provider.card, "1min")
        other = Provider.new(tmp_path / "other")
        with pytest.raises(NotGranted, match=other.card.kid.hex()):
            read(home, other)

    def test_a_stolen_kid_opens_nothing(self, home: Home, provider: Provider, tmp_path: Path) -> None:
        """Who claims another's kid finds the grants, and lacks the key that they are sealed to."""
        home.grant(provider.card, "1min")
        other = Provider.new(tmp_path / "other")
        object.__setattr__(other.identity, "kid", provider.card.kid)
        with pytest.raises(Refused, match=r"grant\.cose: the grant's key does not open"):
            read(home, other)

    def test_a_kind_that_holds_no_windows(self, home: Home, provider: Provider) -> None:
        home.grant(provider.card, "1min", kind="load")
        with pytest.raises(NotGranted, match="no grant of sums"):
            read(home, provider)


class TestQuestionsThatCannotBe:
    def test_a_lane_that_the_stream_has_not(self, home: Home, provider: Provider) -> None:
        home.grant(provider.card, "1min")
        with pytest.raises(UsageError, match="the stream has no lane power: use import, export"):
            read(home, provider, ask("1min", None, None, "power"))

    def test_no_whole_window(self, home: Home, provider: Provider) -> None:
        home.grant(provider.card, "1min")
        with pytest.raises(UsageError, match="no whole window of 1min"):
            read(home, provider, ask(None, 10, 100))

    @pytest.mark.parametrize("until", [60, 0])
    def test_a_time_that_ends_before_it_begins(self, home: Home, provider: Provider, until: int) -> None:
        home.grant(provider.card, "1min")
        with pytest.raises(UsageError, match="the requested time ends before it begins"):
            read(home, provider, ask(None, 60, until))

    def test_a_time_before_the_stream_begins(self, home: Home, provider: Provider) -> None:
        home.grant(provider.card, "1min")
        with pytest.raises(NotGranted, match=r"the stream begins at .*Z, after the requested time"):
            read(home, provider, ask(None, -86400, 0))


class TestGrantsOverTime:
    def test_a_revoked_grant_opens_what_it_opened(self, home: Home, provider: Provider) -> None:
        grant = home.grant(provider.card, "1min")
        home.revoke(grant)
        home.seal(random_readings(100))
        answer = read(home, provider)
        assert len(answer.rows) == 4
        expected(home, answer)
        assert answer.sums.done
        [gap] = answer.sums.missing
        assert (gap.start.minute, gap.end.minute) == (4, 6)
        assert gap.reason == f"grant {grant.id.hex()[:8]}... was revoked"
        assert "when it was revoked" in answer.sums.sources[0]
        with pytest.raises(NotGranted, match="when it was revoked; it does not open a whole window"):
            read(home, provider, ask(None, 240))

    def test_revoked_after_it_had_ended(self, home: Home, provider: Provider) -> None:
        home.revoke(home.grant(provider.card, "1min", until=START + 120))
        answer = read(home, provider)
        assert len(answer.rows) == 2
        assert answer.sums.sources[0].endswith("until 2026-03-01T00:02:00Z")

    def test_one_stands_in_around_another(self, home: Home, provider: Provider) -> None:
        home.grant(provider.card, "1min", first=START + 60, until=START + 120)
        home.grant(provider.card, "10s")
        answer = read(home, provider, ask("1min"))
        assert len(answer.rows) == 4
        expected(home, answer)

    def test_renewed_with_a_gap(self, home: Home, provider: Provider) -> None:
        first = home.grant(provider.card, "1min", until=START + 60)
        home.grant(provider.card, "1min", first=START + 180)
        answer = read(home, provider, ask())
        assert [row.start.minute for row in answer.rows] == [0, 3]
        expected(home, answer)
        [gap] = answer.sums.missing
        assert (gap.start.minute, gap.end.minute, gap.lanes) == (1, 3, ("import", "export"))
        assert gap.reason == f"grant {first.id.hex()[:8]}... has ended"

    def test_lanes_of_different_grants_and_times(self, home: Home, provider: Provider) -> None:
        home.grant(provider.card, "1min", ("import",))
        home.grant(provider.card, "10s", ("export",), first=START + 90)
        answer = read(home, provider, ask("1min", 0, 240))
        assert [set(row.sums) for row in answer.rows] == [
            {"import"},
            {"import"},
            {"import", "export"},
            {"import", "export"},
        ]
        expected(home, answer)
        [gap] = answer.sums.missing
        assert (gap.start.minute, gap.end.minute, gap.lanes) == (0, 2, ("export",))

    def test_before_the_first_grant(self, home: Home, provider: Provider) -> None:
        home.grant(provider.card, "1min", first=START + 120)
        answer = read(home, provider, ask(None, 0))
        assert [row.start.minute for row in answer.rows] == [2, 3]
        [gap] = answer.sums.missing
        assert (gap.start.minute, gap.end.minute, gap.reason) == (0, 2, "no grant begins earlier")

    def test_a_grant_that_begins_later(self, home: Home, provider: Provider) -> None:
        home.grant(provider.card, "1min", first=START + 600)
        assert read(home, provider).rows == []


def test_nothing_sealed_yet(provider: Provider) -> None:
    home = Home()
    home.grant(provider.card, "1min")
    assert read(home, provider).rows == []


def test_tokens_that_are_not_there_yet_end_the_table(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "1min", bundle=2)
    del home.objects[max(key for key in home.objects if "/new/" in key)]
    answer = read(home, provider)
    assert len(answer.rows) == 2
    assert answer.sums.tail is not None
    assert answer.sums.tail.reason == "its tokens are not in the store yet"


async def test_the_rows_before_what_is_refused_come_out(
    home: Home, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "_SMALL_BLOCK", 8)
    home.grant(provider.card, "1s")
    home.objects[home.chunks[5]] = b"not an object"
    bad = names.number_in(home.chunks[5]) - START
    found: list[sums.Row] = []

    async def collect() -> None:
        async for row in asked.rows():
            found.append(row)

    async with opened(home) as reader:
        asked = await sums.Sums.ask(reader, provider.identity, Query())
        with pytest.raises(Refused, match=home.chunks[5]):
            await collect()
    assert bad - 8 < len(found) <= bad
    expected(home, Answer(asked, found))
    assert asked.missing == []


def test_chunks_beyond_the_head_are_left_for_later(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "30s")
    old = {key: data for key, data in home.objects.items() if key.endswith("head.cose")}
    home.seal(random_readings(120))
    home.objects |= old
    answer = read(home, provider)
    assert len(answer.rows) == 9
    expected(home, answer)


@pytest.mark.slow
def test_more_chunks_and_bundles_than_a_page_or_a_block(provider: Provider) -> None:
    home = Home(("import",), chunk_units=1)
    home.seal(random_readings(1050, ("import",)))
    home.grant(provider.card, "1s", bundle=1)
    home.grant(provider.card, "10s")
    answer = read(home, provider)
    assert len(answer.rows) == 1050
    expected(home, answer)
    assert tally_of(home).bundles == 1051


def test_a_question_deep_into_many_small_bundles(provider: Provider) -> None:
    home = Home(("import",), layout=Layout(1000, 3600), chunk_units=900)
    home.seal(random_readings(2 * 3600, ("import",)))
    home.grant(provider.card, "1s", bundle=50)
    answer = read(home, provider, ask(None, 6_031, 6_100))
    assert len(answer.rows) == 69
    expected(home, answer)


def test_a_bundle_longer_than_a_reader_looks_back(provider: Provider) -> None:
    home = Home(("import",), layout=Layout(1000, 3600), chunk_units=3600)
    home.seal(random_readings(2 * 3600, ("import",)))
    home.grant(provider.card, "1s")
    answer = read(home, provider, ask(None, 6_031, 6_100))
    assert len(answer.rows) == 69
    expected(home, answer)
