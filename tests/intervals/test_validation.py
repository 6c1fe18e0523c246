"""What a meter shows is believed when it can be true, and only then: over any life the energy that came
out is what the registers truly counted, to the mWh, whatever the meter, the clock and the gateway do."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.layout import Layout
from gateway.intervals.hold import RegisterEvent
from gateway.intervals.sampler import Sampler
from gateway.intervals.state import SamplerState
from gateway.meters.reading import Reading

NS = 1_000_000_000
KWH = 1_000_000  # mWh
LANES = ("import", "export", "power", "count")
ENERGY = ("import", "export")
LAYOUT = Layout(unit_ms=1000, link_units=10)
BEGIN_S = 1_780_000_000  # a link boundary
TOP = 1_000 * KWH


@dataclass
class World:
    """A truthful meter, the gateway that samples it, and what became durable.

    `counted` is the energy that registers counted since the beginning, whatever meter they were in;
    `ahead` what a register shows beyond it."""

    serial: str | None = None
    modulus: int | None = None
    mono: int = 500 * NS
    wall_ahead: int = BEGIN_S * NS  # the wall clock, less the monotonic one
    trusted: bool = True
    counted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ENERGY, 0))
    ahead: dict[str, int] = field(default_factory=lambda: {"import": 700 * KWH, "export": 40 * KWH})
    power: int = 1
    events: list[RegisterEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.first: int | None = None
        self.units: dict[str, list[int]] = {lane: [] for lane in LANES}
        self.saved: bytes | None = None
        self.milestone: object = None
        self.start: int | None = None
        self.newest = 0  # the latest unit that a reading was placed in
        self.truth: dict[str, dict[int, set[int]]] = {lane: {} for lane in (*ENERGY, "power")}
        self._waiting: list[tuple[int, dict[str, int]]] = []
        self._rollover: dict[str, int] = {}  # as the meter tells it, which may be late
        self.sampler = Sampler(LAYOUT, LANES, rollover=self._rollover)

    # --- time and meter

    def passes(self, seconds: float, watts: int = 0) -> None:
        """Time goes by; so much is imported meanwhile, and half of it exported."""
        self.mono += round(seconds * NS)
        used = round(seconds * watts / 3.6)
        self.counted["import"] += used
        self.counted["export"] += used // 2
        self.power = self.power % 5_000 + 1

    def shown(self) -> dict[str, int]:
        registers = {lane: self.counted[lane] + self.ahead[lane] for lane in ENERGY}
        if self.modulus is not None:
            registers = {lane: value % self.modulus for lane, value in registers.items()}
        return registers | {"power": self.power}

    def becomes(self, serial: str | None, **registers: int) -> None:
        """Another meter is put in its place, with these registers."""
        self.serial = serial
        for lane, register in registers.items():
            self.ahead[lane] = register - self.counted[lane]

    # --- readings

    def reads(self, *lanes: str) -> None:
        """The meter is read, and says the truth of these lanes, or of all."""
        taken = lanes or (*ENERGY, "power")
        true = self.counted | {"power": self.power}
        self._waiting.append((self.mono, {lane: true[lane] for lane in taken}))
        if self.trusted:
            for mono, values in self._waiting:
                unit = LAYOUT.unit_at(mono + self.wall_ahead)
                self.newest = max(self.newest, unit)
                for lane, value in values.items():
                    self.truth[lane].setdefault(unit, set()).add(value)
            self._waiting.clear()
        self.says({lane: value for lane, value in self.shown().items() if lane in taken}, self.serial)

    def says(self, registers: dict[str, int], serial: str | None) -> None:
        """A reading of these registers, true or not."""
        wall = self.mono + self.wall_ahead
        self.newest = max(self.newest, LAYOUT.unit_at(wall) if self.trusted else 0)
        self._rollover.clear()
        if self.modulus is not None:
            self._rollover.update(dict.fromkeys(ENERGY, self.modulus))
        self.events += self.sampler.add(
            Reading("main", registers, wall, self.mono, serial),
            trusted=self.trusted,
            wall_now=wall,
            monotonic_now=self.mono,
        )

    def mistakes(self, wrong: dict[str, int]) -> None:
        """A reading of these energy registers. It counts if it could be true."""
        shown, unit = self.shown(), LAYOUT.unit_at(self.mono + self.wall_ahead)
        self.truth["power"].setdefault(unit, set()).add(self.power)
        for lane in ENERGY:
            self.truth[lane].setdefault(unit, set()).add(self.counted[lane] + wrong[lane] - shown[lane])
        self.says(shown | wrong, self.serial)

    def clean(self, times: int, seconds: float = 1, watts: int = 1000) -> None:
        for _ in range(times):
            self.passes(seconds, watts)
            self.reads()

    def settles(self) -> None:
        """The clock is past whatever it was set back by, and the meter is read until nothing is held."""
        self.wall_ahead = max(self.wall_ahead, (self.newest + 10) * NS - self.mono)
        self.clean(14, 100)
        if self.sampler.held:  # a register that started again from 0 just now
            self.clean(3)

    # --- the gateway

    def commits(self, most: int = 1000, times: int = 10**6) -> None:
        """Units become durable, each time together with the state at their end."""
        while times and (units := self.sampler.take(most)) is not None:
            times -= 1
            self.first = units.first if self.first is None else self.first
            assert units.first == self.first + len(self.units["count"])
            for lane, values in units.lanes.items():
                self.units[lane] += values.tolist()
            self.saves()
        if self.saved is not None and self.sampler.milestone != self.milestone:
            self.saves()  # as the sealer does: a hold is durable by itself

    def saves(self) -> None:
        state = self.sampler.state()
        assert state is not None
        self.saved, self.start = state.to_bytes(), self.sampler.start
        self.milestone = state.memory.milestone

    def crashes(self) -> None:
        self._waiting.clear()
        state = None if self.saved is None else SamplerState.from_bytes(self.saved)
        self.sampler = Sampler(LAYOUT, LANES, self.start, state, rollover=self._rollover)

    def told(self) -> list[str]:
        return [event.kind for event in self.events]

    # --- what must hold

    def check(self) -> None:
        """Go on until all is settled; then each lane's units add up to what was counted between any two
        units that say that the meter was read in them, up to the last reading of all."""
        self.settles()
        self.commits()
        assert self.first is not None
        assert self.sampler.held is None
        read = [self.first + at for at, count in enumerate(self.units["count"]) if count]
        assert read[-1] == self.newest == self.first + len(self.units["count"]) - 1
        for lane in ENERGY:
            total, before = 0, read[0]
            possible = self.truth[lane][before]
            for unit in read[1:]:
                total = sum(self.units[lane][before + 1 - self.first : unit + 1 - self.first])
                possible = {now for now in self.truth[lane].get(unit, ()) if now - total in possible}
                assert possible, f"{lane} of unit {unit} is not what the register counted"
                before = unit
            assert min(self.units[lane]) >= 0
        for at, power in enumerate(self.units["power"]):
            assert power == 0 or power in self.truth["power"][self.first + at]


# --- any life at all

Act = tuple[str, int, int, int]  # what happens, how much of it twice, and what is drawn, in W
NONE = st.just(0)
PARTS: tuple[tuple[str, ...], ...] = ((), ("import",), ("export",), ("power",), ("export", "power"))


def acts(
    what: str, a: st.SearchStrategy[int] = NONE, b: st.SearchStrategy[int] = NONE
) -> st.SearchStrategy[Act]:
    return st.tuples(st.just(what), a, b, st.integers(0, 20_000))


LIFE = st.lists(
    st.one_of(
        acts("reads", st.integers(1, 12)),
        acts("partial", st.integers(1, 12), st.integers(0, 10**6)),
        acts("gap", st.integers(1, 3_000)),
        acts("dip", st.integers(1, 2), st.sampled_from([1, 100, 10**5, 10**7, 10**9])),
        acts("zero", st.integers(1, 2)),
        acts("spike", st.integers(1, 2)),
        acts("crosstalk", st.integers(1, 2), st.integers(0, 10**9)),
        acts("jump", st.integers(1, 14), st.integers(1, 60)),
        acts("exchange", st.integers(1, 20), st.integers(0, 9 * 10**8)),
        acts("step", st.integers(-900, 900)),
        acts("untrusted", st.integers(1, 5), st.integers(-(10**9), 10**9)),
        acts("commit", st.integers(1, 500), st.integers(1, 3)),
        acts("commits"),
        acts("crash"),
    ),
    min_size=1,
    max_size=25,
)


def happens(world: World, act: Act) -> None:
    what, a, b, watts = act
    match what:
        case "reads":
            world.clean(a, 1, watts)
        case "partial":
            for n in range(a):
                world.passes(1, watts)
                world.reads(*PARTS[b // 5**n % 5])
        case "gap":
            world.passes(a, watts)
        case "dip" | "zero" | "spike":
            for _ in range(a):
                world.passes(1, watts)
                wrong = {lane: value for lane, value in world.shown().items() if lane in ENERGY}
                for lane in (("import",), ("export",), ENERGY)[watts % 3]:
                    wrong[lane] = {"dip": max(0, wrong[lane] - b), "zero": 0, "spike": 5 * 10**14}[what]
                world.mistakes(wrong)
            world.clean(1, 1, watts)
        case "crosstalk":
            if world.serial is None:
                return
            for _ in range(a):
                world.passes(1, watts)
                world.says({"import": b, "export": b, "power": 99_999}, "a neighbour's")
            world.clean(1, 1, watts)
        case "jump":  # it shows another scale for a while, and the gateway may stop in the midst of it
            world.clean(1, 1, watts)
            world.commits()
            if world.saved is None:
                return
            for n in range(a):
                world.passes(b, watts)
                shown = world.shown()
                world.mistakes({"import": shown["import"] * 10 + 2_000 * KWH, "export": shown["export"]})
                if n % 4 == watts % 4:
                    world.commits()
                    if world.saved is not None and watts % 3:
                        world.crashes()
            world.clean(1, 1, watts)
        case "exchange":
            exchange(world, a, b)
        case "step":
            world.wall_ahead += a * NS
        case "untrusted":
            right = world.wall_ahead
            world.trusted, world.wall_ahead = False, right + b * NS
            world.clean(a, 1, watts)
            world.trusted, world.wall_ahead = True, right
        case "commit":
            world.commits(a, b)
        case "commits":
            world.commits()
        case "crash":
            world.crashes()
            if world.saved is None:
                world.clean(1)  # a stream that begins with a false reading begins with that


def exchange(world: World, most: int, register: int) -> None:
    """Another meter, while nothing is used: all of it is known."""
    world.settles()
    if world.serial is None:
        shown = world.shown()
        if world.modulus is not None or shown["import"] - register < 20 * KWH:
            return
        world.becomes(None, **{"import": register, "export": register // 2})
        world.clean(1, 1, 0)
        world.clean(12, 90)
    else:
        world.becomes(world.serial + "'", **{"import": register, "export": register // 2})
        world.clean(1, 1, 0)
        world.clean(2, 1)
    world.commits(most, 1)


def lives(world: World, life: list[Act]) -> None:
    world.clean(1)
    for act in life:
        happens(world, act)
    world.check()


@given(LIFE, st.booleans())
def test_whatever_happens_what_comes_out_is_what_was_counted(life: list[Act], named: bool) -> None:
    lives(World("1EMH00" if named else None), life)


@given(LIFE, st.booleans(), st.integers(0, 30 * KWH), st.integers(0, 30 * KWH))
def test_and_while_registers_start_again_from_0(
    life: list[Act], named: bool, before: int, other: int
) -> None:
    world = World("1EMH00" if named else None, modulus=TOP)
    world.ahead = {"import": TOP - before, "export": TOP - other}
    lives(world, life)


# --- one thing at a time


def begun(serial: str | None = None, modulus: int | None = None, **ahead: int) -> World:
    """A stream that has begun, all of it known and durable."""
    world = World(serial, modulus)
    world.ahead |= {name.removesuffix("s"): value for name, value in ahead.items()}
    world.clean(12)
    world.commits()
    assert world.first is not None
    return world


def says(
    world: World, wrong: dict[str, int], times: int = 1, seconds: float = 1, serial: str | None = None
) -> None:
    """Readings that are the truth but for what is `wrong`."""
    for _ in range(times):
        world.passes(seconds)
        world.says(world.shown() | wrong, serial or world.serial)


@pytest.mark.parametrize(
    ("beyond", "elapsed", "kind"),
    [
        (10 * KWH, 3600, []),
        (10 * KWH + 1000 * KWH, 3600, []),
        (10 * KWH + 1000 * KWH + 1, 3600, ["rose"]),
        (10 * KWH + 277_777, 1, []),
        (10 * KWH + 277_778, 1, ["rose"]),
        (-1, 3600, ["fell"]),
        (0, 3600, []),
    ],
)
def test_a_register_only_rises_and_no_faster_than_a_home_can_draw(
    beyond: int, elapsed: int, kind: list[str]
) -> None:
    world = begun()
    says(world, {"import": world.shown()["import"] + beyond}, 1, elapsed)
    assert world.told() == kind
    assert (world.sampler.take() is None) == bool(kind)


def test_what_was_held_leaves_no_trace() -> None:
    world = begun()
    register = world.shown()["import"]
    says(world, {"export": 0})
    says(world, {"import": register - 1}, 5)
    says(world, {"import": register + 10**12}, 2)
    says(world, {"import": 0, "export": 0}, 2)
    assert world.told() == ["fell"]
    assert world.sampler.held == RegisterEvent("fell", world.newest - 9, ("export",))
    world.clean(1, 1, 3600)
    assert world.told() == ["fell", "back"]
    world.commits()
    assert world.units["count"][-11:] == [0] * 10 + [1]
    assert sum(world.units["power"][-11:-1]) == 0
    assert sum(world.units["import"][-11:]) == 1000
    world.check()


def test_time_does_not_make_a_jump_believable() -> None:
    """It is 25 kWh too high for good, and the meter's number says that it is the same meter."""
    world = begun("1EMH00")
    world.ahead["import"] += 25 * KWH
    world.clean(3_000, 10)
    assert world.told() == ["rose"]
    assert world.sampler.take() is None
    world.ahead["import"] -= 25 * KWH
    world.check()
    assert world.told() == ["rose", "back"]


