"""The whole way with two hundred homes: a simulated fleet's objects in a real MinIO, taken in, added up with
the summing service's sums, in every granularity, until the load is the truth to the mWh."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gateway.centre.engine import DuckDB
from gateway.centre.homes import read_list
from gateway.centre.ingest import ingest
from gateway.centre.query import Load, load
from gateway.centre.state import State
from gateway.chain.layout import DAY_MS
from gateway.provider.desk import AT_ONCE
from gateway.provider.load import Windows
from gateway.simulate.fleet.making import put_fleet
from gateway.simulate.fleet.objects import Parties
from gateway.simulate.fleet.plan import LANES, Plan
from gateway.store.s3_many import open_for_many
from tests.centre.neighbourhood import NOW_MS, Neighbourhood
from tests.support.servers import S3Server

GRANULARITIES = {"30s": 30_000, "1min": 60_000, "5min": 300_000, "15min": 900_000}
PLAN = Plan(
    homes=200,
    days=1,
    first=date(2026, 3, 1),
    regions=1,
    seed=25,  # every broken home has a first chunk: a store may let the oldest expire
    unit_ms=30_000,
    chunk_ms=DAY_MS // 3,
    windows_ms=tuple(GRANULARITIES.values()),
    outages=10,
    late=0,
    broken=3,
)
REGION = PLAN.region_name(0)
BEGIN = PLAN.start * PLAN.unit_ms


def truth(folder: Path, windows: Windows) -> list[list[int]]:
    """The sums over the homes whose chain holds, [window][lane], each until its stream ends."""
    rows = [row for row in pq.read_table(folder / "truth.parquet").to_pylist() if not row["broken"]]
    finest: dict[int, Any] = {row["start_ms"]: row for row in rows}
    return [
        [sum(finest[at][lane] for at in range(a, b, PLAN.window_ms)) for lane in windows.lanes]
        for a, b in windows.times
    ]


async def day(street: Neighbourhood, state: State, granularity: str) -> Load:
    windows = Windows.between(LANES, BEGIN, BEGIN + DAY_MS, granularity)
    return await load(state, DuckDB(), REGION, windows, street.ask)


@pytest.mark.slow
async def test_the_load_of_two_hundred_homes_is_the_truth(minio: S3Server, tmp_path: Path) -> None:
    """But for those whose chain is broken, which are named and in no set."""
    street = Neighbourhood.new(tmp_path)
    parties, place = Parties(street.centre.card, street.service.card, k_min=5), minio.location(tmp_path.name)
    fates = PLAN.fates(PLAN.region_of(0))
    broken = int(fates.broken.sum())
    assert broken >= 3
    put_fleet(PLAN, place, parties, tmp_path / "fleet", 2, lambda *_: None)
    street.bucket, state = open_for_many(place, AT_ONCE), State.open(tmp_path / "data", make=True)
    try:
        state.list_homes(read_list((tmp_path / "fleet" / "homes.csv").read_text(), "the list"))
        taken = await ingest(state, street.bucket, street.centre.identity, NOW_MS)
        assert len({one.stream for one in taken.passed_over}) == broken
        for granularity in GRANULARITIES:
            found = await day(street, state, granularity)
            assert found.sums.tolist() == truth(tmp_path / "fleet", found.windows), granularity
            assert set(found.homes) == {200 - broken}
            assert found.problems == {}
            assert len(found.missing) == broken
        assert [count for count, _ in street.asked] == [200 - broken] * len(GRANULARITIES)
    finally:
        state.close()
        await street.bucket.aclose()
