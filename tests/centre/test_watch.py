"""The loads of all regions as they come: asked for once each, and not before it is time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.centre import watch
from gateway.centre.alarms import Alarm
from gateway.centre.watch import BURST, LOOK_S, NEWEST, Point, check_granularity
from gateway.chain.window import Granularity
from gateway.errors import NotGranted, Unavailable, UsageError
from tests.centre.neighbourhood import Neighbourhood, minutes, sealed
from tests.centre.watched import MINUTE_MS, WAIT_S, Watched
from tests.stream.stream import random_readings


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Three homes of four minutes, the third of which has sealed two of them so far."""
    street = Neighbourhood.new(tmp_path)
    for seconds in (240, 240, 130):
        street.joins(sealed(seconds, 90))
    one = Watched(street)
    yield one
    one.state.close()


async def test_a_window_is_asked_for_once_when_its_wait_is_over(watched: Watched) -> None:
    await watched.street.takes_in()
    await watched.looks_at(60 + WAIT_S - 0.001)
    assert watched.street.asked == []
    assert watched.points() == []
    await watched.looks_at(60 + WAIT_S)
    (point,) = watched.points()
    assert [[point.energy]] == watched.street.truth(minutes(0, 1))
    assert (point.homes, point.absent, point.problem) == (3, 0, "")
    await watched.looks_at(60 + WAIT_S + LOOK_S)
    assert len(watched.street.asked) == 1
    await watched.looks_at(240 + WAIT_S)
    assert [one.homes for one in watched.points()] == [3, 3, 2, 2]
    assert [[one.energy] for one in watched.points()[2:]] == watched.street.truth(minutes(2, 3, 4), (0, 1))
    known = watched.watch.regions["North"].missing
    assert known is not None
    (missing,) = known
    assert missing.stream == watched.street.homes[2].id
    assert missing.reason == "taken in until 2026-03-01T00:02:00Z"
    times = [time for _, windows in watched.street.asked for time in windows.times]
    assert len(times) == len(set(times)) == 4


async def test_a_home_that_comes_while_others_wait_is_in_the_sum(watched: Watched) -> None:
    await watched.street.takes_in()
    await watched.looks_at(120 + WAIT_S)
    watched.street.homes[2].seal(random_readings(110))
    await watched.street.takes_in()
    await watched.looks_at(240 + WAIT_S)
    assert [one.homes for one in watched.points()] == [3, 3, 3, 3]
    assert [[one.energy] for one in watched.points()] == watched.street.truth(minutes(*range(5)))


async def test_a_restart_shows_what_was_asked_for_and_asks_for_nothing(watched: Watched) -> None:
    await watched.street.takes_in()
    await watched.looks_at(240 + WAIT_S)
    before, asked = watched.points(), len(watched.street.asked)
    watched.watch = watched.new()
    watched.error = Unavailable("the registrar does not answer")
    await watched.looks_at(240 + WAIT_S)
    assert watched.points() == before
    assert len(watched.street.asked) == asked


async def test_windows_that_were_taken_in_late_are_summed_then(watched: Watched) -> None:
    watched.state.list_homes(watched.street.listing)
    await watched.looks_at(240 + WAIT_S)
    assert [one.energy for one in watched.points()] == [None] * 4
    assert {one.problem for one in watched.points()} == {"no home of the region is complete in it"}
    looked = watched.catalogues
    await watched.looks_at(240 + WAIT_S + LOOK_S)  # nothing was taken in
    assert watched.catalogues == looked
    await watched.street.takes_in()
    await watched.looks_at(240 + WAIT_S + 2 * LOOK_S)
    assert [one.homes for one in watched.points()] == [3, 3, 2, 2]


async def test_a_registrar_that_does_not_answer_is_tried_again(watched: Watched) -> None:
    for _ in range(2):
        watched.street.joins(sealed(240), "South")
    await watched.street.takes_in()
    watched.error = Unavailable("the registrar does not answer")
    await watched.looks_at(240 + WAIT_S)
    assert watched.catalogues == 1  # not again for each region
    assert watched.watch.fault == "the registrar does not answer; trying again"
    assert watched.log == [watched.watch.fault]
    watched.error = None
    await watched.looks_at(240 + WAIT_S + LOOK_S)
    assert watched.watch.fault is None
    assert watched.log[1:] == ["the loads are up to date again"]
    for region, homes in (("North", [3, 3, 2, 2]), ("South", [2, 2, 2, 2])):
        assert [one.homes for one in watched.points(region)] == homes
    assert watched.catalogues == 2


