"""The registrar's summing service of loads: asked over HTTP by load monitoring centres, its memory in the
registrar's database, its households those that are registered.

A set counts as many households as accounts: two gateways of one account are one household. The memory never
forgets. A backup that is restored lacks what was summed after it was made: from then on the service answers
for windows that begin after the restoration, and for sums that it remembers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.chain.keys import STREAM_BYTES, be64
from gateway.errors import UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.provider.homes import Listed, read_homes
from gateway.provider.identity import Identity, open_identity
from gateway.provider.load import Answer, Member, Windows, of_each
from gateway.registrar.database import Database
from gateway.registrar.summing import (
    Run,
    Summed,
    SummingService,
    check_disjoint,
    check_sealed,
    check_whole,
    joined,
    merged,
)
from gateway.registrar.tables import (
    certificates,
    holders,
    load_memory,
    load_runs,
    load_sets,
    load_times,
)
from gateway.store.bucket import Bucket
from gateway.stream.reader import ANY_AGE_MS, StreamReader
from gateway.stream.seen import Seen

_MANY = 500  # values in one statement


class LoadMemory:
    """The memory of the summing service, in the database: see `gateway.registrar.summing.Memory`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self) -> None:
        """Begin the memory of a service that has answered nothing yet; UsageError where it was begun."""
        async with self._database.writing() as connection:
            if (await connection.execute(select(load_memory))).first() is not None:
                raise UsageError("the memory of the summing service was begun already: it is begun once")
            await connection.execute(insert(load_memory).values(id=1, from_ms=0))

    async def claim(self, summed: Sequence[Summed], sealed: Mapping[str, Sequence[Run]]) -> None:
        """See `Memory`."""
        added = joined(summed)
        async with self._database.writing() as connection:
            row = (await connection.execute(select(load_memory))).first()
            if row is None:
                raise UsageError(
                    "the summing service has no memory yet, so nobody knows what was summed: begin it once,"
                    " if it never gave a sum away (gateway registrar loads begin)"
                )
            for new in added:
                known = await _meeting(connection, new)
                check_disjoint([one for _, one in known], new)
                check_whole(row.from_ms, [one for _, one in known], new)
            for home, runs in sealed.items():
                await _remember_runs(connection, home, runs, row.from_ms)
            for new in added:
                await _remember(connection, new)


class LoadService:
    """Answers load monitoring centres. `folder` is the service's own, of `gateway provider new`: households
    grant its half of a load to the card in it."""

    def __init__(self, database: Database, bucket: Bucket, folder: Path, k_min: int, clock: Clock) -> None:
        """UsageError where the folder has no key."""
        self._database = database
        self._bucket = bucket
        self._folder = folder
        self._identity: Identity = open_identity(folder)
        self._k_min = k_min
        self._clock = clock
        self._memory = LoadMemory(database)

    async def sum(self, centre: bytes, homes: str, windows: Windows) -> Answer:
        """The sums for a set: `homes` is the centre's list, as CSV, and `centre` its kid.

        The errors are those of `SummingService.add`; NotGranted, too, where a grant of the list is another
        centre's, and where a gateway has no valid certificate.
        """
        listed = read_homes(homes, "the list of homes")
        now_ms = unix_ms(self._clock)

        async def member(home: Listed) -> Member:
            seen = Seen(self._folder, home.stream)
            reader = await StreamReader.open(self._bucket, home.stream, home.signer, seen)
            # a home that is silent now is in the sums of windows that it has sealed
            await reader.refresh(now_ms, ANY_AGE_MS)
            return Member(reader, home.grant)

        found = await of_each(listed, lambda home: home.stream, member)
        households = await self._households({home.signer for home in listed})
        service = SummingService(self._memory, self._identity, self._k_min, households, centre)
        return await service.add(found, windows)

    async def _households(self, gateways: set[bytes]) -> dict[bytes, int]:
        """The account of each gateway that has a valid certificate."""
        now_ms = unix_ms(self._clock)
        found: dict[bytes, int] = {}
        async with self._database.reading() as connection:
            wanted = list(gateways)
            for at in range(0, len(wanted), _MANY):
                query = (
                    select(
                        holders.c.kid,
                        holders.c.account_id,
                        certificates.c.revoked_ms,
                        certificates.c.valid_until_ms,
                    )
                    .join(certificates, certificates.c.kid == holders.c.kid)
                    .where(holders.c.kid.in_(wanted[at : at + _MANY]), holders.c.role == "gateway")
                    .order_by(certificates.c.serial)
                )
                for row in await connection.execute(query):  # of several the latest counts
                    found.pop(row.kid, None)
                    if row.revoked_ms is None and row.valid_until_ms > now_ms:
                        found[row.kid] = row.account_id
        return found