def test_an_outage_explains_what_one_reading_could_not() -> None:
    world = begun()
    says(world, {"import": world.shown()["import"] + 11 * KWH})
    world.passes(86_400, 1000)
    world.clean(1)
    assert world.told() == ["rose", "back"]
    world.check()


def test_a_clock_that_was_set_back_does_not_make_the_rise_too_fast() -> None:
    world = begun()
    world.wall_ahead -= 36_000 * NS
    world.passes(36_000, 2000)
    world.clean(2)
    assert world.told() == []
    world.check()


# --- a register starts again from 0


@pytest.mark.parametrize("serial", [None, "1EMH00"])
def test_a_rollover_is_believed_at_its_third_reading(serial: str | None) -> None:
    world = begun(serial, TOP, imports=TOP - 50_000)
    world.clean(1, 600, 3000)
    assert world.shown()["import"] < 500_000
    assert world.told() == ["fell"]
    world.clean(1)
    assert world.sampler.take() is None
    world.clean(1)
    assert world.told() == ["fell", "rolled"]
    assert world.events[-1].lanes == ("import",)
    world.check()


def test_a_rollover_of_which_the_end_is_not_known_is_held() -> None:
    world = begun("1EMH00", imports=TOP - 50_000)
    world.modulus = TOP
    for _ in range(20):
        world.passes(1, 36_000)
        shown = world.shown()
        world.modulus = None
        world.says(shown, world.serial)
        world.modulus = TOP
    assert world.told() == ["fell"]


