"""Units and links."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.layout import LANES, MAX_UNIT_MS, Layout
from gateway.errors import UsageError


@given(st.integers(1, 2**20), st.integers(0, 2**60), st.integers(0, 10**4))
def test_splitting_keeps_every_unit_in_its_link(link_units: int, first: int, length: int) -> None:
    layout = Layout(1000, link_units)
    end = first + min(length, 50 * link_units)
    at = first
    for n, x, y in layout.split(first, end):
        assert x == at < y
        assert n * link_units <= x < y <= (n + 1) * link_units
        assert layout.link(x) == layout.link(y - 1) == n
        assert layout.position(x) == x - n * link_units
        assert y == end or y == (n + 1) * link_units  # cut only where it must be
        at = y
    assert at == end


@given(st.integers(1, MAX_UNIT_MS), st.integers(0, 2**63))
def test_a_moment_lies_in_its_unit(unit_ms: int, wall_ns: int) -> None:
    unit = Layout(unit_ms, 1).unit_at(wall_ns)
    assert unit * unit_ms * 10**6 <= wall_ns < (unit + 1) * unit_ms * 10**6


@pytest.mark.parametrize("unit_ms", [0, -1, MAX_UNIT_MS + 1])
def test_no_such_unit(unit_ms: int) -> None:
    with pytest.raises(UsageError, match=f"unit_ms = {unit_ms}.*1 to 3600000"):
        Layout(unit_ms, 1)


@pytest.mark.parametrize("link_units", [0, -1, 2**20 + 1])
def test_no_such_link(link_units: int) -> None:
    with pytest.raises(UsageError, match=f"link_units = {link_units}.*1 to 1048576"):
        Layout(1000, link_units)


def test_lanes_are_named_by_their_names() -> None:
    assert {name: (lane.name, lane.unit, lane.scale) for name, lane in LANES.items()} == {
        "import": ("import", "Wh", "0.001"),
        "export": ("export", "Wh", "0.001"),
        "power": ("power", "W", "1"),
        "temperature": ("temperature", "Cel", "0.01"),
        "irradiance": ("irradiance", "W/m2", "1"),
        "appliances": ("appliances", "W", "1"),
        "occupancy": ("occupancy", "persons", "1"),
        "count": ("count", "readings", "1"),
    }
