"""Noise on the loads of small sets: of the stated size, drawn once, and told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.centre.noise import HOME_LIMIT_W, Noise
from gateway.centre.state import State
from gateway.errors import UsageError
from tests.centre.neighbourhood import Neighbourhood, minutes, sealed
from tests.stream.stream import random_readings

MINUTE = (60_000, 120_000)


@pytest.fixture
async def street(tmp_path: Path) -> Neighbourhood:
    """Three homes of two minutes that were summed, and two that came late."""
    street = Neighbourhood.new(tmp_path)
    for seconds in (120, 120, 120, 50, 50):
        street.joins(sealed(seconds))
    await street.takes_in()
    assert (await street.load(minutes(0, 1))).homes == (3,)
    for home in street.homes[3:]:
        home.seal(random_readings(70))
    await street.takes_in()
    return street


async def test_sets_below_the_size_have_noise_and_others_none(street: Neighbourhood) -> None:
    """In the first minute the three have none and the two that came late have; in the second they are one set
    of five."""
    windows = minutes(0, 1, 2, lanes=("import", "export"))
    truth = np.array(street.truth(windows))
    found = await street.load(windows, noise=Noise(3, 0.5))
    assert (found.homes, found.noisy) == ((5, 5), {0})
    assert (found.sums[1] == truth[1]).all()
    assert (found.sums[0] != truth[0]).all()
    assert len(set((found.sums[0] - truth[0]).tolist())) == 2, "a draw for each lane"
    exact = await street.load(windows)
    assert (exact.noise, exact.noisy, exact.sums.tolist()) == (None, frozenset(), truth.tolist())
    # Both sets of the first minute have noise, each its own.
    more = await street.load(windows, noise=Noise(4, 0.5))
    assert more.noisy == {0}
    assert (more.sums[0] != found.sums[0]).all()
    assert (await street.load(windows, noise=Noise(6, 0.5))).noisy == {0, 1}


async def test_a_number_has_one_noise_for_ever(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = Noise(10, 0.5)
    first = await street.load(minutes(0, 1, 2), noise=noise)
    monkeypatch.setattr(Noise, "draw", None)
    for windows in (minutes(0, 1, 2), minutes(1, 2)):
        again = await street.load(windows, noise=noise)
        assert again.sums.tolist() == first.sums.tolist()[-len(windows.times) :]
    for other in (Noise(10, 1), Noise(10, 0.5, 2000)):
        with pytest.raises(
            UsageError, match=r"was given noise of epsilon 0\.5 and a home's limit of 43470 W"
        ):
            await street.load(minutes(1, 2), noise=other)


async def test_a_load_that_is_refused_draws_no_noise(street: Neighbourhood) -> None:
    """The others of its windows could then be published with neither."""
    await street.load(minutes(0, 1), noise=Noise(10, 0.5))
    with pytest.raises(UsageError, match=r"was given noise of epsilon 0\.5"):
        await street.load(minutes(0, 1, 2), noise=Noise(10, 1))
    await street.load(minutes(0, 1, 2), noise=Noise(10, 0.5))


async def test_of_two_draws_at_once_the_first_counts(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise, drawn = Noise(10, 0.5), iter((7_000_000, 9_000_000, 5_000_000))

    def draws(_: Noise, times: tuple[int, int]) -> int:
        return next(drawn)

    monkeypatch.setattr(Noise, "draw", draws)
    truth = street.truth(minutes(1, 2), range(5))[0][0]
    assert (await street.load(minutes(1, 2), noise=noise)).sums[0, 0] == truth + 7_000_000
    real = State.noises

    def early(*_: object) -> dict[object, object]:  # another process that has looked before
        monkeypatch.setattr(State, "noises", real)
        return {}

    monkeypatch.setattr(State, "noises", early)
    assert (await street.load(minutes(1, 2), noise=noise)).sums[0, 0] == truth + 7_000_000


@settings(max_examples=20)
@given(st.floats(0.01, 10), st.integers(1, HOME_LIMIT_W), st.integers(1, 3_600_000))
def test_opendp_takes_no_more_than_epsilon(epsilon: float, limit_w: int, length: int) -> None:
    """By its own account of a number that a home changes by the sensitivity, which is the limit times the
    window."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    noise, times = Noise(5, epsilon, limit_w), (MINUTE[0], MINUTE[0] + length)
    assert 0 <= noise.sensitivity(times) * 3600 - limit_w * length < 3600
    space = dp.atom_domain(T="i64"), dp.absolute_distance(T="i64")
    laplace: Any = dp.m.make_laplace(*space, scale=noise.sensitivity(times) / epsilon)
    assert laplace.map(noise.sensitivity(times)) <= epsilon * (1 + 1e-9)


def test_the_noise_is_as_large_as_was_stated() -> None:
    """The mean size of discrete Laplace noise is its scale: that of 2000 draws is within 13 per cent of it
    but once in 10^8 times. Half of them are below 0."""
    noise = Noise(5, 0.5)
    scale = noise.sensitivity(MINUTE) / 0.5
    drawn = np.array([noise.draw(MINUTE) for _ in range(2000)])
    assert abs(np.abs(drawn).mean() / scale - 1) < 0.13
    assert abs((drawn < 0).mean() - 0.5) < 0.07


async def test_noise_is_for_energy(street: Neighbourhood) -> None:
    for epsilon, limit_w in ((0.0, 1), (float("inf"), 1), (1.0, 0)):
        with pytest.raises(UsageError, match="both must be above 0"):
            Noise(5, epsilon, limit_w)
    street.asked.clear()
    with pytest.raises(UsageError, match="noise is for import and export, and import, power were asked for"):
        await street.load(minutes(0, 1, lanes=("import", "power")), noise=Noise(5, 1))
    # A draw that 64 bits cut off would show the sum: it lies at their end.
    for noise in (Noise(5, 1e-300), Noise(5, 5e-324), Noise(5, 1e-12), Noise(5, 1, 10**30)):
        with pytest.raises(UsageError, match="noise of that size is beyond all energy that is counted"):
            await street.load(minutes(1, 2), noise=noise)
    assert street.asked == [], "a set is asked for only where it can be shown"
