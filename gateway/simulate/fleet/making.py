"""The making of a fleet, by several processes, job by job.

A job is a few homes of a region over all days, or a region's day in Parquet. Its result is kept in a file
once all that it made is in place, so the same call goes on where it was interrupted; a job that was cut makes
the same again. In the end the folder has

- `fleet.json`      what fleet it is
- `homes.parquet`   the homes: number, region, stream, trouble (see `plan.TROUBLES`) and until_ms, from when
  on nothing is there, or counts; of objects also signer, and the load monitoring centre's grants
- `homes.csv`   all homes and granularities as a list for `gateway centre`, stream,signer,grant,region
- `homes-15min.csv`   of each granularity, all homes as a list for `gateway provider load`, without regions
- `truth.parquet`   see `gateway.simulate.fleet.truth`; it is written last
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np

from gateway.chain.window import spell_ms
from gateway.errors import UsageError
from gateway.host.files import write_durably
from gateway.simulate.fleet import truth
from gateway.simulate.fleet.block import Block
from gateway.simulate.fleet.objects import HomeObjects, Object, Parties, stream_of
from gateway.simulate.fleet.plan import TROUBLES, Plan
from gateway.simulate.fleet.tables import write_day
from gateway.simulate.fleet.truth import arrow
from gateway.store.bucket import Bucket
from gateway.store.location import Location
from gateway.store.s3_many import open_for_many

_BLOCK = 32  # homes in a job, of so many units a day at most:
_UNITS = 2**20
_AT_ONCE = 8  # puts of a process
_LIST = "stream,signer,grant"
_FLEET, _HOMES, _TRUTH, _PARTS = "fleet.json", "homes.parquet", "truth.parquet", "parts"

Progress = Callable[[int, int, int], None]
"""Is called with how many homes were made before, how many are made now, and how many there are: each counts
once, in Parquet once for each day."""


@dataclass(frozen=True, slots=True)
class Job:
    """A part of the work, which makes `homes` homes, and the function that does it: it returns the rows of
    homes and of truth, as Arrow tables."""

    name: str
    homes: int
    work: Callable[[], tuple[Any, Any]]


def put_fleet(
    plan: Plan, place: Location, parties: Parties, folder: Path, processes: int, progress: Progress
) -> bool:
    """Put the objects of all homes into the store, and write the lists and the truth into `folder`. False
    where that was done before. UsageError where the folder has another fleet, or cannot be written; the
    store's errors end it, and the next call goes on."""
    block = max(1, min(_BLOCK, _UNITS // plan.day_units))
    jobs = [
        Job(
            f"{plan.region_name(region)}-{at:06d}",
            len(numbers[at : at + block]),
            partial(_put_homes, plan, place, parties, region, slice(at, at + block)),
        )
        for region, numbers in ((region, plan.region_of(region)) for region in range(plan.regions))
        for at in range(0, len(numbers), block)
    ]
    cards = {who: getattr(parties, who).kid.hex() for who in ("centre", "service")}
    where = {"store": place.url, "endpoint": place.endpoint, **cards, "k_min": parties.k_min}
    return _make(plan, where, folder, jobs, processes, progress)


def write_fleet(plan: Plan, folder: Path, processes: int, progress: Progress) -> bool:
    """Write the fleet's Parquet tables, the list of homes and the truth into `folder`; as `put_fleet`."""
    jobs = [
        Job(
            f"{plan.region_name(region)}-day-{n:04d}",
            len(plan.region_of(region)),
            partial(_write_region, plan, folder, region, n),
        )
        for n in range(plan.days)
        for region in range(plan.regions)
    ]
    return _make(plan, {"parquet": True}, folder, jobs, processes, progress)


def begun(folder: Path) -> tuple[date, int | None] | None:
    """The first day of the fleet that was begun in a folder, and its `until_ms`; None where there is none."""
    known = _known(folder)
    return None if known is None else (date.fromisoformat(known["first"]), known.get("until_ms"))


def _known(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / _FLEET).read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not isinstance(found.get("first"), str):
            raise ValueError
        date.fromisoformat(found["first"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise UsageError(f"{folder / _FLEET} is not a fleet's: name a new folder") from None
    return found


def _make(
    plan: Plan, where: dict[str, Any], folder: Path, jobs: Sequence[Job], processes: int, progress: Progress
) -> bool:
    arrow()  # before anything is made
    described = {
        **asdict(plan),
        "first": plan.first.isoformat(),
        "windows_ms": list(plan.windows_ms),
        **where,
    }
    known, parts = _known(folder), folder / _PARTS
    others = sorted(key for key in (known or {}) | described if (known or {}).get(key) != described.get(key))
    if known is not None and others:
        raise UsageError(
            f"{folder} holds another fleet, with other {', '.join(others)}: name a new folder, or use the "
            "same options to continue it"
        )
    if (folder / _TRUTH).exists():
        return False
    try:
        parts.mkdir(parents=True, exist_ok=True)
        write_durably(folder / _FLEET, (json.dumps(described, indent=2) + "\n").encode(), 0o644)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}") from None
    todo = [job for job in jobs if not _part(parts, job, "truth").exists()]
    whole = sum(job.homes for job in jobs)
    before = done = whole - sum(job.homes for job in todo)
    progress(before, done, whole)
    for job in _finished(todo, parts, processes):
        done += job.homes
        progress(before, done, whole)
    _finish(plan, folder, parts, jobs)
    return True


def _finished(jobs: Sequence[Job], parts: Path, processes: int) -> Iterator[Job]:
    """The jobs, as they are done. The first error ends them."""
    waiting = iter(jobs)
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin_worker) as pool:
        running: dict[Future[None], Job] = {}
        try:
            while True:
                for job in islice(waiting, 2 * processes - len(running)):
                    running[pool.submit(_do, job, parts)] = job
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    future.result()
                    yield job
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """Ctrl-C is for the process that started this one: what is begun is finished. If that process dies, this
    one ends too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def end_with_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()


def _do(job: Job, parts: Path) -> None:
    homes, sums = job.work()
    for kind, rows in (("homes", homes), ("truth", sums)):
        truth.write(_part(parts, job, kind), rows)


def _part(parts: Path, job: Job, kind: str) -> Path:
    return parts / f"{job.name}.{kind}.parquet"


def _finish(plan: Plan, folder: Path, parts: Path, jobs: Sequence[Job]) -> None:
    """Put the jobs' results together."""
    pa, pq = arrow(), arrow(".parquet")
    homes = pa.concat_tables(pq.read_table(_part(parts, job, "homes")) for job in jobs).sort_by("number")
    truth.write(folder / _HOMES, homes)
    centre: list[str] = []
    for column in (name for name in homes.column_names if name.startswith("grant_")):
        ids = zip(*(homes[name].to_pylist() for name in ("stream", "signer", column)), strict=True)
        lines = [",".join(one.hex() for one in row) for row in ids]
        _write_list(folder / f"homes-{column.removeprefix('grant_')}.csv", _LIST, lines)
        centre += map(",".join, zip(lines, homes["region"].to_pylist(), strict=True))
    if centre:
        _write_list(folder / "homes.csv", f"{_LIST},region", centre)
    sums = truth.together(pq.read_table(_part(parts, job, "truth")) for job in jobs)
    truth.write(folder / _TRUTH, sums)
    shutil.rmtree(parts, ignore_errors=True)


def _write_list(path: Path, heading: str, lines: Sequence[str]) -> None:
    try:
        write_durably(path, "".join(f"{line}\n" for line in (heading, *lines)).encode(), 0o644)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def _write_region(plan: Plan, folder: Path, region: int, n: int) -> tuple[Any, Any]:
    found = write_day(plan, region, n, folder)
    numbers = plan.region_of(region) if n == 0 else np.array([], dtype=np.int64)
    return _home_rows(plan, region, numbers.tolist()), truth.table(plan, region, [found])


def _put_homes(plan: Plan, place: Location, parties: Parties, region: int, some: slice) -> tuple[Any, Any]:
    return asyncio.run(_put(plan, place, parties, region, some))


async def _put(plan: Plan, place: Location, parties: Parties, region: int, some: slice) -> tuple[Any, Any]:
    block = Block(plan, region, plan.region_of(region)[some], parties)
    bucket = open_for_many(place, _AT_ONCE)
    try:
        for objects in block.stages():
            await _put_all(bucket, objects)
    finally:
        await bucket.aclose()
    rows = _home_rows(plan, region, block.numbers.tolist(), block.homes)
    return rows, truth.table(plan, region, block.truths)


async def _put_all(bucket: Bucket, objects: Iterable[Object]) -> None:
    """Put objects, a few at a time, as they are made."""
    waiting = iter(objects)

    async def some() -> None:
        for key, data in waiting:
            await bucket.put(key, data, replace=True)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(some())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


def _home_rows(plan: Plan, region: int, numbers: Sequence[int], homes: Sequence[HomeObjects] = ()) -> Any:
    """The rows of homes, with signer and grants where there are objects."""
    pa = arrow()
    fates = plan.fates(np.array(numbers, dtype=np.int64))
    columns = {
        "number": pa.array(numbers, pa.int64()),
        "region": pa.array([plan.region_name(region)] * len(numbers), pa.string()),
        "stream": pa.array([stream_of(plan, number) for number in numbers], pa.binary(16)),
        "trouble": pa.array([TROUBLES[one] for one in fates.trouble], pa.string()),
        "until_ms": pa.array(fates.until * plan.unit_ms, pa.int64()),
    }
    if homes:
        columns["signer"] = pa.array([home.signer for home in homes], pa.binary(16))
        for i, ms in enumerate(plan.windows_ms):
            columns[f"grant_{spell_ms(ms)}"] = pa.array([home.grants[i] for home in homes], pa.binary(16))
    return pa.table(columns)
