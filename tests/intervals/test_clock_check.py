"""Steps of the wall clock: none is sealed that does not stand, and none costs a mWh (PROTOCOL.md, rule 5)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.layout import Layout
from gateway.intervals.clock_check import ClockCheck, ClockEvent
from gateway.intervals.sampler import Sampler
from gateway.intervals.state import SamplerState
from gateway.meters.reading import Reading

NS = 1_000_000_000
LANES = ("import", "count")
LAYOUT = Layout(unit_ms=1000, link_units=10)
FIRST = 1_780_000_000  # a link boundary
BOOTED = FIRST - 500
DAY = 86_400
COMMIT_S = 5
STANDS_S = 600


def mwh(second: int) -> int:
    """The register at a second of true time: another value at each."""
    return (second - FIRST) * 3 + (second - FIRST) % 2 + 10_000


class Run:
    """A meter read each second and sealed every five, under a clock that is `ahead` (s) of the true time."""

    def __init__(self) -> None:
        self.now = FIRST - 5
        self.ahead = 0
        self.trusted = True
        self.events: list[ClockEvent] = []
        self.first = -1
        self.energy: list[int] = []
        self.counts: list[int] = []
        self.check = ClockCheck(None)
        self.sampler = Sampler(LAYOUT, LANES)
        self.readings: list[Reading] = []
        self.most_s = 0  # the most that a sealed unit was ahead of the true time

    @property
    def end(self) -> int:
        return self.first + len(self.energy)

    @property
    def wall(self) -> int:
        return (self.now + self.ahead) * NS + NS // 20

    def lives(self, seconds: int) -> Run:
        for _ in range(seconds):
            self.now += 1
            registers = {"import": mwh(self.now)}
            self.readings.append(Reading("main", registers, self.wall, (self.now - BOOTED) * NS))
            if self.now % COMMIT_S == 0:
                self.commit()
        return self

    def steps(self, ahead: int) -> Run:
        self.ahead = ahead
        return self

    def commit(self) -> None:
        monotonic = (self.now - BOOTED) * NS
        event = self.check.look(trusted=self.trusted, wall=self.wall, monotonic=monotonic)
        self.events += [] if event is None else [event]
        for reading in self.readings:
            self.sampler.add(
                reading, trusted=self.check.wait is None, wall_now=self.wall, monotonic_now=monotonic
            )
        self.readings.clear()
        while (units := self.sampler.take()) is not None:
            self.first = units.first if self.first < 0 else self.first
            assert units.first == self.end, "a unit is missing, or comes twice"
            self.energy += units.lanes["import"].tolist()
            self.counts += units.lanes["count"].tolist()
            assert self.end - 1 <= self.wall // NS + 10
            self.most_s = max(self.most_s, self.end - 1 - self.now)

    def restarts(self) -> Run:
        """A start without a memory of the monotonic clock: what waited is lost, the registers are not."""
        state = self.sampler.state()
        self.readings.clear()
        self.check = ClockCheck(None if state is None else (state.unit + 1) * NS)
        if state is None:
            self.sampler = Sampler(LAYOUT, LANES)
        else:
            saved = SamplerState.from_bytes(state.to_bytes())
            self.sampler = Sampler(LAYOUT, LANES, self.sampler.start, saved)
        return self

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


def test_a_clock_that_is_a_month_ahead_for_two_seconds_leaves_no_trace() -> None:
    run, plain = Run().lives(103), Run().lives(103)
    run.steps(30 * DAY).lives(2).steps(0).lives(60)
    assert run.kinds == ["ahead", "returned"]
    assert run.events[0].by == 30 * DAY * NS
    plain.lives(62)
    assert (run.first, run.energy, run.counts) == (plain.first, plain.energy, plain.counts)
    assert run.counts == [1] * len(run.counts)


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(20, 10**8), st.integers(1, STANDS_S - COMMIT_S), st.integers(10, 700)),
        max_size=4,
    )
)
def test_steps_forward_that_are_taken_back_leave_no_trace(steps: list[tuple[int, int, int]]) -> None:
    run, plain = Run().lives(60), Run().lives(60)
    for ahead, seconds, after in steps:
        run.steps(ahead).lives(seconds).steps(0).lives(after)
        plain.lives(seconds + after)
        assert run.most_s <= 0
    assert (run.first, run.energy, run.counts) == (plain.first, plain.energy, plain.counts)


@pytest.mark.parametrize("ahead", [11, 37, 3600, 30 * DAY])
def test_a_step_forward_that_stands_is_sealed_after_ten_minutes_with_all_its_readings(ahead: int) -> None:
    run = Run().lives(105)
    end = run.end
    run.steps(ahead).lives(STANDS_S)
    assert run.end == end
    run.lives(COMMIT_S)
    assert run.kinds == ["ahead", "stood"]
    assert run.end == run.now + ahead + 1
    assert run.counts[end - run.first :] == [0] * ahead + [1] * (STANDS_S + COMMIT_S)
    assert sum(run.energy) == mwh(run.now) - mwh(run.first - 1)


def test_the_ten_minutes_begin_again_with_each_step() -> None:
    run = Run().lives(105).steps(1000).lives(590).steps(2000).lives(590).steps(1000).lives(590)
    assert run.kinds == ["ahead"] * 3
    assert run.end == FIRST + 101
    run.lives(15)
    assert run.kinds == ["ahead"] * 3 + ["stood"]
    assert run.end == run.now + 1000 + 1


def test_a_step_of_ten_seconds_is_believed_at_once_and_many_in_a_row_are_not() -> None:
    run = Run().lives(105).steps(10).lives(COMMIT_S)
    assert run.events == []
    assert run.end == run.now + 11
    for n in range(2, 100):
        run.steps(9 * n).lives(COMMIT_S)
    assert run.kinds[0] == "ahead"
    assert run.most_s <= 30


def test_a_clock_that_drifts_is_believed_for_ever() -> None:
    run = Run().lives(105)
    for n in range(60):
        run.steps(n // 2).lives(60)
    assert run.events == []


def test_a_step_back_seals_nothing_until_the_last_unit_is_over() -> None:
    run = Run().lives(105)
    end = run.end
    run.steps(-60).lives(60)
    assert run.kinds == ["back"]
    assert run.events[0].by == 60 * NS
    assert run.end == end
    run.lives(10)
    assert run.end == end + 10
    assert sum(run.energy) == mwh(run.now) - mwh(run.first - 1)


def test_a_step_forward_soon_after_one_back_is_one() -> None:
    run = Run().lives(105).steps(-60).lives(10).steps(0).lives(10)
    assert run.kinds == ["back", "ahead"]
    assert run.events[1].by == 60 * NS


def test_a_step_that_is_taken_back_by_more_ends_the_wait() -> None:
    run = Run().lives(105).steps(DAY).lives(10).steps(-30).lives(60)
    assert run.kinds == ["ahead", "back"]
    assert run.events[1].by == 30 * NS
    assert run.end == run.now - 30 + 1


def test_a_clock_that_is_not_synchronised_is_waited_for() -> None:
    run = Run()
    run.trusted = False
    run.steps(-(10**9)).lives(50)
    assert (run.kinds, run.first) == (["unset"], -1)
    run.trusted = True
    run.steps(0).lives(COMMIT_S)
    assert run.kinds == ["unset", "set"]
    assert run.counts == [1] * len(run.counts)
    assert run.end == run.now + 1


def test_a_start_in_the_wrong_time_waits_too() -> None:
    run = Run().lives(105).steps(30 * DAY).lives(300)
    end = run.end
    run.restarts().lives(STANDS_S - 10).restarts().lives(STANDS_S - 10)
    assert run.kinds == ["ahead", "late", "late"]
    assert run.end == end
    run.steps(0).lives(10)
    assert run.kinds[3:] == ["returned"]
    assert run.end == run.now + 1
    assert run.most_s <= 0
    assert sum(run.energy) == mwh(run.now) - mwh(run.first - 1)


@settings(max_examples=50)
@given(st.integers(20, 10**6), st.integers(0, 595), st.integers(1, 595), st.integers(10, 700))
def test_a_start_in_the_wrong_time_seals_an_hour_ahead_at_most(
    ahead: int, before: int, after: int, later: int
) -> None:
    run = Run().lives(60).steps(ahead).lives(before).restarts().lives(after).steps(0).lives(later)
    assert run.most_s <= 3600
    assert ahead + before <= 3600 or run.most_s <= 0
    run.now = max(run.now, run.end)
    run.lives(STANDS_S + 10).commit()
    assert run.end == run.now + 1
    assert sum(run.energy) == mwh(run.now) - mwh(run.first - 1)


def test_a_start_within_an_hour_is_sealed_at_once() -> None:
    run = Run().lives(105)
    run.now += 3_500
    run.restarts().lives(COMMIT_S)
    assert run.events == []
    assert run.end == run.now + 1


def test_a_start_after_a_long_outage_waits_ten_minutes() -> None:
    run = Run().lives(105)
    run.now += 3 * 3600
    run.restarts().lives(STANDS_S)
    assert run.kinds == ["late"]
    assert run.events[0].by >= 3 * 3600 * NS
    run.lives(COMMIT_S)
    assert run.kinds == ["late", "stood"]
    assert run.end == run.now + 1
    assert sum(run.counts[-STANDS_S:]) == STANDS_S


life = st.lists(
    st.one_of(
        st.tuples(st.just("lives"), st.one_of(st.integers(1, 60), st.integers(1, 1500))),
        st.tuples(st.just("steps"), st.one_of(st.integers(-30, 30), st.integers(-4000, 200_000))),
        st.tuples(st.just("restarts"), st.just(0)),
        st.tuples(st.just("trusted"), st.booleans()),
        st.tuples(st.just("off"), st.integers(1, 10_000)),
    ),
    max_size=14,
)


@settings(max_examples=150)
@given(life)
def test_whatever_the_clock_does_no_energy_is_lost_and_no_unit_comes_twice(
    acts: list[tuple[str, int]],
) -> None:
    """Nor is one sealed beyond what the clock shows: `Run` sees to both."""
    run = Run().lives(30)
    for what, n in acts:
        match what:
            case "lives":
                run.lives(n)
            case "steps":
                run.steps(n)
            case "restarts":
                run.restarts()
            case "trusted":
                run.trusted = bool(n)
            case "off":
                run.now += n
                run.restarts()
    run.trusted = True
    run.steps(0).lives(1000)
    if run.end > run.now + 1:  # sealed ahead, when the clock had stood ahead for ten minutes or at a start
        run.now = run.end + 2000
        run.restarts().lives(10)
    assert set(run.counts) <= {0, 1}
    registers = {mwh(second) for second in range(FIRST - 5, run.now + 1)}
    state = run.sampler.state()
    assert state is not None
    assert state.imported in registers
    origin = state.imported - sum(run.energy)
    total = origin
    for energy, count in zip(run.energy, run.counts, strict=True):
        total += energy
        assert energy >= 0
        assert not count or total in registers, "a unit that was read does not show what the meter showed"
    assert total == mwh(run.now) or run.end <= run.now
