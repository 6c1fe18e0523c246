"""Readings regained from units: what the meter showed, where it was read."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.daemon import regained
from gateway.daemon.regained import Regained

UNIT = st.tuples(
    st.integers(0, 10**6), st.integers(0, 10**6), st.integers(-5000, 5000), st.integers(0, 1)
)  # import, export, power, count


def arrays(units: list[tuple[int, int, int, int]]) -> dict[str, np.ndarray]:
    columns = zip(("import", "export", "power", "count"), np.array(units, np.int64).T, strict=True)
    return dict(columns)


@given(st.lists(UNIT, min_size=1, max_size=60), st.data())
def test_a_unit_that_was_read_gives_the_registers_at_its_end(
    units: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(units) - 1))) if len(units) > 1 else ())
    begin = data.draw(st.integers(90, 170))
    start = 10**9, -(10**8)  # an exchange of meters can make them negative
    shown = [(i, e) for i, e, _, _ in units]
    shown = list(accumulate(shown, lambda a, b: (a[0] + b[0], a[1] + b[1]), initial=start))[1:]
    before = shown[begin - 101] if 101 <= begin <= 100 + len(units) else start
    found = Regained(bytes(16))
    for a, b in zip([0, *cuts], [*cuts, len(units)], strict=True):
        found.add(100 + a, arrays(units[a:b]))
    assert found.energy == {"import": shown[-1][0] - start[0], "export": shown[-1][1] - start[1]}
    names = ("import", "export")
    found.settle(begin, dict(zip(names, shown[-1], strict=True)), dict(zip(names, before, strict=True)))
    expected: list[tuple[int, dict[str, int]]] = []
    for unit, (_, _, power, count) in enumerate(units, 100):
        if unit >= begin and count:
            energy = dict(zip(names, shown[unit - 100], strict=True))
            expected.append((unit, energy | {"power": power}))
        elif unit >= begin and power:
            expected.append((unit, {"power": power}))
    assert list(found) == expected
    assert list(found) == expected  # again


def test_a_reading_below_the_registers_at_the_beginning_is_none() -> None:
    """The store's chain may have shared more energy out by then than these units did."""
    found = Regained(bytes(16))
    lanes = arrays([(5, 0, 1, 1), (5, 0, 2, 1), (5, 0, 3, 1)])
    del lanes["export"]
    found.add(100, lanes)
    found.settle(100, {"import": 1015}, {"import": 1008})
    assert list(found) == [(101, {"import": 1010, "power": 2}), (102, {"import": 1015, "power": 3})]


def test_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regained, "MOST_UNITS", 5)
    found = Regained(bytes(16))
    for first in range(100, 120, 2):
        found.add(first, arrays([(1, 2, 3, 1)] * 2))
    assert found.energy == {"import": 20, "export": 40}
    found.settle(100, {"import": 1020, "export": 2040}, {"import": 1000, "export": 2000})
    assert [unit for unit, _ in found] == [116, 117, 118, 119]
    assert list(found)[-1] == (119, {"import": 1020, "export": 2040, "power": 3})
