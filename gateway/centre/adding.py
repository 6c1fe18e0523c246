"""The sums over the centre's Parquet files, one after another: what each engine does, wherever it runs.

A home's ids come from a file as numbers of its dictionary, so that whether a row is in its window's set is
one look-up in a table of integers. Sums of u64 wrap, which is what is wanted: modulo 2^64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.errors import UsageError
from gateway.provider.load import Windows

if TYPE_CHECKING:
    import pyarrow

Integers = NDArray[np.int64]
Sets = Sequence[Sequence[tuple[bytes, bytes]]]
"""Sets of homes, each by its stream and grant."""
IDS, TIMES = ("stream", "grant"), ("start_ms", "end_ms")
_NONE = -1
_ID = np.dtype("V16")


class Sums:
    """The sums of the parts of each window's set modulo 2^64, `total` [window, lane], and over how many homes
    each is, `counts`: of the files so far."""

    def __init__(self, windows: Windows, sets: Sets, of: Sequence[int | None]) -> None:
        """`sets[of[i]]` is the set of window i, as `gateway.centre.engine.Chosen` has it."""
        self._lanes = windows.lanes
        self._times = _times(windows)
        self._members = [b"".join(chain.from_iterable(one)) for one in (*sets, ())]
        # The number of each window's set; the last one, of no window, is empty.
        self._of = np.array([len(sets) if one is None else one for one in (*of, None)])
        self.total = np.zeros((len(windows.times), len(windows.lanes)), dtype=np.uint64)
        self.counts = np.zeros(len(windows.times), dtype=np.int64)

    def anew(self) -> Sums:
        """The same of no file yet."""
        other = copy(self)
        other.total, other.counts = np.zeros_like(self.total), np.zeros_like(self.counts)
        return other

    def add(self, path: Path) -> None:
        """Add a file up. UsageError where it cannot be read."""
        # A few columns at a time, which are in the processor's caches still when they are worked on.
        with reading(path) as read:
            begins, window = _runs(read(TIMES), self._times)
            if not len(begins):
                return
            inside = self._inside(read(IDS), begins, window)
            lanes = read(self._lanes)
        if inside is None:
            counts = np.diff(begins, append=len(lanes))
        else:
            counts = np.add.reduceat(inside, begins, dtype=np.int64)
        np.add.at(self.counts, window, counts)
        for i, lane in enumerate(self._lanes):
            column = lanes[lane]
            parts = (column.fill_null(0) if column.null_count else column).to_numpy().view(np.uint64)
            taken = parts if inside is None else np.where(inside, parts, np.uint64(0))
            np.add.at(self.total[:, i], window, np.add.reduceat(taken, begins))

    def _inside(self, table: pyarrow.Table, begins: Integers, window: Integers) -> NDArray[np.bool_] | None:
        """Of each row, whether its home is in the set of its window; None where all are."""
        ids = _Numbered.of(table["stream"]), _Numbered.of(table["grant"])
        inside = None
        of = self._of[window]
        changes = np.flatnonzero(np.diff(of, prepend=_NONE))
        for a, b, one in zip(begins[changes], [*begins[changes[1:]], len(table)], of[changes], strict=True):
            rows = slice(a, b)
            if not self._is_repeated(one, rows, ids):
                inside = np.ones(len(table), dtype=np.bool_) if inside is None else inside
                inside[rows] = self._looked_up(one, rows, ids)
        return inside

    def _is_repeated(self, one: int, rows: slice, ids: tuple[_Numbered, _Numbered]) -> bool:
        """Whether the rows are those of a set, home by home, over and over: as they are where no home is
        late, since both are in the order of their ids."""
        members = self._members[one]
        count = len(members) // (2 * _ID.itemsize)
        if not count or (rows.stop - rows.start) % count:
            return False
        homes = np.empty((count, 2), dtype=_ID)
        for i, column in enumerate(ids):
            numbers = column.of_rows[rows].reshape(-1, count)
            if (numbers != numbers[0]).any():
                return False
            homes[:, i] = column.values[numbers[0]]
        return homes.tobytes() == members

    def _looked_up(self, one: int, rows: slice, ids: tuple[_Numbered, _Numbered]) -> NDArray[np.bool_]:
        """Of each row, whether its home is in a set."""
        streams, grants = ids
        of_stream = dict(np.frombuffer(self._members[one], dtype=_ID).reshape(-1, 2).tolist())
        numbers = {grant: number for number, grant in enumerate(grants.values.tolist())}
        # The number of the grant that the set has of each stream.
        wanted = [numbers.get(of_stream.get(stream), _NONE) for stream in streams.values.tolist()]
        found: NDArray[np.bool_] = np.array(wanted)[streams.of_rows[rows]] == grants.of_rows[rows]
        return found


class _Numbered(NamedTuple):
    """A column of ids: its distinct `values`, 16 bytes each, and the number of each row's."""

    values: NDArray[np.void]
    of_rows: NDArray[np.int32]

    @classmethod
    def of(cls, column: pyarrow.ChunkedArray) -> _Numbered:
        array = column.dictionary_encode().unify_dictionaries().combine_chunks()
        ids = array.dictionary
        data = np.frombuffer(ids.buffers()[-1], dtype=_ID, count=len(ids), offset=ids.offset * _ID.itemsize)
        return cls(data, array.indices.to_numpy())


@contextmanager
def reading(path: Path) -> Iterator[Callable[[Sequence[str]], pyarrow.Table]]:
    """What reads columns of a file by their names. UsageError where it cannot be read."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path, read_dictionary=IDS) as file:
            yield lambda names: file.read(columns=list(names), use_threads=False)
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
    start, end = (table[name].to_numpy() for name in TIMES)
    changes = np.flatnonzero((start[1:] != start[:-1]) | (end[1:] != end[:-1])) + 1
    begins = np.concatenate([[0], changes])[: len(table)]
    its = np.stack([start[begins], end[begins]], axis=1)
    at = np.searchsorted(times[:, 0], its[:, 0], side="right") - 1
    return begins, np.where((at >= 0) & (times[at] == its).all(axis=1), at, _NONE)
