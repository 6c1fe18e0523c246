"""A table of sums as JSON lines, Parquet or an Arrow file, with totals where they are asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Literal

from gateway.errors import UsageError
from gateway.provider.lanes import COLUMNS
from gateway.provider.sums import Row
from gateway.provider.table import Table
from gateway.stream.times import spell, unix_ms

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, slots=True)
class Section:
    """Rows of one kind: "window"s, or "total"s over all of a stream's windows."""

    kind: Literal["window", "total"]
    table: Table


def sections(table: Table, *, total: bool, several: bool) -> list[Section]:
    """The rows to write: the windows, and with `total` the total of each home; of several homes also the sums
    over all of them, window by window and in total. UsageError as for `Table.over_homes`."""
    found = [Section("window", table)]
    if total:
        found.append(Section("total", table.over_time()))
        if several and table.streams:
            over_homes = table.over_homes()
            found += [Section("window", over_homes), Section("total", over_homes.over_time())]
    return found


def json_lines(parts: Sequence[Section]) -> Iterator[str]:
    """Each row as a JSON object: columns as a Table has them, times as 2026-03-01T10:00:00Z, null where there
    is no sum. Where there are totals, `row` says which rows are."""
    for part in parts:
        kind = {"row": part.kind} if len(parts) > 1 else {}
        table = part.table
        for i, row in zip(table.of.tolist(), table.rows, strict=True):
            yield json_line(table.streams[i], row, table.lanes, kind)


def json_line(stream: str, row: Row, lanes: Sequence[str], kind: Mapping[str, str] | None = None) -> str:
    """One row of `json_lines`, after what says its kind."""
    times = {"start": spell(unix_ms(row.start), 1), "end": spell(unix_ms(row.end), 1)}
    sums = {COLUMNS[lane]: row.sums.get(lane) for lane in lanes}
    return json.dumps({**(kind or {}), "stream": stream, **times, **sums})


def arrow(parts: Sequence[Section]) -> bytes:
    """An Arrow IPC file with the columns of `Table.to_arrow`; `row` as in `json_lines`. Needs pyarrow."""
    table = _whole(parts)
    from pyarrow import ipc  # noqa: PLC0415

    file = BytesIO()
    with ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def parquet(parts: Sequence[Section]) -> bytes:
    """A Parquet file with the columns of `Table.to_arrow`; `row` as in `json_lines`. Needs pyarrow."""
    table = _whole(parts)
    import pyarrow.parquet as pq  # noqa: PLC0415

    file = BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def _whole(parts: Sequence[Section]) -> pyarrow.Table:
    try:
        import pyarrow as pa  # noqa: PLC0415
    except ImportError:
        raise UsageError("parquet and arrow need pyarrow: run ./provisioning/venv.sh provider") from None
    tables = [part.table.to_arrow() for part in parts]
    if len(parts) > 1:
        kinds = [pa.array([part.kind] * len(part.table), pa.string()) for part in parts]
        tables = [table.add_column(0, "row", kind) for table, kind in zip(tables, kinds, strict=True)]
    return pa.concat_tables(tables)