def test_zeros_near_the_end_are_no_rollover() -> None:
    """Two of them never; nor any number where a home cannot have drawn what lies between."""
    world = begun("1EMH00", TOP, imports=TOP - 200_000)
    zeros = {"import": 0}
    for _ in range(5):
        says(world, zeros, 2)
        world.clean(1, 1, 10)
    assert "rolled" not in world.told()
    world.check()
    far = begun("1EMH00", TOP, imports=TOP - 600_000)
    says(far, zeros, 2_000)
    assert far.told() == ["fell"]
    far.check()


def test_readings_that_fall_again_do_not_agree_that_it_rolled() -> None:
    world = begun("1EMH00", TOP, imports=TOP - 100_000)
    for register in (50, 40, 60, 20, 30, 10):
        says(world, {"import": register})
    assert world.told() == ["fell"]
    says(world, {"import": 10}, 2)
    assert world.told() == ["fell", "rolled"]


def test_both_registers_may_roll_at_once_or_one_behind_the_other() -> None:
    for export in (TOP - 25_000, TOP - 26_000 - 25_000):
        world = begun("1EMH00", TOP, imports=TOP - 50_000, exports=export)
        world.clean(1, 40, 10_000)
        world.clean(60, 1, 10_000)
        assert world.told()[:2] == ["fell", "rolled"]
        world.check()


