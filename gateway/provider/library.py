"""Reading as a library: a table of one home or many in one line of Python."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from gateway.chain.layout import LANES
from gateway.errors import NotGranted, UsageError
from gateway.host.clock import SystemClock, unix_ms
from gateway.provider.desk import Home, Progress, Source, listed, opened, read_many
from gateway.provider.discovery import Found, find, find_listed, in_store
from gateway.provider.homes import read_desk_homes
from gateway.provider.identity import open_identity
from gateway.provider.query import Query
from gateway.provider.table import Table
from gateway.store.location import Location
from gateway.stream.times import unix_ms as ms_of

DAY = timedelta(days=1)

T = TypeVar("T")
Id = str | bytes
"""A stream's id or a kid: 16 bytes, or 32 hexadecimal digits."""


def read(
    store: str | Location,
    *,
    key: str | Path,
    stream: Id | None = None,
    signer: Id | None = None,
    homes: Sequence[Home] | str | Path | None = None,
    granularity: str | None = None,
    lanes: Sequence[str] | None = None,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    zone: str | None = None,
    max_age: timedelta = DAY,
    progress: Progress | None = None,
) -> Table:
    """The sums that grants to a provider open, of one home, a list, or all that granted it sums.

    `store` is "s3://bucket", a folder, or `Location.parse("s3://meters", endpoint="https://s3.example.org")`
    for an S3 server that is not Amazon's. `key` is the provider's folder. `stream` and `signer` name one
    home; `homes` is a list of `Home`, or the path of a CSV file headed stream,signer or stream,signer,name;
    without any of them the store is looked through, and the homes found are not `verified`: nobody but the
    store vouches for their signers.

    `granularity` ("15min", "1h", "day", "month"; by default the finest granted), `lanes` (some of "import",
    "export", "power", "count", or of a series "temperature", "irradiance", "appliances", "occupancy";
    by default all granted), and the windows that lie wholly between `since` and `until`: aware datetimes, or
    ISO 8601, in this machine's zone where it names none. Days and months are those of the IANA time zone
    `zone`; by default of the grant's, or UTC. A head older than `max_age` is refused.

    >>> from gateway.provider import read
    >>> table = read("meters", key="utility", granularity="15min")
    >>> table.to_polars().columns
    ['stream', 'start', 'end', 'import_mwh', 'export_mwh']
    >>> table.to_pandas(kwh=True)["import_kwh"].sum().round(3)
    np.float64(2.88)
    >>> [str(failure) for failure in table.failures]
    []

    One home that cannot be read raises its error, a GatewayError; of several each has its own in
    `failures`, and the others are read. UsageError for arguments that cannot be right, NotGranted where
    nothing is granted in the whole store, StoreUnavailable and StoreDenied where the bucket cannot be used.
    """
    return run(
        lambda: read_async(
            store,
            key=key,
            stream=stream,
            signer=signer,
            homes=homes,
            granularity=granularity,
            lanes=lanes,
            since=since,
            until=until,
            zone=zone,
            max_age=max_age,
            progress=progress,
        )
    )


