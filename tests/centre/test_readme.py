"""What gateway/centre/README.md says of the files, for engines that are not part of the program, is so."""

from __future__ import annotations

import re
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gateway.chain.layout import LANES
from tests.centre.neighbourhood import Neighbourhood, minutes, sealed

README = (Path(__file__).parents[2] / "gateway" / "centre" / "README.md").read_text("utf-8")


async def test_the_recipe_for_spark_reads_the_state_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the recipe but Spark's own part, which is added up by hand here."""
    street = Neighbourhood.new(tmp_path)
    for region in ("North", "North", "Süd/Ost", "Süd/Ost", "Süd/Ost"):
        street.joins(sealed(300), region)
    await street.takes_in()
    windows = minutes(1, 2, 3)
    loads = {region: await street.load(windows, region) for region in ("North", "Süd/Ost")}
    recipe = re.search(r"^folder, lane = .*?(?=^spark = )", README, re.DOTALL | re.MULTILINE)
    assert recipe is not None
    monkeypatch.setattr(sys, "argv", ["recipe", str(tmp_path / "data")])
    found: dict[str, Any] = {"sqlite3": sqlite3, "sys": sys, "Path": Path}
    exec(recipe[0], found)
    found["state"].close()
    rows = [row for name in found["files"] for row in pq.read_table(name, partitioning=None).to_pylist()]
    expected, summed = {}, {}
    for region, one in loads.items():
        for (start_ms, end_ms), sums in zip(one.windows.times, one.sums.tolist(), strict=True):
            expected[region, start_ms, end_ms] = sums[0] % 2**64
    for region, start_ms, end_ms, number in found["asked"]:
        members = {(stream, grant) for own, stream, grant in found["members"] if own == number}
        parts = [
            row["import"]
            for row in rows
            if (row["stream"], row["grant"]) in members
            and (row["start_ms"], row["end_ms"]) == (start_ms, end_ms)
        ]
        assert len(parts) == len(members) == (2 if region == "North" else 3)
        window = region, start_ms, end_ms
        summed[window] = (sum(parts) + found["service"][window]) % 2**64
    assert summed == expected


async def test_the_columns_are_those_of_the_table(tmp_path: Path) -> None:
    street = Neighbourhood.new(tmp_path)
    street.joins(sealed(120))
    await street.takes_in()
    (file,) = (tmp_path / "data").rglob("*.parquet")
    schema = pq.read_schema(file)
    found = re.findall(r"^\| (.+) \| (16 bytes|INT64) \|", README, re.MULTILINE)
    listed = [(name.strip(), kind) for names, kind in found for name in names.split(",")]
    lanes = [name for name, _ in listed if name in LANES]
    assert lanes == [lane for lane in LANES if lane in lanes]
    written = [
        (name, "16 bytes" if str(kind) == "binary" else "INT64")
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    assert [one for one in listed if one[0] != "..."] == [
        one for one in written if one[0] not in LANES or one[0] in lanes
    ]
    assert {kind for name, kind in written if name in LANES} == {"INT64"}
