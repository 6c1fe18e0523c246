"""CSV from whole columns: the very text that rows give one by one."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.layout import LANES
from gateway.cli.provider.columns import csv_lines
from gateway.cli.provider.rows import stream_csv
from gateway.provider.sums import Rows

SUMS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3_000_000, 3_000_000) | st.just(0)


@st.composite
def rows(draw: st.DrawFn, units: st.SearchStrategy[int]) -> tuple[Rows, Sequence[str]]:
    lanes = [lane for lane in LANES if draw(st.booleans())] or ["import"]
    count = draw(st.integers(1, 20))
    unit_ms = draw(st.sampled_from([1000, 60_000, 1, 500, 2**32 - 1]))
    starts = [draw(units) // unit_ms for _ in range(count)]
    ends = [start + draw(st.integers(1, 100_000)) for start in starts]
    opened = {lane: [draw(st.booleans()) for _ in range(count)] for lane in lanes}
    sums = {lane: [draw(SUMS) if there else 0 for there in opened[lane]] for lane in lanes}
    made = Rows(
        unit_ms,
        np.array(sorted(starts), dtype=np.int64),
        np.array(sorted(ends), dtype=np.int64),
        {lane: np.array(d, dtype=np.int64) for lane, d in sums.items()},
        {lane: np.array(there, dtype=np.bool_) for lane, there in opened.items()},
    )
    return made, lanes


def one_by_one(found: Rows, lanes: Sequence[str]) -> str:
    with redirect_stdout(io.StringIO()) as out:
        show = stream_csv(lanes)
        for row in found:
            show(row)
    return out.getvalue().partition("\n")[2]


@given(rows(st.integers(0, 4_000_000_000_000)) | rows(st.integers(253_402_200_000_000, 253_402_400_000_000)))
def test_columns_read_as_rows_do(made: tuple[Rows, Sequence[str]]) -> None:
    found, lanes = made
    text = csv_lines(found, lanes)
    times = np.concatenate([found.starts, found.ends]) * found.unit_ms
    if text is None:
        assert (times % 1000).any() or times.max() >= 253_402_300_800_000
    else:
        assert text == one_by_one(found, lanes)


def test_the_year_9999_is_the_last() -> None:
    last = 253_402_300_799
    for at, known in ((last - 1, True), (last, False)):
        found = Rows(
            1000,
            np.array([at]),
            np.array([at + 1]),
            {"import": np.array([1])},
            {"import": np.array([True])},
        )
        assert (csv_lines(found, ["import"]) is not None) == known
        assert one_by_one(found, ["import"])
