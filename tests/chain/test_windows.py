"""The windows of a grant by number, where time zone tables agree and where they do not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.chain.grant import Grant
from gateway.chain.window import Granularity
from gateway.chain.windows import GrantWindows
from tests.chain.test_grant import GRANULARITIES, a_grant

HOUR = 3600
CALENDARS = GRANULARITIES.filter(lambda granularity: isinstance(granularity.size, str))


@st.composite
def grants(draw: st.DrawFn, granularities: st.SearchStrategy[Granularity] = GRANULARITIES) -> Grant:
    granularity = draw(granularities)
    first = granularity.align_up(draw(st.integers(0, 2**31)))
    length = draw(st.none() | st.integers(1, 60))
    until = None if length is None else granularity.start(granularity.index(first) + length)
    return a_grant(granularity, first, until)


@given(grants(), st.integers(0, 80), st.integers(0, 2**31))
def test_they_are_the_granularitys_own(grant: Grant, j: int, unit: int) -> None:
    """By this machine's table: as the grant counts them."""
    windows = GrantWindows(grant)
    unit = min(unit, grant.window(80)[0])
    assert windows.number(unit) == grant.number(unit) or (windows.number(unit) < 0 and grant.number(unit) < 0)
    assert windows.complete(unit) == grant.complete(unit)
    assert windows.window(j) == grant.window(j)
    assert windows.edges(0, j) == [grant.window(i)[0] for i in range(j + 1)]
    a, b = windows.window(j)
    assert windows.number(a) == windows.number(b - 1) == j
    assert windows.number(a - 1) == j - 1
    assert windows.is_edge(a)
    assert windows.is_edge(b)
    assert windows.is_edge(unit) == (unit in (grant.window(max(0, grant.number(unit)))[0],))
    assert windows.calendar == isinstance(grant.granularity.size, str)


@given(grants(), st.lists(st.integers(-(2**31), 2**31), max_size=20), st.integers(0, 40))
def test_many_are_found_as_each_by_itself(grant: Grant, units: list[int], count: int) -> None:
    windows = GrantWindows(grant)
    units = [min(unit, grant.window(40)[0]) for unit in units] + windows.edges(0, count)
    j, is_edge = windows.find(np.array(units, dtype=np.int64))
    for unit, number in zip(units, j.tolist(), strict=True):
        assert number == windows.number(unit) or (number < 0 and unit < grant.first)
    assert is_edge.tolist() == [windows.is_edge(unit) for unit in units]


@given(grants(), st.integers(0, 30), st.integers(0, 30))
def test_they_do_not_depend_on_what_was_asked_before(grant: Grant, i: int, j: int) -> None:
    asked = GrantWindows(grant)
    asked.edge(i)
    asked.number(grant.window(i)[1])
    assert asked.edges(j, j + 3) == GrantWindows(grant).edges(j, j + 3)


@given(grants(), st.integers(0, 10), st.integers(1, 10))
def test_edges_of_the_same_table_change_nothing(grant: Grant, first: int, count: int) -> None:
    windows, ours = GrantWindows(grant), GrantWindows(grant)
    if first:
        assert windows.settle(0, ours.edges(0, first)) is None
    assert windows.settle(first, ours.edges(first, first + count)) is None
    assert windows.edges(0, 40) == ours.edges(0, 40)
    assert GrantWindows(grant, ours.edges(0, count)).edges(0, 40) == ours.edges(0, 40)


@st.composite
def cut_otherwise(draw: st.DrawFn) -> tuple[Grant, list[int]]:
    """A grant of days or months, and edges of some table of its own: no more than 3 hours from ours."""
    grant = draw(grants(CALENDARS))
    ours = GrantWindows(grant).edges(0, draw(st.integers(2, 20)))
    moved = st.sampled_from((0, 0, 0, -3, -1, 1, 2)).map(lambda hours: hours * HOUR)
    return grant, [ours[0], *(edge + draw(moved) for edge in ours[1:])]


