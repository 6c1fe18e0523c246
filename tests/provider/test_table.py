"""A table has exactly what was opened, in every form: where there is no sum a null, and never a zero."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import duckdb
import numpy as np
import pandas
import polars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.layout import Layout
from gateway.errors import Refused, UsageError
from gateway.provider import formats
from gateway.provider.formats import Section, sections
from gateway.provider.lanes import COLUMNS
from gateway.provider.query import Query
from gateway.provider.table import TOTAL, Table
from gateway.stream.times import unix_ms
from tests.provider.street import Street
from tests.stream.stream import START, random_readings
from tests.stream.stream import Home as Gateway

Record = dict[str, object]


@pytest.fixture
def street(tmp_path: Path) -> Street:
    """Three homes of four minutes: one whose minutes were granted, one of which export was granted later, one
    that has import only and granted two minutes, then the last."""
    street = Street.new(tmp_path)
    card = street.provider.card
    whole, later, holes = (
        street.joins(Gateway(lanes)) for lanes in (("import", "export"), ("import", "export"), ("import",))
    )
    for gateway in (whole, later, holes):
        gateway.seal(random_readings(240, gateway.lanes))
    whole.grant(card, "1min")
    later.grant(card, "1min", ("import",))
    later.grant(card, "1min", ("export",), first=START + 120)
    holes.grant(card, "1min", until=START + 120)
    holes.grant(card, "1min", first=START + 180)
    return street


def records(street: Street, *, of: Sequence[int] = (0, 1, 2)) -> list[Record]:
    """What the fixture's table should have, from what was sealed."""
    found: list[Record] = []
    for number in of:
        gateway = street.gateways[number]
        for minute in (0, 1, 3) if number == 2 else range(4):
            a, b = START + 60 * minute, START + 60 * minute + 60
            has_export = number == 0 or (number == 1 and minute >= 2)
            found.append(
                {
                    "stream": gateway.id.hex(),
                    "start": datetime.fromtimestamp(a, UTC),
                    "end": datetime.fromtimestamp(b, UTC),
                    "import_mwh": gateway.truth("import", a, b),
                    "export_mwh": gateway.truth("export", a, b) if has_export else None,
                }
            )
    return found


def test_the_columns_are_what_was_opened(street: Street) -> None:
    table = street.table()
    assert list(table.records()) == records(street)
    assert (len(table), table.lanes, table.failures) == (11, ("import", "export"), ())
    assert table.homes == tuple(street.homes)
    assert list(table.home(2).records()) == records(street, of=[2])
    assert not table.rows.sums["export"][~table.rows.opened["export"]].any()


def test_kwh_are_floats_beside_the_integers(street: Street) -> None:
    for record in street.table().records(kwh=True):
        for lane in ("import", "export"):
            value = record[f"{lane}_mwh"]
            assert record[f"{lane}_kwh"] == (None if value is None else value / 1e6)


def test_zero_is_a_sum(tmp_path: Path) -> None:
    street = Street.new(tmp_path)
    gateway = street.joins(Gateway(("import", "export")))
    gateway.seal({"import": [0] * 120, "export": [0] * 120})
    gateway.grant(street.provider.card, "1min", ("import",))
    gateway.grant(street.provider.card, "1min", ("export",), first=START + 60)
    sums = [(record["import_mwh"], record["export_mwh"]) for record in street.table().records()]
    assert sums == [(0, None), (0, 0)]


def test_dataframes(street: Street) -> None:
    table, expected = street.table(), records(street)
    frame = table.to_polars()
    assert frame.to_dicts() == expected
    assert frame.schema == {
        "stream": polars.String,
        "start": polars.Datetime("ms", "UTC"),
        "end": polars.Datetime("ms", "UTC"),
        "import_mwh": polars.Int64,
        "export_mwh": polars.Int64,
    }
    assert table.to_arrow().to_pylist() == expected
    assert of_pandas(table.to_pandas()) == expected
    assert str(table.to_pandas().dtypes["import_mwh"]) == "Int64"
    assert table.to_polars(kwh=True).to_dicts() == list(table.records(kwh=True))
    assert str(table.to_pandas(kwh=True).dtypes["export_kwh"]) == "float64"


def of_pandas(frame: pandas.DataFrame) -> list[Record]:
    """The records of a DataFrame, with None for what pandas lacks."""
    return [
        {
            name: None if pandas.isna(value) else value.to_pydatetime() if name in ("start", "end") else value
            for name, value in record.items()
        }
        for record in frame.to_dict("records")
    ]


def test_a_mwh_is_kept_where_a_float_would_lose_it(tmp_path: Path) -> None:
    street = Street.new(tmp_path)
    gateway = street.joins(Gateway(("import",)))
    large = 2**53 + 1
    gateway.seal({"import": [large] + [0] * 59})
    gateway.grant(street.provider.card, "1min")
    table = street.table()
    assert table.to_pandas()["import_mwh"].to_list() == [large]
    assert table.to_polars()["import_mwh"].to_list() == [large]


def lines(parts: Sequence[Section]) -> list[Record]:
    """The JSON lines read back."""
    found = [json.loads(line) for line in formats.json_lines(parts)]
    for record in found:
        record |= {name: datetime.fromisoformat(record[name]) for name in ("start", "end")}
    return found


