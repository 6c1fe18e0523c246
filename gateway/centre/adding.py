"""The sums over the centre's Parquet files, one after another: what each engine does, wherever it runs.

Most of a file's runs of rows are of just the homes that are asked for, which `runs` shows. In the others a
home's ids come as numbers of the file's dictionary, so that whether a row is in its window's set is one
look-up in a table of integers. Sums of u64 wrap, which is what is wanted: modulo 2^64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.centre.runs import ID, IDS, METADATA, Integers, Runs, digest
from gateway.errors import UsageError
from gateway.provider.load import Windows

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet as pq

_NONE = -1


class Sums:
    """The sums of the parts of each window's set modulo 2^64, `total` [window, lane], and over how many homes
    each is, `counts`: of the files so far."""

    def __init__(self, windows: Windows, sets: Sequence[bytes], of: Sequence[int | None]) -> None:
        """`sets[of[i]]` is the set of window i, as `gateway.centre.engine.Chosen` has it."""
        self._lanes = windows.lanes
        self._times = np.array(windows.times, dtype=np.int64)
        self._sets = sets
        self._digests = np.array([*map(digest, sets), ""])
        # The number of each window's set; the last is that of no window.
        self._of = np.array([_NONE if one is None else one for one in (*of, None)])
        self.total = np.zeros((len(windows.times), len(windows.lanes)), dtype=np.uint64)
        self.counts = np.zeros(len(windows.times), dtype=np.int64)

    def anew(self) -> Sums:
        """The same of no file yet."""
        other = copy(self)
        other.total, other.counts = np.zeros_like(self.total), np.zeros_like(self.counts)
        return other

    def add(self, path: Path) -> None:
        """Add a file up. UsageError where it cannot be read."""
        with reading(path) as file:
            runs = file.runs
            window = runs.windows(self._times)
            of = self._of[window]
            asked = of != _NONE
            if not asked.any():
                return
            # Whether a run has just the homes of its window's set.
            whole = runs.homes == self._digests[of]
            inside = None if whole[asked].all() else self._inside(file.read(IDS), runs, of, asked & ~whole)
            lanes = file.read(self._lanes)
        begins, its = runs.begins(), window[asked]
        counts = runs.rows if inside is None else np.add.reduceat(inside, begins, dtype=np.int64)
        np.add.at(self.counts, its, counts[asked])
        for i, lane in enumerate(self._lanes):
            column = lanes[lane]
            parts = (column.fill_null(0) if column.null_count else column).to_numpy().view(np.uint64)
            taken = parts if inside is None else np.where(inside, parts, np.uint64(0))
            np.add.at(self.total[:, i], its, np.add.reduceat(taken, begins)[asked])

    def _inside(
        self, table: pyarrow.Table, runs: Runs, of: Integers, some: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Of each row whether it counts: all of a run do, but those of `some`, of which the homes that are in
        their window's set."""
        ids = _Numbered.of(table["stream"]), _Numbered.of(table["grant"])
        inside = np.ones(len(table), dtype=np.bool_)
        for one in np.unique(of[some]):
            rows = np.repeat(some & (of == one), runs.rows)
            inside[rows] = self._looked_up(one, rows, ids)
        return inside

    def _looked_up(
        self, one: int, rows: NDArray[np.bool_], ids: tuple[_Numbered, _Numbered]
    ) -> NDArray[np.bool_]:
        """Of each of these rows, whether its home is in a set."""
        streams, grants = ids
        of_stream = dict(np.frombuffer(self._sets[one], dtype=ID).reshape(-1, 2).tolist())
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
        data = np.frombuffer(ids.buffers()[-1], dtype=ID, count=len(ids), offset=ids.offset * ID.itemsize)
        return cls(data, array.indices.to_numpy())


class _File(NamedTuple):
    """A file of the centre that is open: its `runs`, and what reads columns by their names."""

    runs: Runs
    read: Callable[[Sequence[str]], pyarrow.Table]


@contextmanager
def reading(path: Path) -> Iterator[_File]:
    """A file of the centre. UsageError where it cannot be read."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path, read_dictionary=IDS) as file:
            metadata = file.metadata.metadata or {}
            runs = Runs.read(metadata.get(METADATA, b""), file.metadata.num_rows)
            yield _File(runs, partial(_read, file))
    except LookupError:  # a column is missing, or its numbers of a dictionary are beyond that
        raise UsageError(
            f"the centre's file {path} cannot be read: its columns are damaged, or another program's"
        ) from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UsageError(f"the centre's file {path} cannot be read: {error}") from None


def _read(file: pq.ParquetFile, names: Sequence[str]) -> pyarrow.Table:
    """Columns of a file. ValueError where it has not these, or of other types."""
    import pyarrow as pa  # noqa: PLC0415

    ids, schema = pa.dictionary(pa.int32(), pa.binary()), file.schema_arrow
    for name in names:
        at, kind = schema.get_field_index(name), ids if name in IDS else pa.int64()
        if at < 0 or schema.field(at).type != kind:
            raise ValueError(f"its column {name} is missing, or of another type")
    table = file.read(columns=list(names), use_threads=False)
    if len(table) != file.metadata.num_rows:
        raise ValueError("its columns have other rows than it says")
    return table
