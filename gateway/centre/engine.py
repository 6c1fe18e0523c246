"""Where sums over the Parquet files are worked out: DuckDB in this process. `cluster` has the same on many.

All sums are modulo 2^64, of INT64 that hold the bits of u64. DuckDB adds INT64 up as HUGEINT, which 2^63 rows
do not fill, and `&` takes the lower 64 bits of its two's complement; `%` would keep a negative sum's sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from gateway.chain.seal import MASK, U64
from gateway.errors import UsageError
from gateway.provider.load import Windows

if TYPE_CHECKING:
    import duckdb
    import pyarrow

Key = tuple[bytes, bytes]
"""A home: its stream and the centre's grant there."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The set of homes of each window: `sets[of[i]]` is that of window i; None for a window that is not to be
    summed."""

    sets: Sequence[Sequence[Key]]
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
    """The engine in this process."""

    def present(self, files: Sequence[Path], windows: Windows) -> pyarrow.Table:
        """See `Engine`."""
        if not files:
            return present_schema().empty_table()
        whole = " AND ".join(f'"{lane}" IS NOT NULL' for lane in windows.lanes)
        with _parts(files) as db:
            db.register("windows", times_table(windows))
            found = db.sql(
                'SELECT "window", stream, "grant", incarnation FROM parts JOIN windows'  # noqa: S608 - lanes
                f" USING (start_ms, end_ms) WHERE {whole}"
            ).to_arrow_table()
        return found.cast(present_schema())

    def sums(self, files: Sequence[Path], windows: Windows, chosen: Chosen) -> tuple[U64, list[int]]:
        """See `Engine`."""
        total = np.zeros((len(windows.times), len(windows.lanes)), dtype=np.uint64)
        counts = [0] * len(windows.times)
        if not files:
            return total, counts
        lanes = ", ".join(f'sum("{lane}") & {MASK}::HUGEINT' for lane in windows.lanes)
        with _parts(files) as db:
            db.register("windows", times_table(windows, chosen))
            db.register("members", members_table(chosen))
            rows = db.sql(
                f'SELECT "window", count(*), {lanes} FROM parts'  # noqa: S608 - lanes
                " JOIN windows USING (start_ms, end_ms)"
                ' JOIN members USING ("set", stream, "grant") GROUP BY "window"'
            ).fetchall()
        for window, count, *sums in rows:
            counts[window] = count
            total[window] = np.array(sums, dtype=np.uint64)
        return total, counts


@contextmanager
def _parts(files: Sequence[Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory whose view `parts` has the rows of the files."""
    import duckdb  # noqa: PLC0415 - a quarter of a second

    with duckdb.connect() as db:
        try:
            db.read_parquet([str(path) for path in files], hive_partitioning=False).create_view("parts")
            yield db
        except duckdb.Error as error:
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


def times_table(windows: Windows, chosen: Chosen | None = None) -> pyarrow.Table:
    """The windows by number, with the number of each set where `chosen` has them: window, start_ms, end_ms,
    set."""
    import pyarrow as pa  # noqa: PLC0415

    of = [None] * len(windows.times) if chosen is None else chosen.of
    columns = [range(len(windows.times)), *zip(*windows.times, strict=True), of]
    types = [pa.int32(), pa.int64(), pa.int64(), pa.int32()]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    return pa.table(arrays, names=["window", "start_ms", "end_ms", "set"])


def members_table(chosen: Chosen) -> pyarrow.Table:
    """The homes of the sets: set, stream, grant."""
    import pyarrow as pa  # noqa: PLC0415

    sets = [number for number, homes in enumerate(chosen.sets) for _ in homes]
    homes = [home for homes in chosen.sets for home in homes]
    ids = [pa.array([home[i] for home in homes], pa.binary(16)) for i in range(2)]
    return pa.table([pa.array(sets, pa.int32()), *ids], names=["set", "stream", "grant"])
