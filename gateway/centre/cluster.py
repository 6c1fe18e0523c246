"""The same sums by Dask.distributed, where one machine is not enough: numpy over each file, added up modulo
2^64, which gives the same in any order.

The scheduler's workers run this program, and see the centre's folder under the same path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gateway.centre.engine import Chosen, present_schema
from gateway.chain.seal import U64
from gateway.errors import Unavailable, UsageError
from gateway.provider.load import Windows

if TYPE_CHECKING:
    import pyarrow

_PATIENCE_S = 30.0


class Dask:
    """The engine on the workers of a scheduler."""

    def __init__(self, client: Any) -> None:
        """`client` is a `distributed.Client`, whose methods have no types."""
        self._client = client

    def present(self, files: Sequence[Path], windows: Windows) -> pyarrow.Table:
        """See `gateway.centre.engine.Engine`."""
        import pyarrow as pa  # noqa: PLC0415

        parts = self._client.gather(self._client.map(_present, files, windows=windows, pure=False))
        return pa.concat_tables([present_schema().empty_table(), *parts])

    def sums(self, files: Sequence[Path], windows: Windows, chosen: Chosen) -> tuple[U64, list[int]]:
        """See `gateway.centre.engine.Engine`."""
        total = np.zeros((len(windows.times), len(windows.lanes)), dtype=np.uint64)
        counts = np.zeros(len(windows.times), dtype=np.int64)
        (sets,) = self._client.scatter([chosen], broadcast=True)
        for part, count in self._client.gather(
            self._client.map(_sums, files, windows=windows, chosen=sets, pure=False)
        ):
            total += part
            counts += count
        return total, counts.tolist()


@contextmanager
def connected(url: str, patience_s: float = _PATIENCE_S) -> Iterator[Dask]:
    """The engine of the scheduler at `url`. UsageError for an address that is none, Unavailable where nothing
    answers there."""
    import distributed  # noqa: PLC0415 - a second

    make: Any = distributed.Client
    if not url.startswith(("tcp://", "tls://")):
        raise UsageError(f"{url!r} is not a scheduler's address: expected tcp://host:8786")
    try:
        client = make(url, timeout=patience_s, set_as_default=False)
    except (OSError, ValueError):  # TimeoutError is an OSError
        raise Unavailable(f"no Dask scheduler answers at {url}") from None
    try:
        yield Dask(client)
    finally:
        client.close()


def _present(path: Path, windows: Windows) -> pyarrow.Table:
    import pyarrow as pa  # noqa: PLC0415

    table = _read(path, ["stream", "grant", "incarnation"], windows)
    window = _window(table, windows)
    whole = window >= 0
    for lane in windows.lanes:
        whole &= table[lane].is_valid().to_numpy()
    kept = table.filter(pa.array(whole))
    columns = [
        pa.array(window[whole], pa.int32()),
        *(kept[name] for name in ("stream", "grant", "incarnation")),
    ]
    return pa.table(columns, schema=present_schema())


def _sums(path: Path, windows: Windows, chosen: Chosen) -> tuple[U64, NDArray[np.int64]]:
    table = _read(path, ["stream", "grant"], windows)
    window = _window(table, windows)
    of = np.array([-1 if one is None else one for one in chosen.of])
    number = np.where(window >= 0, of[window], -1)
    keys = _keys(table["stream"].to_pylist(), table["grant"].to_pylist())
    inside = np.zeros(len(table), dtype=np.bool_)
    for at, homes in enumerate(chosen.sets):
        mine = np.flatnonzero(number == at)
        inside[mine] = np.isin(keys[mine], _keys(*map(list, zip(*homes, strict=True)))) if homes else False
    rows = np.flatnonzero(inside)
    total = np.zeros((len(windows.times), len(windows.lanes)), dtype=np.uint64)
    for i, lane in enumerate(windows.lanes):
        parts = table[lane].take(rows).combine_chunks().to_numpy(zero_copy_only=False)
        np.add.at(total[:, i], window[rows], parts.view(np.uint64))
    return total, np.bincount(window[rows], minlength=len(windows.times))


def _read(path: Path, columns: Sequence[str], windows: Windows) -> pyarrow.Table:
    import pyarrow.parquet as pq  # noqa: PLC0415

    return pq.read_table(path, columns=[*columns, "start_ms", "end_ms", *windows.lanes], partitioning=None)


def _window(table: pyarrow.Table, windows: Windows) -> NDArray[np.int64]:
    """Of each row the number of its window, -1 where it is none of them."""
    starts, ends = (np.array(one, dtype=np.int64) for one in zip(*windows.times, strict=True))
    start, end = (table[name].to_numpy() for name in ("start_ms", "end_ms"))
    at = np.searchsorted(starts, start, side="right") - 1
    found: NDArray[np.int64] = np.where((at >= 0) & (starts[at] == start) & (ends[at] == end), at, -1)
    return found


def _keys(streams: Sequence[bytes], grants: Sequence[bytes]) -> NDArray[np.bytes_]:
    """Each home as 32 bytes; all of one length, so that the NULs at an end, which numpy drops, do not
    matter."""
    return np.array([stream + grant for stream, grant in zip(streams, grants, strict=True)], dtype="S32")