def mark_restored(connection: Connection, now_ms: int) -> None:
    """Say that the database was restored at `now_ms` (Unix ms): what was summed before may be missing, also
    where the copy was made before the memory was begun, which is not to be begun anew."""
    if not connection.execute(update(load_memory).values(from_ms=now_ms)).rowcount:
        connection.execute(insert(load_memory).values(id=1, from_ms=now_ms))


async def _meeting(connection: AsyncConnection, new: Summed) -> list[tuple[int, Summed]]:
    """What was summed at times that meet those of `new`, each with its set's number."""
    query = (
        select(load_sets.c.id, load_sets.c.homes, load_times.c.start_ms, load_times.c.end_ms)
        .join(load_times, load_times.c.set_id == load_sets.c.id)
        .where(load_times.c.start_ms <= new.end_ms, load_times.c.end_ms >= new.start_ms)
    )
    rows = (await connection.execute(query)).all()
    return [(row.id, Summed(row.start_ms, row.end_ms, _homes(row.homes))) for row in rows]


async def _remember(connection: AsyncConnection, new: Summed) -> None:
    """Write a set with its times, joined with those of the same set that they touch."""
    packed = b"".join(sorted(map(bytes.fromhex, new.homes)))
    digest = hashlib.sha256(packed).digest()
    found = (await connection.execute(select(load_sets.c.id).where(load_sets.c.digest == digest))).scalar()
    if found is None:
        await connection.execute(insert(load_sets).values(digest=digest, homes=packed))
        found = (
            await connection.execute(select(load_sets.c.id).where(load_sets.c.digest == digest))
        ).scalar_one()
    touching = [one for number, one in await _meeting(connection, new) if number == found]
    for one in touching:
        mine = (load_times.c.set_id == found) & (load_times.c.start_ms == one.start_ms)
        await connection.execute(delete(load_times).where(mine))
    (whole,) = joined([*touching, new])
    await connection.execute(
        insert(load_times).values(set_id=found, start_ms=whole.start_ms, end_ms=whole.end_ms)
    )


async def _remember_runs(connection: AsyncConnection, home: str, new: Sequence[Run], from_ms: int) -> None:
    """Write the incarnations of a home; NotGranted where one comes back after another has sealed, and for
    one of before `from_ms` that is not known."""
    stream = bytes.fromhex(home)
    rows = await connection.execute(select(load_runs).where(load_runs.c.stream == stream))
    known = [Run(int.from_bytes(row.incarnation, "big"), row.first_ms, row.last_ms) for row in rows]
    check_sealed(from_ms, home, known, new)
    runs = merged(home, [*known, *new])
    if runs == known:
        return
    await connection.execute(delete(load_runs).where(load_runs.c.stream == stream))
    await connection.execute(
        insert(load_runs),
        [
            {
                "stream": stream,
                "incarnation": be64(run.incarnation),
                "first_ms": run.first_ms,
                "last_ms": run.last_ms,
            }
            for run in runs
        ],
    )


def _homes(packed: bytes) -> frozenset[str]:
    return frozenset(packed[at : at + STREAM_BYTES].hex() for at in range(0, len(packed), STREAM_BYTES))
