"""Windows of many homes as Parquet files, partitioned by the UTC date of their start and by region.

windows/date=2026-03-01/region=North/00000007.parquet has the columns

    stream, grant          16 bytes each
    start_ms, end_ms       INT64, Unix ms
    incarnation            INT64 with the bits of the u64: what sealed the window's last unit
    import, export, ...    INT64 with the bits of the u64: the home's part of the load of each lane
                           (`gateway.chain.share.blinded`), null where the grant has no such lane

The rows are in the order of start_ms, end_ms, stream and grant, and the file's metadata has an index of them
(`runs`). Tables of the open formats, and Spark, have no UINT64. A part says nothing without the summing
service's sum over all homes of a set. Files are written once, and count once the state names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from gateway.centre.homes import Home
from gateway.centre.runs import IDS, Runs
from gateway.centre.state import File
from gateway.chain.layout import DAY_MS, LANES
from gateway.chain.seal import U64
from gateway.errors import UsageError
from gateway.host.files import write_all_durably

if TYPE_CHECKING:
    import pyarrow

FOLDER = "windows"
_PAGE = 2**17
"""Rows of a column in a page, at most 1 MiB of them: a region's day is read in one."""
_NUMBERS = ("start_ms", "end_ms", "incarnation")


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive windows of one home: their edges in Unix ms, one more than there are windows; the
    incarnations that sealed them; and the home's part of the loads, [window, lane]."""

    home: Home
    lanes: tuple[str, ...]
    edges_ms: NDArray[np.int64]
    incarnations: U64
    blinded: U64

    def __len__(self) -> int:
        return len(self.incarnations)


def write(folder: Path, blocks: Sequence[Block], batch: int) -> list[File]:
    """Write the blocks as the batch of this number, durably, one file for each date and region. UsageError
    where the disk does not take them; what was written then does not count."""
    groups: dict[tuple[str, tuple[str, ...]], list[Block]] = {}
    for block in blocks:
        groups.setdefault((block.home.region, block.lanes), []).append(block)
    parts: dict[tuple[str, str], list[pyarrow.Table]] = {}
    for (region, lanes), some in groups.items():
        table, days = _table(some, lanes)
        for day, part in _by_day(table, days):
            parts.setdefault((date_of(day * DAY_MS), region), []).append(part)
    files, contents = [], {}
    for (date, region), tables in sorted(parts.items(), key=lambda one: one[0]):
        name = f"{FOLDER}/date={date}/region={quote(region, safe='')}/{batch:08d}.parquet"
        contents[folder / name] = parquet(tables)
        files.append(File(name, batch, date, region, sum(map(len, tables))))
    try:
        for path in contents:
            path.parent.mkdir(parents=True, exist_ok=True)
        write_all_durably(contents, 0o644)
    except OSError as error:
        raise UsageError(f"{folder / FOLDER} cannot be written: {error.strerror}") from None
    return files


def merged(folder: Path, files: Sequence[File], batch: int) -> File:
    """The rows of files of one date and region in one file of this batch, durably; the files stay. UsageError
    where one cannot be read, or the disk does not take it."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    first = files[0]
    name = f"{first.name.rpartition('/')[0]}/{batch:08d}.parquet"
    try:
        columns = [*IDS, *_NUMBERS, *LANES]
        tables = [pq.read_table(folder / one.name, columns=columns, partitioning=None) for one in files]
        write_all_durably({folder / name: parquet(tables)}, 0o644)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UsageError(f"files of {first.date} and {first.region!r} cannot be merged: {error}") from None
    return replace(first, name=name, batch=batch, windows=sum(one.windows for one in files))


def clean(folder: Path, names: set[str]) -> int:
    """Remove all files that do not count: what an earlier run wrote before it was cut off. How many.
    UsageError where one stays."""
    lost = [
        path
        for path in (folder / FOLDER).rglob("*")
        if path.is_file() and path.relative_to(folder).as_posix() not in names
    ]
    for path in lost:
        try:
            path.unlink()
        except OSError as error:
            raise UsageError(f"{path} cannot be removed: {error.strerror}") from None
    return len(lost)


def date_of(ms: int) -> str:
    """The UTC date of a moment in Unix ms."""
    return str(np.datetime64(ms // DAY_MS, "D"))


def _table(blocks: Sequence[Block], lanes: tuple[str, ...]) -> tuple[pyarrow.Table, NDArray[np.int64]]:
    """The rows of blocks of the same lanes, and the day in which each begins."""
    import pyarrow as pa  # noqa: PLC0415 - half a second

    counts = [len(block) for block in blocks]
    ids = []
    for one in zip(*(block.home.key for block in blocks), strict=True):
        of = np.repeat(np.frombuffer(b"".join(one), dtype="V16"), counts)
        ends = np.arange(0, of.nbytes + 1, of.itemsize, dtype=np.int32)
        ids.append(
            pa.Array.from_buffers(pa.binary(), len(of), [None, *map(pa.py_buffer, (ends, of.tobytes()))])
        )
    starts = np.concatenate([block.edges_ms[:-1] for block in blocks])
    ends = np.concatenate([block.edges_ms[1:] for block in blocks])
    incarnations = np.concatenate([block.incarnations for block in blocks]).view(np.int64)
    blinded = np.concatenate([block.blinded for block in blocks]).view(np.int64)
    values = [
        pa.array(np.ascontiguousarray(blinded[:, lanes.index(lane)]))
        if lane in lanes
        else pa.nulls(len(starts), pa.int64())
        for lane in LANES
    ]
    numbers = map(pa.array, (starts, ends, incarnations))
    fields = [pa.field(name, pa.binary(), nullable=False) for name in IDS]
    fields += [pa.field(name, pa.int64(), nullable=name in LANES) for name in (*_NUMBERS, *LANES)]
    return pa.table([*ids, *numbers, *values], schema=pa.schema(fields)), starts // DAY_MS


def _by_day(table: pyarrow.Table, days: NDArray[np.int64]) -> Iterator[tuple[int, pyarrow.Table]]:
    """The rows of each day."""
    found = np.unique(days).tolist()
    for day in found:
        yield day, table if len(found) == 1 else table.filter(days == day)


def parquet(tables: Sequence[pyarrow.Table]) -> bytes:
    """A file of the rows of tables."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    order = ("start_ms", "end_ms", *IDS)
    whole = pa.concat_tables(tables).sort_by([(name, "ascending") for name in order])
    file = BytesIO()
    # The lanes look random: they do not compress, and need no dictionary. The others are read the fastest so.
    plain = dict.fromkeys(LANES, "none")
    others = (*IDS, *_NUMBERS)
    with pq.ParquetWriter(
        file,
        whole.schema,
        use_dictionary=list(others),
        compression={**dict.fromkeys(others, "snappy"), **plain},
        max_rows_per_page=_PAGE,
    ) as writer:
        writer.write_table(whole)
        writer.add_key_value_metadata(Runs.of(whole).metadata())
    return file.getvalue()