@pytest.mark.parametrize(("beyond", "rolled"), [(277_777 + 200_000, True), (277_777 + 200_001, False)])
def test_a_rollover_must_be_what_a_home_can_draw(beyond: int, rolled: bool) -> None:
    world = begun("1EMH00", TOP, imports=TOP - 10**6)
    left = TOP - world.shown()["import"]
    says(world, {"import": beyond - left}, 3)
    assert ("rolled" in world.told()) == rolled


@pytest.mark.parametrize("export", [0, TOP - 25_000])
def test_a_rollover_may_come_in_telegrams_of_one_lane(export: int) -> None:
    world = begun("1EMH00", TOP, imports=TOP - 50_000, exports=export)
    for n in range(12):
        world.passes(5, 20_000)
        world.reads(*((("export", "power") if n % 2 else ("import",)) if n < 11 else ENERGY))
    assert world.told() == ["fell", "rolled"]
    world.check()


# --- another meter


def test_another_number_three_times_is_another_meter() -> None:
    """Also where its registers are higher than the old one's; what lies between counts 0."""
    for register in (3, 700 * KWH + 5_000, 900 * KWH):
        world = begun("1EMH00")
        before = sum(world.units["import"])
        world.becomes("1EMH01", **{"import": register, "export": register})
        world.passes(600, 5000)
        world.becomes("1EMH01", **{"import": register, "export": register})
        world.clean(1, 1, 0)
        world.clean(1, 1, 3600)
        assert world.sampler.take() is None
        assert "exchanged" not in world.told()
        world.clean(1, 1, 3600)
        assert world.told()[-1] == "exchanged"
        assert world.sampler.held is None
        world.commits()
        assert sum(world.units["import"]) - before == 2 * 1000
        assert world.units["count"][-3:] == [1, 0, 1]
        assert world.units["power"][-1] == world.power


