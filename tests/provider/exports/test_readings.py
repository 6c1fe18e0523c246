"""The intervals of a lane: what was opened, what it is made of, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UsageError
from gateway.provider.exports.readings import Quality, Reading, check_length, kwh, readings
from tests.provider.exports.opened import MIN_MS, rows, series

LENGTH = 15 * MIN_MS
EDGES = [(n * LENGTH, (n + 1) * LENGTH) for n in range(4)]
FULL = 900


def qualities(counts: list[int | None]) -> list[Quality]:
    edges = [(n * LENGTH, (n + 1) * LENGTH) for n in range(len(counts))]
    block = rows(edges, {"import": [1] * len(counts), "count": counts})
    return [one.quality for one in readings([block], "import")]


def test_windows_that_are_not_open_are_gaps() -> None:
    block = rows(EDGES, {"import": [5, None, 0, -7], "export": [None, None, 1, None]})
    assert readings([block], "import") == [
        Reading(a, b, value, Quality.UNKNOWN)
        for (a, b), value in zip([EDGES[0], *EDGES[2:]], (5, 0, -7), strict=True)
    ]
    assert [(one.start_ms, one.value) for one in readings([block], "export")] == [(2 * LENGTH, 1)]
    assert readings([rows(EDGES, {"import": [1] * 4})], "export") == []


def test_blocks_follow_each_other() -> None:
    one, two = rows(EDGES[:2], {"import": [1, 2]}), rows(EDGES[3:], {"import": [3]})
    assert [reading.value for reading in readings([one, two], "import")] == [1, 2, 3]


def test_quality_is_what_count_says() -> None:
    assert qualities([FULL, 0, FULL // 2, None]) == [
        Quality.MEASURED,
        Quality.FILLED,
        Quality.PARTLY,
        Quality.UNKNOWN,
    ]


def test_a_meter_that_is_read_every_ten_seconds_measures_too() -> None:
    """P1 meters send a telegram every 10 s, and a reading more or less is nothing."""
    assert qualities([90, 89, 91, 82, 80, 0]) == [Quality.MEASURED] * 4 + [Quality.PARTLY, Quality.FILLED]


def test_all_filled_is_filled() -> None:
    assert qualities([0, 0]) == [Quality.FILLED] * 2


def test_power_is_the_mean_of_what_was_read() -> None:
    block = rows(EDGES, {"power": [1000, 1, -5, 7], "count": [4, 3, 2, 0]})
    assert [(one.start_ms, one.value) for one in readings([block], "power")] == [
        (0, 250_000),
        (LENGTH, 333),
        (2 * LENGTH, -2500),
    ]  # and nothing where nothing was read


def test_power_needs_count() -> None:
    with pytest.raises(UsageError, match="it needs the lane count as well"):
        readings([rows(EDGES[:1], {"power": [1]})], "power")


@given(st.integers(-(2**63), 2**63 - 1))
def test_kwh_is_exact(mwh: int) -> None:
    text = kwh(mwh)
    whole, _, decimals = text.lstrip("-").partition(".")
    assert int(whole) * 10**6 + int(decimals.ljust(6, "0")) == abs(mwh)
    assert text.startswith("-") == (mwh < 0)
    assert not decimals.endswith("0")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (
            series(0, 60, [1]),
            r"^X has intervals of 15min or 30min; that from 1970-01-01T00:00:00Z on has 1h: use --gra",
        ),
        (series(MIN_MS, 15, [1]), "that from 1970-01-01T00:01:00Z on has 15min"),
        (series(0, 15, [1]) + series(LENGTH, 5, [1]), "that from 1970-01-01T00:15:00Z on has 5min"),
    ],
)
def test_other_lengths_are_named(found: list[Reading], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check_length(found, [15, 30], "X")
