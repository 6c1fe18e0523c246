"""The catalogue: which streams there are, what they hold and since when, and who was granted what; never what
a reading says, and never whose home it is.

A provider finds the streams that are listed and those that granted it something, and of grants its own alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, and_, or_, select, true

from gateway.host.clock import Clock, unix_ms
from gateway.registrar.database import Database
from gateway.registrar.streams import registered_descriptor
from gateway.registrar.tables import certificates, coverage, grants, holders, streams
from gateway.registry.documents import CatalogueGrant, CatalogueProvider, CatalogueStream
from gateway.wire.card import Card
from gateway.wire.certificate import MAX_STREAMS
from gateway.wire.cose import kid_of

MOST = 1000
"""Streams in one answer."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A query of the catalogue. None and "" mean any; `granted` streams that granted the asking provider
    something; `covers_from_ms` and `covers_until_ms` (Unix ms) that the stream is sealed from there, until
    there; `after` is the last stream of the page before."""

    region: str | None = None
    tariff_zone: str | None = None
    lane: str | None = None
    granted: bool = False
    covers_from_ms: int | None = None
    covers_until_ms: int | None = None
    after: bytes = b""
    limit: int = MOST

    def following(self, stream: bytes) -> Wanted:
        """The same query, for the streams after this one."""
        return replace(self, after=stream)


class Catalogue:
    """Answers queries over what the indexer has found."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def streams(self, provider: bytes | None, wanted: Wanted) -> list[CatalogueStream]:
        """The streams that answer the query, in the order of their ids, `limit` of them at most, as the
        provider with this kid may see them; None: the operator, who sees all streams and all grants."""
        mine = true() if provider is None else grants.c.provider == provider
        granted = select(grants.c.stream).where(grants.c.stream == streams.c.stream, mine).exists()
        conditions: list[ColumnElement[bool]] = [streams.c.stream > wanted.after]
        if wanted.granted:
            conditions.append(granted)
        elif provider is not None:
            conditions.append(or_(streams.c.listed.is_(True), granted))
        if wanted.region is not None:
            conditions.append(streams.c.region == wanted.region)
        if wanted.tariff_zone is not None:
            conditions.append(streams.c.tariff_zone == wanted.tariff_zone)
        if wanted.lane is not None:
            conditions.append(coverage.c.lanes.contains(f",{wanted.lane},", autoescape=True))
        if wanted.covers_from_ms is not None:
            conditions.append(coverage.c.start_ms <= wanted.covers_from_ms)
        if wanted.covers_until_ms is not None:
            conditions.append(coverage.c.sealed_until_ms >= wanted.covers_until_ms)
        query = (
            select(streams, coverage.c.sealed_until_ms, holders.c.assurance)
            .join(holders, holders.c.kid == streams.c.kid)
            .outerjoin(coverage, coverage.c.stream == streams.c.stream)
            .where(and_(*conditions))
            .order_by(streams.c.stream)
            .limit(min(wanted.limit, MOST))
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        held = await self._grants([row.stream for row in rows], mine)
        certified = await self._certificates({row.kid for row in rows})
        found = []
        for row in rows:
            descriptor = registered_descriptor(row.descriptor, row.stream)
            layout = descriptor.layout
            found.append(
                CatalogueStream(
                    stream=row.stream.hex(),
                    signer=kid_of(descriptor.signing_key).hex(),
                    assurance=row.assurance,
                    unit_ms=layout.unit_ms,
                    lanes=tuple(lane.name for lane in descriptor.lanes),
                    region=row.region,
                    tariff_zone=row.tariff_zone,
                    start_ms=descriptor.start * layout.unit_ms,
                    sealed_until_ms=row.sealed_until_ms,
                    grants=tuple(held.get(row.stream, ())),
                    certificate=certified.get(row.kid),
                )
            )
        return found

    async def providers(self) -> list[CatalogueProvider]:
        """The providers whose certificate is valid and not revoked, by name."""
        now_ms = unix_ms(self._clock)
        query = (
            select(holders.c.kid, holders.c.card, certificates.c.valid_until_ms)
            .join(certificates, certificates.c.kid == holders.c.kid)
            .where(
                holders.c.role == "provider",
                certificates.c.revoked_ms.is_(None),
                certificates.c.valid_until_ms > now_ms,
            )
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        latest: dict[bytes, CatalogueProvider] = {}
        for row in rows:
            known = latest.get(row.kid)
            if known is None or known.valid_until_ms < row.valid_until_ms:
                name = Card.read_self_signed(row.card, "the registered card").name
                latest[row.kid] = CatalogueProvider(
                    name=name, kid=row.kid.hex(), valid_until_ms=row.valid_until_ms
                )
        return sorted(latest.values(), key=lambda one: (one.name, one.kid))

    async def granted_to(self, provider: bytes, chosen: Collection[bytes]) -> dict[bytes, list[bytes]]:
        """The ids of the grants that a provider holds, revoked ones too, since what they opened stays theirs;
        by stream, of `chosen` or, where that is empty, of all."""
        query = select(grants.c.stream, grants.c.id).where(grants.c.provider == provider)
        if chosen:
            query = query.where(grants.c.stream.in_(list(chosen)[:MAX_STREAMS]))
        held: dict[bytes, list[bytes]] = {}
        async with self._database.reading() as connection:
            for row in await connection.execute(query.order_by(grants.c.stream, grants.c.id)):
                held.setdefault(row.stream, []).append(row.id)
        return held

    async def _certificates(self, kids: Collection[bytes]) -> dict[bytes, bytes]:
        """The present certificates of these keys; none of a key whose latest one was revoked, or has
        expired."""
        query = select(certificates).where(certificates.c.kid.in_(list(kids))).order_by(certificates.c.serial)
        found: dict[bytes, bytes] = {}
        now_ms = unix_ms(self._clock)
        async with self._database.reading() as connection:
            for row in await connection.execute(query):
                found.pop(row.kid, None)
                if row.revoked_ms is None and row.valid_until_ms > now_ms:
                    found[row.kid] = row.signed
        return found

    async def _grants(
        self, chosen: Sequence[bytes], mine: ColumnElement[bool]
    ) -> dict[bytes, list[CatalogueGrant]]:
        query = select(grants).where(grants.c.stream.in_(chosen), mine)
        held: dict[bytes, list[CatalogueGrant]] = {}
        async with self._database.reading() as connection:
            rows = (await connection.execute(query.order_by(grants.c.from_ms, grants.c.id))).all()
        for row in rows:
            held.setdefault(row.stream, []).append(
                CatalogueGrant(
                    id=row.id.hex(),
                    kind=row.kind,
                    lanes=tuple(row.lanes.split(",")),
                    granularity=row.granularity,
                    zone=row.zone,
                    purpose=row.purpose,
                    from_ms=row.from_ms,
                    until_ms=row.until_ms,
                    revoked_from_ms=row.revoked_from_ms,
                )
            )
        return held
