"""Readings to units: dense, in order, each once, exact to the mWh, whatever clocks, meters and crashes do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.layout import Layout
from gateway.errors import GatewayError
from gateway.intervals.estimation import shares
from gateway.intervals.hold import RegisterEvent
from gateway.intervals.limits import SLACK_MWH
from gateway.intervals.sampler import Sampler
from gateway.intervals.state import SamplerState
from gateway.meters.reading import Reading

NS = 1_000_000_000
LANES = ("import", "export", "power", "count")
LAYOUT = Layout(unit_ms=1000, link_units=10)
FIRST = 1_780_000_000  # a link boundary


@dataclass(frozen=True)
class Shown:
    """What the meter shows when it is read in `unit`."""

    unit: int
    imported: int
    exported: int = 0
    power: int = 0

    def reading(self, wall: int | None = None, monotonic: int | None = None) -> Reading:
        at = self.unit * NS + 50_000_000
        registers = {"import": self.imported, "export": self.exported, "power": self.power}
        return Reading(
            "main", registers, at if wall is None else wall, at if monotonic is None else monotonic
        )


@dataclass
class Stream:
    """All units that came out, one after the other."""

    first: int | None = None
    lanes: dict[str, list[int]] = field(default_factory=lambda: {lane: [] for lane in LANES})
    events: list[RegisterEvent] = field(default_factory=list)

    def feed(self, sampler: Sampler, shown: Iterable[Shown], most: int = 1000) -> Stream:
        for one in shown:
            reading = one.reading()
            self.events += sampler.add(
                reading, trusted=True, wall_now=reading.wall, monotonic_now=reading.monotonic
            )
            while self.take(sampler, most):
                pass
        return self

    def take(self, sampler: Sampler, most: int) -> bool:
        units = sampler.take(most)
        if units is None:
            return False
        assert 1 <= len(units) <= most
        if self.first is None:
            self.first = units.first
        assert units.first == self.next  # dense, in order, never twice
        assert set(units.lanes) == set(LANES)
        for lane, values in units.lanes.items():
            assert values.dtype == np.int64
            assert len(values) == len(units)
            self.lanes[lane] += values.tolist()
        state = sampler.state()
        assert state is not None
        assert state.unit == self.next - 1
        return True

    @property
    def next(self) -> int:
        assert self.first is not None
        return self.first + len(self.lanes["count"])

    @property
    def read(self) -> list[int]:
        """The units that were read."""
        assert self.first is not None
        return [self.first + at for at, count in enumerate(self.lanes["count"]) if count]

    def total(self, lane: str, after: int, upto: int) -> int:
        assert self.first is not None
        return sum(self.lanes[lane][after + 1 - self.first : upto + 1 - self.first])


steps = st.lists(
    st.tuples(
        st.one_of(st.just(1), st.integers(0, 3), st.integers(-30, 60)),  # units since the last reading
        st.integers(0, 10**6),  # mWh imported since
        st.integers(0, 10**4),
        st.integers(-5_000, 9_000),
        st.sampled_from([0, 0, 0, 0, 1, 10**6]),  # by how much the import register dips
    ),
    min_size=1,
    max_size=30,
)


def walk(taken: list[tuple[int, int, int, int, int]]) -> list[Shown]:
    unit, imported, exported = FIRST + 3, 5 * 10**8, 10**9
    shown = []
    for after, more_in, more_out, power, dip in taken:
        unit, imported, exported = unit + after, imported + more_in, exported + more_out
        shown.append(Shown(unit, imported - dip, exported, power))
    return shown


def believed(shown: list[Shown]) -> list[Shown]:
    """Those readings that count, said as plainly as can be."""
    good: list[Shown] = []
    for one in shown:
        if not good or (
            one.unit > good[-1].unit
            and one.imported >= good[-1].imported
            and one.exported >= good[-1].exported
        ):
            good.append(one)
    return good


@given(steps, st.integers(1, 50))
def test_any_sequence_of_readings(taken: list[tuple[int, int, int, int, int]], most: int) -> None:
    shown = walk(taken)
    stream = Stream().feed(Sampler(LAYOUT, LANES), shown, most)
    good = believed(shown)
    start = (good[0].unit // 10 + 1) * 10
    coming = [one for one in good if one.unit >= start]
    if not coming:
        assert stream.first is None
        return
    baseline = [one for one in good if one.unit < start][-1]
    assert stream.first == start
    assert stream.next == coming[-1].unit + 1
    assert stream.read == [one.unit for one in coming]
    assert [stream.lanes["power"][unit - start] for unit in stream.read] == [one.power for one in coming]
    assert sum(map(abs, stream.lanes["power"])) == sum(abs(one.power) for one in coming)
    assert set(stream.lanes["count"]) <= {0, 1}
    for lane, of in (("import", "imported"), ("export", "exported")):
        registers = [getattr(one, of) for one in coming]
        for n, (one, register) in enumerate(zip(coming, registers, strict=True)):
            for other, later in zip(coming[n:], registers[n:], strict=True):
                assert stream.total(lane, one.unit, other.unit) == later - register
        assert all(energy >= 0 for energy in stream.lanes[lane])
        gap = coming[0].unit - baseline.unit
        risen = registers[0] - getattr(baseline, of)
        before_start = risen * (start - 1 - baseline.unit) // gap
        assert stream.total(lane, start - 1, coming[0].unit) == risen - before_start


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(-9000, 9000), st.integers(0, 9)), max_size=30),
    st.integers(1, 50),
    st.sets(st.integers(0, 29)),
)
def test_a_series_has_its_values_where_they_were_read(
    taken: list[tuple[int, int, int]], most: int, restarts: set[int]
) -> None:
    """Of readings in one unit the first counts; units between them come out with 0 and count 0."""
    lanes = ("temperature", "occupancy", "count")
    sampler, unit, expected = Sampler(LAYOUT, lanes), FIRST, dict[int, tuple[int, int]]()
    found: dict[str, list[int]] = {lane: [] for lane in lanes}
    for n, (after, *values) in enumerate(taken):
        unit += after
        if n in restarts and (state := sampler.state()) is not None:
            sampler = Sampler(LAYOUT, lanes, sampler.start, SamplerState.from_bytes(state.to_bytes()))
        at = unit * NS
        reading = Reading("climate", dict(zip(lanes, values, strict=False)), at, at)
        assert sampler.add(reading, trusted=True, wall_now=at, monotonic_now=at) == ()
        assert sampler.start is not None
        if unit >= sampler.start:
            expected.setdefault(unit, (values[0], values[1]))
        while (units := sampler.take(most)) is not None:
            assert 1 <= len(units) <= most
            assert units.first == sampler.start + len(found["count"])
            for lane in lanes:
                found[lane] += units.lanes[lane].tolist()
        assert sampler.next == max([sampler.start, *(one + 1 for one in expected)])
        assert (sampler.missing(), sampler.held) == ((), None)
    start = sampler.start
    assert start == ((FIRST + taken[0][0]) // 10 + 1) * 10 if taken else start is None
    for i, count in enumerate(found["count"]):
        values = list(expected.get((start or 0) + i, (0, 0)))
        assert [found["temperature"][i], found["occupancy"][i]] == values
        assert count == ((start or 0) + i in expected)


@given(steps, st.sets(st.integers(0, 29)))
def test_restarts_change_nothing(taken: list[tuple[int, int, int, int, int]], restarts: set[int]) -> None:
    shown = walk(taken)
    plain = Stream().feed(Sampler(LAYOUT, LANES), shown)
    sampler, stream = Sampler(LAYOUT, LANES), Stream()
    for n, one in enumerate(shown):
        if n in restarts and (state := sampler.state()) is not None:
            sampler = Sampler(LAYOUT, LANES, sampler.start, SamplerState.from_bytes(state.to_bytes()))
        stream.feed(sampler, [one])
    assert (stream.first, stream.lanes) == (plain.first, plain.lanes)


@given(
    steps, st.dictionaries(st.integers(0, 29), st.tuples(st.integers(0, 20), st.integers(1, 20)), max_size=4)
)
def test_crashes_cost_counts_and_no_energy(
    taken: list[tuple[int, int, int, int, int]], crashes: dict[int, tuple[int, int]]
) -> None:
    """A crash loses the readings of a while and what had not come out, perhaps in the middle of a gap."""
    shown = walk(taken)
    sampler, stream, lost_until = Sampler(LAYOUT, LANES), Stream(), -1
    registers: dict[int, tuple[int, int]] = {}
    for n, one in enumerate(shown):
        if n <= lost_until:
            continue
        if n in crashes and sampler.start is not None:
            reading = one.reading()
            sampler.add(reading, trusted=True, wall_now=reading.wall, monotonic_now=reading.monotonic)
            some, lasts = crashes[n]
            if some:
                stream.take(sampler, some)
            state = sampler.state()
            if state is not None:
                sampler = Sampler(LAYOUT, LANES, sampler.start, SamplerState.from_bytes(state.to_bytes()))
                lost_until = n + lasts
                if state.unit == one.unit:
                    registers.setdefault(one.unit, (one.imported, one.exported))
                continue
        stream.feed(sampler, [one])
        if stream.first is not None and stream.next - 1 == one.unit:
            registers.setdefault(one.unit, (one.imported, one.exported))
    if stream.first is None:
        return
    for one_unit in stream.read:
        for other in stream.read:
            if one_unit <= other:
                assert stream.total("import", one_unit, other) == registers[other][0] - registers[one_unit][0]
                assert stream.total("export", one_unit, other) == registers[other][1] - registers[one_unit][1]


@given(steps, st.integers(0, 30), st.integers(-(10**18), 10**18))
def test_readings_wait_for_a_trusted_clock_and_are_placed_then(
    taken: list[tuple[int, int, int, int, int]], untrusted: int, wrong_by: int
) -> None:
    shown = walk([(abs(after), *rest) for after, *rest in taken])  # type: ignore[misc]
    plain = Stream().feed(Sampler(LAYOUT, LANES), shown)
    sampler, stream = Sampler(LAYOUT, LANES), Stream()
    booted = (FIRST - 1000) * NS
    for n, one in enumerate(shown):
        right = one.reading()
        trusted = n >= untrusted
        off = 0 if trusted else wrong_by
        sampler.add(
            one.reading(right.wall + off, right.monotonic - booted),
            trusted=trusted,
            wall_now=right.wall + off + 1_000_000,
            monotonic_now=right.monotonic - booted + 1_000_000,
        )
        if not trusted:
            assert sampler.take() is None
            assert sampler.start is None
        while stream.take(sampler, 1000):
            pass
    if untrusted < len(shown):
        assert (stream.first, stream.lanes) == (plain.first, plain.lanes)
    else:
        assert stream.first is None


def test_a_reading_from_before_the_clock_was_set_is_placed_by_the_monotonic_clock() -> None:
    sampler = Sampler(LAYOUT, LANES)
    stream = Stream().feed(sampler, [Shown(FIRST + 9, 100)])
    late = Shown(FIRST + 10, 107).reading(wall=5 * NS, monotonic=1_000 * NS)
    sampler.add(late, trusted=True, wall_now=(FIRST + 12) * NS, monotonic_now=1_002 * NS)
    assert stream.take(sampler, 1000)
    assert stream.read == [FIRST + 10]


def test_two_clocks_not_read_at_once_do_not_move_a_reading() -> None:
    sampler, stream = Sampler(LAYOUT, LANES), Stream()
    for one in (Shown(FIRST + 9, 100), Shown(FIRST + 10, 107)):
        reading = one.reading()
        sampler.add(reading, trusted=True, wall_now=reading.wall, monotonic_now=reading.monotonic + 3 * NS)
    assert stream.take(sampler, 1000)
    assert stream.read == [FIRST + 10]


def test_while_too_many_readings_wait_every_second_one_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.intervals.estimation.MOST_WAITING", 100)
    monkeypatch.setattr("gateway.intervals.sampler.MOST_WAITING", 100)
    sampler, stream = Sampler(LAYOUT, LANES), Stream()
    for n in range(1_000):
        one = Shown(FIRST + n, 1_000 + n).reading(wall=n)
        sampler.add(one, trusted=False, wall_now=n, monotonic_now=one.monotonic)
        assert len(sampler._waiting) <= 100
    last = Shown(FIRST + 1_000, 2_000).reading()
    sampler.add(last, trusted=True, wall_now=last.wall, monotonic_now=last.monotonic)
    while stream.take(sampler, 1000):
        pass
    assert stream.first == FIRST + 10
    assert stream.lanes["import"] == [1] * 991
    assert 50 < sum(stream.lanes["count"]) <= 101


def test_trust_that_is_lost_again_makes_readings_wait_again() -> None:
    sampler, stream = Sampler(LAYOUT, LANES), Stream()
    stream.feed(sampler, [Shown(FIRST + 9, 100), Shown(FIRST + 10, 107)])
    one = Shown(FIRST + 11, 110).reading()
    sampler.add(one, trusted=False, wall_now=one.wall, monotonic_now=one.monotonic)
    assert not stream.take(sampler, 1000)
    stream.feed(sampler, [Shown(FIRST + 12, 111)])
    assert stream.read == [FIRST + 10, FIRST + 11, FIRST + 12]
    assert stream.lanes["import"] == [7, 3, 1]
    two = Shown(FIRST + 50, 200).reading(monotonic=one.monotonic + 2 * NS)  # the clock was set meanwhile
    assert sampler.add(two, trusted=True, wall_now=two.wall, monotonic_now=two.monotonic) == ()
    assert stream.take(sampler, 1000)
    assert stream.read == [FIRST + 10, FIRST + 11, FIRST + 12, FIRST + 50]


def test_a_gap_is_filled_in_proportion_to_time() -> None:
    stream = Stream().feed(Sampler(LAYOUT, LANES), [Shown(FIRST + 9, 100), Shown(FIRST + 13, 110, power=7)])
    assert stream.lanes == {
        "import": [2, 3, 2, 3],
        "export": [0, 0, 0, 0],
        "power": [0, 0, 0, 7],
        "count": [0, 0, 0, 1],
    }


def test_a_register_that_falls_is_held_and_told_once() -> None:
    shown = [
        Shown(FIRST + 9, 1_000),
        Shown(FIRST + 10, 1_010),
        Shown(FIRST + 11, 0),
        Shown(FIRST + 12, 1_009),
        Shown(FIRST + 13, 1_040, exported=5),
        Shown(FIRST + 14, 1_050),
    ]
    stream = Stream().feed(Sampler(LAYOUT, LANES), shown)
    assert stream.events == [
        RegisterEvent("fell", FIRST + 11, ("import",)),
        RegisterEvent("back", FIRST + 13, ("import", "export")),
        RegisterEvent("fell", FIRST + 14, ("export",)),
    ]
    assert stream.read == [FIRST + 10, FIRST + 13]
    assert stream.lanes["import"] == [10, 10, 10, 10]


def test_the_first_reading_in_a_unit_counts() -> None:
    shown = [Shown(FIRST + 9, 100), Shown(FIRST + 10, 101, power=3), Shown(FIRST + 10, 150, power=4)]
    stream = Stream().feed(Sampler(LAYOUT, LANES), [*shown, Shown(FIRST + 11, 160)])
    assert stream.lanes["import"] == [1, 59]
    assert stream.lanes["power"] == [3, 0]


def test_a_new_stream_starts_at_the_link_boundary_after_its_first_reading() -> None:
    sampler = Sampler(LAYOUT, LANES)
    stream = Stream().feed(sampler, [Shown(FIRST, 100)])
    assert (sampler.start, sampler.state(), stream.first) == (FIRST + 10, None, None)
    stream.feed(sampler, [Shown(FIRST + 4, 110), Shown(FIRST + 12, 190)])
    assert stream.first == FIRST + 10
    assert stream.lanes["import"] == [10, 10, 10]  # of 80 over 8 units, 50 lie before the start


def test_a_year_without_readings_comes_out_in_parts() -> None:
    year = 365 * 86_400
    sampler = Sampler(Layout(1000, 10), LANES)
    for one in (Shown(FIRST + 9, 0), Shown(FIRST + 9 + year, 10**12 + 1)):
        reading = one.reading()
        sampler.add(reading, trusted=True, wall_now=reading.wall, monotonic_now=reading.monotonic)
    first = sampler.take()
    assert first is not None
    assert len(first) == 86_400
    assert int(first.lanes["import"].sum()) == (10**12 + 1) * 86_400 // year
    state = sampler.state()
    assert state == SamplerState(FIRST + 9 + 86_400, (10**12 + 1) * 86_400 // year, 0)


@given(st.integers(0, 10**15), st.integers(1, 10**11), st.data())
def test_shares_add_up_wherever_they_are_cut(energy: int, units: int, data: st.DataObject) -> None:
    after = data.draw(st.integers(0, units - 1))
    upto = data.draw(st.integers(after + 1, min(units, after + 5_000)))
    parts = shares(energy, units, after, upto)
    assert len(parts) == upto - after
    assert int(parts.sum()) == energy * upto // units - energy * after // units
    k = data.draw(st.integers(after + 1, upto))
    assert int(parts[k - after - 1]) == energy * k // units - energy * (k - 1) // units


@given(
    st.integers(-(2**40), 2**40),
    st.none() | st.integers(0, 10**15),
    st.none() | st.integers(0, 10**15),
)
def test_a_state_survives_its_bytes_which_are_always_as_long(
    unit: int, imported: int | None, exported: int | None
) -> None:
    state = SamplerState(unit, imported, exported)
    assert SamplerState.from_bytes(state.to_bytes()) == state
    assert len(state.to_bytes()) == 34


@pytest.mark.parametrize("data", [b"", bytes(26), b"\x02" + bytes(25), b"\x01\x04" + bytes(24), b"\x01" * 27])
def test_bytes_that_are_no_state(data: bytes) -> None:
    with pytest.raises(
        GatewayError, match=r"cannot read the sampler.s saved state: expected format 1, 2 or 3"
    ):
        SamplerState.from_bytes(data)


def test_nothing_shows_values() -> None:
    sampler = Sampler(LAYOUT, LANES)
    for one in (Shown(FIRST + 9, 1234567), Shown(FIRST + 10, 7654321)):
        reading = one.reading()
        events = sampler.add(reading, trusted=True, wall_now=reading.wall, monotonic_now=reading.monotonic)
    shown = repr((sampler.take(), sampler.state(), events))
    assert "6419754" not in shown
    assert "7654321" not in shown


def test_a_stream_without_some_lanes() -> None:
    sampler = Sampler(LAYOUT, ("export", "count"))
    for one in (Shown(FIRST + 9, 5, 1), Shown(FIRST + 10, 4, 3)):
        reading = replace(one.reading(), registers={"export": one.exported})
        sampler.add(reading, trusted=True, wall_now=reading.wall, monotonic_now=reading.monotonic)
    units = sampler.take()
    assert units is not None
    assert {lane: values.tolist() for lane, values in units.lanes.items()} == {"export": [2], "count": [1]}
    assert sampler.state() == SamplerState(FIRST + 10, None, 3)


def test_a_stream_that_started_needs_its_registers() -> None:
    good = SamplerState(FIRST + 5, 1, 2)
    Sampler(LAYOUT, LANES, FIRST, good)
    with pytest.raises(GatewayError, match="registers at its last unit"):
        Sampler(LAYOUT, LANES, FIRST)
    with pytest.raises(GatewayError, match="registers at its last unit"):
        Sampler(LAYOUT, LANES, None, good)
    with pytest.raises(GatewayError, match="registers at its last unit"):
        Sampler(LAYOUT, LANES, FIRST + 10, good)
    with pytest.raises(GatewayError, match="the saved registers have no export"):
        Sampler(LAYOUT, LANES, FIRST, SamplerState(FIRST + 5, 1, None))


# --- readings that hold some lanes only


def telegram(unit: int, serial: str | None = None, **registers: int) -> Reading:
    registers = {lane.removesuffix("s"): value for lane, value in registers.items()}
    return Reading("main", registers, unit * NS, unit * NS, serial)


def add(sampler: Sampler, *readings: Reading) -> list[RegisterEvent]:
    events: list[RegisterEvent] = []
    for one in readings:
        events += sampler.add(one, trusted=True, wall_now=one.wall, monotonic_now=one.monotonic)
    return events


def taken(sampler: Sampler) -> dict[str, list[int]]:
    lanes: dict[str, list[int]] = {}
    while (units := sampler.take(7)) is not None:
        for lane, values in units.lanes.items():
            lanes.setdefault(lane, []).extend(values.tolist())
    return lanes


def test_powers_fill_their_units_and_wait_for_the_energy() -> None:
    """As Norwegian and Swedish meters tell it: power every 10 s, energy once an hour."""
    sampler = Sampler(LAYOUT, LANES)
    add(sampler, telegram(FIRST + 5, imports=1_000, exports=5, power=300))
    for unit in range(FIRST + 10, FIRST + 3600, 10):
        add(sampler, telegram(unit, power=unit % 700 + 1))
        assert sampler.take() is None
    add(sampler, telegram(FIRST + 3605, imports=4_600, exports=5, power=1))
    lanes = taken(sampler)
    assert [len(values) for values in lanes.values()] == [3596] * 4
    assert lanes["import"] == [1] * 3596
    assert [at for at, power in enumerate(lanes["power"]) if power] == [*range(0, 3590, 10), 3595]
    assert lanes["power"][10] == (FIRST + 20) % 700 + 1
    assert lanes["count"] == [0] * 3595 + [1]


def test_each_lane_may_come_by_itself() -> None:
    """Units come out as far as all are known; only where all were read is it said so."""
    sampler = Sampler(LAYOUT, LANES)
    add(sampler, telegram(FIRST + 3, imports=100))
    assert sampler.start is None
    add(sampler, telegram(FIRST + 12, exports=50))
    assert [sampler.start, sampler.known_until] == [FIRST + 20, FIRST + 3]
    for unit in range(21, 31):
        add(sampler, telegram(FIRST + unit, imports=97 + unit))
    assert sampler.take() is None
    add(sampler, telegram(FIRST + 25, exports=63, power=9))
    assert sampler.known_until == FIRST + 25
    first = taken(sampler)
    assert first["import"][1:] == [1] * 5
    assert first["export"] == [1] * 6
    assert first["count"] == [0] * 5 + [1]
    assert first["power"] == [0] * 5 + [9]
    state = sampler.state()
    assert state is not None
    again = Sampler(LAYOUT, LANES, sampler.start, SamplerState.from_bytes(state.to_bytes()))
    for one in (sampler, again):
        add(one, telegram(FIRST + 30, exports=63, imports=127))
    assert taken(sampler)["import"] == taken(again)["import"] == [1] * 5


def test_a_stream_starts_after_all_that_it_starts_from() -> None:
    """Also when the clock was set back between the first readings of two lanes."""
    sampler = Sampler(LAYOUT, LANES)
    add(sampler, telegram(FIRST + 25, imports=100), telegram(FIRST + 12, exports=50))
    assert sampler.start == FIRST + 30


def test_a_restart_allows_for_the_whole_of_a_long_unit() -> None:
    layout, hour = Layout(3_600_000, 1), 3600
    sampler = Sampler(layout, LANES)
    for n in range(3):
        add(sampler, telegram(FIRST + n * hour, imports=n, exports=0))
    taken(sampler)
    again = Sampler(layout, LANES, sampler.start, sampler.state())
    assert add(again, telegram((FIRST // hour + 3) * hour, imports=50_000_000, exports=0)) == []


def test_the_first_power_in_a_unit_counts_whichever_telegram_it_comes_with() -> None:
    sampler = Sampler(LAYOUT, LANES)
    add(sampler, telegram(FIRST + 9, imports=0, exports=0))
    add(sampler, telegram(FIRST + 10, imports=1, exports=0), telegram(FIRST + 10, power=4))
    add(sampler, telegram(FIRST + 11, power=5), telegram(FIRST + 11, imports=2, exports=0, power=6))
    lanes = taken(sampler)
    assert lanes["power"] == [4, 5]
    assert lanes["count"] == [1, 1]


def test_a_power_alone_of_another_meter_is_not_taken() -> None:
    sampler = Sampler(LAYOUT, LANES)
    add(sampler, telegram(FIRST + 9, "1EMH00", imports=0, exports=0))
    add(sampler, telegram(FIRST + 10, "1EMH01", power=4), telegram(FIRST + 11, "1EMH00", power=5))
    add(sampler, telegram(FIRST + 12, "1EMH00", imports=1, exports=0))
    assert taken(sampler)["power"] == [0, 5, 0]


def test_lanes_that_do_not_come_are_named() -> None:
    sampler = Sampler(LAYOUT, LANES)
    assert sampler.missing() == ()
    add(sampler, telegram(FIRST, power=1))
    assert sampler.missing() == ("import", "export")
    add(sampler, telegram(FIRST + 1, imports=1))
    assert sampler.missing() == ("export",)
    add(sampler, telegram(FIRST + 9, imports=1, exports=2), telegram(FIRST + 10, imports=1, exports=2))
    assert sampler.missing() == ()
    taken(sampler)
    again = Sampler(LAYOUT, LANES, sampler.start, sampler.state())
    for one, at in ((sampler, FIRST + 10), (again, FIRST + 11)):
        add(one, telegram(FIRST + 11, power=5), telegram(at + 7200, power=5, exports=2))
        assert one.missing() == ()
        add(one, telegram(at + 7201, power=5))
        assert one.missing() == ("import",)
        add(one, telegram(at + 3600, imports=1))  # of before
        assert one.missing() == ()


def test_values_of_a_series_that_wait_for_the_clock_are_thinned_and_not_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.intervals.sampler.MOST_WAITING", 100)
    sampler, readings = Sampler(LAYOUT, ("temperature", "count")), 250
    for unit in range(FIRST, FIRST + readings):
        at = unit * NS
        reading = Reading("climate", {"temperature": 1}, at, at)
        sampler.add(reading, trusted=unit == FIRST + readings - 1, wall_now=at, monotonic_now=at)
    assert len(sampler._waiting) == 0
    units = sampler.take()
    assert units is not None
    assert 50 <= int(units.lanes["count"].sum()) == int(units.lanes["temperature"].sum()) <= 101


def test_what_waits_is_bounded_and_costs_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Days without one lane: first every second power, then every second total is let go."""
    monkeypatch.setattr("gateway.intervals.estimation.MOST_WAITING", 100)
    monkeypatch.setattr("gateway.intervals.sampler.MOST_WAITING", 100)
    sampler = Sampler(LAYOUT, LANES)
    add(sampler, telegram(FIRST + 9, imports=0, exports=0))
    for unit in range(FIRST + 10, FIRST + 2_000):
        add(sampler, telegram(unit, imports=unit - FIRST - 9, power=5))
        assert len(sampler._values) <= 100
        assert len(sampler._energies[0].coming) <= 100
    add(sampler, telegram(FIRST + 2_000, imports=1_991, exports=0))
    lanes = taken(sampler)
    assert lanes["import"] == [1] * 1_991
    assert lanes["count"] == [0] * 1_990 + [1]
    assert 50 <= sum(map(bool, lanes["power"])) <= 100


