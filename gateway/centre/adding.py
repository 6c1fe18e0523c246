"""The sums over the centre's Parquet files, one after another: what each engine does, wherever it runs.

A home's ids come from a file as numbers of its dictionary, so that whether a row is in its window's set is
one look-up in a table of integers. Sums of u64 wrap, which is what is wanted: modulo 2^64.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gateway.errors import UsageError
from gateway.provider.load import Windows

if TYPE_CHECKING:
    import pyarrow

    from gateway.centre.engine import Chosen

Integers = NDArray[np.int64]
_NONE = -1


class Sums:
    """The sums of the parts of each window's set modulo 2^64, `total` [window, lane], and over how many homes
    each is, `counts`: of the files so far."""

    def __init__(self, windows: Windows, chosen: Chosen) -> None:
        self._lanes = windows.lanes
        self._times = _times(windows)
        self._sets = [dict(one) for one in chosen.sets]
        # The number of each window's set; the last one, of no window, is empty.
        self._of = np.array([len(self._sets) if one is None else one for one in (*chosen.of, None)])
        self.total = np.zeros((len(windows.times), len(windows.lanes)), dtype=np.uint64)
        self.counts = np.zeros(len(windows.times), dtype=np.int64)

    def add(self, path: Path) -> None:
        """Add a file up. UsageError where it cannot be read."""
        table = read(path, ["stream", "grant"], self._lanes)
        begins, window = _runs(table, self._times)
        if not len(begins):
            return
        inside = self._inside(table, begins, window)
        whole = bool(inside.all())
        np.add.at(self.counts, window, np.add.reduceat(inside, begins, dtype=np.int64))
        for i, lane in enumerate(self._lanes):
            parts = table[lane].fill_null(0).to_numpy().view(np.uint64)
            taken = parts if whole else np.where(inside, parts, np.uint64(0))
            np.add.at(self.total[:, i], window, np.add.reduceat(taken, begins))

    def _inside(self, table: pyarrow.Table, begins: Integers, window: Integers) -> NDArray[np.bool_]:
        """Of each row, whether its home is in the set of its window."""
        streams, stream = _numbered(table["stream"])
        grants, grant = _numbered(table["grant"])
        numbers = {one: number for number, one in enumerate(grants)}
        sets, of = np.unique(self._of[window], return_inverse=True)
        # The number of the grant that each set has of each stream.
        grant_of = np.full((len(sets), len(streams)), _NONE, dtype=np.int32)
        for i, one in enumerate(sets.tolist()):
            if one < len(self._sets):
                its = self._sets[one]
                grant_of[i] = [numbers.get(its.get(home), _NONE) for home in streams]
        if len(sets) == 1:
            wanted = grant_of[0][stream]
        else:
            wanted = grant_of[np.repeat(of, np.diff(begins, append=len(table))), stream]
        inside: NDArray[np.bool_] = wanted == grant
        return inside


def read(path: Path, columns: Sequence[str], lanes: Sequence[str]) -> pyarrow.Table:
    """These columns of a file, its times and these lanes. UsageError where it cannot be read."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    names = [*columns, "start_ms", "end_ms", *lanes]
    try:
        with pq.ParquetFile(path, read_dictionary=["stream", "grant"]) as file:
            return file.read(columns=names, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"the centre's file {path} cannot be read: {error}") from None


def window_of(table: pyarrow.Table, windows: Windows) -> Integers:
    """Of each row the number of its window, -1 where it is none of them."""
    begins, window = _runs(table, _times(windows))
    return np.repeat(window, np.diff(begins, append=len(table)))


def _times(windows: Windows) -> Integers:
    return np.array(windows.times, dtype=np.int64)


def _runs(table: pyarrow.Table, times: Integers) -> tuple[Integers, Integers]:
    """Where rows of the same times begin, which mostly stand together; and the number of their window, -1
    where it is none of them."""
    start, end = (table[name].to_numpy() for name in ("start_ms", "end_ms"))
    changes = np.flatnonzero((start[1:] != start[:-1]) | (end[1:] != end[:-1])) + 1
    begins = np.concatenate([[0], changes])[: len(table)]
    its = np.stack([start[begins], end[begins]], axis=1)
    at = np.searchsorted(times[:, 0], its[:, 0], side="right") - 1
    return begins, np.where((at >= 0) & (times[at] == its).all(axis=1), at, _NONE)


def _numbered(column: pyarrow.ChunkedArray) -> tuple[list[bytes], NDArray[np.int32]]:
    """The distinct values of a column, and the number of each row's."""
    array = column.dictionary_encode().unify_dictionaries().combine_chunks()
    return array.dictionary.to_pylist(), array.indices.to_numpy()