@pytest.mark.parametrize("total", [False, True])
def test_every_format_carries_the_same(street: Street, tmp_path: Path, total: bool) -> None:
    parts = sections(street.table(), total=total, several=True)
    expected = [
        ({"row": part.kind} if total else {}) | record for part in parts for record in part.table.records()
    ]
    assert len(expected) == (11 + 3 + 4 + 1 if total else 11)
    assert lines(parts) == expected
    parquet, arrow = formats.parquet(parts), formats.arrow(parts)
    assert polars.read_parquet(BytesIO(parquet)).to_dicts() == expected
    assert polars.read_ipc(BytesIO(arrow)).to_dicts() == expected
    assert of_pandas(pandas.read_parquet(BytesIO(parquet), dtype_backend="numpy_nullable")) == expected
    (tmp_path / "sums.parquet").write_bytes(parquet)
    columns = ", ".join(f"epoch_ms({name})" if name in ("start", "end") else name for name in expected[0])
    columns = columns.replace("(end)", '("end")')
    rows = duckdb.sql(f"SELECT {columns} FROM '{tmp_path / 'sums.parquet'}'").fetchall()
    assert rows == [
        tuple(unix_ms(value) if isinstance(value, datetime) else value for value in record.values())
        for record in expected
    ]


class TestTotals:
    def test_over_time(self, street: Street) -> None:
        whole, later, holes = street.gateways
        end = START + 240
        found = list(street.table().over_time().records())
        assert [record["stream"] for record in found] == [one.id.hex() for one in street.gateways]
        assert [(record["import_mwh"], record["export_mwh"]) for record in found] == [
            (whole.truth("import", START, end), whole.truth("export", START, end)),
            (later.truth("import", START, end), None),  # export lacks two minutes
            (None, None),  # a minute is missing
        ]
        assert {(unix_ms(record["start"]), unix_ms(record["end"])) for record in found} == {
            (START * 1000, end * 1000)
        }
        assert holes.id.hex() == found[2]["stream"]

    def test_over_homes(self, street: Street) -> None:
        found = list(street.table().over_homes().records())
        assert [record["stream"] for record in found] == [TOTAL] * 4
        for minute, record in enumerate(found):
            a, b = START + 60 * minute, START + 60 * minute + 60
            everybody = sum(gateway.truth("import", a, b) for gateway in street.gateways)
            assert record["import_mwh"] == (None if minute == 2 else everybody)
            assert record["export_mwh"] is None  # the third home has none

    def test_of_homes_that_could_be_read(self, street: Street) -> None:
        bad = street.gateways[2]
        bad.objects[bad.chunks[0]] = b"not an object"
        table = street.table()
        [failure] = table.failures
        assert (failure.stream, isinstance(failure.error, Refused)) == (bad.id, True)
        assert list(table.records()) == records(street, of=[0, 1])
        a, b = START + 180, START + 240
        *_, last = table.over_homes().records()
        assert last["export_mwh"] == sum(one.truth("export", a, b) for one in street.gateways[:2])

    def test_windows_that_differ_do_not_add_up(self, street: Street) -> None:
        gateway = street.joins(Gateway(("import",)))
        gateway.seal(random_readings(60, ("import",)))
        gateway.grant(street.provider.card, "10s")
        with pytest.raises(UsageError, match=r"windows differ \(10s, 1min\).*name a granularity"):
            street.table().over_homes()
        assert len(street.table(Query("1min")).over_homes()) == 4

    def test_units_may_differ_where_windows_do_not(self, street: Street) -> None:
        gateway = street.joins(Gateway(layout=Layout(60_000, 60), start=START // 60))
        gateway.seal(random_readings(4))
        gateway.grant(street.provider.card, "1min")
        table = street.table()
        first = next(iter(table.over_homes().records()))
        truth = [one.truth("import", START, START + 60) for one in street.gateways[:3]]
        assert first["import_mwh"] == sum(truth) + gateway.truth("import", START // 60, START // 60 + 1)

    def test_of_nothing(self, tmp_path: Path) -> None:
        table = Street.new(tmp_path).table()
        assert (len(table), table.lanes, len(table.over_time())) == (0, (), 0)
        assert table.to_polars().columns == ["stream", "start", "end"]

    @pytest.mark.slow
    @settings(max_examples=20)
    @given(data=st.data())
    def test_they_are_sums_of_the_rows(self, data: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as folder:
            street = Street.new(Path(folder))
            for _ in range(data.draw(st.integers(1, 4), "homes")):
                gateway = street.joins(Gateway())
                gateway.seal(random_readings(data.draw(st.integers(1, 100), "units")))
                for lane in gateway.lanes:
                    first = START + data.draw(st.integers(0, 50), "first")
                    gateway.grant(street.provider.card, "10s", (lane,), first=first)
            table = street.table()
        frame = polars.DataFrame(
            list(table.records()), schema_overrides=dict.fromkeys(COLUMNS.values(), polars.Int64)
        )
        for lane in table.lanes:
            column = COLUMNS[lane]
            for record in table.over_homes().records():
                rows = frame.filter(polars.col("start") == record["start"])[column]
                complete = len(rows) == len(table.streams) and not rows.null_count()
                assert record[column] == (rows.sum() if complete else None)
            for record in table.over_time().records():
                rows = frame.filter(polars.col("stream") == record["stream"])[column]
                assert record[column] == (None if rows.null_count() else rows.sum())
        assert np.array_equal(np.sort(table.of), table.of)


def test_a_table_of_one_home_has_its_total_alone(street: Street) -> None:
    one = street.table().home(0)
    assert [part.kind for part in sections(one, total=True, several=False)] == ["window", "total"]
    assert [part.kind for part in sections(Table.of_homes([]), total=True, several=True)] == [
        "window",
        "total",
    ]