def test_powers_that_wait_for_the_clock_go_before_energy_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.intervals.estimation.MOST_WAITING", 100)
    monkeypatch.setattr("gateway.intervals.sampler.MOST_WAITING", 100)
    sampler = Sampler(LAYOUT, LANES)
    for unit in range(FIRST, FIRST + 400):
        energy = {"imports": unit - FIRST, "exports": 0} if unit % 20 == 0 else {"power": 5}
        sampler.add(telegram(unit, None, **energy), trusted=False, wall_now=0, monotonic_now=unit * NS)
        assert len(sampler._waiting) <= 100
    add(sampler, telegram(FIRST + 400, imports=400, exports=0))
    lanes = taken(sampler)
    assert [at for at, count in enumerate(lanes["count"]) if count] == list(range(10, 391, 20))


# --- what a meter remembers of an outage


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("booted", [FIRST - 1000, FIRST + 3_590])
def test_what_the_meter_remembers_replaces_the_estimate(trusted: bool, booted: int) -> None:
    """An outage of an hour, 15 minutes remembered each; the gateway may have booted in the end of it, and its
    clock may be wrong still: then the stamps are where the monotonic clock says."""
    sampler = Sampler(LAYOUT, LANES)
    add(sampler, telegram(FIRST + 9, imports=0, exports=0), telegram(FIRST + 10, imports=1, exports=0))
    before = sampler.take()
    assert before is not None
    sampler = Sampler(LAYOUT, LANES, sampler.start, sampler.state())
    wrong_by = 0 if trusted else -5 * 10**8
    shown = [(900, 90_001), (1800, 90_002), (2700, 500_000), (3600, 500_010)]
    for after, imported in shown:
        one = Reading(
            "main",
            {"import": imported, "export": 0},
            (FIRST + after + wrong_by) * NS,
            (FIRST + after - booted) * NS,
        )
        now = FIRST + 3600
        sampler.add(one, trusted=trusted, wall_now=(now + wrong_by) * NS, monotonic_now=(now - booted) * NS)
    if not trusted:
        assert sampler.take() is None
        mono = (FIRST + 3601 - booted) * NS
        late = replace(telegram(FIRST + 3601, imports=500_010, exports=0), monotonic=mono)
        sampler.add(late, trusted=True, wall_now=late.wall, monotonic_now=mono)
    lanes = taken(sampler)
    read = [at + 11 for at, count in enumerate(lanes["count"]) if count]
    assert read == [900, 1800, 2700, 3600] + ([] if trusted else [3601])
    assert sum(lanes["import"][: 900 - 10]) == 90_000
    assert sum(lanes["import"][900 - 10 : 1800 - 10]) == 1
    assert sum(lanes["import"]) == 500_009


