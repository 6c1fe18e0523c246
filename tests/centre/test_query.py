"""Loads of a region from what was taken in."""

from __future__ import annotations

from pathlib import Path

import pytest

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
