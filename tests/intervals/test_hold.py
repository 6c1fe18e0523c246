"""A hold outlives restarts, ends by readings that fit and by its owner, and never by time alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.chain.layout import Layout
from gateway.errors import GatewayError, UsageError
from gateway.intervals.hold import (
    Choice,
    LaneMemory,
    LaneRun,
    Memory,
    RegisterEvent,
    RegisterMark,
    Run,
    counted,
)
from gateway.intervals.limits import SLACK_MWH, Shown, most
from gateway.intervals.sampler import Sampler
from gateway.intervals.state import SamplerState
from gateway.meters.reading import Reading

NS = 1_000_000_000
HOUR, DAY = 3600, 86_400
KWH = 1_000_000  # mWh
LANES = ("import", "export", "power", "count")
BEGIN_S = 1_780_002_000  # a link boundary of units of a minute
LAYOUT = Layout(unit_ms=60_000, link_units=60)


@dataclass
class Meter:
    """A meter read by a gateway that may stop at any moment: `used` and `given` are what the home truly
    imported and exported, and a state is durable as the sealer makes it so: with units, or when the hold's
    milestone changes."""

    register: int = 23_060 * KWH
    serial: str | None = "1EMH00"
    now: int = BEGIN_S
    booted: int = BEGIN_S - 1000
    sealed: list[int] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.used = 0
        self.first: int | None = None
        self.sampler = Sampler(LAYOUT, LANES)
        self.saved: tuple[bytes, object] | None = None
        self.writes = 0

    def passes(self, seconds: int, watts: int = 0) -> None:
        self.now += seconds
        self.used += round(seconds * watts / 3.6)

    @property
    def true(self) -> int:
        return self.register + self.used

    def shows(
        self, imported: int | None = None, exported: int = 5 * KWH, serial: str | None = "same"
    ) -> None:
        """A reading, and what the sealer does after it."""
        reading = Reading(
            "main",
            {"import": self.true if imported is None else imported, "export": exported, "power": 5},
            self.now * NS,
            (self.now - self.booted) * NS,
            self.serial if serial == "same" else serial,
        )
        events = self.sampler.add(
            reading, trusted=True, wall_now=reading.wall, monotonic_now=reading.monotonic
        )
        self.events += [event.kind for event in events]
        self.seals()

    def seals(self) -> None:
        while (units := self.sampler.take()) is not None:
            self.first = units.first if self.first is None else self.first
            assert units.first == self.first + len(self.sealed)
            self.sealed += units.lanes["import"].tolist()
            self.saves()
        if self.saved is not None and self.sampler.milestone != self.saved[1]:
            self.saves()

    def saves(self) -> None:
        state = self.sampler.state()
        assert state is not None
        self.saved = state.to_bytes(), state.memory.milestone
        self.writes += 1

    def reads(self, times: int, seconds: int, watts: int = 0) -> None:
        for _ in range(times):
            self.passes(seconds, watts)
            self.shows()

    def restarts(self, outage_s: int = 30, watts: int = 0) -> None:
        """It stops without a word, and starts after an outage on a machine that booted anew."""
        assert self.saved is not None
        state = SamplerState.from_bytes(self.saved[0])
        self.passes(outage_s, watts)
        self.booted = self.now - 5
        self.sampler = Sampler(LAYOUT, LANES, self.sampler.start, state)

    def accepts(self, choice: Choice) -> None:
        self.sampler.accept(choice)
        self.saves()  # with the decision in the audit log

    @property
    def held(self) -> bool:
        return self.sampler.held is not None


def begun(seconds: int = HOUR, watts: int = 1500, **settings: object) -> Meter:
    """A stream whose meter is read every `seconds`."""
    meter = Meter(**settings)  # type: ignore[arg-type]
    meter.shows()
    meter.reads(5, max(seconds, 1200), watts)
    assert meter.sealed
    assert not meter.held
    return meter


FAULTS = {
    "ten times": lambda true: true * 10,
    "a hundred times": lambda true: true * 100,
    "a third decimal": lambda true: true * 1000,
    "another meter's total": lambda true: true + 98_765 * KWH,
    "30 kWh too much": lambda true: true + 30 * KWH,
    "2000 kWh too much": lambda true: true + 2_000 * KWH,
}


@pytest.mark.parametrize("seconds", [10, 900, HOUR])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("outage_s", [30, DAY, 10 * DAY, 365 * DAY])
def test_no_time_and_no_restart_makes_a_jump_believable(seconds: int, fault: str, outage_s: int) -> None:
    explained = {"30 kWh too much": 60, "2000 kWh too much": HOUR}.get(fault, DAY)
    if seconds > explained:
        return  # where nothing is known of the home yet, this time explains so much
    meter = begun(seconds)
    before = sum(meter.sealed)
    for turn in range(4):
        for _ in range(12 if seconds == 10 else 4):  # units are of a minute
            meter.passes(seconds, 1500)
            meter.shows(FAULTS[fault](meter.true))
        meter.passes(outage_s, 1500)  # without a restart
        meter.shows(FAULTS[fault](meter.true))
        assert meter.held, turn
        meter.restarts(outage_s, 1500)
        meter.shows(FAULTS[fault](meter.true))
        assert meter.held, turn
    assert sum(meter.sealed) == before
    assert meter.events == ["rose"]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("outage_s", [DAY, 10 * DAY, 365 * DAY])
@pytest.mark.parametrize("by", [30 * KWH, 2_000 * KWH])
def test_two_readings_that_agree_are_a_jump_whatever_outage_follows(
    by: int, outage_s: int, restart: bool
) -> None:
    meter = begun(60)
    before = sum(meter.sealed)
    for _ in range(2):
        meter.passes(60, 1500)
        meter.shows(meter.true + by)
    if restart:
        meter.restarts(outage_s, 1500)
    else:
        meter.passes(outage_s, 1500)
    for _ in range(5):
        meter.shows(meter.true + by)
        assert meter.held
        meter.passes(60, 1500)
    assert sum(meter.sealed) == before
    assert meter.events == ["rose"]


def test_something_else_in_between_makes_it_no_more_believable() -> None:
    meter = begun(60)
    for turn in range(30):
        for _ in range(3):
            meter.passes(60, 1500)
            meter.shows(meter.true + 30 * KWH)
        meter.passes(60, 1500)
        meter.shows([0, meter.true * 10, meter.true + 900 * KWH][turn % 3])
        meter.restarts(DAY, 1500)
    assert meter.events == ["rose"]


@pytest.mark.parametrize("restarts", [0, 1, 5])
def test_what_fits_again_is_believed_and_every_kwh_is_counted(restarts: int) -> None:
    meter = begun(60)
    for _ in range(10):
        meter.passes(60, 1500)
        meter.shows(meter.true * 10)
    for _ in range(restarts):
        meter.restarts(2 * DAY, 1500)
        meter.shows(meter.true * 10)
    meter.passes(60, 1500)
    meter.shows()
    assert meter.events == ["rose", "back"]
    assert not meter.held
    start = meter.first
    assert start is not None
    assert abs(sum(meter.sealed) - meter.used) < 2 * KWH  # but for what lay before the stream's start
    meter.reads(3, 60, 1500)
    assert meter.events == ["rose", "back"]


# --- an outage without a hold before it


@pytest.mark.parametrize(
    ("register", "outage_s", "held"),
    [
        (23_060, HOUR, True),
        (23_060, 10 * DAY, True),
        (23_060, 365 * DAY, True),
        (700, 10 * DAY, True),
        (7_000, 365 * DAY, True),
        (150, 2 * HOUR, True),
    ],
)
def test_ten_times_as_high_after_an_outage_is_held(register: int, outage_s: int, held: bool) -> None:
    meter = begun(60, register=register * KWH)
    meter.restarts(outage_s, 800)
    for _ in range(20):
        meter.shows(meter.true * 10)
        meter.passes(60, 1500)
    assert meter.held == held


@pytest.mark.parametrize("seconds", [60, HOUR])
@pytest.mark.parametrize(
    ("watts", "days"),
    [
        (20, 365),  # a holiday home, empty
        (8_000, 14),  # and in winter, heated by electricity
        (1_250, 10),
        (1_250, 365),  # 30 kWh a day
        (5_000, 30),  # a heat pump in frost
        (2_300, 365),  # and in a year, with an electric car
        (11_000, 1),  # it charges all day
        (17_000, 10),
    ],
)
def test_a_real_outage_is_believed(seconds: int, watts: int, days: int) -> None:
    meter = begun(seconds, watts=20)
    meter.restarts(days * DAY, watts)
    meter.shows()
    assert meter.events == []
    assert abs(sum(meter.sealed) - meter.used) < 2 * KWH


def test_what_a_home_has_shown_widens_the_limit() -> None:
    """A farm of 40 kW: after a week of it the gateway believes an outage of ten days, also one that comes
    after restarts; without the week it does not."""
    for known in (True, False):
        meter = begun(HOUR, watts=40_000)
        for _ in range(7 * 24 if known else 3):
            meter.reads(1, HOUR, 40_000)
            meter.restarts(60, 40_000)
        meter.restarts(10 * DAY, 40_000)
        meter.shows()
        assert meter.held != known


def test_one_day_widens_the_limit_at_most_twofold_and_gaps_do_not() -> None:
    shown = Shown().after(0, 0, 0)
    for hour in range(1, 25):
        shown = shown.after(HOUR * NS, hour * HOUR * NS, hour * 900 * KWH)
    assert shown.highest_mw == 2 * (17_250_000 // 4)
    shown = Shown().after(0, 0, 0)
    for day in range(1, 30):
        shown = shown.after(DAY * NS, day * DAY * NS, day * 400 * KWH)
    assert shown.highest_mw == 0


@given(st.integers(0, 400 * DAY), st.integers(0, 400 * DAY), st.integers(0, 10**9))
def test_the_limit_only_grows_and_is_what_its_docstring_says(one: int, other: int, highest: int) -> None:
    shorter, longer = sorted((one * NS, other * NS))
    assert most(shorter, highest) <= most(longer, highest)
    assert most(longer, highest) >= most(longer, 1)
    assert (most(3600 * NS), most(3600 * NS, 1)) == (1_000 * KWH, 100 * KWH)
    assert (most(10 * DAY * NS, 1) + SLACK_MWH) // KWH == 4_232
    assert (most(365 * DAY * NS, 1) + SLACK_MWH) // KWH == 58_754


# --- hourly meters


def test_an_hourly_meter_that_jumps_is_held_over_restarts() -> None:
    """Also where each run of the gateway sees one reading of it only."""
    meter = begun(HOUR)
    before = sum(meter.sealed)
    for _ in range(24 * 20):
        meter.restarts(HOUR, 1500)
        meter.shows(meter.true * 10)
    assert meter.events == ["rose"]
    assert sum(meter.sealed) == before
    meter.passes(HOUR, 1500)
    meter.shows()
    assert meter.events == ["rose", "back"]


# --- without a serial number


def test_another_scale_is_no_other_meter() -> None:
    for times, kinds in ((10, ["rose"]), (1000, ["rose"]), (7, ["rose", "exchanged"])):
        meter = begun(60, serial=None)
        for _ in range(300):
            meter.passes(60, 1500)
            meter.shows(meter.true * times)
        assert meter.events == kinds


def test_an_exchange_is_believed_over_restarts_too() -> None:
    """Three readings with another number; or ten over a quarter of an hour without one."""
    for serial, times in (("1EMH01", 3), (None, 16)):
        meter = begun(60, serial=None if serial is None else "1EMH00")
        meter.serial = serial
        before = sum(meter.sealed)
        new = 17 * KWH
        for n in range(times):
            assert meter.events == (["fell"] if n else [])
            meter.passes(60)
            meter.shows(new, 2 * KWH)
            if n >= 3:
                meter.restarts(1)
            elif serial is not None and n < 2:
                meter.saves()
                meter.restarts(1)
        assert meter.events == ["fell", "exchanged"]
        meter.passes(60)
        meter.shows(new + 7, 2 * KWH)
        assert sum(meter.sealed) - before == 7


# --- the owner decides


def jumped(by: int) -> Meter:
    """A meter whose register is other by so much, is held for a while, and counts on."""
    meter = begun(60)
    meter.register += by
    meter.reads(5, 60, 1200)
    assert meter.held
    return meter


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize(
    ("by", "choice", "counts"),
    [
        (3_000, "exchange", 0),
        (3_000, "correction", 3_000),
        (-3_000, "exchange", 0),
        (-15, "exchange", 0),
        (-15, "correction", -15),
    ],
)
def test_the_owner_decides_what_counts(by: int, choice: Choice, counts: int, crash: bool) -> None:
    """`counts` is of the difference; of a fall it is owed, and counts 0 until the register has caught up."""
    meter = jumped(by * KWH)
    before, used = sum(meter.sealed), 5 * 20_000
    hold = meter.sampler.hold
    assert hold is not None
    said = counted(hold.lanes[0])[choice]
    meter.accepts(choice)
    assert not meter.held
    if crash:
        meter.restarts(30)
    meter.reads(1, 30)
    if choice == "exchange":
        used -= 20_000  # what was used until the first held reading is not known
    assert sum(meter.sealed) - before == max(0, used + counts * KWH)
    if not crash:
        assert sum(meter.sealed) - before == said
    for _ in range(20):
        meter.reads(1, HOUR, 1_000)
        if crash:
            meter.restarts(30)
    assert meter.sampler.held is None
    assert sum(meter.sealed) - before == max(0, used + 20 * KWH + counts * KWH)
    assert min(meter.sealed) >= 0


def test_the_register_that_is_owed_counts_from_where_it_has_caught_up() -> None:
    meter = jumped(-15 * KWH)
    before = sum(meter.sealed)
    meter.accepts("correction")
    meter.reads(10, HOUR, 1_000)
    assert sum(meter.sealed) == before
    meter.reads(10, HOUR, 1_000)
    assert sum(meter.sealed) - before == 5 * KWH + 100_000
    assert meter.events == ["fell"]


@pytest.mark.parametrize(("choice", "counts"), [("correction", 25 * KWH + 200_000), ("exchange", 80_000)])
def test_what_is_said_to_count_is_less_what_is_owed(choice: Choice, counts: int) -> None:
    meter = jumped(-15 * KWH)
    meter.accepts("correction")
    meter.register += 40 * KWH
    meter.reads(5, 60, 1200)
    hold = meter.sampler.hold
    assert hold is not None
    before = sum(meter.sealed)
    meter.accepts(choice)
    meter.seals()
    assert sum(meter.sealed) - before == counted(hold.lanes[0])[choice] == counts


def test_back_to_before_drops_what_was_held_and_holds_it_anew() -> None:
    for by in (3_000, 30):
        meter = jumped(by * KWH)
        before = sum(meter.sealed)
        meter.accepts("before")
        assert not meter.held
        meter.restarts(10 * DAY, 1_000)
        meter.shows()
        assert meter.held
        assert meter.events == ["rose", "rose"]
        meter.accepts("before")
        meter.register -= by * KWH
        meter.reads(1, 60, 1_200)
        if by == 30:  # what was false before is less than what the home has used by now
            assert meter.held
            meter.accepts("correction")
            meter.reads(1, 60)
        assert not meter.held
        assert sum(meter.sealed) - before == 240 * KWH + 6 * 20_000


@pytest.mark.parametrize("choice", ["exchange", "correction"])
def test_a_meter_that_was_accepted_keeps_its_number(choice: Choice) -> None:
    meter = begun(60)
    meter.serial = "1EMH01"
    meter.register += 7 * KWH
    meter.reads(1, 60)
    assert meter.events == ["other"]
    meter.accepts(choice)
    for _ in range(3):
        meter.reads(3, 60, 900)
        meter.restarts(30)
    assert meter.events == ["other"]
    assert not meter.held


def test_a_lane_that_fits_does_not_clear_what_is_known_of_the_other() -> None:
    meter = jumped(30 * KWH)
    meter.accepts("before")
    meter.passes(5 * DAY)
    wall = meter.now * NS
    one = Reading("main", {"export": 5 * KWH}, wall, wall - meter.booted * NS, "1EMH00")
    assert meter.sampler.add(one, trusted=True, wall_now=wall, monotonic_now=one.monotonic) == ()
    assert not meter.held
    meter.passes(60)
    meter.shows()
    assert meter.held


def test_a_reading_of_before_the_hold_is_believed_and_does_not_end_it() -> None:
    """As a take-over regains them, or a clock that was set back brings them."""
    meter = begun(60)
    meter.passes(1200, 1_000)
    true = meter.true
    for _ in range(3):
        meter.passes(60)
        meter.shows(true + 900 * KWH)
    began = meter.sampler.held
    assert began is not None
    meter.restarts(30)
    end = meter.now
    meter.now -= 600
    meter.shows(true)
    assert meter.sampler.held == began
    assert meter.sampler.known_until is not None
    assert meter.sampler.known_until < began.unit
    assert meter.events == ["rose"]
    meter.now = end + 10 * DAY
    meter.shows(true + 901 * KWH)
    assert meter.sampler.held == began


def test_what_cannot_be_decided_gets_a_sentence() -> None:
    meter = begun()
    for choice in ("exchange", "correction", "before"):
        with pytest.raises(UsageError, match="no reading is held"):
            meter.sampler.accept(choice)
    wall = (meter.now + 60) * NS
    one = Reading("main", {"import": 0}, wall, wall - meter.booted * NS, "1EMH00")
    meter.sampler.add(one, trusted=True, wall_now=wall, monotonic_now=one.monotonic)
    with pytest.raises(UsageError, match="its export register has not been read since"):
        meter.sampler.accept("exchange")
    assert meter.held


# --- whatever happens, with and without restarts


@dataclass(frozen=True)
class Act:
    what: str
    times: int
    seconds: int
    watts: int
    restart: bool


LIFE = st.lists(
    st.builds(
        Act,
        st.sampled_from(
            ["true", "true", "true", *FAULTS, "zero", "fell by 3", "another meter", "exchange", "scale"]
        ),
        st.integers(1, 5),
        st.sampled_from([60, 60, 900, 3600, 3 * HOUR, DAY, 12 * DAY]),
        st.integers(0, 9_000),
        st.booleans(),
    ),
    max_size=14,
)


def lives(life: list[Act], named: bool, restarting: bool) -> Meter:
    meter = begun(60, serial="1EMH00" if named else None)
    for number, act in enumerate(life):
        if act.what == "exchange":
            meter.serial = meter.serial and meter.serial + "'"
            meter.register = 40 * KWH - meter.used
        if act.what == "scale":
            meter.register = meter.true * 10 - meter.used
        for _ in range(act.times):
            if act.restart:
                if restarting:
                    meter.saves()
                    meter.restarts(60, act.watts)
                else:
                    meter.passes(60, act.watts)
            meter.passes(act.seconds, act.watts)
            match act.what:
                case "true" | "exchange" | "scale":
                    meter.shows()
                case "zero":
                    meter.shows(0, 0)
                case "fell by 3":
                    meter.shows(meter.true - 3 * KWH)
                case "another meter":
                    meter.shows(77 * KWH, serial=f"a neighbour's {number % 2}" if named else None)
                case fault:
                    meter.shows(FAULTS[fault](meter.true))
    return meter


@given(LIFE, st.booleans())
@example([Act("30 kWh too much", 3, 60, 0, False), Act("true", 1, 12 * DAY, 900, True)], True)
@example([Act("ten times", 5, 3600, 1500, True), Act("true", 2, 60, 0, False)], False)
def test_restarts_at_any_point_change_nothing(life: list[Act], named: bool) -> None:
    plain, restarted = lives(life, named, False), lives(life, named, True)
    assert restarted.events == plain.events
    assert (restarted.first, restarted.sealed) == (plain.first, plain.sealed)
    assert restarted.sampler.held == plain.sampler.held


@given(LIFE, st.booleans())
def test_what_is_sealed_never_falls_and_kinds_alternate(life: list[Act], named: bool) -> None:
    meter = lives(life, named, True)
    assert min(meter.sealed) >= 0
    begins = ("fell", "rose", "other")
    for one, other in pairwise(meter.events):
        assert (one in begins) != (other in begins)


def test_a_hold_is_not_written_with_each_reading() -> None:
    meter = begun(60)
    before = meter.writes
    for _ in range(6 * 3600 // 10):
        meter.passes(10, 1500)
        meter.shows(meter.true * 10)
    assert meter.writes - before <= 1 + 9 + 6  # it begins, the run is of 2 to 10 readings, each hour
    before = meter.writes
    for turn in range(1000):  # nor where the readings agree on nothing
        meter.passes(1)
        meter.shows((900_000 - 100 * turn) * KWH)
    assert meter.writes - before <= 3


# --- its bytes


NUMBERS = st.integers(-(2**62), 2**62)
MARKS = st.none() | st.builds(RegisterMark, NUMBERS, NUMBERS, st.none(), NUMBERS)
COUNTS = st.integers(0, 2**40)
MEMORIES = st.builds(
    LaneMemory,
    MARKS,
    st.builds(Shown, COUNTS, st.none() | NUMBERS, NUMBERS),
    COUNTS,
    st.none() | NUMBERS,
    st.booleans(),
)
RUNS = st.builds(LaneRun, MARKS, MARKS, COUNTS, COUNTS, st.none() | NUMBERS, COUNTS, st.booleans())
EVENTS = st.builds(
    RegisterEvent,
    st.sampled_from(["fell", "rose", "other"]),
    NUMBERS,
    st.sampled_from([(), ("import",), ("export",), ("import", "export")]),
)


@given(
    st.sampled_from([(1, None), (None, 2), (1, 2)]),
    st.lists(MEMORIES, min_size=2, max_size=2),
    st.none() | EVENTS,
    st.none() | st.lists(RUNS, min_size=2, max_size=2),
    st.binary(min_size=8, max_size=8),
    st.booleans(),
)
def test_a_memory_survives_its_bytes_which_are_always_as_long(
    registers: tuple[int | None, int | None],
    lanes: list[LaneMemory],
    held: RegisterEvent | None,
    runs: list[LaneRun] | None,
    serial: bytes,
    gross: bool,
) -> None:
    width = sum(register is not None for register in registers)
    run = None if runs is None else Run(tuple(runs[:width]), 7, serial, gross)
    state = SamplerState(5, *registers, serial, Memory(tuple(lanes[:width]), held, run))
    data = state.to_bytes()
    again = SamplerState.from_bytes(data)
    assert (again, again.memory) == (state, state.memory)
    assert len(data) == len(SamplerState(5, 1, 2, memory=Memory((LaneMemory(owed=1),))).to_bytes())


def test_older_states_are_read() -> None:
    state = SamplerState(5, 1, 2, b"12345678")
    second = state.to_bytes()
    assert second[0] == 2
    assert SamplerState.from_bytes(second).memory == Memory()
    first = SamplerState.from_bytes(b"\x01" + second[1:26])
    assert (first, first.memory) == (SamplerState(5, 1, 2), Memory())


def test_a_damaged_memory_is_refused() -> None:
    data = bytearray(SamplerState(5, 1, 2, memory=Memory((LaneMemory(owed=1),))).to_bytes())
    data[34:42] = (99).to_bytes(8, "big")
    with pytest.raises(GatewayError, match="saved state is damaged"):
        SamplerState.from_bytes(bytes(data))


def test_a_hold_ends_where_the_stream_was_sealed_beyond_it() -> None:
    held = RegisterEvent("rose", 100, ("import",))
    memory = Memory((LaneMemory(shown=Shown(7), ceiling=5),) * 2, held)
    state = SamplerState(90, 1, 2, memory=memory)
    gained = {"import": 10, "export": 20}
    assert state.moved(99, gained).memory == memory
    moved = state.moved(100, gained)
    assert (moved.unit, moved.imported, moved.exported) == (100, 11, 22)
    assert moved.memory == Memory((LaneMemory(shown=Shown(7)),) * 2)


def test_nothing_shows_registers() -> None:
    meter = begun()
    meter.passes(60)
    meter.shows(987_654_321 * KWH)
    state = meter.sampler.state()
    assert state is not None
    shown = repr((state, state.memory, meter.sampler.hold))
    assert "987654321" not in shown
    assert "23060" not in shown