async def test_a_load_above_its_limit_is_an_alarm_until_it_is_below(tmp_path: Path) -> None:
    street = Neighbourhood.new(tmp_path)
    kw = (3, 7, 9, 6, 5)  # of both homes, in each minute
    for _ in range(2):
        home = sealed(0)
        home.seal(
            {lane: [one * 10**6 // 7200 for one in kw for _ in range(60)] for lane in ("import", "export")}
        )
        street.joins(home)
    watched = Watched(street, North="6", South="1")
    await street.takes_in()
    for number in range(1, 6):
        await watched.looks_at(number * 60 + WAIT_S)
    truth = [one[0] for one in street.truth(minutes(*range(6)))]
    assert [one.energy for one in watched.points()] == truth
    begun, changed, over = (json.loads(one) for one in watched.lines)
    assert begun["text"] == "7.0 kW, above the limit of 6 kW; 7.0 kW at its highest"
    assert (begun["first"], begun["over"]) == ("2026-03-01T00:01:00Z", False)
    assert changed["text"] == "9.0 kW, above the limit of 6 kW; 9.0 kW at its highest"
    assert (over["first"], over["last"], over["over"]) == (begun["first"], "2026-03-01T00:03:00Z", True)
    watched.lines.clear()
    watched.watch = watched.new()  # all windows in one look are judged in their order
    await watched.looks_at(5 * 60 + WAIT_S)
    assert [json.loads(one)["over"] for one in watched.lines] == [False, True]
    watched.state.close()


async def test_a_home_whose_chain_does_not_hold_is_an_alarm(watched: Watched) -> None:
    street = watched.street
    await street.takes_in()
    await watched.looks_at(WAIT_S)
    assert watched.watch.alarms.standing == []
    broken = street.homes[1]
    for home in street.homes:
        home.seal(random_readings(60))
    whole = broken.objects[broken.chunks[-1]]
    broken.objects[broken.chunks[-1]] = broken.objects[broken.chunks[-2]]
    await street.takes_in()
    await watched.looks_at(WAIT_S + LOOK_S)
    (alarm,) = watched.watch.alarms.standing
    assert (alarm.kind, alarm.region, alarm.stream) == ("chain", "North", broken.id.hex())
    assert alarm.text.startswith("chunk 2026-03-01T00:04:30Z holds the object that belongs at chunk ")
    broken.objects[broken.chunks[-1]] = whole
    await street.takes_in()
    await watched.looks_at(WAIT_S + 2 * LOOK_S)
    assert watched.watch.alarms.standing == []
    assert [json.loads(one)["over"] for one in watched.lines] == [False, True]


async def test_a_burst_of_refused_sets_is_an_alarm(tmp_path: Path) -> None:
    """Until fewer of the newest are refused; only these are asked for again when something was taken in."""
    street = Neighbourhood.new(tmp_path)
    for _ in range(2):
        street.joins(sealed(900))
    await street.takes_in()
    watched = Watched(street)
    await watched.looks_at(180 + WAIT_S)
    watched.error = NotGranted("this set has homes of 1")
    await watched.looks_at((180 + 60 * (BURST - 1)) + WAIT_S)
    assert watched.watch.alarms.standing == []
    await watched.looks_at(720 + WAIT_S)
    assert [one.refused for one in watched.points()] == [False] * 3 + [True] * 9
    (alarm,) = watched.watch.alarms.standing
    assert (alarm.kind, alarm.region, alarm.stream) == ("refused", "North", "")
    assert "refused 8 of the newest 8 sets of North: this set has homes of 1" in alarm.text
    assert watched.watch.fault is None
    watched.error = None
    await watched.looks_at(720 + WAIT_S)  # nothing was taken in
    assert sum(one.refused for one in watched.points()) == 9
    for home in street.homes:
        home.seal(random_readings(60))
    await street.takes_in()
    await watched.looks_at(720 + WAIT_S)
    assert [one.refused for one in watched.points()] == [False] * 3 + [True] + [False] * NEWEST
    assert watched.watch.alarms.standing == []


async def test_a_region_without_new_sums_is_an_alarm(watched: Watched) -> None:
    """From three windows without one on, until there is one; a region that never had any is watched from the
    first look on."""
    street, text = watched.street, "no sum since {}: no home of the region is complete in it"
    watched.state.list_homes(street.listing)
    await watched.looks_at(WAIT_S)
    await watched.looks_at(60 * (BURST - 1) + WAIT_S)
    assert watched.watch.alarms.standing == []
    await watched.looks_at(60 * BURST + WAIT_S)
    (alarm,) = watched.watch.alarms.standing
    assert (alarm.kind, alarm.region, alarm.stream) == ("silent", "North", "")
    assert alarm.text == text.format("2026-03-01T00:00:00Z")
    await street.takes_in()
    await watched.looks_at((240 + 60 * (BURST - 1)) + WAIT_S)
    assert [one.homes for one in watched.points()][-BURST:] == [2, 0, 0]
    assert watched.watch.alarms.standing == []
    for later in range(2):
        await watched.looks_at(240 + 60 * (BURST + later) + WAIT_S)
        (alarm,) = watched.watch.alarms.standing
        assert alarm.text == text.format("2026-03-01T00:04:00Z")
        assert (alarm.last_ms - alarm.first_ms) // MINUTE_MS == BURST + later
    assert [json.loads(one)["over"] for one in watched.lines] == [False, True, False]


async def test_windows_that_nobody_granted_are_an_alarm_at_once(tmp_path: Path) -> None:
    """While others were taken in; and it stands where the newest window has nothing at all yet."""
    street = Neighbourhood.new(tmp_path)
    for _ in range(2):
        street.joins(sealed(240), granularity="2min")
    await street.takes_in()
    watched = Watched(street)
    text = (
        "no home of the region has this window of 1min: of its time, windows of 2min were taken in, the first"
        " from 2026-03-01T00:00:00Z: ask for windows as they were granted"
    )
    for second in (60, 120, 300):
        await watched.looks_at(second + WAIT_S)
        (alarm,) = watched.watch.alarms.standing
        assert (alarm.kind, alarm.text) == ("silent", text)
        assert watched.watch.regions["North"].silent
    assert len(watched.lines) == 1
    for home in street.homes[:]:
        street.joins(home, granularity="1min")
    await street.takes_in()
    await watched.looks_at(300 + LOOK_S + WAIT_S)
    assert watched.watch.alarms.standing == []
    watched.state.close()


async def test_a_region_stays_silent_since_its_last_sum_once_that_is_not_kept(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MOST_WINDOWS", 6)
    await watched.looks_at(WAIT_S)
    await watched.street.takes_in()
    await watched.looks_at(240 + WAIT_S)
    for later in (BURST, 10):
        await watched.looks_at(240 + 60 * later + WAIT_S)
        (alarm,) = watched.watch.alarms.standing
        assert alarm.text.startswith("no sum since 2026-03-01T00:04:00Z: ")
    assert watched.watch.regions["North"].summed is None


async def test_a_region_whose_sets_are_refused_is_silent_too(watched: Watched) -> None:
    await watched.street.takes_in()
    watched.error = NotGranted("this set has homes of 1")
    await watched.looks_at(WAIT_S)
    await watched.looks_at(60 * (BURST - 1) + WAIT_S)
    assert not watched.watch.regions["North"].silent
    await watched.looks_at(60 * BURST + WAIT_S)
    assert watched.watch.regions["North"].silent
    (alarm,) = watched.watch.alarms.standing
    assert alarm.kind == "refused"
    watched.error = None
    await watched.looks_at(60 * (BURST + 1) + WAIT_S)
    assert not watched.watch.regions["North"].silent


async def test_a_region_without_homes_has_no_alarm(watched: Watched) -> None:
    await watched.street.takes_in()
    watched.limits["North"] = Decimal("1e-6")
    watched.watch.alarms.hold(Alarm("load", "North", "", "above", 0, 0))
    await watched.looks_at(WAIT_S)
    assert list(watched.watch.regions) == ["North"]
    watched.street.regions = ["South"] * 3
    with watched.state._db as db:
        db.execute("UPDATE homes SET region = 'South'")
    await watched.looks_at(WAIT_S)
    assert list(watched.watch.regions) == ["South"]
    assert watched.watch.alarms.standing == []


def test_a_curve_has_windows_that_fill_a_day() -> None:
    sizes = [check_granularity(Granularity.parse(text, 1)) for text in ("30s", "1min", "15min", "1h")]
    assert sizes == [30_000, 60_000, 900_000, 3_600_000]
    for text in ("7min", "2h", "day", "month"):
        with pytest.raises(UsageError, match="windows of at most an hour, a whole number of them a day"):
            check_granularity(Granularity.parse(text, 1))


@given(
    st.integers(0, 2**63 - 1),
    st.sampled_from([30_000, MINUTE_MS, 900_000]),
    st.decimals("0.001", 10**8, places=3),
)
def test_a_load_is_above_a_limit_exactly(energy: int, size: int, limit: Decimal) -> None:
    point = Point(0, size, energy, 1, 0)
    assert point.above(limit) == (energy * 3_600_000 > int(limit * 1000) * 1000 * size)
    at = int(limit * 1000) * size // 3600
    assert not Point(0, size, at, 1, 0).above(limit)
    assert Point(0, size, at + 1, 1, 0).above(limit)
    assert not Point(0, size, None, 0, 1).above(limit)
