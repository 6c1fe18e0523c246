"""Sums over Parquet files modulo 2^64, in DuckDB and on a Dask cluster, against Python's integers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.centre.cluster import connected
from gateway.centre.columns import Block, write
from gateway.centre.engine import Chosen, DuckDB, Engine, Key
from gateway.centre.homes import Home
from gateway.centre.runs import METADATA, packed
from gateway.chain.layout import DAY_MS
from gateway.errors import Unavailable, UsageError
from gateway.provider.homes import Listed
from gateway.provider.load import Windows
from tests.support.home import MEMORY

MOD = 2**64
HOSTILE = st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**63 + 1, MOD - 1]) | st.integers(0, MOD - 1)
BEGIN = 20_000 * DAY_MS - 2 * 900_000  # two windows before midnight
LANES = ("export", "import")


def home(number: int) -> Home:
    """A home whose ids have zeros and ones at their ends, which a text would lose."""
    ids = [bytes([0, number, *[0] * 14]), bytes([number] * 16), bytes([255, *[0] * 14, number])]
    return Home(Listed(*ids), "North/.. #1")


@st.composite
def blocks(draw: st.DrawFn) -> list[Block]:
    """Up to five homes, each with some consecutive quarter hours, and perhaps no export."""
    found = []
    for number in range(draw(st.integers(1, 5))):
        first, count = draw(st.integers(0, 3)), draw(st.integers(1, 5))
        lanes = draw(st.sampled_from([LANES, ("import",), ("import", "export")]))
        rows = st.lists(HOSTILE, min_size=len(lanes), max_size=len(lanes))
        values = draw(st.lists(rows, min_size=count, max_size=count))
        sealed = draw(st.lists(HOSTILE, min_size=count, max_size=count))
        found.append(
            Block(
                home(number),
                lanes,
                BEGIN + 900_000 * np.arange(first, first + count + 1, dtype=np.int64),
                np.array(sealed, dtype=np.uint64),
                np.array(values, dtype=np.uint64).reshape(count, len(lanes)),
            )
        )
    return found


WINDOWS = Windows(LANES, tuple(pairwise(BEGIN + 900_000 * k for k in (0, 1, 2, 3, 4, 6, 7))))
"""One of them is half an hour, which no home has."""
NOBODY = Chosen([], [None] * len(WINDOWS.times))


def rows(some: list[Block]) -> dict[tuple[int, Key], tuple[int, list[int] | None]]:
    """By window and home, the incarnation and the parts; None for a home that lacks a lane."""
    found = {}
    for block in some:
        for i, times in enumerate(pairwise(block.edges_ms.tolist())):
            if times in WINDOWS.times:
                parts = dict(zip(block.lanes, block.blinded[i].tolist(), strict=True))
                whole = [parts[lane] for lane in LANES] if set(LANES) <= set(parts) else None
                number = WINDOWS.times.index(times)
                found[number, block.home.key] = (int(block.incarnations[i]), whole)
    return found


def check(engine: Engine, some: list[Block], data: st.DataObject) -> None:
    """That the engine finds the homes of each window, and adds up any sets of them."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        cut = data.draw(st.integers(0, len(some)))
        parts = [part for part in (some[:cut], some[cut:]) if part]
        files = [file for batch, part in enumerate(parts) for file in write(Path(name), part, batch)]
        paths = [Path(name) / file.name for file in files]
        assert sum(file.windows for file in files) == sum(map(len, some))
        expected = {key: one for key, one in rows(some).items() if one[1] is not None}
        found = engine.present(paths, WINDOWS)
        columns = [found[one].to_pylist() for one in ("window", "stream", "grant", "incarnation")]
        assert len(columns[0]) == len(expected)
        assert {(w, (s, g)): i % MOD for w, s, g, i in zip(*columns, strict=True)} == {
            key: one[0] for key, one in expected.items()
        }
        of, sets = [], [[], [home(7).key]]
        for window in range(len(WINDOWS.times)):
            there = sorted(key for number, key in expected if number == window)
            members = data.draw(st.lists(st.sampled_from(there), unique=True) if there else st.just([]))
            sets.append(members)
            of.append(data.draw(st.sampled_from([None, len(sets) - 1, len(sets) - 1])))
        sums, counts = engine.sums(paths, WINDOWS, Chosen([*map(packed, sets)], of))
    for window, number in enumerate(of):
        members = [] if number is None else sets[number]
        wanted = [expected[window, key][1] for key in members]
        truth = [sum(column) % MOD for column in zip(*wanted, strict=True)] or [0] * len(LANES)
        assert sums[window].tolist() == truth
        assert counts[window] == len(members)


