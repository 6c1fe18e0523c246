"""The energy of simulated homes is believable: it has days, weeks, seasons and one weather for a region."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gateway.simulate.fleet.energy import Traits, energy
from gateway.simulate.fleet.plan import Plan

HOUR = 4  # units
PLAN = Plan(
    homes=600,
    days=7,
    first=date(2026, 6, 15),  # a Monday
    regions=2,
    seed=5,
    unit_ms=900_000,
    chunk_ms=3_600_000,
    windows_ms=(900_000,),
    outages=0,
    late=0,
    broken=0,
)
WINTER = replace(PLAN, first=date(2026, 1, 12))


def week(plan: Plan, region: int = 0) -> NDArray[np.int64]:
    """mWh [home, lane, day, unit]."""
    numbers = plan.region_of(region)
    return np.stack([energy(plan, region, numbers, n) for n in range(plan.days)], axis=2)


@pytest.fixture(scope="module")
def summer() -> NDArray[np.int64]:
    return week(PLAN)


@pytest.fixture(scope="module")
def winter() -> NDArray[np.int64]:
    return week(WINTER)


def test_evenings_and_weekends(winter: NDArray[np.int64]) -> None:
    load = winter[:, 0].mean(axis=0)
    evening, night = load[:5, 17 * HOUR : 20 * HOUR].mean(), load[:5, 1 * HOUR : 4 * HOUR].mean()
    assert evening > 2 * night
    assert load[5:, 8 * HOUR : 11 * HOUR].mean() > 1.2 * load[:5, 8 * HOUR : 11 * HOUR].mean()


def test_the_sun_gives_by_day_and_in_summer(summer: NDArray[np.int64], winter: NDArray[np.int64]) -> None:
    given = summer[:, 1].mean(axis=0)
    assert given[:, 22 * HOUR :].sum() == given[:, : 2 * HOUR].sum() == 0
    assert given[:, 9 * HOUR : 13 * HOUR].min() > 0
    assert given.sum() > 5 * winter[:, 1].mean(axis=0).sum()


def test_heat_pumps_heat_in_winter(summer: NDArray[np.int64], winter: NDArray[np.int64]) -> None:
    heated = Traits.of(PLAN.seed, PLAN.region_of(0)).loss_w_a_k > 0
    assert 0.2 < heated.mean() < 0.4
    more = (winter[:, 0].sum(axis=(1, 2)) - summer[:, 0].sum(axis=(1, 2))) / 7e6  # kWh a day
    assert more[heated].mean() > more[~heated].mean() + 8


def test_a_home_is_a_home(summer: NDArray[np.int64], winter: NDArray[np.int64]) -> None:
    """In kWh a day, those without roof, heat pump and car use 2 to 5 MWh a year."""
    for part in (summer, winter):
        days = part[:, 0].sum(axis=2) / 1e6
        assert days.min() >= 0
        assert days.max() < 150
    plain = Traits.of(PLAN.seed, PLAN.region_of(0))
    plain_homes = (plain.loss_w_a_k == 0) & (plain.charger_w == 0) & (plain.roof_w == 0)
    used = winter[plain_homes, 0].sum(axis=(1, 2)).mean() / 7e6
    assert 6 < used < 14


def test_a_regions_homes_have_one_weather() -> None:
    """Two roofs of a region follow the same clouds; those of another region's sky are less alike."""
    given = [week(PLAN, region)[:, 1].reshape(300, -1).astype(float) for region in range(2)]
    roofs = [part[part.sum(axis=1) > 0] for part in given]
    noon = (np.arange(7 * 96) % 96 > 8 * HOUR) & (np.arange(7 * 96) % 96 < 14 * HOUR)
    sky = [part[:, noon] / part[:, noon].max(axis=1, keepdims=True) for part in roofs]
    moves = [np.diff(part, axis=1) for part in sky]
    within = np.corrcoef(moves[0][0::2].mean(axis=0), moves[0][1::2].mean(axis=0))[0, 1]
    between = np.corrcoef(moves[0].mean(axis=0), moves[1].mean(axis=0))[0, 1]
    assert within > 0.8 > between


@given(st.integers(0, 2**30), st.integers(0, 6), st.sampled_from((30_000, 300_000, 900_000, 3_600_000)))
def test_an_outage_keeps_every_mwh(seed: int, n: int, unit_ms: int) -> None:
    """What was not read is shared evenly, and the register's difference is the same."""
    plan = replace(
        PLAN, homes=4, regions=1, seed=seed, unit_ms=unit_ms, chunk_ms=3_600_000, windows_ms=(3_600_000,)
    )
    off = replace(plan, outages=100)
    numbers = plan.region_of(0)
    read, filled = energy(plan, 0, numbers, n), energy(off, 0, numbers, n)
    assert (read.sum(axis=2) == filled.sum(axis=2)).all()
    for home, (x, y) in enumerate(off.outage(numbers, n).tolist()):
        assert 0 < x < y < plan.day_units
        assert (np.ptp(filled[home, :, x:y], axis=1) <= 1).all()
        assert (filled[home, :, :x] == read[home, :, :x]).all()
        assert (filled[home, :, y:] == read[home, :, y:]).all()
    assert (plan.restarts(numbers, 7) == 1).all()
    assert (off.restarts(numbers, 7) == 8).all()


@given(st.data())
def test_any_homes_are_computed_as_with_others(data: st.DataObject) -> None:
    plan = replace(PLAN, homes=40, outages=50)
    numbers = plan.region_of(1)
    some = sorted(data.draw(st.sets(st.integers(0, len(numbers) - 1), min_size=1)))
    assert (energy(plan, 1, numbers[some], 3) == energy(plan, 1, numbers, 3)[some]).all()
