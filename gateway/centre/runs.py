"""The runs of rows of a file of the centre: each has the rows of one window, in the order of the homes' ids.

The file's metadata names them, and has a digest of each one's homes. So where these are a window's set, its
rows are added up without a look at the columns of ids and times.

Under the key `runs` the metadata of a Parquet file has JSON:

    {"homes": ["SHA-256 of the ids of a run's homes, hexadecimal", ...],
     "runs": [[start_ms, end_ms, number of rows, which of these homes], ...]}
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow

METADATA = b"runs"
IDS = ("stream", "grant")
"""The columns that tell a home."""
ID = np.dtype("V16")
"""A stream's or a grant's id."""
Integers = NDArray[np.int64]
_NONE = -1


def packed(homes: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A set of homes, each by its stream and grant: their ids, 16 bytes each, in order."""
    return b"".join(chain.from_iterable(sorted(homes)))


def digest(homes: bytes) -> str:
    """The digest of a set of homes that is packed."""
    return sha256(homes).hexdigest()


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of rows, one after another: the window of each, `times` [run, 2] in Unix ms; how many rows it has;
    and the digest of its homes."""

    times: Integers
    rows: Integers
    homes: NDArray[np.str_]

    @classmethod
    def of(cls, table: pyarrow.Table) -> Runs:
        """Those of a table in the order of its windows and ids."""
        start, end = (table[name].to_numpy() for name in ("start_ms", "end_ms"))
        changes = np.flatnonzero((start[1:] != start[:-1]) | (end[1:] != end[:-1])) + 1
        begins = np.concatenate([[0], changes])[: len(table)]
        ids = np.stack([_ids(table[name]) for name in IDS], axis=1)
        homes = [digest(some.tobytes()) for some in np.split(ids, changes)[: len(begins)]]
        times = np.stack([start[begins], end[begins]], axis=1)
        return cls(times, np.diff(begins, append=len(table)), np.array(homes, dtype=np.str_))

    @classmethod
    def read(cls, metadata: bytes, rows: int) -> Runs:
        """Those that the metadata of a file of so many rows names. ValueError where these cannot be its."""
        if not metadata:
            raise ValueError("it does not name the runs of its rows")
        try:
            found = json.loads(metadata)
            runs = np.array(found["runs"], dtype=np.int64).reshape(-1, 4)
            homes = np.array(found["homes"], dtype=np.str_)[runs[:, 3]].reshape(len(runs))
        except (LookupError, TypeError, ValueError, OverflowError, RecursionError):
            raise ValueError("what it names as the runs of its rows is damaged") from None
        if (runs[:, 2] < 1).any() or sum(runs[:, 2].tolist()) != rows:
            raise ValueError("it has other rows than the runs that it names")
        return cls(runs[:, :2], runs[:, 2], homes)

    def metadata(self) -> dict[str, str]:
        """What a file's metadata says of them."""
        homes, which = np.unique(self.homes, return_inverse=True)
        runs = np.column_stack([self.times, self.rows, which])
        found = {"homes": homes.tolist(), "runs": runs.tolist()}
        return {METADATA.decode(): json.dumps(found, separators=(",", ":"))}

    def begins(self) -> Integers:
        """The number of each run's first row."""
        return np.cumsum(self.rows) - self.rows

    def windows(self, times: Integers) -> Integers:
        """Of each run the number of its window among those at `times` [window, 2], in order; -1 where it is
        none of them."""
        at = np.searchsorted(times[:, 0], self.times[:, 0], side="right") - 1
        return np.where((at >= 0) & (times[at] == self.times).all(axis=1), at, _NONE)


def _ids(column: pyarrow.ChunkedArray) -> NDArray[np.void]:
    array = column.combine_chunks()
    data: NDArray[np.void] = np.frombuffer(array.buffers()[-1], dtype=ID)
    return data[array.offset : array.offset + len(array)]
