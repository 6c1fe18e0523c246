"""A fleet in Parquet: what the centre and the service have is the truth together, and noise apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gateway.simulate.fleet import tables
from gateway.simulate.fleet.making import write_fleet
from gateway.simulate.fleet.plan import LANES, Plan
from gateway.simulate.fleet.tables import write_day

PLAN = Plan(
    homes=60,
    days=2,
    first=date(2026, 11, 26),
    regions=3,
    seed=3,
    unit_ms=900_000,
    chunk_ms=3_600_000,
    windows_ms=(900_000,),
    outages=30,
    late=20,
    broken=20,
)
M = 2**64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    assert write_fleet(PLAN, folder, 2, lambda *_: None)
    return folder


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / table).to_pylist()
    return found


@pytest.mark.slow
def test_the_sums_are_the_truth_modulo_2_to_the_64(folder: Path) -> None:
    """Python's integers and DuckDB's agree with it, by region and window."""
    sums: dict[str, Counter[tuple[str, int]]] = {lane: Counter() for lane in LANES}
    there = {table: set[tuple[bytes, int]]() for table in tables.TABLES}
    for table in tables.TABLES:
        for row in rows(folder, table):
            there[table].add((row["stream"], row["start_ms"]))
            for lane in LANES:
                sums[lane][row["region"], row["start_ms"]] += row[lane] % M
    truth = {lane: Counter[tuple[str, int]]() for lane in LANES}
    homes = Counter[tuple[str, int]]()
    for row in rows(folder, "truth.parquet"):
        homes[row["region"], row["start_ms"]] += row["homes"]
        for lane in LANES:
            truth[lane][row["region"], row["start_ms"]] += row[lane]
    assert len(homes) == PLAN.regions * PLAN.days * 96
    for lane in LANES:
        assert {key: value % M for key, value in sums[lane].items()} == dict(truth[lane])
    assert there["blinded"] == there["words"]
    query = """
        select region, start_ms, ((sum(import) % M + M) % M)::UBIGINT, ((sum(export) % M + M) % M)::UBIGINT,
            count(*)
        from read_parquet(['{0}/blinded/*/*/*.parquet', '{0}/words/*/*/*.parquet'], hive_partitioning = true)
        group by all""".replace("M", f"{M}::HUGEINT")
    found = duckdb.sql(query.format(folder)).fetchall()
    assert {(region, at): (a, b, n) for region, at, a, b, n in found} == {
        key: (truth["import"][key], truth["export"][key], 2 * homes[key]) for key in homes
    }


@pytest.mark.slow
def test_the_tables_have_the_form_that_is_said(folder: Path) -> None:
    for table in tables.TABLES:
        [path] = (folder / table / "date=2026-11-27" / "region=r0002").iterdir()
        assert pq.read_schema(path) == pa.schema(
            [
                ("stream", pa.binary(16)),
                ("start_ms", pa.int64()),
                ("import", pa.int64()),
                ("export", pa.int64()),
            ]
        )
    values = np.concatenate([pq.read_table(folder / "blinded")[lane].to_numpy() for lane in LANES])
    assert 0.4 < float(np.mean(values < 0)) < 0.6, "not blinded"
    assert len(np.unique(values)) == len(values)


@pytest.mark.slow
def test_late_and_broken_homes_end_where_the_list_says(folder: Path) -> None:
    ends: dict[bytes, int] = {}
    for row in rows(folder, "blinded"):
        ends[row["stream"]] = max(ends.get(row["stream"], 0), row["start_ms"] + 900_000)
    homes = rows(folder, "homes.parquet")
    assert len(homes) == PLAN.homes
    assert Counter(home["trouble"] for home in homes).keys() == {"", "late", "chain", "signature", "gap"}
    start = PLAN.start * PLAN.unit_ms
    assert {home["stream"]: home["until_ms"] for home in homes} == {
        home["stream"]: ends.get(home["stream"], start) for home in homes
    }


def test_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Homes are computed a block at a time: the same bits in any."""
    whole = write_day(PLAN, 1, 1, tmp_path / "whole")
    monkeypatch.setattr(tables, "_ROWS", 3 * 96)
    parts = write_day(PLAN, 1, 1, tmp_path / "parts")
    assert (whole.sums == parts.sums).all()
    assert (whole.homes == parts.homes).all()
    for table in tables.TABLES:
        a, b = (pq.read_table(tmp_path / folder / table) for folder in ("whole", "parts"))
        assert a.equals(b)


def test_a_larger_fleet_has_the_homes_of_a_smaller_one(tmp_path: Path) -> None:
    write_day(PLAN, 1, 0, tmp_path / "small")
    write_day(replace(PLAN, homes=90), 1, 0, tmp_path / "large")
    small, large = (set(map(str, rows(tmp_path / name, "blinded"))) for name in ("small", "large"))
    assert small < large
    write_day(replace(PLAN, seed=4), 1, 0, tmp_path / "other")
    assert not small & set(map(str, rows(tmp_path / "other", "blinded")))


@pytest.mark.slow
def test_a_killed_command_leaves_no_process_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    gateway = Path(sys.executable).with_name("gateway")
    options = [
        "--homes",
        "6000",
        "--region-count",
        "12",
        "--days",
        "1",
        "--until",
        "2026-11-27",
        "--processes",
        "2",
    ]
    command = [str(gateway), "simulate", "fleet", *options, "--parquet", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(folder.glob("parts/*.truth.parquet")):
            os.sched_yield()
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    assert not (folder / "truth.parquet").exists(), "it was done before it was killed"
    assert workers
    for worker in workers:
        subprocess.run(["tail", "-s", "0.1", f"--pid={worker}", "-f", "/dev/null"], check=True, timeout=60)
    done = {path: path.stat().st_mtime_ns for path in folder.glob("blinded/*/*/part.parquet")}
    again = subprocess.run([*command, "--json"], capture_output=True, check=True)
    assert 0 < json.loads(again.stdout)["made"] < 6000
    assert any(path.stat().st_mtime_ns == when for path, when in done.items())
    sums = pq.read_table([*folder.glob("blinded/*/*/*"), *folder.glob("words/*/*/*")], partitioning=None)
    found = [sum(value % M for value in sums[lane].to_pylist()) % M for lane in LANES]
    assert found == [sum(row[lane] for row in rows(folder, "truth.parquet")) for lane in LANES]
