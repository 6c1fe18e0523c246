"""The sums over one Parquet file of the centre: what each engine does with every file, wherever it runs.

A home's ids come from the file as numbers of a dictionary, so that whether a row is in its window's set is
one look-up in a table of integers. Sums of u64 wrap, which is what is wanted: modulo 2^64.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gateway.chain.seal import U64
from gateway.errors import UsageError
from gateway.provider.load import Windows

if TYPE_CHECKING:
    import pyarrow

    from gateway.centre.engine import Chosen

Integers = NDArray[np.int64]
_NONE = -1


def add_up(path: Path, windows: Windows, chosen: Chosen) -> tuple[U64, Integers]:
    """The sums of the parts of each window's set modulo 2^64, [window, lane], over the rows of a file; and
    over how many homes each is."""
    table = read(path, ["stream", "grant"], windows)
    total = np.zeros((len(windows.times), len(windows.lanes)), dtype=np.uint64)
    counts = np.zeros(len(windows.times), dtype=np.int64)
    begins, window = _runs(table, windows)
    if not len(begins):
        return total, counts
    inside = _inside(table, begins, window, chosen)
    np.add.at(counts, window, np.add.reduceat(inside, begins, dtype=np.int64))
    for i, lane in enumerate(windows.lanes):
        parts = table[lane].fill_null(0).to_numpy().view(np.uint64)
        taken = parts if inside.all() else np.where(inside, parts, np.uint64(0))
        np.add.at(total[:, i], window, np.add.reduceat(taken, begins))
    return total, counts


def read(path: Path, columns: Sequence[str], windows: Windows) -> pyarrow.Table:
    """These columns of a file, its times, and the lanes of `windows`. UsageError where it cannot be read."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    names = [*columns, "start_ms", "end_ms", *windows.lanes]
    try:
        with pq.ParquetFile(path, read_dictionary=["stream", "grant"]) as file:
            return file.read(columns=names, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"the centre's file {path} cannot be read: {error}") from None


def window_of(table: pyarrow.Table, windows: Windows) -> Integers:
    """Of each row the number of its window, -1 where it is none of them."""
    begins, window = _runs(table, windows)
    return np.repeat(window, np.diff(begins, append=len(table)))


def _runs(table: pyarrow.Table, windows: Windows) -> tuple[Integers, Integers]:
    """Where rows of the same times begin, which mostly stand together; and the number of their window, -1
    where it is none of them."""
    starts, ends = (np.array(one, dtype=np.int64) for one in zip(*windows.times, strict=True))
    start, end = (table[name].to_numpy() for name in ("start_ms", "end_ms"))
    changes = np.flatnonzero((start[1:] != start[:-1]) | (end[1:] != end[:-1])) + 1
    begins = np.concatenate([[0], changes])[: len(table)]
    a, b = start[begins], end[begins]
    at = np.searchsorted(starts, a, side="right") - 1
    return begins, np.where((at >= 0) & (starts[at] == a) & (ends[at] == b), at, _NONE)


def _inside(table: pyarrow.Table, begins: Integers, window: Integers, chosen: Chosen) -> NDArray[np.bool_]:
    """Of each row, whether its home is in the set of its window."""
    streams, stream = _numbered(table["stream"])
    grants, grant = _numbered(table["grant"])
    # The number of the grant that each set has of each stream; the last set is empty, and the last stream
    # stands for all that the file does not have.
    grant_of = np.full((len(chosen.sets) + 1, len(streams) + 1), _NONE, dtype=np.int32)
    for i, homes in enumerate(chosen.sets):
        at = [streams.get(one, len(streams)) for one, _ in homes]
        grant_of[i, at] = [grants.get(one, _NONE) for _, one in homes]
    of = np.array([len(chosen.sets) if one is None else one for one in (*chosen.of, None)])[window]
    if (of == of[0]).all():
        wanted = grant_of[of[0]][stream]
    else:
        wanted = grant_of[np.repeat(of, np.diff(begins, append=len(table))), stream]
    inside: NDArray[np.bool_] = wanted == grant
    return inside


def _numbered(column: pyarrow.ChunkedArray) -> tuple[dict[bytes, int], NDArray[np.int32]]:
    """The values of a column by their numbers, and the number of each row's."""
    array = column.dictionary_encode().unify_dictionaries().combine_chunks()
    values = {value: number for number, value in enumerate(array.dictionary.to_pylist())}
    return values, array.indices.to_numpy()