def test_another_number_now_and_then_disturbs_nothing() -> None:
    world = begun("1EMH00")
    for _ in range(20):
        says(world, {"import": 5, "export": 5, "power": 7}, 2, serial="1EMH99")
        world.says({"power": 99_999}, "1EMH99")
        world.clean(1, 1, 100)
    assert set(world.told()) == {"fell", "back"}
    world.check()


def test_numbers_that_take_turns_agree_on_nothing() -> None:
    world = begun("1EMH00")
    for n in range(31):
        says(world, {"import": 900 * KWH, "export": 900 * KWH}, 1, serial=f"1EMH9{n % 2}")
    assert world.told() == ["rose"]
    for _ in range(5):
        says(world, {"import": 900 * KWH, "export": 900 * KWH}, 2, serial="1EMH91")
        world.passes(1)
        world.reads("power")  # the old one is still there
    assert world.told() == ["rose"]
    world.check()


def test_a_number_that_becomes_known_is_no_other_meter() -> None:
    world = begun(None)
    world.serial = "1EMH00"
    world.clean(5)
    assert world.told() == []
    world.serial = None
    world.clean(5)
    assert world.told() == []
    says(world, {"import": 900 * KWH}, 2, serial="1EMH01")
    assert world.told() == ["rose"]
    says(world, {"import": 900 * KWH}, 1, serial="1EMH01")
    assert world.told() == ["rose", "exchanged"]


@pytest.mark.parametrize(
    ("register", "times", "seconds", "exchanged"),
    [
        (680 * KWH, 10, 100, True),
        (680 * KWH, 9, 1000, False),
        (680 * KWH, 901, 1, True),
        (680 * KWH, 900, 1, False),
        (680 * KWH + 1_000, 900, 100, False),
        (0, 10, 100, True),
        (711 * KWH, 901, 1, True),
        (811 * KWH, 10, 101, True),
    ],
)
def test_without_a_number_a_meter_far_from_the_old_one_is_another_after_a_while(
    register: int, times: int, seconds: int, exchanged: bool
) -> None:
    world = begun(None)
    assert world.shown()["import"] - 700 * KWH < 10_000
    world.becomes(None, **{"import": register + (world.counted["import"] if register < TOP else 0)})
    world.passes(1)
    world.reads()
    world.clean(times - 1, seconds, 0)
    assert ("exchanged" in world.told()) == exchanged
    if exchanged:
        world.check()


def test_the_same_number_is_no_other_meter_however_far_its_registers_are() -> None:
    world = begun("1EMH00")
    says(world, {"import": 0, "export": 0}, 1_000)
    world.serial = None
    says(world, {"import": 0, "export": 0}, 3)
    world.serial = "1EMH00"
    assert world.told() == ["fell"]
    world.check()


def test_before_a_stream_begins_ten_readings_outweigh_a_false_first_one() -> None:
    world = World("1EMH00")
    says(world, {"import": 10**14, "export": 5})
    world.clean(9)
    assert world.told() == ["fell"]
    world.clean(1)
    assert world.told() == ["fell", "exchanged"]
    world.check()