@given(cut_otherwise(), st.data())
def test_issued_edges_are_the_windows(story: tuple[Grant, list[int]], data: st.DataObject) -> None:
    """In one bundle or in many, read again or not: those of the bundles count, and the first that this
    machine would have cut otherwise is told."""
    grant, edges = story
    ours = GrantWindows(grant).edges(0, len(edges) - 1)
    count = len(edges) - 1
    windows = GrantWindows(grant)
    cuts = sorted({0, count, *data.draw(st.lists(st.integers(0, count), max_size=3))})
    told = [windows.settle(x, edges[x : y + 1]) for x, y in pairwise(cuts)]
    assert (set(told) == {None}) == (ours == edges)
    first = next((x for x, y in zip(ours, edges, strict=True) if x != y), None)
    assert next((edge for edge in told if edge is not None), None) == first
    for _ in range(3):  # a folded bundle, or an early one once more
        x = data.draw(st.integers(0, count - 1))
        y = data.draw(st.integers(x + 1, count))
        assert windows.settle(x, edges[x : y + 1]) is None
    assert windows.edges(0, count) == edges
    assert GrantWindows(grant, edges).edges(0, count + 5) == windows.edges(0, count + 5)
    for j, (a, b) in enumerate(pairwise(edges)):
        assert windows.window(j) == (a, b)
        assert [windows.number(unit) for unit in (a - 1, a, b - 1, b)] == [j - 1, j, j, j + 1]
        assert windows.is_edge(a)
        assert not windows.is_edge(a + 1)
        if grant.until is None or b <= grant.until:
            assert (windows.complete(b - 1), windows.complete(b)) == (j, j + 1)


@given(cut_otherwise())
def test_after_another_tables_edges_ours_go_on(story: tuple[Grant, list[int]]) -> None:
    """With a window that ends where ours does, and is about as long: never one of some hours."""
    grant, edges = story
    windows = GrantWindows(grant, edges)
    count = len(edges) - 1
    ours = GrantWindows(grant).edges(0, count + 5)
    assert windows.edges(count + 1, count + 5) == ours[count + 1 :]
    assert windows.edge(count + 1) - windows.edge(count) >= 20 * HOUR


@given(cut_otherwise(), st.data())
def test_edges_that_were_issued_stay(story: tuple[Grant, list[int]], data: st.DataObject) -> None:
    """What would move one is refused, and nothing of it taken."""
    grant, edges = story
    windows, count = GrantWindows(grant, edges), len(edges) - 1
    x = data.draw(st.integers(0, count - 1))
    more = windows.edge(count + 1)
    changed = [*edges[x:], more]
    at = data.draw(st.integers(0, count - x))
    changed[at] += data.draw(st.sampled_from((-HOUR, HOUR)))
    assume(all(a < b for a, b in pairwise(changed)))
    with pytest.raises(ValueError, match=r"other than those issued before|do not go on where"):
        windows.settle(x, changed)
    assert windows.edges(0, count + 1) == [*edges, more]


def test_edges_that_cannot_be_are_refused() -> None:
    day = Granularity("day", 1000, "Europe/Berlin")
    grant = a_grant(day, day.start(20_454))
    begin = grant.first
    for edges, says in (
        ([begin, begin + 9, begin + 9], "do not rise"),
        ([begin, begin - 1], "do not rise"),
        ([begin, begin + 90_000, begin + 80_000], "do not rise"),
        ([begin + 1, begin + 86_400], "do not go on where the ones before end"),  # not the grant's from
        ([begin - HOUR, begin + 86_400], "do not go on where the ones before end"),
    ):
        windows = GrantWindows(grant)
        with pytest.raises(ValueError, match=says):
            windows.settle(0, edges)
        assert windows.edges(0, 2) == [begin, begin + 86_400, begin + 2 * 86_400]
    windows = GrantWindows(grant)
    windows.settle(0, [begin, begin + 86_000])
    with pytest.raises(ValueError, match="do not go on where the ones before end"):
        windows.settle(1, [begin + 86_400, begin + 2 * 86_400])


def test_a_zone_that_gives_up_summer_time_keeps_its_days() -> None:
    """Issued by a table that still had it: that day is an hour short in ours, and the next an hour long."""
    day = Granularity("day", 1000, "Asia/Kathmandu")  # which has none
    grant = a_grant(day, day.start(20_000))
    begin, hours = grant.first, 24 * HOUR
    windows = GrantWindows(grant)
    assert windows.settle(0, [begin, begin + 24 * HOUR]) is None
    assert windows.settle(1, [begin + hours, begin + 2 * hours - HOUR]) == begin + 2 * hours
    assert windows.window(2) == (begin + 2 * hours - HOUR, begin + 3 * hours)
    assert windows.number(begin + 2 * hours - 1) == 2
    assert windows.complete(begin + 2 * hours - HOUR) == 2


def test_a_date_that_a_zone_skips_has_no_window() -> None:
    """Samoa had no 30 December 2011."""
    day = Granularity("day", 1000, "Pacific/Apia")
    windows = GrantWindows(a_grant(day, day.start(15_337)))  # 2011-12-29
    assert [b - a for a, b in map(windows.window, range(3))] == [86_400] * 3
    assert windows.edge(1) == day.start(15_338) == day.start(15_339)
    assert windows.number(windows.edge(1)) == 1
