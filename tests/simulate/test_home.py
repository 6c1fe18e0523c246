"""The simulated home: a pure function of seed and second, integrated without losing a Ws, and believable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.simulate.home import DAY_S, Home, net_power

JUNE, DECEMBER = 20_605, 20_788  # 2026-06-01 and 2026-12-01, in days since 1970


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 30_000))
def test_power_depends_on_seed_and_second_only(seed: int, day: int) -> None:
    first = net_power(seed, day)
    np.testing.assert_array_equal(net_power(seed, day), first)
    assert len(first) == DAY_S


def test_seeds_and_days_differ() -> None:
    assert (net_power(1, JUNE) != net_power(2, JUNE)).mean() > 0.5
    assert (net_power(1, JUNE) != net_power(1, JUNE + 1)).mean() > 0.5


@pytest.mark.slow
@settings(max_examples=25)
@given(st.lists(st.integers(1, 80_000), min_size=1, max_size=5), st.integers(0, 2 * DAY_S))
def test_registers_do_not_depend_on_how_time_is_cut(steps: list[int], begin: int) -> None:
    start = JUNE * DAY_S + begin
    home, other = Home(7, start, 5, 9), Home(7, start, 5, 9)
    for step in steps:
        home.advance_to(home.second + step)
    other.advance_to(start + sum(steps))
    days = np.concatenate([net_power(7, JUNE + day) for day in range(7)])
    power = days[begin + 1 : begin + 1 + sum(steps)]
    drawn, given_back = int(power[power > 0].sum()), -int(power[power < 0].sum())
    for one in (home, other):
        assert one.second == start + sum(steps)
        assert one.import_mwh == 5 + drawn * 1_000 // 3_600
        assert one.export_mwh == 9 + given_back * 1_000 // 3_600


def test_registers_integrate_the_power_exactly() -> None:
    start = JUNE * DAY_S + 50_000
    home = Home(7, start, import_mwh=1_000, export_mwh=2_000)
    assert (home.import_mwh, home.export_mwh) == (1_000, 2_000)
    drawn = given = 0
    for second in range(start + 1, start + 20_001):
        home.advance_to(second)
        drawn += max(home.power, 0)
        given += max(-home.power, 0)
        assert home.import_mwh == 1_000 + drawn * 1_000 // 3_600
        assert home.export_mwh == 2_000 + given * 1_000 // 3_600
    assert drawn > 0
    assert given > 0


def test_the_past_changes_nothing() -> None:
    home = Home(7, JUNE * DAY_S)
    home.advance_to(JUNE * DAY_S + 100)
    before = (home.second, home.import_mwh, home.export_mwh, home.power)
    home.advance_to(JUNE * DAY_S + 50)
    assert (home.second, home.import_mwh, home.export_mwh, home.power) == before


@pytest.mark.parametrize("seed", range(20))
def test_days_are_believable(seed: int) -> None:
    june, december = net_power(seed, JUNE), net_power(seed, DECEMBER)
    for power in (june, december):
        assert power.min() > -5_000
        assert 2_000 < power.max() < 25_000
        assert 2 < power[power > 0].sum() / 3.6e6 < 15  # kWh
        night = power[1 * 3600 : 4 * 3600]
        assert night.min() > 60
        assert night.max() < 300
    assert -june[june < 0].sum() / 3.6e6 > 5
    assert december[december < 0].sum() > june[june < 0].sum()


def test_midnight_has_no_seam() -> None:
    jumps = [
        abs(int(net_power(1, day + 1)[0]) - int(net_power(1, day)[-1])) for day in range(JUNE, JUNE + 20)
    ]
    assert max(jumps) < 120  # the fridge at most
