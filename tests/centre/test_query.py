"""Loads of a region from what was taken in."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.centre.engine import DuckDB
from gateway.centre.query import _Present
from tests.centre.neighbourhood import Neighbourhood, minutes, sealed


@pytest.fixture
def street(tmp_path: Path) -> Neighbourhood:
    """Three homes of five minutes, two of which restarted."""
    street = Neighbourhood.new(tmp_path)
    for restarts in ((), (90,), (60, 200)):
        street.joins(sealed(300, *restarts))
    return street


async def test_the_load_is_the_truth(street: Neighbourhood) -> None:
    taken = await street.takes_in()
    assert (taken.windows, taken.files, taken.homes, taken.passed_over) == (15, 1, 3, ())
    windows = minutes(*range(6), lanes=("export", "import"))
    found = await street.load(windows)
    assert found.sums.tolist() == street.truth(windows)
    assert (found.homes, found.absent, found.missing, found.problems) == ((3,) * 5, (0,) * 5, (), {})
    assert [one[0] for one in street.asked] == [3]
    again = await street.load(windows)
    assert again.sums.tolist() == found.sums.tolist()
    assert len(street.asked) == 1


async def test_the_ids_of_a_home_are_held_once_for_all_windows(street: Neighbourhood) -> None:
    """A year of quarter hours has 35 040 of them."""
    await street.takes_in()
    files = list((street.folder / "data").rglob("*.parquet"))
    windows = _Present.of(DuckDB(), files, minutes(*range(6))).windows
    assert [len(window) for window in windows] == [3] * 5
    assert len({id(key) for window in windows for key in window}) == 3