def test_each_lane_of_another_meter_is_waited_for() -> None:
    world = begun("1EMH00")
    world.becomes("1EMH01", **{"import": 7 * KWH, "export": 3 * KWH})
    for n in range(30):
        world.passes(1, 3600 if n else 0)
        world.reads(*(ENERGY if n in (0, 9, 19) else ("import",)))
        assert ("exchanged" in world.told()) == (n >= 19)
    world.check()


def test_held_readings_that_leap_agree_on_nothing() -> None:
    world = begun(None)
    for n in range(30):
        says(world, {"import": (800 + 50 * n) * KWH}, seconds=100)
    assert world.told() == ["rose"]
    world.check()


def test_a_lane_that_fits_does_not_free_the_other() -> None:
    world = begun("1EMH00")
    world.passes(1, 3600)
    world.says({"import": 0}, world.serial)
    for lanes in (("export", "power"), ("export",)):
        world.passes(1, 3600)
        world.reads(*lanes)
        assert world.told() == ["fell"]
    world.passes(1, 3600)
    world.reads("import")
    assert world.told() == ["fell", "back"]
    world.check()


def test_after_another_meter_each_lane_is_believed_by_itself() -> None:
    world = begun("1EMH00")
    world.becomes("1EMH01", **{"import": 7, "export": 3})
    world.clean(1, 1, 0)
    world.clean(2)
    assert world.told() == ["fell", "exchanged"]
    world.passes(1)
    world.reads("export")
    assert world.sampler.held is None
    world.check()


def test_a_second_reading_in_a_unit_is_not_judged() -> None:
    world = begun()
    world.passes(0.25)
    world.says({"import": 0, "export": 0}, None)
    assert world.told() == []


# --- a crash at any moment


def test_after_a_restart_the_time_since_its_first_reading_counts_and_no_more() -> None:
    world = begun()
    world.crashes()
    says(world, {"import": world.shown()["import"] + 11 * KWH})
    assert world.told() == ["rose"]
    again = begun()
    again.crashes()
    again.wall_ahead -= 36_000 * NS
    again.clean(1)
    again.passes(35_999, 2000)
    again.clean(3)
    assert again.told() == []
    again.check()


def test_the_state_saved_before_another_meter_came_out_knows_it() -> None:
    """Whatever part of the units between came out, the state speaks of the new meter's registers."""
    for most in range(1, 20):
        world = begun("1EMH00")
        world.clean(3, 2, 3600)
        world.becomes("1EMH01", **{"import": 7, "export": 3})
        world.clean(1, 5, 0)
        world.clean(2, 1, 3600)
        assert world.told()[-1] == "exchanged"
        world.commits(most, 1)
        world.crashes()
        world.clean(1, 1, 3600)
        assert world.sampler.held is None
        world.check()


def test_the_state_saved_before_a_rollover_came_out_knows_it() -> None:
    for most in range(1, 12):
        world = begun("1EMH00", TOP, imports=TOP - 50_000)
        world.clean(2, 2, 36_000)
        world.clean(1, 5, 36_000)
        world.clean(3, 1, 3600)
        assert world.told() == ["fell", "rolled"]
        world.commits(most, 1)
        world.crashes()
        world.clean(1, 1, 3600)
        assert world.sampler.held is None
        world.check()


def test_a_crash_before_another_meter_is_believed_costs_what_it_counted_until_then() -> None:
    world = begun("1EMH00")
    before = sum(world.units["import"])
    world.becomes("1EMH01", **{"import": 7, "export": 3})
    world.clean(2, 1, 3600)
    world.crashes()
    world.clean(3, 1, 3600)
    assert world.told()[-1] == "exchanged"
    world.commits()
    assert sum(world.units["import"]) - before == 2 * 1000


def test_a_state_of_before_numbers_were_known_goes_on() -> None:
    world = begun("1EMH00")
    assert world.saved is not None
    world.saved = b"\x01" + world.saved[1:26]
    world.crashes()
    world.clean(3)
    assert world.told() == []
    says(world, {"import": 0}, 3, serial="1EMH01")
    assert world.told() == ["fell", "exchanged"]


def test_nothing_shows_values_or_numbers() -> None:
    world = begun("1EMH00")
    world.clean(3)
    says(world, {"import": 0})
    shown = repr((world.events, world.sampler.state(), world.sampler.take(), world.sampler.held))
    assert "700" not in shown
    assert "EMH" not in shown