def test_what_was_remembered_from_before_the_last_reading_is_passed_over() -> None:
    sampler = Sampler(LAYOUT, LANES)
    add(sampler, telegram(FIRST + 9, imports=0, exports=0), telegram(FIRST + 100, imports=91, exports=0))
    assert add(sampler, telegram(FIRST + 50, imports=3, exports=0)) == []
    assert taken(sampler)["import"] == [1] * 91


# --- units of more than a second


QUARTER = Layout(unit_ms=900_000, link_units=4)
TEN = 1_780_048_800  # ten o'clock UTC


@dataclass
class Quarters:
    """A meter read each second, and when each quarter of an hour came out."""

    sampler: Sampler = field(default_factory=lambda: Sampler(QUARTER, LANES))
    out: dict[int, tuple[dict[str, int], int]] = field(default_factory=dict)  # values, and when, by begin (s)

    def read(self, begin: int, end: int) -> None:
        """4 kW from 10:00 to 10:15, at other times nothing; a reading half a second after each second."""
        for second in range(begin, end):
            at = second * NS + NS // 2
            drawn = 4_000_000 * min(max(second - TEN, 0), 900) // 3600
            power = 4000 if TEN < second <= TEN + 900 else 0
            reading = Reading("main", {"import": drawn, "export": 0, "power": power}, at, at)
            assert self.sampler.add(reading, trusted=True, wall_now=at, monotonic_now=at) == ()
            while (units := self.sampler.take()) is not None:
                for n in range(len(units)):
                    values = {lane: int(column[n]) for lane, column in units.lanes.items()}
                    self.out[(units.first + n) * 900] = values, second

    def restart(self) -> None:
        state = self.sampler.state()
        assert state is not None
        self.sampler = Sampler(QUARTER, LANES, self.sampler.start, SamplerState.from_bytes(state.to_bytes()))