@settings(max_examples=40)
@given(blocks(), st.data())
def test_this_process_adds_modulo_2_to_the_64(some: list[Block], data: st.DataObject) -> None:
    check(DuckDB(), some, data)


@pytest.fixture(scope="module")
def cluster(scheduler: str) -> Iterator[Engine]:
    with connected(scheduler) as engine:
        engine._client.wait_for_workers(2, timeout=60)
        yield engine


@pytest.mark.slow
@settings(max_examples=15)
@given(blocks(), st.data())
def test_a_cluster_adds_the_same(cluster: Engine, some: list[Block], data: st.DataObject) -> None:
    check(cluster, some, data)


@pytest.mark.slow
def test_both_engines_give_the_same_to_the_bit(cluster: Engine, tmp_path: Path) -> None:
    """A thousand homes of a day, in 8 files: random parts, so that every sum wraps."""
    random = np.random.default_rng(7)
    files = []
    edges = BEGIN + 900_000 * np.arange(97, dtype=np.int64)
    keys: list[Key] = []
    for batch in range(4):
        some = []
        for _ in range(250):
            one = Home(Listed(random.bytes(16), random.bytes(16), random.bytes(16)), "North")
            parts = random.integers(0, MOD, size=(96, 2), dtype=np.uint64)
            some.append(Block(one, LANES, edges, np.full(96, 3, dtype=np.uint64), parts))
            keys.append(one.key)
        files += [tmp_path / file.name for file in write(tmp_path, some, batch)]
    assert len(files) == 8
    windows = Windows(LANES, tuple(pairwise(edges.tolist())))
    chosen = Chosen([packed(keys), packed(keys[::3])], [i % 2 for i in range(96)])
    ours, theirs = DuckDB().sums(files, windows, chosen), cluster.sums(files, windows, chosen)
    assert ours[0].tobytes() == theirs[0].tobytes()
    assert ours[1] == theirs[1] == [(1000, 334)[i % 2] for i in range(96)]
    order = [("window", "ascending"), ("stream", "ascending")]
    assert (
        DuckDB().present(files, windows).sort_by(order).equals(cluster.present(files, windows).sort_by(order))
    )


def test_a_stream_counts_under_the_grant_of_its_set_alone(tmp_path: Path) -> None:
    """A home with two grants, both of which have the window; and one under a grant that is not in the set."""
    edges = BEGIN + 900_000 * np.arange(2, dtype=np.int64)
    one, other = home(1), home(2)
    again = Home(Listed(one.listed.stream, one.listed.signer, b"g" * 16), one.region)
    some = [
        Block(who, ("import",), edges, np.ones(1, dtype=np.uint64), np.array([[value]], dtype=np.uint64))
        for who, value in ((one, 1), (again, 2), (other, 4))
    ]
    windows = Windows(("import",), tuple(pairwise(edges.tolist())))
    for at, (part, members, expected, count) in enumerate(
        (
            (some, [one.key, other.key], 5, 2),
            (some, [again.key, other.key], 6, 2),
            (some[:1], [again.key], 0, 0),
            (some[:1], [one.key], 1, 1),
        )
    ):
        paths = [tmp_path / file.name for file in write(tmp_path, part, at)]
        sums, counts = DuckDB().sums(paths, windows, Chosen([packed(members)], [0]))
        assert (sums.tolist(), counts) == ([[expected]], [count])


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UsageError, match=r"1\.parquet"):
        DuckDB().present([tmp_path / "1.parquet"], WINDOWS)
    with pytest.raises(UsageError, match=r"1\.parquet cannot be read"):
        DuckDB().sums([tmp_path / "1.parquet"], WINDOWS, NOBODY)


