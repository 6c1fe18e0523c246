"""The index that a file of the centre has of its rows."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.centre.runs import Runs, digest, packed

SCHEMA = pa.schema(
    [("start_ms", pa.int64()), ("end_ms", pa.int64()), ("stream", pa.binary()), ("grant", pa.binary())]
)
FEW = st.integers(0, 3)
ID = FEW.map(lambda number: bytes([number] * 16))


@given(st.lists(st.tuples(FEW, FEW, ID, ID), max_size=40).map(sorted))
def test_runs_are_the_rows_of_each_window(rows: list[tuple[int, int, bytes, bytes]]) -> None:
    """Against the rows one by one; and what the metadata says is read as it was written."""
    columns = list(zip(*rows, strict=True)) or [()] * 4
    made = Runs.of(pa.table([list(column) for column in columns], schema=SCHEMA))
    expected: dict[tuple[int, int], list[tuple[bytes, bytes]]] = {}
    for start, end, stream, grant in rows:
        expected.setdefault((start, end), []).append((stream, grant))
    (text,) = made.metadata().values()
    for found in (made, Runs.read(text.encode(), len(rows))):
        assert [tuple(times) for times in found.times.tolist()] == list(expected)
        assert found.rows.tolist() == [len(homes) for homes in expected.values()]
        assert found.homes.tolist() == [digest(packed(homes)) for homes in expected.values()]
        assert [rows[begin][:2] for begin in found.begins().tolist()] == list(expected)


def test_another_order_of_homes_is_the_same_set() -> None:
    homes = [(bytes([number] * 16), bytes([7 - number] * 16)) for number in range(5)]
    assert packed(homes) == packed(reversed(homes))
    assert digest(packed(homes)) != digest(packed(homes[:4]))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "does not name the runs"),
        ("{", "damaged"),
        ("[" * 10_000, "damaged"),
        ([1], "damaged"),
        (3, "damaged"),
        ({"runs": [[0, 1, 4, 0]]}, "damaged"),
        ({"homes": ["a"]}, "damaged"),
        ({"homes": None, "runs": [[0, 1, 4, 0]]}, "damaged"),
        ({"homes": {"a": 1}, "runs": [[0, 1, 4, 0]]}, "damaged"),
        ({"homes": [["a", "b"]], "runs": [[0, 1, 4, 0]]}, "damaged"),
        ({"homes": ["a"], "runs": "none"}, "damaged"),
        ({"homes": ["a"], "runs": [[0, 1, 4], [5]]}, "damaged"),
        ({"homes": ["a"], "runs": [[0, 1, 4, 1]]}, "damaged"),
        ({"homes": ["a"], "runs": [[0, 2**80, 4, 0]]}, "damaged"),
        ({"homes": ["a"], "runs": []}, "other rows"),
        ({"homes": ["a"], "runs": [[0, 1, 3, 0]]}, "other rows"),
        ({"homes": ["a"], "runs": [[0, 1, 4, 0], [1, 2, 0, 0]]}, "other rows"),
        ({"homes": ["a"], "runs": [[0, 1, 5, 0], [1, 2, -1, 0]]}, "other rows"),
        ({"homes": ["a"], "runs": [[n, n + 1, 2**62, 0] for n in range(4)] + [[4, 5, 4, 0]]}, "other rows"),
    ],
)
def test_runs_that_cannot_be_those_of_the_rows_are_refused(said: Any, why: str) -> None:
    """Of four rows: whatever a damaged file says of them."""
    text = said if isinstance(said, str) else json.dumps(said)
    with pytest.raises(ValueError, match=why):
        Runs.read(text.encode(), 4)