@pytest.mark.parametrize("restarts", [(), (TEN + 400,), (TEN - 1, TEN, TEN + 1, TEN + 900, TEN + 901)])
def test_a_quarter_of_an_hour_has_its_own_energy_and_comes_out_once_it_has_ended(
    restarts: tuple[int, ...],
) -> None:
    quarters, at = Quarters(), TEN - 4000
    for until in (*restarts, TEN + 2701):
        quarters.read(at, until)
        if until in restarts:
            quarters.restart()
        at = until
    assert list(quarters.out) == list(range(TEN - 3600, TEN + 2700, 900))
    for begin, (values, second) in quarters.out.items():
        energy, power = (1_000_000, 4000) if begin == TEN else (0, 0)
        assert values == {"import": energy, "export": 0, "power": power, "count": 1}
        assert second == begin + 900


@settings(max_examples=300)
@given(
    st.sampled_from([1, 2, 10, 60, 300, 900, 3600]),
    # All rises together stay below what any meter may add at once.
    st.lists(st.tuples(st.integers(1, 9 * 10**12), st.integers(0, SLACK_MWH // 40)), min_size=1, max_size=40),
    st.sets(st.integers(0, 40)),
)
def test_units_of_any_length_have_what_was_read_between_their_bounds(
    unit_s: int, rises: list[tuple[int, int]], restarts: set[int]
) -> None:
    """At any times, to the nanosecond, and over restarts: a long unit's energy is the difference of the first
    registers after its bounds, a second's that of the first in it and in the one before."""
    layout = Layout(unit_s * 1000, 1)
    lanes = ("import", "count")
    sampler, wall, register = Sampler(layout, lanes), FIRST * NS, 10**9
    energy: dict[int, int] = {}
    counts: dict[int, int] = {}
    at_end: dict[int, int] = {}  # by unit: the first register that was read after its end
    for n, (after, rise) in enumerate(rises):
        if n in restarts and (state := sampler.state()) is not None:
            sampler = Sampler(layout, lanes, sampler.start, SamplerState.from_bytes(state.to_bytes()))
        wall, register = wall + after, register + rise
        reading = Reading("main", {"import": register}, wall, wall)
        assert sampler.add(reading, trusted=True, wall_now=wall, monotonic_now=wall) == ()
        ended = wall // (unit_s * NS) - (1 if unit_s > 1 else 0)
        at_end.setdefault(ended, register)
        while (units := sampler.take()) is not None:
            assert units.first == max(energy, default=min(at_end)) + 1
            energy |= {units.first + i: value for i, value in enumerate(units.lanes["import"].tolist())}
            counts |= {units.first + i: value for i, value in enumerate(units.lanes["count"].tolist())}
            if unit_s > 1:
                assert (max(energy) + 1) * unit_s * NS <= wall
    first = min(at_end)
    assert sum(energy.values()) == at_end[max(at_end)] - at_end[first]
    assert {unit for unit, count in counts.items() if count} == at_end.keys() - {first}
    for unit, value in energy.items():
        if unit in at_end and unit - 1 in at_end:
            assert value == at_end[unit] - at_end[unit - 1]


def test_a_state_saved_while_long_units_came_out_at_their_beginning_goes_on() -> None:
    """The unit from 10:00 holds the register of 10:01:30: the reading of 10:15 changes nothing, and that of
    10:30 has all energy since."""
    saved = SamplerState(TEN // 900, 100_000, 0)
    quarters = Quarters(Sampler(QUARTER, LANES, (TEN - 3600) // 900, saved))
    quarters.read(TEN + 91, TEN + 2701)
    assert {begin: values["import"] for begin, (values, _) in quarters.out.items()} == {
        TEN + 900: 900_000,
        TEN + 1800: 0,
    }


def test_a_series_of_long_units_has_its_values_in_the_unit_in_which_they_were_read() -> None:
    sampler = Sampler(QUARTER, ("temperature", "count"))
    for at in (TEN - 1, TEN, TEN + 900):
        sampler.add(
            Reading("climate", {"temperature": at}, at * NS, at * NS),
            trusted=True,
            wall_now=at * NS,
            monotonic_now=at * NS,
        )
    units = sampler.take()
    assert units is not None
    assert units.first == TEN // 900
    assert units.lanes["temperature"].tolist() == [TEN, TEN + 900]


# --- days of 23 and 25 hours


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-07-01", 24)])
def test_days_of_any_length_have_all_their_units_and_energy(day: str, hours: int) -> None:
    """Units are UTC: where the clocks on the wall change none is missing, none comes twice."""
    zone = ZoneInfo("Europe/Zurich")
    midnight = datetime.fromisoformat(day).replace(tzinfo=zone)
    begin, end = (int((midnight + timedelta(days=n)).timestamp()) // 60 for n in (0, 1))
    assert (end - begin) / 60 == hours
    layout = Layout(unit_ms=60_000, link_units=60)
    sampler = Sampler(layout, LANES)
    stream = Stream()
    for unit in range(begin - 61, end + 60):
        wall = (unit + 1) * 60 * NS + 50_000_000  # right after the end of `unit`
        registers = {"import": (unit - begin + 100) ** 2, "export": 0, "power": unit % 1000}
        add(sampler, Reading("main", registers, wall, wall))
        while stream.take(sampler, 1000):
            pass
    assert stream.first is not None
    assert stream.first <= begin
    assert stream.total("import", begin - 1, end - 1) == (end - begin + 99) ** 2 - 99**2
    assert stream.read == list(range(stream.first, end + 60))
