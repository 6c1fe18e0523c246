"""The cost on paper: arithmetic on one home's day, which is counted on real objects."""

from __future__ import annotations

import json
import sys
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bench import cost
from gateway.bench.cost import CHUNKS_MS, GRANULARITIES_MS, Day, Pass, Requests, fleet, measured, wanted
from gateway.cli.main import main
from gateway.store.memory import MemoryBucket

DAY = Day(
    puts=290,
    put=1.5e6,
    kept=1.4e6,
    passes=96,
    centre=Pass(gets=8, lists=5, got=50_000, cpu_s=0.001),
    service=Pass(gets=6, lists=4, got=20_000, cpu_s=0.0005),
    load_s=0.0002,
)
REQUESTS = Requests(put=(0.0007, 0.0003), get=(0.0002, 0.0001), list=(0.0004, 0.0006))


def test_a_fleet_by_hand() -> None:
    """864 000 homes: ten homes a second of a day."""
    found = fleet(DAY, REQUESTS, 864_000)
    assert found.puts == pytest.approx(2900)
    assert found.gets == pytest.approx(10 * 96 * (8 + 6))
    assert found.lists == pytest.approx(10 * 96 * (5 + 4))
    assert found.put == pytest.approx(1.5e7)
    assert found.got == pytest.approx(10 * 96 * 70_000)
    assert found.kept_a_day == pytest.approx(864_000 * 1.4e6)
    assert found.store == pytest.approx(2900 * 0.0007 + 13_440 * 0.0002 + 8640 * 0.0004)
    assert found.centre == pytest.approx(960 * (0.001 + 8 * 0.0001 + 5 * 0.0006 + 0.0002))
    assert found.service == pytest.approx(960 * (0.0005 + 6 * 0.0001 + 4 * 0.0006))
    assert found.machines == (2, 1, 1)  # of 16 cores, half at work: 8.2, 4.8 and 3.4 cores


@given(st.integers(1, 10**9), st.integers(2, 100))
def test_a_fleet_costs_as_much_as_its_homes(homes: int, times: int) -> None:
    one, many = fleet(DAY, REQUESTS, homes), fleet(DAY, REQUESTS, times * homes)
    assert astuple(many) == pytest.approx(tuple(times * value for value in astuple(one)))


@given(st.sampled_from(GRANULARITIES_MS), st.integers(0, 10**8))
def test_the_chunk_that_is_wanted_holds_windows_and_is_the_longest_in_time(
    granularity: int, within: int
) -> None:
    chunk = wanted(granularity, within)
    assert chunk >= granularity
    in_time = [ms for ms in CHUNKS_MS if granularity <= ms <= within]
    if in_time:
        assert chunk == in_time[-1]
    else:
        assert not [ms for ms in CHUNKS_MS if granularity <= ms < chunk]


@given(
    st.dictionaries(st.text("ab/\x00z", min_size=1, max_size=5), st.binary()),
    st.text("ab/z", max_size=3),
    st.text("ab/z", max_size=3),
)
async def test_the_counting_bucket_lists_as_buckets_do(
    objects: dict[str, bytes], prefix: str, after: str
) -> None:
    counting = cost._Counting(dict(objects))
    found = [key async for key in counting.list(prefix, after)]
    assert found == [key async for key in MemoryBucket(objects).list(prefix, after)]
    assert counting.counted(1, 0).lists == 1


def test_a_homes_day_is_that_of_its_objects() -> None:
    day = measured(900_000, 900_000, homes=2)
    assert day.passes == 96
    assert day.puts == 96 * 3 + 2  # chunk, tokens, head; the day's page and its tokens
    words = 2 * 8 * 86_400  # of two lanes, at 1 s
    assert 1.02 * words < day.kept < 1.06 * words
    assert day.put > day.kept
    for one in (day.centre, day.service):
        assert one.gets >= 3  # head, chunk, tokens: the least that a pass must look at
        assert one.got > 2 * 8 * 900
        assert one.cpu_s > 0
    half = measured(300_000, 900_000, homes=2)
    assert (half.passes, half.puts) == (day.passes, day.puts)
    assert half.kept > day.kept  # three tokens for one


@pytest.mark.slow
def test_the_command_prints_each_pair_and_what_is_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cost, "_REQUESTS", 20)
    monkeypatch.setattr(cost, "HOMES", 2)
    monkeypatch.setattr(cost, "CHUNKS_MS", (900_000, 3_600_000))
    assert main(["bench", "cost", "--homes", "5000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["granularity"], one["chunk"], one["wanted"]) for one in found] == [
        (granularity, chunk, chunk == "15min")
        for granularity in ("30s", "1min", "5min", "15min")
        for chunk in ("15min", "1h")
    ]
    assert all(one["homes"] == 5000 and one["fleet"]["store"] > 0 for one in found)
    monkeypatch.setattr(cost, "GRANULARITIES_MS", (900_000,))
    assert main(["bench", "cost", "--homes", "5000", "--within", "1h"]) == 0
    out = capsys.readouterr().out
    assert "5000 homes" in out
    assert [line.split()[:2] for line in out.splitlines() if line.startswith("15min")] == [
        ["15min", "15min"],
        ["15min", "1h*"],
    ]


def test_the_command_names_the_extra_where_a_package_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert main(["bench", "cost"]) == 2
    assert "the package duckdb is missing: install gateway[centre,registrar]" in capsys.readouterr().err
