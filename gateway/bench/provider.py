"""The provider's side: a year of quarter hours of one home, read from a local S3 server, verified and opened,
beside DuckDB's query of the same year in plaintext Parquet on the same server.

Both sides take turns, so that a machine that is busy is so for both. DuckDB reads S3 by its extension httpfs;
without its cache of files it fetches what it reads each time, as a first read here does.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gateway.bench.figure import Figure
from gateway.bench.server import server
from gateway.bench.year import NAMES, QUARTER, START, Year, put_year
from gateway.errors import Unavailable
from gateway.provider.identity import open_identity
from gateway.provider.query import Query
from gateway.provider.sums import Rows, Sums
from gateway.store.bucket import Bucket
from gateway.store.kept import KeptBucket
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.stream.reader import StreamReader
from gateway.wire import names

if TYPE_CHECKING:
    import duckdb

_PARQUET = "year.parquet"
_REPEAT = 21
_CSV = """COPY (SELECT strftime(start, '%Y-%m-%dT%H:%M:%SZ') AS "from", strftime("end", '%Y-%m-%dT%H:%M:%SZ')
AS until, import * 0.000001::DECIMAL(18, 6) AS "import kWh", export * 0.000001::DECIMAL(18, 6) AS "export kWh"
FROM '{parquet}') TO '{csv}' (HEADER)"""


def figures() -> Iterator[Figure]:
    """All figures, which take half a minute together."""
    with tempfile.TemporaryDirectory() as folder:
        yield from asyncio.run(_all(Path(folder)))


async def _all(folder: Path) -> list[Figure]:
    async with server() as location:
        bucket = open_bucket(location)
        try:
            year = await put_year(bucket, folder / "provider")
            rival = Rival.connect(location)
            await bucket.put(_PARQUET, rival.parquet(year, folder / _PARQUET))
            return [*await _warm(bucket, year, rival, folder), *_processes(location, year, rival, folder)]
        finally:
            await bucket.aclose()


@dataclass(frozen=True, slots=True)
class Rival:
    """DuckDB, connected to the server; `setup` is the SQL by which any DuckDB is, `url` the bucket's."""

    connection: duckdb.DuckDBPyConnection
    setup: str
    url: str

    @classmethod
    def connect(cls, location: Location) -> Rival:
        try:
            import duckdb  # noqa: PLC0415 - a rival's library: measured, never shipped
            import duckdb_extension_httpfs  # noqa: PLC0415
        except ImportError:
            raise Unavailable(
                "the rival DuckDB is not installed: run uv sync --group test, or pip install duckdb==1.5.5"
                " duckdb-cli==1.5.5 duckdb-extension-httpfs==1.5.5"
            ) from None
        [extension] = Path(duckdb_extension_httpfs.__path__[0]).rglob("*.duckdb_extension")
        assert location.endpoint is not None
        setup = (
            f"LOAD '{extension}'; CREATE SECRET (TYPE s3, KEY_ID '{location.access_key}', SECRET"
            f" '{location.secret_key}', REGION '{location.region}', URL_STYLE 'path', USE_SSL false, ENDPOINT"
            f" '{location.endpoint.removeprefix('http://')}');"
        )
        connection = duckdb.connect()
        connection.execute(setup)
        return cls(connection, setup, location.url)

    def parquet(self, year: Year, path: Path) -> bytes:
        """The year in plaintext: start and end of each quarter hour, and the mWh of each lane."""
        starts = START + QUARTER * np.arange(year.d.shape[1], dtype=np.int64)
        columns = [starts.tolist(), (starts + QUARTER).tolist(), *year.d.tolist()]
        self.connection.execute(
            "CREATE TABLE year AS SELECT make_timestamp(a * 1000000) AS start,"
            ' make_timestamp(b * 1000000) AS "end", import, export FROM (SELECT unnest($1::BIGINT[]) AS a,'
            " unnest($2::BIGINT[]) AS b, unnest($3::BIGINT[]) AS import, unnest($4::BIGINT[]) AS export)",
            columns,
        )
        self.connection.execute(f"COPY year TO '{path}' (FORMAT parquet)")
        return path.read_bytes()

    def table(self, name: str = _PARQUET) -> dict[str, NDArray[Any]]:
        """The rows of the file `name`, or of all whose names fit, as numpy's columns."""
        return self.connection.execute(f"FROM '{self.url}/{name}'").fetchnumpy()

    def csv(self, path: Path) -> str:
        """The SQL that writes the year as `gateway provider read --csv` does."""
        return self.setup + _CSV.format(parquet=f"{self.url}/{_PARQUET}", csv=path)


