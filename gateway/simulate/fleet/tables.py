"""A fleet as Parquet, for sizes at which nobody puts objects: what a load monitoring centre has once it has
read them, and what its summing service has.

`blinded/date=2026-11-27/region=r0003/part.parquet`   a row for each home and window: stream (16 bytes),
start_ms (Unix ms), import and export, INT64 with the bits of c - token + the centre's words, a u64
`words/date=.../region=.../part.parquet`   the same of the service's words

Modulo 2^64, the sum of the first over any homes and windows plus that of the second is the truth. As a token
is R + the centre's words + the service's, and c is d + R, the first is d less the second: c itself, and the
centre's words, need not be computed.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.chain.keys import KeyChain
from gateway.chain.seal import U64
from gateway.chain.token import Sealed, masks
from gateway.errors import UsageError
from gateway.simulate.fleet.energy import energy
from gateway.simulate.fleet.objects import k_0_of, stream_of
from gateway.simulate.fleet.plan import LANES, Plan
from gateway.simulate.fleet.truth import Truth, arrow, counted

TABLES = ("blinded", "words")
_FILE = "part.parquet"
_ROWS = 100_000  # in a row group, of so many units at most:
_UNITS = 2**20


def write_day(plan: Plan, region: int, n: int, folder: Path) -> Truth:
    """Write the n-th day of a region, and return the truth about it. UsageError where it cannot be
    written."""
    pa = arrow()
    numbers = plan.region_of(region)
    size = plan.window_ms // plan.unit_ms
    windows = plan.day_units // size
    block = max(1, min(_ROWS // windows, _UNITS // plan.day_units))
    schema = pa.schema(
        [("stream", pa.binary(16)), ("start_ms", pa.int64()), *((lane, pa.int64()) for lane in LANES)]
    )
    found: Truth | None = None
    partition = f"date={plan.first + timedelta(days=n)}/region={plan.region_name(region)}"
    paths = [folder / table / partition / _FILE for table in TABLES]
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            writers = [stack.enter_context(_writer(path, schema)) for path in paths]
            for at in range(0, len(numbers), block):
                some = numbers[at : at + block]
                fates = plan.fates(some)
                mwh = energy(plan, region, some, n).reshape(len(some), len(LANES), windows, size).sum(axis=3)
                truth = Truth.of(plan, n, mwh, fates)
                if found is None:
                    found = truth
                else:
                    found.sums += truth.sums
                    found.homes += truth.homes
                there = counted(plan, n, fates)
                words = _service_words(plan, some, n, np.asarray(there.any(axis=1)))
                blinded = mwh.view(np.uint64) - words
                streams = b"".join(stream_of(plan, number) for number in some.tolist())
                for writer, values in zip(writers, (blinded, words), strict=True):
                    writer.write_table(_rows(plan, n, streams, values.view(np.int64), there, schema))
        for path in paths:
            _aside(path).replace(path)
    except OSError as error:
        raise UsageError(f"the tables in {folder} cannot be written: {error.strerror or error}") from None
    assert found is not None  # a region has a home
    return found


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}")


def _writer(path: Path, schema: Any) -> Any:
    """Ciphertexts do not compress; streams and times repeat."""
    return arrow(".parquet").ParquetWriter(
        _aside(path), schema, compression="none", use_dictionary=["stream", "start_ms"], store_schema=False
    )


def _rows(
    plan: Plan, n: int, streams: bytes, values: NDArray[np.int64], there: NDArray[np.bool_], schema: Any
) -> Any:
    """A table of [home, lane, window], of those [home, window] that are there."""
    pa = arrow()
    starts = plan.day(n) * plan.unit_ms + plan.window_ms * np.arange(there.shape[1], dtype=np.int64)
    ids = np.broadcast_to(np.frombuffer(streams, dtype="V16")[:, None], there.shape)[there]
    columns = [
        pa.Array.from_buffers(pa.binary(16), len(ids), [None, pa.py_buffer(ids.tobytes())]),
        pa.array(np.broadcast_to(starts, there.shape)[there]),
        *(pa.array(values[:, lane][there]) for lane in range(len(LANES))),
    ]
    return pa.table(columns, schema=schema)


def _service_words(plan: Plan, numbers: NDArray[np.int64], n: int, needed: NDArray[np.bool_]) -> U64:
    """The summing service's words of the n-th day, [home, lane, window], of the finest granularity; 0 of
    homes that are not needed."""
    serial = plan.windows_ms.index(plan.window_ms)
    size = plan.window_ms // plan.unit_ms
    count = plan.day_units // size
    first = n * count
    begins, outages = plan.restarts(numbers, n), plan.outage(numbers, n)
    found = np.zeros((len(numbers), len(LANES), count), dtype=np.uint64)
    for i in np.flatnonzero(needed):
        chain = KeyChain(k_0_of(plan, int(numbers[i]), serial, "service"))
        incarnation, (x, y) = int(begins[i]), outages[i].tolist()
        sealed = [Sealed(first, incarnation)]
        if y:
            sealed.append(Sealed(first + x // size, incarnation + 1))
            sealed = sealed[-1:] if x < size else sealed
        found[i] = masks(chain, sealed, first, first + count, len(LANES)).T
    return found