async def read_async(
    store: str | Location,
    *,
    key: str | Path,
    stream: Id | None = None,
    signer: Id | None = None,
    homes: Sequence[Home] | str | Path | None = None,
    granularity: str | None = None,
    lanes: Sequence[str] | None = None,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    zone: str | None = None,
    max_age: timedelta = DAY,
    progress: Progress | None = None,
) -> Table:
    """`read`, for a program that runs an event loop.

    >>> import asyncio
    >>> from gateway.provider import read_async
    >>> len(asyncio.run(read_async("meters", key="utility", until="2026-03-01T06:00Z")))
    48
    """
    single = stream is not None or signer is not None
    source = _source(stream, signer, homes)
    query = Query(granularity, None if lanes is None else _lanes(lanes), _ms(since), _ms(until), zone=zone)
    identity = open_identity(Path(key))
    async with opened(_location(store)) as bucket:
        chosen = await source(bucket, identity, progress)
        if not chosen.homes and not chosen.failures:
            raise nothing_granted(identity.kid)
        how = {"now_ms": unix_ms(SystemClock("host")), "max_age_ms": max_age // timedelta(milliseconds=1)}
        reading = read_many(bucket, chosen.homes, identity, query, **how, memory=Path(key), progress=progress)
        async with aclosing(reading) as found:
            answers = [one async for one in found]
    if single and answers[0].error is not None:
        raise answers[0].error
    return Table.of_homes(answers, chosen.failures)


def streams(
    store: str | Location,
    *,
    key: str | Path,
    homes: Sequence[Home] | str | Path | None = None,
    progress: Progress | None = None,
) -> Found:
    """The homes that granted a provider something, with their grants: those of `homes`, or all of the store;
    arguments as for `read`.

    >>> from gateway.provider import streams
    >>> found = streams("meters", key="utility")
    >>> [str(one.grant.granularity) for one in found.homes[0].grants]
    ['15min']
    >>> found.homes[0].home.verified
    False
    """
    return run(lambda: streams_async(store, key=key, homes=homes, progress=progress))


async def streams_async(
    store: str | Location,
    *,
    key: str | Path,
    homes: Sequence[Home] | str | Path | None = None,
    progress: Progress | None = None,
) -> Found:
    """`streams`, for a program that runs an event loop."""
    identity = open_identity(Path(key))
    async with opened(_location(store)) as bucket:
        if homes is None:
            return await find(bucket, identity, progress)
        return await find_listed(bucket, _listed(homes), identity, progress)


def nothing_granted(kid: bytes) -> NotGranted:
    """The error where a whole store has no grant to the provider `kid`."""
    return NotGranted(
        f"no stream in the store grants sums to this provider, {kid.hex()}: a household makes a grant for the"
        " provider's card.cose"
    )


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of `work`; where this thread runs an event loop already, as a notebook's does, it is worked
    out on another."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()


def _source(stream: Id | None, signer: Id | None, homes: Sequence[Home] | str | Path | None) -> Source:
    if (stream is None) != (signer is None):
        raise UsageError("a home is named by its stream and its signer: give both, or neither")
    if stream is not None and signer is not None:
        if homes is not None:
            raise UsageError("stream and homes both say what to read: give one of them")
        return listed([Home(_id(stream, "stream"), _id(signer, "signer"))])
    return in_store if homes is None else listed(_listed(homes))


def _listed(homes: Sequence[Home] | str | Path) -> list[Home]:
    if isinstance(homes, str | Path):
        try:
            return read_desk_homes(Path(homes).read_text("utf-8"), str(homes))
        except OSError as error:
            raise UsageError(f"the list of homes {homes} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UsageError(f"the list of homes {homes} is not text in UTF-8: expected CSV") from None
    if len({home.stream for home in homes}) < len(homes):
        raise UsageError("a stream stands twice in the list of homes: name each home once")
    if not homes:
        raise UsageError("the list of homes is empty: name one home at least, or leave it out to read all")
    return list(homes)


def _id(value: Id, what: str) -> bytes:
    try:
        data = bytes.fromhex(value) if isinstance(value, str) else bytes(value)
    except ValueError:
        data = b""
    if len(data) != 16:
        raise UsageError(f"{what} {value!r} is not an id: expected 32 hexadecimal digits, or 16 bytes")
    return data


def _lanes(lanes: Sequence[str]) -> tuple[str, ...]:
    if not lanes or not set(lanes) <= set(LANES):
        raise UsageError(f"lanes {lanes!r}: expected some of {', '.join(LANES)}")
    return tuple(dict.fromkeys(lanes))


def _location(store: str | Location) -> Location:
    return store if isinstance(store, Location) else Location.parse(store)


def _ms(when: datetime | str | None) -> int | None:
    """Unix ms, the full ms at or before `when`."""
    if when is None:
        return None
    try:
        moment = datetime.fromisoformat(when) if isinstance(when, str) else when
        return ms_of(moment.astimezone() if isinstance(when, str) else moment)
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{when!r} is not a time: use 2026-11-22, or 2026-11-22T18:30+01:00") from None
    except TypeError:
        raise UsageError(f"{when!r} has no time zone: use an aware datetime, or ISO 8601 text") from None
