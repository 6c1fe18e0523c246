"""The indexer: reads what lies in the store of each registered stream, and writes it into the catalogue.

It needs no key and opens nothing: descriptors, heads, grants and revocations are signed and in clear. What it
reads is checked against the stream's registered signing key, so a store cannot make up a grant. A stream that
cannot be read, or holds what does not belong there, keeps what the catalogue knew, with a sentence why; it
holds up no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select, update

from gateway.chain.grant import Grant
from gateway.errors import GatewayError, Unavailable
from gateway.host.clock import Clock, unix_ms
from gateway.host.fault_log import FaultLog
from gateway.registrar.database import Database
from gateway.registrar.streams import registered_descriptor
from gateway.registrar.tables import SENTENCE_LENGTH, coverage, grants, requests, streams
from gateway.store.bucket import Bucket
from gateway.stream.fetch import get
from gateway.stream.grants import grants as grants_of
from gateway.stream.grants import revoked_from
from gateway.stream.reader import StreamReader
from gateway.wire import names
from gateway.wire.cose import kid_of
from gateway.wire.stream import Descriptor

_log = logging.getLogger(__name__)

AGE_MS = 900_000
"""How old what the catalogue says of a stream may be, as far as the store answers."""
_ROUND_S = 30.0
_AT_ONCE = 8
_A_ROUND = 1000
_NEW_MS = 600_000
_MOST_NEW = 16


@dataclass(frozen=True, slots=True)
class _Found:
    """What the store has of a stream."""

    sealed_until_ms: int | None
    grants: tuple[tuple[Grant, int | None], ...]
    """Each with the unit of its revocation, if it was revoked."""


class Indexer:
    """Keeps the catalogue as the store is. `bucket` is read with the registrar's own rights."""

    def __init__(self, database: Database, bucket: Bucket, clock: Clock) -> None:
        self._database = database
        self._bucket = bucket
        self._clock = clock

    async def run(self) -> None:
        """Look at all streams again and again, for ever, at those first that were longest not looked at."""
        faults = FaultLog(self._clock, _log.warning, _log.info)
        while True:
            try:
                while await self._round():
                    pass
                faults.clear("the store and the database answer again")
            except Unavailable as error:
                faults.report(str(error))
            await self._clock.sleep(_ROUND_S)

    async def look(self, chosen: Collection[bytes]) -> None:
        """Look at these streams now. Unavailable where the store or the database does not answer."""
        query = select(streams.c.stream, streams.c.descriptor).where(streams.c.stream.in_(list(chosen)))
        await self._look_at(query)

    async def check_own(self, chosen: Collection[bytes], signer: bytes) -> None:
        """Refused where the store has one of these streams under another signer than this kid's: it
        was somebody else's before it was registered here."""
        for stream in chosen:
            key = names.descriptor(stream)
            if (data := await get(self._bucket, key)) is not None:
                Descriptor.read_pinned(key, data, signer)

    async def look_at_new(self, provider: bytes) -> None:
        """Look now at the streams on which a request of this provider was granted some minutes ago: the grant
        may have come to the store since they were looked at."""
        since = unix_ms(self._clock) - _NEW_MS
        query = (
            select(streams.c.stream, streams.c.descriptor)
            .join(requests, requests.c.stream == streams.c.stream)
            .where(requests.c.provider == provider, requests.c.state == "granted")
            .where(requests.c.decided_ms > since)
            .order_by(requests.c.decided_ms.desc())
            .limit(_MOST_NEW)
        )
        await self._look_at(query)

    async def _round(self) -> bool:
        """Look at streams that are due; whether there may be more of them."""
        due = coverage.c.looked_ms.is_(None) | (coverage.c.looked_ms < unix_ms(self._clock) - AGE_MS)
        query = (
            select(streams.c.stream, streams.c.descriptor)
            .outerjoin(coverage, coverage.c.stream == streams.c.stream)
            .where(due)
            .order_by(coverage.c.looked_ms)
            .limit(_A_ROUND)
        )
        return await self._look_at(query) == _A_ROUND

    async def _look_at(self, query: Any) -> int:
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(stream: bytes, signed: bytes) -> None:
            async with turns:
                await self._index(stream, signed)

        try:
            async with asyncio.TaskGroup() as tasks:
                for row in rows:
                    tasks.create_task(one(row.stream, row.descriptor))
        except ExceptionGroup as failed:  # all for the same reason
            raise failed.exceptions[0] from None
        return len(rows)

    async def _index(self, stream: bytes, signed: bytes) -> None:
        descriptor = registered_descriptor(signed, stream)
        fault, found = None, None
        try:
            found = await self._read(descriptor)
        except Unavailable:
            raise
        except GatewayError as error:  # Refused, or nothing there yet
            fault = str(error)[:SENTENCE_LENGTH]
        await self._write(descriptor, found, fault)

    async def _read(self, descriptor: Descriptor) -> _Found:
        reader = await StreamReader.open(self._bucket, descriptor.stream, kid_of(descriptor.signing_key))
        head = await reader.read_head()
        held = []
        async with aclosing(grants_of(reader)) as every:
            async for _, _, grant in every:
                held.append((grant, await revoked_from(reader, grant.id, head)))
        unit_ms = descriptor.layout.unit_ms
        return _Found(None if head is None else head.next_unit * unit_ms, tuple(held))

    async def _write(self, descriptor: Descriptor, found: _Found | None, fault: str | None) -> None:
        unit_ms, stream = descriptor.layout.unit_ms, descriptor.stream
        row: dict[str, Any] = {
            "unit_ms": unit_ms,
            "lanes": f",{','.join(lane.name for lane in descriptor.lanes)},",
            "start_ms": descriptor.start * unit_ms,
            "looked_ms": unix_ms(self._clock),
            "fault": fault,
        }
        if found is not None:
            row["sealed_until_ms"] = found.sealed_until_ms
        async with self._database.writing() as connection:
            here = select(streams.c.stream).where(streams.c.stream == stream)
            if (await connection.execute(here)).first() is None:  # its account was removed meanwhile
                return
            same = coverage.c.stream == stream
            done = await connection.execute(update(coverage).where(same).values(**row))
            if not done.rowcount:
                await connection.execute(insert(coverage).values(stream=stream, **row))
            if found is None:
                return
            await connection.execute(delete(grants).where(grants.c.stream == stream))
            if found.grants:
                rows = [_row(grant, revoked, unit_ms) for grant, revoked in found.grants]
                await connection.execute(insert(grants), rows)


def _row(grant: Grant, revoked: int | None, unit_ms: int) -> dict[str, Any]:
    return {
        "stream": grant.stream,
        "id": grant.id,
        "provider": grant.provider,
        "kind": grant.kind,
        "lanes": ",".join(grant.lanes),
        "granularity": str(grant.granularity),
        "zone": grant.granularity.zone,
        "purpose": grant.purpose,
        "from_ms": grant.first * unit_ms,
        "until_ms": None if grant.until is None else grant.until * unit_ms,
        "revoked_from_ms": None if revoked is None else revoked * unit_ms,
    }
