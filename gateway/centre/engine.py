"""Where the homes of each window are found, and their parts added up: in this process, by DuckDB and numpy.
`cluster` has the same on many.

All sums are modulo 2^64, of INT64 that hold the bits of u64. `adding` has them file by file: DuckDB would
join the rows with the set by ids of 16 bytes, which takes 15 times as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gateway.centre.adding import Sums
from gateway.chain.seal import U64
from gateway.errors import UsageError
from gateway.provider.load import Windows

if TYPE_CHECKING:
    import duckdb
    import pyarrow

Key = tuple[bytes, bytes]
"""A home: its stream and the centre's grant there."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The set of homes of each window: `sets[of[i]]` is that of window i, as `gateway.centre.runs.packed` has
    it; None for a window that is not to be summed. A set has a stream once."""

    sets: Sequence[bytes]
    of: Sequence[int | None]


class Engine(Protocol):
    """Works sums out over files. UsageError where one cannot be read."""

    def present(self, files: Sequence[Path], windows: Windows) -> pyarrow.Table:
        """The homes that have all lanes of a window: columns window (its number), stream, grant, and
        incarnation (INT64 with the bits of the u64), in any order."""

    def sums(self, files: Sequence[Path], windows: Windows, chosen: Chosen) -> tuple[U64, list[int]]:
        """The sums of the parts of each window's set modulo 2^64, [window, lane], 0 where there is none; and
        how many homes each is over."""


class DuckDB:
    """The engine in this process: DuckDB finds the homes of each window."""

    def present(self, files: Sequence[Path], windows: Windows) -> pyarrow.Table:
        """See `Engine`."""
        if not files:
            return present_schema().empty_table()
        whole = " AND ".join(f'"{lane}" IS NOT NULL' for lane in windows.lanes)
        with _parts(files) as db:
            db.register("windows", _times_table(windows))
            found = db.sql(
                'SELECT "window", stream, "grant", incarnation FROM parts JOIN windows'  # noqa: S608 - lanes
                f" USING (start_ms, end_ms) WHERE {whole}"
            ).to_arrow_table()
            return found.cast(present_schema())

    def sums(self, files: Sequence[Path], windows: Windows, chosen: Chosen) -> tuple[U64, list[int]]:
        """See `Engine`."""
        found = Sums(windows, chosen.sets, chosen.of)
        for path in files:
            found.add(path)
        return found.total, found.counts.tolist()


@contextmanager
def _parts(files: Sequence[Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory whose view `parts` has the rows of the files."""
    import duckdb  # noqa: PLC0415 - a quarter of a second
    import pyarrow as pa  # noqa: PLC0415

    with duckdb.connect() as db:
        try:
            db.read_parquet([str(path) for path in files], hive_partitioning=False).create_view("parts")
            yield db
        except (duckdb.Error, pa.ArrowException, UnicodeDecodeError) as error:
            raise UsageError(f"the centre's Parquet files cannot be read: {error}") from None


def present_schema() -> pyarrow.Schema:
    """The columns of `Engine.present`."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.schema(
        [
            ("window", pa.int32()),
            ("stream", pa.binary(16)),
            ("grant", pa.binary(16)),
            ("incarnation", pa.int64()),
        ]
    )


def _times_table(windows: Windows) -> pyarrow.Table:
    """The windows by number: window, start_ms, end_ms."""
    import pyarrow as pa  # noqa: PLC0415

    columns = [range(len(windows.times)), *zip(*windows.times, strict=True)]
    arrays = [
        pa.array(column, kind)
        for column, kind in zip(columns, (pa.int32(), pa.int64(), pa.int64()), strict=True)
    ]
    return pa.table(arrays, names=["window", "start_ms", "end_ms"])
