"""Windows of many homes as Parquet files, partitioned by the UTC date of their start and by region.

windows/date=2026-03-01/region=North/00000007.parquet has the columns

    stream, grant          16 bytes each
    start_ms, end_ms       INT64, Unix ms
    incarnation            INT64 with the bits of the u64: what sealed the window's last unit
    import, export, ...    INT64 with the bits of the u64: the home's part of the load of each lane
                           (`gateway.chain.share.blinded`), null where the grant has no such lane

Tables of the open formats, and Spark, have no UINT64. A part says nothing without the summing service's sum
over all homes of a set. Files are written once, and count once the state names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from gateway.centre.homes import Home
from gateway.centre.state import File
from gateway.chain.layout import DAY_MS, LANES
from gateway.chain.seal import U64
from gateway.errors import UsageError
from gateway.host.files import write_all_durably

if TYPE_CHECKING:
    import pyarrow

FOLDER = "windows"
_IDS, _NUMBERS = ("stream", "grant"), ("start_ms", "end_ms", "incarnation")


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
    parts: dict[tuple[str, str], list[pyarrow.Table]] = {}
    for block in blocks:
        days = block.edges_ms[:-1] // DAY_MS
        table = _table(block)
        for day in np.unique(days):
            a, b = np.searchsorted(days, [day, day + 1]).tolist()
            parts.setdefault((date_of(int(day) * DAY_MS), block.home.region), []).append(table[a:b])
    files, contents = [], {}
    for (date, region), tables in sorted(parts.items(), key=lambda one: one[0]):
        name = f"{FOLDER}/date={date}/region={quote(region, safe='')}/{batch:08d}.parquet"
        contents[folder / name] = _parquet(tables)
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
        tables = [pq.read_table(folder / one.name, partitioning=None) for one in files]
        write_all_durably({folder / name: _parquet(tables)}, 0o644)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"files of {first.date} and {first.region!r} cannot be merged: {error}") from None
    return replace(first, name=name, batch=batch, windows=sum(one.windows for one in files))


def clean(folder: Path, names: set[str]) -> int:
    """Remove all files that do not count: what an earlier run wrote before it was cut off. How many."""
    lost = [
        path
        for path in (folder / FOLDER).rglob("*")
        if path.is_file() and path.relative_to(folder).as_posix() not in names
    ]
    for path in lost:
        path.unlink()
    return len(lost)


def date_of(ms: int) -> str:
    """The UTC date of a moment in Unix ms."""
    return str(np.datetime64(ms // DAY_MS, "D"))


def _table(block: Block) -> pyarrow.Table:
    import pyarrow as pa  # noqa: PLC0415 - half a second

    count = len(block)
    ids = [pa.array([one] * count, pa.binary(16)) for one in block.home.key]
    numbers = [block.edges_ms[:-1], block.edges_ms[1:], block.incarnations.view(np.int64)]
    lanes = [
        pa.array(np.ascontiguousarray(block.blinded[:, block.lanes.index(lane)]).view(np.int64))
        if lane in block.lanes
        else pa.nulls(count, pa.int64())
        for lane in LANES
    ]
    return pa.table([*ids, *map(pa.array, numbers), *lanes], names=[*_IDS, *_NUMBERS, *LANES])


def _parquet(tables: Sequence[pyarrow.Table]) -> bytes:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    whole = pa.concat_tables(tables).sort_by([("start_ms", "ascending"), ("stream", "ascending")])
    file = BytesIO()
    # What looks random does not compress: neither a dictionary nor zstd gains anything in the lanes.
    plain = dict.fromkeys(LANES, "none")
    pq.write_table(
        whole,
        file,
        use_dictionary=list(_IDS),
        compression={**dict.fromkeys((*_IDS, *_NUMBERS), "zstd"), **plain},
    )
    return file.getvalue()