async def _warm(bucket: Bucket, year: Year, rival: Rival, folder: Path) -> list[Figure]:
    """A year to a table in a process that has read it before: from the store, and from what was kept."""
    identity = open_identity(year.folder)

    async def read(source: Bucket) -> Rows:
        reader = await StreamReader.open(source, year.stream, year.signer)
        await reader.refresh(time.time_ns() // 1_000_000, 86_400_000)
        sums = await Sums.ask(reader, identity, Query())
        [rows] = [block async for block in sums.blocks()]
        return rows

    kept = KeptBucket(bucket, folder / "kept", names.lasts)
    opened = await read(kept)
    if not all(np.array_equal(opened.sums[lane], year.d[i]) for i, lane in enumerate(NAMES)):
        raise AssertionError("the year did not open to what was sealed")
    found = []
    for name, source, cache in (("year_provider", bucket, "false"), ("year_again", kept, "true")):
        rival.connection.execute(f"SET enable_external_file_cache = {cache}")
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(_REPEAT + 1):
            begin = time.perf_counter()
            await read(source)
            times[0].append(time.perf_counter() - begin)
            begin = time.perf_counter()
            await asyncio.to_thread(rival.table)
            times[1].append(time.perf_counter() - begin)
        ours, theirs = (statistics.median(one[1:]) * 1e3 for one in times)
        against = "DuckDB on plaintext Parquet" + (", from its cache" if cache == "true" else "")
        found.append(Figure(name, ours, theirs, "ms", against, "at most 6" if source is bucket else "none"))
    return found


def _processes(location: Location, year: Year, rival: Rival, folder: Path) -> Iterator[Figure]:
    """Whole processes that write the year as CSV: the first read, and one after it."""
    here = Path(sys.executable).parent
    assert location.endpoint is not None
    assert location.region is not None
    ours = [str(here / "gateway"), "provider", "read", "--csv", "--key", str(year.folder)]
    ours += ["--store", location.url, "--endpoint", location.endpoint, "--region", location.region]
    ours += ["--stream", year.stream.hex(), "--signer", year.signer.hex()]
    out, expected, cache = folder / "ours.csv", folder / "duckdb.csv", folder / "cache"
    sql = rival.csv(expected)
    python = [sys.executable, "-c", f"import duckdb; duckdb.execute({sql!r})"]
    command = [str(here / "duckdb"), "-c", sql]
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "AWS_ACCESS_KEY_ID": str(location.access_key),
        "AWS_SECRET_ACCESS_KEY": str(location.secret_key),
        "XDG_CACHE_HOME": str(cache),
    }

    def run(arguments: list[str]) -> Callable[[], None]:
        def once() -> None:
            with out.open("wb") as file:
                subprocess.run(arguments, env=environment, stdout=file, stderr=subprocess.DEVNULL, check=True)

        return once

    def first() -> None:
        shutil.rmtree(cache, ignore_errors=True)

    for name, before in (("year_csv", first), ("year_csv_again", lambda: None)):
        times: dict[str, list[float]] = {}
        for _ in range(_REPEAT // 2 + 1):
            for who, work in (("ours", run(ours)), ("Python", run(python)), ("program", run(command))):
                before()
                begin = time.perf_counter()
                work()
                times.setdefault(who, []).append(time.perf_counter() - begin)
                if who == "ours":
                    said = out.read_bytes()
        if said != expected.read_bytes():
            raise AssertionError("the two CSV files differ")
        medians = {who: statistics.median(one[1:]) * 1e3 for who, one in times.items()}
        for who, against in (("Python", "DuckDB in Python"), ("program", "the program duckdb")):
            ending = "" if who == "Python" else "_program"
            yield Figure(name + ending, medians["ours"], medians[who], "ms", against, "at most 3")
