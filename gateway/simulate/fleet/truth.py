"""The truth about a fleet: what the homes of each region used in each window, to compare a load with.

A Parquet table of region, start_ms (Unix ms), broken, homes, import and export (mWh). Rows that are not
broken are the sums over the homes whose chain holds, each up to where its stream ends; rows that are broken
are those over the others, each up to where its chain breaks. What verification leaves is the sum of both, or
the first alone where a broken home is left out altogether.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.errors import UsageError
from gateway.host.files import write_durably
from gateway.simulate.fleet.plan import LANES, Fates, Plan

_KEYS = ("region", "start_ms", "broken")


def arrow(module: str = "") -> Any:
    """pyarrow, or a module of it; UsageError where it is not installed."""
    try:
        return importlib.import_module(f"pyarrow{module}")
    except ImportError:
        raise UsageError("a fleet's tables need pyarrow: run ./provisioning/venv.sh provider") from None


@dataclass(slots=True)
class Truth:
    """The sums over some homes of one region, in windows that begin with number `first` (since 1970): arrays
    [whole or broken, lane, window], and how many homes they are of, [whole or broken, window]."""

    first: int
    sums: NDArray[np.int64]
    homes: NDArray[np.int64]

    @classmethod
    def of(cls, plan: Plan, n: int, mwh: NDArray[np.int64], fates: Fates) -> Truth:
        """The truth of the n-th day, from mWh [home, lane, window]."""
        there = counted(plan, n, fates)
        sums, homes = [], []
        for broken in (False, True):
            chosen = there & (fates.broken == broken)[:, None]
            sums.append(np.where(chosen[:, None, :], mwh, 0).sum(axis=0))
            homes.append(chosen.sum(axis=0))
        size = plan.window_ms // plan.unit_ms
        return cls(plan.day(n) // size, np.stack(sums), np.stack(homes))


def counted(plan: Plan, n: int, fates: Fates) -> NDArray[np.bool_]:
    """[home, window]: whether the windows of the n-th day are there and count."""
    size = plan.window_ms // plan.unit_ms
    ends = plan.day(n) + size * np.arange(1, plan.day_units // size + 1, dtype=np.int64)
    return np.asarray(ends <= fates.until[:, None])


def table(plan: Plan, region: int, truths: Iterable[Truth]) -> Any:
    """The Arrow table of some days of a region."""
    pa = arrow()
    parts = []
    for truth in truths:
        count = truth.homes.shape[1]
        starts = (truth.first + np.arange(count)) * plan.window_ms
        for i, broken in enumerate((False, True)):
            found = truth.homes[i] > 0
            some = int(found.sum())
            columns = {
                "region": pa.array([plan.region_name(region)] * some, pa.string()),
                "start_ms": starts[found],
                "broken": np.full(some, broken),
                "homes": truth.homes[i][found],
                **{lane: truth.sums[i, k][found] for k, lane in enumerate(LANES)},
            }
            parts.append(pa.table(columns))
    return pa.concat_tables(parts)


def together(tables: Iterable[Any]) -> Any:
    """The sums over tables of truth, in the order of region and time."""
    whole = arrow().concat_tables(tables)
    sums = whole.group_by(list(_KEYS)).aggregate([(name, "sum") for name in ("homes", *LANES)])
    renamed = sums.rename_columns([name.removesuffix("_sum") for name in sums.column_names])
    return renamed.select([*_KEYS, "homes", *LANES]).sort_by([(key, "ascending") for key in _KEYS])


def write(path: Path, rows: Any) -> None:
    """Write an Arrow table as Parquet, whole or not at all. UsageError where it cannot be written."""
    sink = arrow().BufferOutputStream()
    arrow(".parquet").write_table(rows, sink)
    try:
        write_durably(path, sink.getvalue().to_pybytes(), 0o644)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
