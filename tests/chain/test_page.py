"""The steps of pages, and ciphertexts added up in them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.layout import DAY_MS
from gateway.chain.page import SPANS, Calendar, add_up

DIVISORS = [ms for ms in range(1, 3_600_001) if DAY_MS % ms == 0]


@given(st.sampled_from(DIVISORS))
def test_a_step_is_the_smallest_of_its_kind_that_divides_a_day(unit_ms: int) -> None:
    calendar = Calendar.of(unit_ms, 0)
    assert calendar is not None
    day, base = DAY_MS // unit_ms, 1
    for span, least_ms in zip(SPANS, (60_000, 900_000), strict=True):
        fits = (n for n in range(base, day + 1, base) if n * unit_ms >= least_ms and day % n == 0)
        base = next(fits)
        assert calendar.step(span) == base


def test_a_unit_that_does_not_divide_a_day_has_no_calendar() -> None:
    assert Calendar.of(7001, 0) is None


def test_sums_leave_out_what_lies_outside_and_cut_no_step() -> None:
    sums, edges, c = np.zeros((1, 2), dtype=np.uint64), np.array([4, 8, 10]), np.ones((1, 4), dtype=np.uint64)
    add_up(sums, edges, 10, 2, c)
    add_up(sums, edges, -8, 2, c)
    assert sums.tolist() == [[0, 0]]
    add_up(sums, edges, 2, 2, c)
    assert sums.tolist() == [[2, 1]]
    with pytest.raises(ValueError, match="inside a step"):
        add_up(sums, edges, 3, 2, c)
