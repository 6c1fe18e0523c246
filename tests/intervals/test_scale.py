"""Registers of another scale than the power are found, and those of any believable home are not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gateway.intervals.scale import Scale, ScaleCheck
from gateway.meters.reading import Reading
from gateway.simulate.home import net_power

NS = 1_000_000_000
DAY = 86_400


def quick() -> ScaleCheck:
    return ScaleCheck(window_s=60, samples=30, least_mwh=10_000)


def readings(
    power: NDArray[np.int64],
    *,
    every: int = 10,
    energy_every: int = 0,
    resolution: int = 1,
    times: float = 1,
    lanes: tuple[str, ...] = ("import", "export"),
) -> Iterator[Reading]:
    """What a meter shows of a home: its power `every` so many seconds, and its registers with it, or by
    themselves every `energy_every` seconds, in steps of `resolution` mWh, `times` as high as they should."""
    drawn = np.cumsum(np.maximum(power, 0)) / 3.6
    given = np.cumsum(np.maximum(-power, 0)) / 3.6
    for second in range(0, len(power), every):
        registers = {"power": int(power[second])}
        if not energy_every or second % energy_every == 0:
            totals = {"import": 7e9 + drawn[second], "export": 3e9 + given[second]}
            registers |= {lane: int(totals[lane] * times) // resolution * resolution for lane in lanes}
        yield Reading("main", registers, second * NS, (second + 500) * NS)


@cache
def home(seed: int, day: int) -> NDArray[np.int64]:
    return np.concatenate([net_power(seed, day), net_power(seed, day + 1)])


def found(check: ScaleCheck, shown: Iterator[Reading]) -> set[int]:
    """The exponents that it ever told."""
    told = set()
    for one in shown:
        check.add(one)
        if check.found is not None:
            told.add(check.found.exponent)
    return told


CADENCES = st.sampled_from([(1, 0), (10, 0), (10, 3600), (60, 900), (300, 0), (300, 3600)])
RESOLUTIONS = st.sampled_from([1, 1_000, 10_000, 100_000, 1_000_000])


@settings(max_examples=15)
@given(st.integers(0, 40), st.integers(20_450, 20_800), CADENCES, RESOLUTIONS, st.booleans(), st.booleans())
def test_no_home_is_told_a_scale(
    seed: int, day: int, cadence: tuple[int, int], resolution: int, solar: bool, in_a_hurry: bool
) -> None:
    every, energy_every = cadence
    power = home(seed, day) if solar else np.maximum(home(seed, day), 90)
    lanes = ("import", "export") if solar else ("import",)
    if in_a_hurry and every > 10:
        return  # a person looks at a meter that is read often
    shown = readings(power, every=every, energy_every=energy_every, resolution=resolution, lanes=lanes)
    assert found(quick() if in_a_hurry else ScaleCheck(), shown) == set()


@settings(max_examples=15)
@given(
    st.integers(0, 40),
    st.integers(20_450, 20_800),
    CADENCES,
    st.sampled_from([1, 1_000, 10_000]),
    st.sampled_from([-3, -2, -1, 1, 2, 3]),
)
def test_another_scale_is_told_within_two_days_and_rightly(
    seed: int, day: int, cadence: tuple[int, int], resolution: int, exponent: int
) -> None:
    every, energy_every = cadence
    power = np.maximum(home(seed, day), 90)
    shown = readings(
        power, every=every, energy_every=energy_every, resolution=resolution, times=10.0**exponent
    )
    told = found(ScaleCheck(), shown)
    assert told <= {exponent}
    # Power that is read every five minutes may miss too much of what spiky loads use to be sure in two days.
    if every <= 60 and (resolution <= 1000 * 10**exponent or exponent > 0):
        assert told == {exponent}


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 22_000)), min_size=1, max_size=5),
    st.integers(1, 10),
)
def test_loads_that_pulse_are_not_mistaken(pulses: list[tuple[int, int]], every: int) -> None:
    """Over a base of 150 W, loads that are on for a second of each so many: power that is read every few
    seconds may see all of their pulses, or none."""
    seconds = np.arange(DAY)
    power = np.full(DAY, 150, np.int64)
    for period, watts in pulses:
        power += np.where(seconds % (period * 7 + 1) < period, watts, 0)
    assert found(ScaleCheck(), readings(power, every=every)) == set()


def test_what_a_kamstrup_in_wh_is_told() -> None:
    """1500 W, power every 10 s and the registers each hour, ten times as high."""
    check = ScaleCheck()
    power = np.full(DAY, 1_500, np.int64)
    told_at = None
    for one in readings(power, every=10, energy_every=3600, resolution=10_000, times=10):
        check.add(one)
        if check.found and told_at is None:
            told_at = one.wall // NS
    assert told_at == 4 * 3600
    assert check.found == Scale(1, 3 * 3600, 45_000_000, 4_500_000)
    assert check.found.sentence("main") == (
        "meter main: over 3 h its power added up to 4.500 kWh, but its registers to 45.000 kWh, 10 times as "
        "much. Compare them with the meter's display; if its registers are read wrongly, "
        "factor = { energy = 0.1 } in its [[meter]] section corrects them"
    )


@pytest.mark.parametrize(
    ("exponent", "factor", "much"),
    [
        (1, "0.1", "10 times as much"),
        (3, "0.001", "1000 times"),
        (-1, "10", "1/10 of"),
        (-3, "1000", "1/1000 of"),
    ],
)
def test_the_factor_that_corrects_it(exponent: int, factor: str, much: str) -> None:
    scale = Scale(exponent, 600, 5, 7)
    assert scale.factor == factor
    assert much in scale.sentence("main")
    assert "over 10 min" in scale.sentence("main")


def test_in_a_hurry_it_is_told_within_minutes() -> None:
    check = quick()
    for one in readings(np.full(600, 800, np.int64), every=1, resolution=1_000, times=10):
        check.add(one)
        if check.found:
            break
    assert check.found is not None
    assert one.wall <= 200 * NS


def test_it_is_told_no_longer_once_it_is_right() -> None:
    check = ScaleCheck()
    steady = np.full(6 * 3600, 1_500, np.int64)
    for one in readings(steady, times=10):
        check.add(one)
    assert check.found is not None
    for one in readings(steady):
        check.add(Reading("main", one.registers, one.wall, one.monotonic + 7 * 3600 * NS))
    assert check.found is None


def test_neither_gaps_nor_missing_lanes_nor_registers_that_fall_mean_anything() -> None:
    check = ScaleCheck()
    for hour in range(400):  # the power once an hour only
        check.add(Reading("main", {"power": 100, "import": hour * 10**7}, 0, hour * 3600 * NS))
    assert check.found is None
    check = ScaleCheck()
    for minute in range(10_000):
        check.add(Reading("main", {"power": 5_000}, 0, minute * 60 * NS))
        check.add(Reading("main", {"import": 10**9 - minute * 10**5}, 0, minute * 60 * NS))
    assert check.found is None
    for minute in range(10_000):
        check.add(Reading("main", {"power": 5_000, "import": 10**7 * minute}, 0, minute * NS))  # of before
    assert check.found is None


def test_where_little_is_left_of_what_is_drawn_and_given_it_says_nothing() -> None:
    """A meter that counts 10 kWh each way in an hour: an error of a tenth is all of the difference."""
    check = ScaleCheck()
    for second in range(0, 8 * 3600, 10):
        registers = {"power": 11_000 if second // 10 % 2 else -9_000}
        registers |= {"import": second * 10**7 // 3600, "export": second * 99 * 10**5 // 3600}
        check.add(Reading("main", registers, 0, second * NS))
        assert check.found is None


def test_nothing_shows_energy() -> None:
    assert "12345" not in repr(Scale(1, 60, 123_450, 12_345))
