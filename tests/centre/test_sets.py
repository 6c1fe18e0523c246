"""Which homes are summed together: a home leaves a window's set before the summing service is asked, never
after."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.centre import ingest
from gateway.centre.columns import parquet
from gateway.centre.engine import DuckDB
from gateway.centre.query import LATE, check_any, load
from gateway.centre.state import State
from gateway.chain.grant import Grant
from gateway.errors import GatewayError, NotGranted, Unavailable, UsageError
from gateway.provider.homes import Listed
from gateway.provider.load import Answer, Windows
from tests.centre.neighbourhood import Neighbourhood, minutes, sealed
from tests.stream.stream import Home, random_readings
from tests.support.home import MEMORY


class Twice(Neighbourhood):
    """Homes of which each granted loads of one minute and of two."""

    def joins_twice(self, home: Home) -> None:
        self.joins(home, "North", "1min")
        self.joins(home, "North", "2min")


@pytest.fixture
def street(tmp_path: Path) -> Neighbourhood:
    """Three homes: two of four minutes, and one that has sealed two of them so far."""
    street = Neighbourhood.new(tmp_path)
    for seconds in (240, 240, 130):
        street.joins(sealed(seconds, 90))
    return street


async def test_each_window_has_the_homes_that_are_complete_in_it(street: Neighbourhood) -> None:
    await street.takes_in()
    windows = minutes(*range(5), lanes=("import", "export"))
    found = await street.load(windows)
    assert found.homes == (3, 3, 2, 2)
    assert found.absent == (0, 0, 1, 1)
    (one,) = found.missing
    assert (one.stream, one.windows) == (street.homes[2].id, 2)
    assert one.reason == "taken in until 2026-03-01T00:02:00Z"
    truth = street.truth(minutes(0, 1, 2, lanes=windows.lanes))
    truth += street.truth(minutes(2, 3, 4, lanes=windows.lanes), (0, 1))
    assert found.sums.tolist() == truth
    assert [count for count, _ in street.asked] == [3, 2]


async def test_a_home_that_comes_late_joins_no_set_that_was_asked_for(street: Neighbourhood) -> None:
    await street.takes_in()
    await street.load(minutes(2, 3))
    street.homes[2].seal(random_readings(110))
    await street.takes_in()
    found = await street.load(minutes(*range(5)))
    assert found.homes == (3, 3, 2, 3)
    assert found.missing[0].reason == LATE
    assert found.sums.tolist() == [
        *street.truth(minutes(0, 1, 2)),
        *street.truth(minutes(2, 3), (0, 1)),
        *street.truth(minutes(3, 4)),
    ]
    # Nor under other lanes, whose sums were not asked for yet.
    other = await street.load(minutes(*range(5), lanes=("export",)))
    assert other.homes == (3, 3, 2, 3)
    assert other.problems == {}


async def test_an_answer_that_was_lost_on_the_way_is_asked_for_again_over_the_same_set(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    await street.takes_in()
    real = street.ask

    async def lost(homes: str, windows: Windows) -> Answer:
        await real(homes, windows)
        raise Unavailable("the registrar does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(street, "ask", lost)
        with pytest.raises(Unavailable, match="the registrar does not answer"):
            await street.load(minutes(2, 3))
    street.homes[2].seal(random_readings(110))
    await street.takes_in()
    found = await street.load(minutes(2, 3))
    assert (found.homes, found.problems) == ((2,), {})
    assert found.sums.tolist() == street.truth(minutes(2, 3), (0, 1))


async def test_a_set_that_is_refused_may_be_another_later(street: Neighbourhood) -> None:
    """Two homes are too few for one of them; with the third they are enough."""
    alone = street.joins(sealed(240), "South", k_min=3)
    street.joins(sealed(240), "South")
    await street.takes_in()
    found = await street.load(minutes(*range(5)), "South")
    assert found.homes == (0,) * 4
    assert "only sums over homes of 3 gateways or more are given away" in found.problems[0]
    with pytest.raises(NotGranted, match="no load of 'South': the summing service refuses"):
        check_any(found)
    assert {one.reason for one in found.missing} == {found.problems[3]}
    street.joins(sealed(180), "South")
    await street.takes_in()
    found = await street.load(minutes(*range(5)), "South")
    assert found.homes == (3, 3, 3, 0)
    assert found.sums[:3].tolist() == street.truth(minutes(*range(4)), (3, 4, 5))
    assert alone.id in {one.stream for one in found.missing}


async def test_homes_without_a_certificate_leave_sets_that_are_yet_to_be_asked_for(
    street: Neighbourhood,
) -> None:
    street.joins(sealed(240))
    await street.takes_in()
    before = await street.load(minutes(0, 1))
    certified = {home.id for home in street.homes[1:]}
    found = await street.load(minutes(*range(5)), certified=certified)
    assert found.homes == (4, 3, 2, 2)
    assert found.sums[0].tolist() == before.sums[0].tolist()
    assert found.sums[2:].tolist() == street.truth(minutes(2, 3, 4), (1, 3))
    reasons = {one.stream: (one.windows, one.reason) for one in found.missing}
    assert reasons[street.homes[0].id] == (3, "its gateway has no valid certificate")


async def test_a_home_that_broke_leaves_sets_that_are_yet_to_be_asked_for(street: Neighbourhood) -> None:
    street.joins(sealed(240))
    await street.takes_in()
    await street.load(minutes(0, 1))
    home = street.homes[0]
    home.seal(random_readings(60))
    home.objects[home.chunks[-2]] = home.objects[home.chunks[-3]]
    (failure,) = (await street.takes_in()).passed_over
    found = await street.load(minutes(*range(5)))
    assert found.homes == (4, 3, 2, 2)
    assert {one.stream: one.reason for one in found.missing}[home.id] == str(failure.error)
    assert found.sums[1].tolist() == street.truth(minutes(1, 2), (1, 2, 3))[0]


@pytest.mark.parametrize("what", ["another's", "gone", "not granted"])
async def test_a_home_whose_objects_went_bad_once_they_were_taken_in_leaves_the_set(
    what: str, street: Neighbourhood
) -> None:
    street.joins(sealed(240))
    await street.takes_in()
    home, other = street.homes[:2]
    if what == "another's":
        home.objects[f"v1/{home.id.hex()}/stream.cose"] = other.objects[f"v1/{other.id.hex()}/stream.cose"]
    else:
        part = "stream.cose" if what == "gone" else "grant/"
        for key in [key for key in home.objects if part in key]:
            del home.objects[key]
            (street.folder / "store" / key).unlink()
    found = await street.load(minutes(*range(5)))
    assert (found.homes, found.problems) == ((3, 3, 2, 2), {})
    why = {one.stream: one.reason for one in found.missing}[home.id]
    assert why.startswith("the summing service refuses it: ")
    assert found.sums[:2].tolist() == street.truth(minutes(0, 1, 2), (1, 2, 3))
    assert [count for count, _ in street.asked] == [4, 3, 3, 2]


async def test_a_home_whose_objects_went_bad_keeps_a_set_that_was_summed_from_others_of_its_time(
    street: Neighbourhood,
) -> None:
    await street.takes_in()
    await street.load(minutes(0, 1))
    home = street.homes[0]
    home.objects[f"v1/{home.id.hex()}/stream.cose"] = b"bad"
    found = await street.load(minutes(0, 1, lanes=("export",)))
    assert "the summing service refuses" in found.problems[0]


async def test_of_two_loads_at_once_the_first_ones_set_counts(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has looked which sets there are before, and makes its own."""
    await street.takes_in()
    await street.load(minutes(2, 3))
    street.homes[2].seal(random_readings(110))
    await street.takes_in()
    real, looks = State.asked, []

    def early(self: State, *where: Any) -> Any:
        looks.append(where)
        return {} if len(looks) == 1 else real(self, *where)

    monkeypatch.setattr(State, "asked", early)
    found = await street.load(minutes(2, 3, 4))
    assert (found.homes, found.problems) == ((2, 3), {})
    assert found.sums[0].tolist() == street.truth(minutes(2, 3), (0, 1))[0]


