"""Opened sums of one home or many as a table, for dataframes and files.

A window that a home has no sum for has no row, and a lane that is not open in a window has a null there: zero
is always a sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gateway.chain.layout import ENERGY, LANES
from gateway.chain.window import Granularity
from gateway.errors import UsageError
from gateway.provider.desk import Failure, Home, HomeSums
from gateway.provider.lanes import COLUMNS
from gateway.provider.sums import Rows

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

TOTAL = "total"
"""What `stream` says in rows that are sums over all homes."""
_MWH_PER_KWH = 1e6
_PAIR = np.dtype([("start", np.int64), ("end", np.int64)])


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows of sums, home by home, each home's in the order of time.

    Row i belongs to `streams[of[i]]`, a stream's id in hex. `rows` has its window and its sums, with times in
    Unix ms. The columns are `stream`, `start` and `end` (UTC), and of each lane in `lanes` an int64 or null:
    `import_mwh` and `export_mwh`, `power_w` (summed over readings), `count` (of readings).

    `homes` are those that were read, and `granularities` the lengths of their windows; of each that could not
    be read `failures` says why, and it has no rows.

    >>> from gateway.provider import read
    >>> table = read("meters", key="utility")
    >>> [record["import_mwh"] for record in table.over_time().records()]
    [1440000, 1440000]
    >>> table.over_homes().to_polars().row(0)[0], len(table.over_homes())
    ('total', 96)
    """

    lanes: tuple[str, ...]
    streams: tuple[str, ...]
    of: NDArray[np.int64]
    rows: Rows
    homes: tuple[Home, ...] = ()
    granularities: tuple[Granularity, ...] = ()
    failures: tuple[Failure, ...] = ()

    @classmethod
    def of_homes(cls, answers: Sequence[HomeSums], failures: Sequence[Failure] = ()) -> Table:
        """The table of what was read, homes in this order, beside the `failures` before that. A home that is
        refused after some rows counts as one that could not be read."""
        good = [one for one in answers if one.error is None]
        asked = [one.said.resolved for one in good if one.said is not None]
        lanes = tuple(lane for lane in LANES if any(lane in one.lanes for one in asked))
        blocks = [block for one in good for block in one.blocks]
        counts = [sum(map(len, one.blocks)) for one in good]
        return cls(
            lanes,
            tuple(one.home.stream.hex() for one in good),
            np.repeat(np.arange(len(good), dtype=np.int64), counts),
            _joined(blocks, lanes),
            tuple(one.home for one in good),
            tuple(one.granularity for one in asked),
            (*failures, *(one.home.failed(one.error) for one in answers if one.error is not None)),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def home(self, i: int) -> Table:
        """The rows of `streams[i]` alone."""
        part = slice(*np.searchsorted(self.of, [i, i + 1]).tolist())
        return replace(
            self,
            streams=self.streams[i : i + 1],
            of=self.of[part] - i,
            rows=_taken(self.rows, part),
            homes=self.homes[i : i + 1],
            granularities=self.granularities[i : i + 1],
            failures=(),
        )

    def over_homes(self) -> Table:
        """The sums over all homes that were read, window by window; `stream` is "total". A lane is null in a
        window for which some home has no sum of it. UsageError where the homes' windows differ in length."""
        lengths = sorted(set(map(_length, self.granularities)))
        if len(lengths) > 1:
            raise UsageError(
                f"the homes' windows differ ({', '.join(lengths)}), so they do not add up: name a"
                " granularity that all of them grant"
            )
        times = np.rec.fromarrays([self.rows.starts, self.rows.ends], dtype=_PAIR)
        windows, at = np.unique(times, return_inverse=True)
        sums, opened = {}, {}
        for lane in self.lanes:
            sums[lane] = np.zeros(len(windows), dtype=np.int64)
            np.add.at(sums[lane], at, self.rows.sums[lane])
            having = np.bincount(at[self.rows.opened[lane]], minlength=len(windows))
            opened[lane] = having == len(self.streams)
            sums[lane][~opened[lane]] = 0
        total = Rows(1, windows["start"], windows["end"], sums, opened)
        none = np.zeros(len(windows), dtype=np.int64)
        return Table(self.lanes, (TOTAL,), none, total, (), self.granularities[:1], self.failures)

    def over_time(self) -> Table:
        """A row for each stream: its sums over all of its windows, from the first to the last. A lane is null
        where a window in between has no sum of it. A stream without rows has none here."""
        parts = [self.home(i) for i in range(len(self.streams))]
        kept = [i for i, part in enumerate(parts) if len(part)]
        blocks = [_summed(parts[i].rows, self.lanes) for i in kept]
        return replace(self, of=np.array(kept, dtype=np.int64), rows=_joined(blocks, self.lanes))

    def records(self, *, kwh: bool = False) -> Iterator[dict[str, Any]]:
        """Each row by its columns: the stream's id in hex, aware datetimes, integers or None; with `kwh` also
        `import_kwh` and `export_kwh`, floats."""
        for i, row in zip(self.of.tolist(), self.rows, strict=True):
            record: dict[str, Any] = {"stream": self.streams[i], "start": row.start, "end": row.end}
            for lane in self.lanes:
                value = record[COLUMNS[lane]] = row.sums.get(lane)
                if kwh and lane in ENERGY:
                    record[f"{lane}_kwh"] = None if value is None else value / _MWH_PER_KWH
            yield record

    def to_arrow(self, *, kwh: bool = False) -> pyarrow.Table:
        """The rows as an Arrow table: `stream` string, `start` and `end` timestamp[ms, UTC], int64 for each
        lane; with `kwh` also `import_kwh` and `export_kwh`, float64. Needs pyarrow."""
        try:
            import pyarrow as pa  # noqa: PLC0415 - it takes longer to import than a home to read
        except ImportError:
            raise UsageError("an Arrow table needs pyarrow: run ./provisioning/venv.sh provider") from None
        index = pa.array(self.of.astype(np.int32))
        streams = pa.DictionaryArray.from_arrays(index, pa.array(self.streams, pa.string()))
        columns = {"stream": streams.cast(pa.string())}
        for name, ms in (("start", self.rows.starts), ("end", self.rows.ends)):
            columns[name] = pa.array(ms, pa.int64()).cast(pa.timestamp("ms", tz="UTC"))
        for lane in self.lanes:
            values, closed = self.rows.sums[lane], ~self.rows.opened[lane]
            columns[COLUMNS[lane]] = pa.array(values, pa.int64(), mask=closed)
            if kwh and lane in ENERGY:
                columns[f"{lane}_kwh"] = pa.array(values / _MWH_PER_KWH, pa.float64(), mask=closed)
        return pa.table(columns)

    def to_polars(self, *, kwh: bool = False) -> polars.DataFrame:
        """The rows as a polars DataFrame, columns as `to_arrow` has them. Needs polars and pyarrow."""
        try:
            import polars  # noqa: PLC0415
        except ImportError:
            raise UsageError("a polars DataFrame needs polars: run ./provisioning/venv.sh provider") from None
        frame = polars.from_arrow(self.to_arrow(kwh=kwh))
        assert isinstance(frame, polars.DataFrame)
        return frame

    def to_pandas(self, *, kwh: bool = False) -> pandas.DataFrame:
        """The rows as a pandas DataFrame, columns as `to_arrow` has them; integers are pandas' Int64, which
        has nulls and keeps every mWh. Needs pandas and pyarrow."""
        try:
            import pandas  # noqa: PLC0415
        except ImportError:
            raise UsageError("a pandas DataFrame needs pandas: pip install pandas") from None
        table = self.to_arrow(kwh=kwh)
        nullable = {table.schema.field(COLUMNS[lane]).type: pandas.Int64Dtype() for lane in self.lanes}
        frame: pandas.DataFrame = table.to_pandas(types_mapper=nullable.get)
        return frame


def _length(granularity: Granularity) -> str:
    """What windows that add up have in common: 15min, day (Europe/Berlin)."""
    calendar = isinstance(granularity.size, str)
    return f"{granularity} ({granularity.zone})" if calendar else str(granularity)


def _joined(blocks: Sequence[Rows], lanes: Sequence[str]) -> Rows:
    """Blocks one after another, with times in ms; a lane that a block has not is closed in its rows."""
    none = np.zeros(0, dtype=np.int64)
    sums, opened = {}, {}
    for lane in lanes:
        values = [
            (block.sums[lane], block.opened[lane])
            if lane in block.sums
            else (np.zeros(len(block), dtype=np.int64), np.zeros(len(block), dtype=np.bool_))
            for block in blocks
        ]
        sums[lane] = np.concatenate([none, *(one for one, _ in values)])
        opened[lane] = np.concatenate([none.astype(np.bool_), *(one for _, one in values)])
    starts = np.concatenate([none, *(block.starts * block.unit_ms for block in blocks)])
    ends = np.concatenate([none, *(block.ends * block.unit_ms for block in blocks)])
    return Rows(1, starts, ends, sums, opened)


def _taken(rows: Rows, part: slice) -> Rows:
    def take(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {lane: column[part] for lane, column in columns.items()}

    return replace(
        rows, starts=rows.starts[part], ends=rows.ends[part], sums=take(rows.sums), opened=take(rows.opened)
    )


def _summed(rows: Rows, lanes: Sequence[str]) -> Rows:
    """One row: the sums over all of these, which are at least one."""
    whole = bool((rows.ends[:-1] == rows.starts[1:]).all())
    opened = {lane: np.array([whole and rows.opened[lane].all()]) for lane in lanes}
    sums = {lane: np.where(opened[lane], rows.sums[lane].sum(keepdims=True), 0) for lane in lanes}
    return Rows(rows.unit_ms, rows.starts[:1], rows.ends[-1:], sums, opened)
