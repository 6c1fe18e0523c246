"""The same by Dask.distributed, where one machine is not enough: each worker adds up some of the files modulo
2^64, which gives the same in any order.

The scheduler's workers run this program, and see the centre's folder under the same path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gateway.centre.adding import Sums, reading
from gateway.centre.engine import Chosen, present_schema
from gateway.centre.runs import IDS
from gateway.chain.seal import U64
from gateway.errors import Unavailable, UsageError
from gateway.provider.load import Windows

if TYPE_CHECKING:
    import pyarrow

_PATIENCE_S = 30.0
_TASKS = 4


class Dask:
    """The engine on the workers of a scheduler."""

    def __init__(
        self,
        client: Any,
        patience_s: float = _PATIENCE_S,
        notify: Callable[[str], object] = lambda text: None,
    ) -> None:
        """`client` is a `distributed.Client`, whose methods have no types."""
        self._client = client
        self._patience_s = patience_s
        self._notify = notify

    def present(self, files: Sequence[Path], windows: Windows) -> pyarrow.Table:
        """See `gateway.centre.engine.Engine`."""
        import pyarrow as pa  # noqa: PLC0415

        self._wait_for_workers()
        parts = self._client.gather(self._client.map(_present, files, windows=windows, pure=False))
        return pa.concat_tables([present_schema().empty_table(), *parts])

    def sums(self, files: Sequence[Path], windows: Windows, chosen: Chosen) -> tuple[U64, list[int]]:
        """See `gateway.centre.engine.Engine`."""
        self._wait_for_workers()
        found = Sums(windows, chosen.sets, chosen.of)
        # Under a key of its own: what is scattered under its digest is lost where an equal one is released.
        (asked,) = self._client.scatter([found], broadcast=True, hash=False)
        tasks = self._client.map(_sums, self._tasks(files), asked=asked, pure=False)
        for at, total, counts in self._client.gather(tasks):
            found.total[at] += total
            found.counts[at] += counts
        return found.total, found.counts.tolist()

    def _wait_for_workers(self) -> None:
        """Unavailable where the scheduler has no worker for so long: tasks would wait for one for ever."""
        if self._client.ncores():
            return
        url = self._client.scheduler.address
        what, start = f"the Dask scheduler at {url} has no worker", f"dask worker {url}"
        self._notify(f"{what}: waiting for one for {self._patience_s:g} s ({start})")
        try:
            self._client.wait_for_workers(1, timeout=self._patience_s)
        except TimeoutError:
            raise Unavailable(f"{what}: start some where this program is installed ({start})") from None

    def _tasks(self, files: Sequence[Path]) -> list[Sequence[Path]]:
        """The files in tasks, a few for each of the workers' threads: a file takes milliseconds, as a task
        itself does."""
        count = _TASKS * sum(self._client.ncores().values())
        size = max(1, -(-len(files) // max(1, count)))
        return [files[at : at + size] for at in range(0, len(files), size)]


@contextmanager
def connected(
    url: str, patience_s: float = _PATIENCE_S, notify: Callable[[str], object] = lambda text: None
) -> Iterator[Dask]:
    """The engine of the scheduler at `url`. UsageError for an address that is none, Unavailable where nothing
    answers there. While the scheduler has no worker, the engine says so by `notify` and waits for one, for
    `patience_s`."""
    import distributed  # noqa: PLC0415 - a second

    make: Any = distributed.Client
    if not url.startswith(("tcp://", "tls://")):
        raise UsageError(f"{url!r} is not a scheduler's address: expected tcp://host:8786")
    try:
        client = make(url, timeout=patience_s, set_as_default=False)
    except (OSError, ValueError):  # TimeoutError is an OSError
        raise Unavailable(f"no Dask scheduler answers at {url}") from None
    try:
        yield Dask(client, patience_s, notify)
    finally:
        client.close()


def _present(path: Path, windows: Windows) -> pyarrow.Table:
    import pyarrow as pa  # noqa: PLC0415

    with reading(path) as file:
        table = file.read([*IDS, "incarnation", *windows.lanes])
    of_runs = file.runs.windows(np.array(windows.times, dtype=np.int64))
    window = np.repeat(of_runs, file.runs.rows)
    whole = window >= 0
    for lane in windows.lanes:
        whole &= table[lane].is_valid().to_numpy()
    kept = table.select(present_schema().names[1:]).filter(pa.array(whole))
    return kept.add_column(0, "window", pa.array(window[whole], pa.int32())).cast(present_schema())


def _sums(files: Sequence[Path], asked: Sums) -> tuple[NDArray[np.int64], U64, NDArray[np.int64]]:
    """The numbers of the windows of which the files have something, and `Sums` of these."""
    found = asked.anew()
    for path in files:
        found.add(path)
    at = np.flatnonzero(found.counts)
    return at, found.total[at], found.counts[at]