async def test_a_set_of_another_process_may_have_homes_that_were_taken_in_meanwhile(
    street: Neighbourhood,
) -> None:
    await street.takes_in()
    windows = minutes(1, 2, 3)

    async def slow() -> set[bytes]:
        street.homes[2].seal(random_readings(110))
        await street.takes_in()
        assert (await street.load(windows)).homes == (3, 3)
        return {home.id for home in street.homes}

    state = State.open(street.folder / "data", make=False)
    found = await load(state, DuckDB(), "North", windows, street.ask, slow)
    assert (found.homes, found.missing, found.problems) == ((3, 3), (), {})
    assert found.sums.tolist() == street.truth(windows)
    state.close()


async def test_a_set_that_another_process_gave_up_meanwhile(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    await street.takes_in()
    with monkeypatch.context() as patch:
        patch.setattr(State, "ask", lambda self, region, sets: None)
        found = await street.load(minutes(0, 1))
    assert "try again" in found.problems[0]
    assert (await street.load(minutes(0, 1))).homes == (3,)


async def test_a_set_that_was_asked_for_before_and_is_given_up_meanwhile(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    await street.takes_in()
    state, windows = State.open(street.folder / "data", make=False), minutes(0, 1)
    state.ask("North", {windows.times[0]: [tuple(one.listed for one in street.listing)]})
    asked, (number,) = State.asked, state.asked("North", *windows.times[0])[windows.times[0]]

    def once(self: State, region: str, start_ms: int, end_ms: int) -> Any:
        found = asked(self, region, start_ms, end_ms)
        self.unask(region, number, windows.times)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(State, "asked", once)
        found = await load(state, DuckDB(), "North", windows, street.ask)
    with pytest.raises(Unavailable, match=r"no load of 'North': .* try again"):
        check_any(found)
    state.close()


async def test_files_may_be_merged_and_removed_while_the_service_answers(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "_CROWD", 2)
    await street.takes_in()

    async def slow(homes: str, windows: Windows) -> Answer:
        for _ in range(2):
            street.homes[0].seal(random_readings(60))
            await street.takes_in()
        return await street.ask(homes, windows)

    state = State.open(street.folder / "data", make=False)
    files = state.file_names()
    found = await load(state, DuckDB(), "North", minutes(0, 1), slow)
    assert found.sums.tolist() == street.truth(minutes(0, 1))
    assert not any((street.folder / "data" / name).exists() for name in files)
    state.close()


async def test_a_disk_that_is_full_is_said(street: Neighbourhood) -> None:
    await street.takes_in()
    state = State.open(street.folder / "data", make=False)
    state._db.execute("PRAGMA query_only = 1")
    with pytest.raises(UsageError, match=r"state\.sqlite cannot be written: attempt to write a readonly"):
        await load(state, DuckDB(), "North", minutes(0, 1), street.ask)
    assert street.asked == []
    state.close()


async def test_a_set_keeps_the_grants_that_it_was_asked_for_by(street: Neighbourhood) -> None:
    """Where a home has granted the same windows again: its tokens there hold other words."""
    await street.takes_in()
    first = await street.load(minutes(0, 1, 2))
    for home in list(street.homes):
        for _ in range(3):  # ids are random, and the last in order is used
            street.joins(home)
    await street.takes_in()
    again = await street.load(minutes(0, 1, 2, 3))
    assert again.sums[:2].tolist() == first.sums.tolist() == street.truth(minutes(0, 1, 2), (0, 1, 2))
    assert again.homes == (3, 3, 2)
    assert again.sums[2].tolist() == street.truth(minutes(2, 3), (0, 1))[0]


async def test_a_load_that_is_shown_again_asks_for_nothing(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    await street.takes_in()
    first = await street.load(minutes(*range(5)))

    async def never(homes: str, windows: Windows) -> Answer:
        raise AssertionError

    monkeypatch.setattr(street, "ask", never)
    again = await street.load(minutes(*range(5)))
    assert again.sums.tolist() == first.sums.tolist()
    assert (await street.load(minutes(1, 2))).sums.tolist() == first.sums[1:2].tolist()


async def test_an_answer_about_other_incarnations_is_not_added(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    await street.takes_in()
    real = street.ask

    async def other(homes: str, windows: Windows) -> Answer:
        answer = await real(homes, windows)
        return Answer(answer.windows, answer.sums, ("0" * 32, *answer.sets[1:]))

    with monkeypatch.context() as patch:
        patch.setattr(street, "ask", other)
        found = await street.load(minutes(0, 1, 2))
    assert found.homes == (0, 3)
    assert "other incarnations" in found.problems[0]
    assert found.sums[1].tolist() == street.truth(minutes(1, 2))[0]
    assert (await street.load(minutes(0, 1, 2))).homes == (3, 3)

    async def elsewhere(homes: str, windows: Windows) -> Answer:
        answer = await real(homes, windows)
        return Answer(minutes(7, 8, 9, lanes=("export",)), answer.sums, answer.sets)

    with monkeypatch.context() as patch:
        patch.setattr(street, "ask", elsewhere)
        with pytest.raises(GatewayError, match="answered for other windows"):
            await street.load(minutes(0, 1, 2, lanes=("export",)))


async def test_a_region_that_nobody_is_in_and_windows_that_nobody_has(street: Neighbourhood) -> None:
    await street.takes_in()
    with pytest.raises(UsageError, match="no home of region 'West': expected one of North"):
        await street.load(minutes(0, 1), "West")
    found = await street.load(minutes(0, 2, 4))
    assert found.homes == (0, 0)
    assert found.missing[0].windows == 2
    with pytest.raises(NotGranted, match="no load of 'North': no home of the region has this window of 2min"):
        check_any(found)
    with pytest.raises(Unavailable, match="no load of 'North': no home of the region is complete in it"):
        check_any(await street.load(minutes(60, 62)))
    assert street.asked == []


async def test_files_that_lack_a_home_are_damaged(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    await street.takes_in()
    real = DuckDB.sums
    monkeypatch.setattr(DuckDB, "sums", lambda *all: (real(*all)[0], [one - 1 for one in real(*all)[1]]))
    with pytest.raises(UsageError, match=r"is damaged: the window from .* has 2 parts of a set of 3 homes"):
        await street.load(minutes(0, 1))


@pytest.mark.parametrize("lanes", [("import",), ("export", "import")])
async def test_a_file_that_lacks_a_home_of_a_set_is_damaged(
    street: Neighbourhood, lanes: tuple[str, ...]
) -> None:
    """Whether the service's answer is kept or not; the file's own runs say what it has."""
    await street.takes_in()
    await street.load(minutes(0, 1, 2))
    (path,) = (street.folder / "data").rglob("*.parquet")
    table = pq.read_table(path, partitioning=None)
    later = minutes(1, 2).times[0][0]
    kept = [
        stream != street.homes[0].id or start < later
        for stream, start in zip(*(table[name].to_pylist() for name in ("stream", "start_ms")), strict=True)
    ]
    path.write_bytes(parquet([table.filter(kept)]))
    with pytest.raises(UsageError, match=r"is damaged: the window from .*:01:00Z has 2 parts of a set of 3"):
        await street.load(minutes(0, 1, 2, lanes=lanes))


@pytest.mark.parametrize("windows", [minutes(0, 2), minutes(0, 1, lanes=("power",))])
async def test_a_damaged_file_is_named_where_it_is_to_say_what_was_granted(
    street: Neighbourhood, windows: Windows
) -> None:
    await street.takes_in()
    (path,) = (street.folder / "data").rglob("*.parquet")
    data = path.read_bytes()
    at = data.index(b"ARROW:schema") + 20  # text that DuckDB does not read
    path.write_bytes(data[:at] + b"!" + data[at + 1 :])
    with pytest.raises(UsageError, match=f"the centre's file {path} cannot be read"):
        await street.load(windows)


async def test_windows_of_two_lengths_are_summed_over_one_set(tmp_path: Path) -> None:
    """Two minutes whose time was summed by minutes, and the other way round: by other grants, of the same
    homes."""
    street = Twice.new(tmp_path)
    assert isinstance(street, Twice)
    for _ in range(3):
        street.joins_twice(sealed(240))
    late = sealed(130)
    street.joins_twice(late)
    await street.takes_in()
    assert (await street.load(minutes(0, 2))).homes == (4,)
    assert (await street.load(minutes(2, 3))).homes == (3,)
    late.seal(random_readings(110))
    await street.takes_in()
    both = await street.load(minutes(0, 2, 4))
    assert both.homes == (4, 3)
    assert both.sums.tolist() == [
        *street.truth(minutes(0, 2), (0, 2, 4, 6)),
        *street.truth(minutes(2, 4), (0, 2, 4)),
    ]
    fine = await street.load(minutes(*range(5)))
    assert fine.homes == (4, 4, 3, 3)
    assert fine.sums.sum() == both.sums.sum()


async def test_a_time_that_was_summed_over_two_sets_has_no_sum_of_both(tmp_path: Path) -> None:
    street = Twice.new(tmp_path)
    assert isinstance(street, Twice)
    for seconds in (240, 240, 70):
        street.joins_twice(sealed(seconds))
    await street.takes_in()
    assert (await street.load(minutes(0, 1, 2))).homes == (3, 2)
    street.homes[4].seal(random_readings(170))
    await street.takes_in()
    found = await street.load(minutes(0, 2, 4))
    assert found.homes == (0, 3)
    assert found.problems == {0: "parts of it were summed over different sets of homes"}
    assert len(street.asked) == 3


async def test_windows_that_nobody_granted_are_told_from_those_that_are_not_there_yet(tmp_path: Path) -> None:
    """By what was taken in of their times; none of it is asked for."""
    street = Neighbourhood.new(tmp_path)
    for granularity in ("1min", "1min", "3min"):
        street.joins(sealed(300), granularity=granularity)
    await street.takes_in()
    found = await street.load(minutes(0, 2, 5, 7))
    words = "no home of the region has this window of"
    advice = "were taken in, the first from 2026-03-01T00:0{}:00Z: ask for windows as they were granted"
    assert found.problems == {
        0: f"{words} 2min: of its time, windows of 1min and 3min {advice.format(0)}",
        1: f"{words} 3min: of its time, windows of 1min and 3min {advice.format(0)}",
        2: "no home of the region is complete in it",
    }
    found = await street.load(minutes(0, 1, lanes=("import", "power")))
    sentence = "no home of the region has import and power in it: its 2 homes granted import and export"
    assert found.problems == {0: sentence}
    assert street.asked == []


async def test_a_set_that_did_not_grant_a_lane_is_not_asked_for_it(street: Neighbourhood) -> None:
    """The sentence names lanes and how many homes, whose time was summed before."""
    await street.takes_in()
    assert (await street.load(minutes(0, 1, 2))).homes == (3, 3)
    lanes = ("import", "power")
    found = await street.load(minutes(0, 1, 2, lanes=lanes))
    sentence = "no home of its set has power in it: its 3 homes granted import and export"
    assert found.problems == {0: sentence, 1: sentence}
    with pytest.raises(NotGranted, match="no load of 'North': no home of its set has power"):
        check_any(found)
    assert len(street.asked) == 1


async def test_a_set_of_which_some_did_not_grant_a_lane_is_not_asked_for_it(tmp_path: Path) -> None:
    street = Neighbourhood.new(tmp_path)
    for lanes in (("import",), ("import", "export"), ("import",)):
        street.joins(sealed(60), lanes=lanes)
    await street.takes_in()
    assert (await street.load(minutes(0, 1))).homes == (3,)
    found = await street.load(minutes(0, 1, lanes=("export",)))
    assert found.problems == {0: "2 of the 3 homes of its set have no export in it: they granted import"}
    assert len(street.asked) == 1


async def test_a_set_that_is_not_complete_in_a_longer_window_waits(tmp_path: Path) -> None:
    street = Twice.new(tmp_path)
    assert isinstance(street, Twice)
    for seconds in (120, 120, 70):
        street.joins_twice(sealed(seconds))
    await street.takes_in()
    assert (await street.load(minutes(0, 1))).homes == (3,)
    found = await street.load(minutes(0, 2))
    assert found.homes == (0,)
    assert (
        "1 of these are not complete in it, such as stream " + street.homes[4].id.hex() in found.problems[0]
    )
    street.homes[4].seal(random_readings(60))
    await street.takes_in()
    assert (await street.load(minutes(0, 2))).homes == (3,)


# --- homes that come late: a second set


@pytest.fixture
async def late(tmp_path: Path) -> Neighbourhood:
    """Three homes of two minutes that were summed, and three more that have come since."""
    street = Neighbourhood.new(tmp_path)
    for _ in range(3):
        street.joins(sealed(120, 90))
    for _ in range(3):
        street.joins(sealed(50))
    await street.takes_in()
    assert (await street.load(minutes(0, 1, 2))).homes == (3, 3)
    return street


async def comes(street: Neighbourhood, *numbers: int) -> None:
    for number in numbers:
        street.homes[number].seal(random_readings(70))
    await street.takes_in()


async def test_homes_that_came_late_are_a_second_set(
    late: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written down before the service is asked; one home alone waits for others."""
    await comes(late, 3)
    alone = await late.load(minutes(0, 1, 2))
    assert (alone.homes, alone.absent) == ((3, 3), (3, 3))
    assert [count for count, _ in late.asked] == [3]
    await comes(late, 4)
    real, written = late.ask, []

    async def looks(homes: str, windows: Windows) -> Answer:
        state = State.open(late.folder / "data", make=False)
        sets = state.asked("North", *windows.times[0]).get(windows.times[0], {})
        written.append(sorted(len(one) for one in sets.values()))
        state.close()
        return await real(homes, windows)

    monkeypatch.setattr(late, "ask", looks)
    both = await late.load(minutes(0, 1, 2))
    assert written == [[2, 3]]
    assert (both.homes, both.absent, both.problems) == ((5, 5), (1, 1), {})
    assert both.sums.tolist() == late.truth(minutes(0, 1, 2), range(5))
    assert [(one.stream, one.windows) for one in both.missing] == [(late.homes[5].id, 2)]
    again = await late.load(minutes(0, 1, 2))
    assert again.sums.tolist() == both.sums.tolist()
    other = await late.load(minutes(1, 2, lanes=("export",)))
    assert other.sums.tolist() == late.truth(minutes(1, 2, lanes=("export",)), range(5))
    assert [count for count, _ in late.asked] == [3, 2, 3, 2]


async def test_a_second_set_has_no_home_that_broke_or_is_not_certified(late: Neighbourhood) -> None:
    await comes(late, 3, 4, 5)
    certified = {late.homes[number].id for number in (0, 1, 3)}
    assert (await late.load(minutes(0, 1), certified=certified)).homes == (3,)
    found = await late.load(minutes(0, 1), certified=certified | {late.homes[5].id})
    assert found.homes == (5,)
    assert found.sums.tolist() == late.truth(minutes(0, 1), (0, 1, 2, 3, 5))
    assert {one.stream: one.reason for one in found.missing} == {
        late.homes[4].id: "its gateway has no valid certificate"
    }


async def test_a_second_set_that_is_refused_is_not_asked_for_again_before_it_grows(tmp_path: Path) -> None:
    street = Neighbourhood.new(tmp_path)
    for _ in range(3):
        street.joins(sealed(60))
    for _ in range(3):
        street.joins(sealed(50), k_min=3)
    await street.takes_in()
    first = await street.load(minutes(0, 1))
    await comes(street, 3, 4)
    for _ in range(3):
        found = await street.load(minutes(0, 1))
        assert (found.homes, found.absent, found.problems) == ((3,), (3,), {})
        assert found.sums.tolist() == first.sums.tolist()
        reasons = {one.stream: one.reason for one in found.missing}
        late = f"{LATE}, and the summing service refuses a set of the 2 homes that came so late"
        assert [reasons[home.id] for home in street.homes[3:]] == [late, late, "nothing taken in"]
    assert [count for count, _ in street.asked] == [3, 2]
    await comes(street, 5)
    found = await street.load(minutes(0, 1))
    assert found.homes == (6,)
    assert found.sums.tolist() == street.truth(minutes(0, 1))
    assert [count for count, _ in street.asked] == [3, 2, 3]


async def test_the_first_set_is_shown_while_the_second_cannot_be_asked_for(
    late: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    await comes(late, 3, 4)

    async def away(*_: object) -> Any:
        raise Unavailable("the registrar does not answer")

    async def certified() -> Any:
        return await away()

    state = State.open(late.folder / "data", make=False)
    for ask, valid in ((late.ask, certified), (away, None)):
        found = await load(state, DuckDB(), "North", minutes(0, 1, 2), ask, valid)
        assert (found.homes, found.absent, found.problems) == ((3, 3), (3, 3), {})
        assert found.sums.tolist() == late.truth(minutes(0, 1, 2), range(3))
    with pytest.raises(Unavailable):  # a window without any set has nothing to show
        await load(state, DuckDB(), "North", minutes(0, 1, 2, 3), late.ask, certified)
    state.close()
    assert (await late.load(minutes(0, 1, 2))).homes == (5, 5)


async def test_second_sets_are_kept_in_windows_of_another_length(tmp_path: Path) -> None:
    """Homes that were a set of one minute are one of the two that it is in."""
    street = Twice.new(tmp_path)
    assert isinstance(street, Twice)
    for seconds in (120, 120, 50, 50, 50, 50):
        street.joins_twice(sealed(seconds))
    await street.takes_in()
    assert (await street.load(minutes(0, 1))).homes == (2,)
    for number in (4, 6):
        street.homes[number].seal(random_readings(10))
    await street.takes_in()
    assert (await street.load(minutes(0, 1))).homes == (4,)
    assert (await street.load(minutes(0, 2))).homes == (2,)
    for number in (4, 6, 8, 10):
        street.homes[number].seal(
            random_readings(130 - street.homes[number].end + street.homes[number].start)
        )
    await street.takes_in()
    found = await street.load(minutes(0, 2))
    assert (found.homes, found.absent) == ((6,), (0,))
    assert found.sums.tolist() == street.truth(minutes(0, 2), range(0, 12, 2))
    assert [count for count, _ in street.asked] == [2, 2, 2, 2, 2]
    assert (await street.load(minutes(0, 1, 2))).homes == (6, 6)


def test_a_window_is_never_given_two_sets_that_share_a_home(tmp_path: Path) -> None:
    """Whichever of two processes writes its sets first."""
    homes = [Listed(bytes([number] * 16), bytes(16), bytes(16)) for number in range(6)]
    state = State.open(tmp_path, make=True)
    ((start_ms, end_ms),) = minutes(0, 1).times
    for members in (homes[:3], homes[2:5], homes[3:], homes[:3], homes[5:]):
        state.ask("North", {(start_ms, end_ms): [tuple(members)]})
    sets = state.asked("North", start_ms, end_ms)[start_ms, end_ms]
    assert sorted(sets.values(), key=len) == [tuple(homes[:3]), tuple(homes[3:])]
    state.ask("South", {(start_ms, end_ms): [tuple(homes[:2]), tuple(homes[1:])]})
    assert list(state.asked("South", start_ms, end_ms)[start_ms, end_ms].values()) == [tuple(homes[:2])]
    state.close()


# --- any order of sealing, taking in and asking, for windows of two lengths that the same homes granted


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("seal"), st.integers(0, 4), st.integers(20, 100)),
        st.tuples(st.just("restart"), st.integers(0, 4), st.just(0)),
        st.tuples(st.just("take in"), st.just(0), st.just(0)),
        st.tuples(st.just("load"), st.integers(1, 2), st.integers(0, 5)),
        st.tuples(st.just("lose"), st.integers(1, 2), st.integers(0, 5)),
    ),
    max_size=14,
)


@pytest.mark.slow
@settings(max_examples=12)
@given(ACTS)
def test_the_service_never_refuses_a_set_for_another_and_every_load_is_the_truth(
    acts: Sequence[tuple[str, int, int]],
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        asyncio.run(_story(Path(name), acts))


async def _story(folder: Path, acts: Sequence[tuple[str, int, int]]) -> None:
    street = Twice.new(folder)
    assert isinstance(street, Twice)
    for seconds in (60, 60, 120, 120, 250):
        street.joins_twice(sealed(seconds))
    await street.takes_in()
    homes = street.homes[::2]
    for act, number, size in [*acts, ("take in", 0, 0), ("load", 1, 0), ("load", 2, 0)]:
        match act:
            case "seal":
                homes[number].seal(random_readings(size))
            case "restart":
                homes[number].restart()
            case "take in":
                assert (await street.takes_in()).passed_over == ()
            case "load" | "lose":
                windows = minutes(*range(size, 11, number)) if size + number < 11 else minutes(0, number)
                if act == "lose":
                    await _loses(street, windows)
                    continue
                found = await street.load(windows)
                for i, count in enumerate(found.homes):
                    problem = found.problems.get(i, "")
                    assert "another set of homes was summed" not in problem
                    assert "other incarnations" not in problem
                    one = Windows(windows.lanes, (windows.times[i],))
                    inside = await _members(street, one)
                    assert count in (0, len(inside))
                    assert found.absent[i] == len(homes) - count
                    if count:
                        assert [found.sums[i].tolist()] == street.truth(one, inside)


async def _members(street: Neighbourhood, window: Windows) -> list[int]:
    """The numbers of the homes in a window's set."""
    state = State.open(street.folder / "data", make=False)
    sets = state.asked("North", *window.times[0]).get(window.times[0], {})
    asked = [member for members in sets.values() for member in members]
    state.close()
    keys: list[tuple[bytes, Grant]] = [
        (home.id, grant) for home, grant in zip(street.homes, street.grants, strict=True)
    ]
    return [
        i
        for i, (stream, grant) in enumerate(keys)
        if (stream, grant.id) in {(m.stream, m.grant) for m in asked}
    ]


async def _loses(street: Neighbourhood, windows: Windows) -> None:
    """The service answers, and its answer does not arrive."""

    async def lost(homes: str, wanted: Windows) -> Answer:
        await street.ask(homes, wanted)
        raise Unavailable("lost")

    state = State.open(street.folder / "data", make=False)
    try:
        await load(state, DuckDB(), "North", windows, lost)
    except Unavailable:
        pass
    finally:
        state.close()