@pytest.mark.parametrize("column", ["stream", "grant", "import"])
@pytest.mark.parametrize("values", [None, pa.array(["x"] * 3), pa.array([b"x", b"y", b"z"])])
def test_a_file_with_other_columns_is_named(tmp_path: Path, column: str, values: pa.Array | None) -> None:
    """Without one, or with one of another type or length."""
    edges = BEGIN + 900_000 * np.arange(2, 6, dtype=np.int64)
    parts = np.full((3, 1), 5, dtype=np.uint64)
    block = Block(home(1), ("import",), edges, np.ones(3, dtype=np.uint64), parts)
    path = tmp_path / write(tmp_path, [block], 1)[0].name
    table, metadata = pq.read_table(path, partitioning=None), pq.read_metadata(path).metadata
    at = table.schema.get_field_index(column)
    table = table.drop_columns([column]) if values is None else table.set_column(at, column, values)
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({METADATA: metadata[METADATA]})
    windows = Windows(("import",), tuple(pairwise(edges.tolist())))
    with pytest.raises(UsageError, match=f"{path} cannot be read: "):
        DuckDB().sums([path], windows, Chosen([packed([home(2).key])], [0, 0, 0]))
    if values is None or column != "import":
        with pytest.raises(UsageError, match="the centre's Parquet files cannot be read: "):
            DuckDB().present([path], windows)


def test_a_file_with_any_byte_changed_is_read_or_named(tmp_path: Path) -> None:
    """Never is there another error; of what lies in its pages' bytes nothing is said."""
    edges = BEGIN + 900_000 * np.arange(3, dtype=np.int64)
    parts = np.full((2, 1), 5, dtype=np.uint64)
    block = Block(home(1), ("import",), edges, np.ones(2, dtype=np.uint64), parts)
    path = tmp_path / write(tmp_path, [block], 1)[0].name
    whole = path.read_bytes()
    windows = Windows(("import",), tuple(pairwise(edges.tolist())))
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x91]) + whole[at + 1 :])
        with suppress(UsageError):
            DuckDB().sums([path], windows, Chosen([packed([home(2).key])], [0, 0]))


@pytest.mark.parametrize("runs", ["as they were", "of other rows", None])
def test_a_file_that_was_written_anew_counts_by_right_runs_alone(tmp_path: Path, runs: str | None) -> None:
    edges = BEGIN + 900_000 * np.arange(3, dtype=np.int64)
    parts = np.full((2, 1), 5, dtype=np.uint64)
    block = Block(home(1), ("import",), edges, np.ones(2, dtype=np.uint64), parts)
    path = tmp_path / write(tmp_path, [block], 1)[0].name
    table, metadata = pq.read_table(path, partitioning=None), pq.read_metadata(path).metadata
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table[:1] if runs == "of other rows" else table)
        if runs:
            writer.add_key_value_metadata({METADATA: metadata[METADATA]})
    windows = Windows(("import",), tuple(pairwise(edges.tolist())))
    chosen = Chosen([packed([home(1).key])], [0, 0])
    if runs == "as they were":
        assert DuckDB().sums([path], windows, chosen)[0].tolist() == [[5], [5]]
        return
    why = "it has other rows than the runs that it names" if runs else "it does not name the runs of its rows"
    with pytest.raises(UsageError, match=f"cannot be read: {why}"):
        DuckDB().sums([path], windows, chosen)


def test_a_scheduler_that_is_none() -> None:
    with (
        pytest.raises(
            UsageError, match=r"'http://127.0.0.1:9' is not a scheduler's address: expected tcp://"
        ),
        connected("http://127.0.0.1:9"),
    ):
        pass
    with (
        pytest.raises(Unavailable, match=r"no Dask scheduler answers at tcp://127.0.0.1:9"),
        connected("tcp://127.0.0.1:9", patience_s=0.5),
    ):
        pass


@pytest.mark.slow
def test_a_scheduler_without_workers_is_named_at_once_and_given_up_in_time() -> None:
    """Or used, once a worker is there."""
    local: Any = distributed.LocalCluster
    said: list[str] = []
    with local(
        n_workers=0, processes=False, dashboard_address="127.0.0.1:0", protocol="tcp://", host="127.0.0.1"
    ) as empty:
        url = empty.scheduler_address
        with connected(url, 0.2, said.append) as engine:
            for work in (lambda: engine.present([], WINDOWS), lambda: engine.sums([], WINDOWS, NOBODY)):
                with pytest.raises(
                    Unavailable, match=f"{url} has no worker: start some .*dask worker tcp://"
                ):
                    work()
                assert said.pop() == (
                    f"the Dask scheduler at {url} has no worker: waiting for one for 0.2 s"
                    f" (dask worker {url})"
                )
        with connected(url, 60, lambda text: empty.scale(1)) as engine:
            assert engine.present([], WINDOWS).num_rows == 0
        with connected(url, 60, said.append) as engine:
            assert engine.sums([], WINDOWS, NOBODY)[1] == [0] * len(WINDOWS.times)
        assert said == []
