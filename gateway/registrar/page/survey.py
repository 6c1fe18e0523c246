"""What the operator's pages show, read from the database a page of rows at a time. Nothing here is a reading,
and no row has a password, a token or a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from sqlalchemy import ColumnElement, Row, Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.chain.layout import DAY_MS
from gateway.errors import NotFound
from gateway.host.clock import Clock, unix_ms
from gateway.registrar.access import RefusedAttempt
from gateway.registrar.cards import registered_card
from gateway.registrar.database import Database
from gateway.registrar.streams import registered_descriptor
from gateway.registrar.tables import (
    accounts,
    attempts,
    certificates,
    coverage,
    grants,
    holders,
    requests,
    streams,
)

ROWS = 50
"""Rows of one page."""
_FIRST = 10

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rows(Generic[T]):
    """One page of a table: `number` counts from 1; `total` rows are on all pages together."""

    rows: tuple[T, ...]
    number: int
    total: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // ROWS))


@dataclass(frozen=True, slots=True)
class Certified:
    """The latest certificate of a key; times in Unix ms."""

    serial: int
    valid_until_ms: int
    revoked_ms: int | None
    state: Literal["valid", "expired", "revoked"]


@dataclass(frozen=True, slots=True)
class Household:
    """A household's account with one of its gateways; without one, all but `account` is empty."""

    account: str
    gateway: str | None
    fingerprint: str | None
    assurance: str | None
    streams: int
    regions: tuple[str, ...]
    sealed_until_ms: int | None
    certificate: Certified | None


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider's account with one of its keys; without one, all but `account` is empty. `requests` counts
    them by state, `grants` those in the store that are not revoked."""

    account: str
    name: str | None
    fingerprint: str | None
    certificate: Certified | None
    requests: dict[str, int]
    grants: int
    revoked_grants: int


@dataclass(frozen=True, slots=True)
class StreamRow:
    """A stream of the catalogue; times in Unix ms, `looked_ms` None where it was not looked at yet."""

    stream: str
    account: str
    lanes: tuple[str, ...]
    unit_ms: int
    start_ms: int
    sealed_until_ms: int | None
    region: str
    tariff_zone: str
    listed: bool
    grants: int
    looked_ms: int | None
    fault: str | None


@dataclass(frozen=True, slots=True)
class Ending:
    """A certificate that ends soon, or that the operator asks about."""

    account: str | None
    role: str | None
    name: str
    fingerprint: str
    certificate: Certified


@dataclass(frozen=True, slots=True)
class Overview:
    """The registrar at a glance. `oldest_look_ms` is None where no stream was looked at."""

    households: int
    registered_households: int
    gateways: dict[str, int]
    providers: int
    streams: int
    listed_streams: int
    unseen_streams: int
    open_requests: int
    refused_today: int
    ending: tuple[Ending, ...]
    ending_total: int
    faulty: tuple[StreamRow, ...]
    faulty_total: int
    oldest_look_ms: int | None


class Survey:
    """Answers what the pages ask. A page beyond the last one is NotFound."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def overview(self) -> Overview:
        """All figures, of one moment."""
        now_ms = unix_ms(self._clock)
        by_role = select(accounts.c.role, func.count().label("number")).group_by(accounts.c.role)
        by_root = (
            select(holders.c.assurance, func.count().label("number"))
            .where(holders.c.role == "gateway")
            .group_by(holders.c.assurance)
        )
        registered = select(func.count(func.distinct(holders.c.account_id))).where(
            holders.c.role == "gateway"
        )
        unseen = _count(coverage.c.stream.is_(None), streams.outerjoin(coverage))
        refused = select(func.sum(attempts.c.times)).where(attempts.c.last_ms > now_ms - DAY_MS)
        soon = _ending(now_ms)
        faulty = _streams().where(coverage.c.fault.is_not(None))
        async with self._database.snapshot() as connection:
            roles = {row.role: row.number for row in await connection.execute(by_role)}
            roots = {row.assurance: row.number for row in await connection.execute(by_root)}

            async def number(query: Select[Any]) -> int:
                return int((await connection.execute(query)).scalar() or 0)

            return Overview(
                households=roles.get("household", 0),
                registered_households=await number(registered),
                gateways=roots,
                providers=roles.get("provider", 0),
                streams=await number(select(func.count()).select_from(streams)),
                listed_streams=await number(_count(streams.c.listed.is_(True), streams)),
                unseen_streams=await number(unseen),
                open_requests=await number(_count(requests.c.state == "open", requests)),
                refused_today=await number(refused),
                ending=tuple(
                    _ending_row(row, now_ms) for row in await connection.execute(soon.limit(_FIRST))
                ),
                ending_total=await _total(connection, soon),
                faulty=await _stream_rows(
                    connection, faulty.order_by(coverage.c.looked_ms.desc(), streams.c.stream).limit(_FIRST)
                ),
                faulty_total=await _total(connection, faulty),
                oldest_look_ms=(await connection.execute(select(func.min(coverage.c.looked_ms)))).scalar(),
            )

    async def households(self, search: str, page: int) -> Rows[Household]:
        """Households by name, those whose name contains `search`, each with its gateways."""
        async with self._database.snapshot() as connection:
            rows, total = await self._accounts(connection, "household", search, page)
            kids = [row.kid for row in rows if row.kid is not None]
            known = await self._certificates(connection, kids)
            sealed = {
                row.kid: row
                for row in await connection.execute(
                    select(
                        streams.c.kid,
                        func.count().label("number"),
                        func.max(coverage.c.sealed_until_ms).label("until_ms"),
                    )
                    .select_from(streams.outerjoin(coverage))
                    .where(streams.c.kid.in_(kids))
                    .group_by(streams.c.kid)
                )
            }
            where: dict[bytes, list[str]] = {}
            regions = (
                select(streams.c.kid, streams.c.region)
                .distinct()
                .where(streams.c.kid.in_(kids), streams.c.region != "")
                .order_by(streams.c.region)
            )
            for kid, region in await connection.execute(regions):
                where.setdefault(kid, []).append(region)
        found = []
        for row in rows:
            card = None if row.card is None else registered_card(row.card)
            has = sealed.get(row.kid)
            found.append(
                Household(
                    account=row.name,
                    gateway=None if card is None else card.name,
                    fingerprint=None if card is None else card.fingerprint,
                    assurance=row.assurance,
                    streams=0 if has is None else has.number,
                    regions=tuple(where.get(row.kid, ())),
                    sealed_until_ms=None if has is None else has.until_ms,
                    certificate=known.get(row.kid),
                )
            )
        return Rows(tuple(found), page, total)

    async def providers(self, search: str, page: int) -> Rows[Provider]:
        """Providers by the name of their account, those whose name contains `search`, each with its keys."""
        revoked = grants.c.revoked_from_ms.is_not(None)
        async with self._database.snapshot() as connection:
            rows, total = await self._accounts(connection, "provider", search, page)
            kids = [row.kid for row in rows if row.kid is not None]
            known = await self._certificates(connection, kids)
            asked: dict[bytes, dict[str, int]] = {}
            by_state = (
                select(requests.c.provider, requests.c.state, func.count())
                .where(requests.c.provider.in_(kids))
                .group_by(requests.c.provider, requests.c.state)
            )
            for kid, state, number in await connection.execute(by_state):
                asked.setdefault(kid, {})[state] = number
            held: dict[tuple[bytes, bool], int] = {}
            by_end = (
                select(grants.c.provider, revoked, func.count())
                .where(grants.c.provider.in_(kids))
                .group_by(grants.c.provider, revoked)
            )
            for kid, ended, number in await connection.execute(by_end):
                held[kid, bool(ended)] = number
        found = []
        for row in rows:
            card = None if row.card is None else registered_card(row.card)
            found.append(
                Provider(
                    account=row.name,
                    name=None if card is None else card.name,
                    fingerprint=None if card is None else card.fingerprint,
                    certificate=known.get(row.kid),
                    requests=asked.get(row.kid, {}),
                    grants=held.get((row.kid, False), 0),
                    revoked_grants=held.get((row.kid, True), 0),
                )
            )
        return Rows(tuple(found), page, total)

    async def attempts(self, kind: str, search: str, page: int) -> Rows[RefusedAttempt]:
        """Refused attempts, the newest first, of a kind unless that is empty; those whose user, address or
        sentence contains `search`."""
        conditions: list[ColumnElement[bool]] = []
        if kind:
            conditions.append(attempts.c.kind == kind)
        if search:
            places = (attempts.c.who, attempts.c.address, attempts.c.sentence)
            conditions.append(or_(*(_contains(place, search) for place in places)))
        query = select(attempts).where(and_(True, *conditions))
        order = (attempts.c.last_ms.desc(), attempts.c.id.desc())
        async with self._database.snapshot() as connection:
            rows, total = await _page(connection, query, order, page)
        found = (
            RefusedAttempt(row.kind, row.who, row.address, row.sentence, row.first_ms, row.last_ms, row.times)
            for row in rows
        )
        return Rows(tuple(found), page, total)

    async def kinds(self) -> tuple[str, ...]:
        """The kinds of refused attempts that there are."""
        async with self._database.reading() as connection:
            query = select(attempts.c.kind).distinct().order_by(attempts.c.kind)
            return tuple((await connection.execute(query)).scalars())

    async def streams(self, search: str, faulty: bool, page: int) -> Rows[StreamRow]:
        """The catalogue's streams by id, those whose region or tariff zone contains `search`, or whose id
        begins with it; of those only the ones with a fault where `faulty`."""
        query = _streams()
        if faulty:
            query = query.where(coverage.c.fault.is_not(None))
        if search:
            begins = func.lower(func.hex(streams.c.stream)).startswith(search.lower(), autoescape=True)
            places = (streams.c.region, streams.c.tariff_zone)
            query = query.where(or_(begins, *(_contains(place, search) for place in places)))
        async with self._database.snapshot() as connection:
            total = await _total(connection, query)
            _check_page(page, total)
            chosen = query.order_by(streams.c.stream).limit(ROWS).offset((page - 1) * ROWS)
            return Rows(await _stream_rows(connection, chosen), page, total)

    async def certificate(self, serial: int) -> Ending:
        """The certificate with a serial; NotFound where there is none, or its account was removed."""
        query = _holders().where(certificates.c.serial == serial)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise NotFound(f"no certificate of a registered key has the serial {serial}")
        return _ending_row(row, unix_ms(self._clock))

    async def _accounts(
        self, connection: AsyncConnection, role: str, search: str, page: int
    ) -> tuple[Sequence[Row[Any]], int]:
        query = (
            select(accounts.c.name, holders.c.kid, holders.c.card, holders.c.assurance)
            .select_from(accounts.outerjoin(holders))
            .where(accounts.c.role == role)
        )
        if search:
            query = query.where(_contains(accounts.c.name, search))
        return await _page(connection, query, (accounts.c.name, holders.c.registered_ms, holders.c.kid), page)

    async def _certificates(
        self, connection: AsyncConnection, kids: Sequence[bytes]
    ) -> dict[bytes, Certified]:
        """The latest certificate of each key."""
        query = select(certificates).where(certificates.c.kid.in_(kids)).order_by(certificates.c.serial)
        now_ms = unix_ms(self._clock)
        return {row.kid: _certified(row, now_ms) for row in await connection.execute(query)}


def _contains(column: ColumnElement[str], search: str) -> ColumnElement[bool]:
    return column.icontains(search, autoescape=True)


def _count(condition: ColumnElement[bool], where: Any) -> Select[Any]:
    return select(func.count()).select_from(where).where(condition)


async def _total(connection: AsyncConnection, query: Select[Any]) -> int:
    counted = query.order_by(None).with_only_columns(func.count(), maintain_column_froms=True)
    return int((await connection.execute(counted)).scalar() or 0)


async def _page(
    connection: AsyncConnection, query: Select[Any], order: Sequence[Any], page: int
) -> tuple[Sequence[Row[Any]], int]:
    total = await _total(connection, query)
    _check_page(page, total)
    chosen = query.order_by(*order).limit(ROWS).offset((page - 1) * ROWS)
    return (await connection.execute(chosen)).all(), total


def _check_page(page: int, total: int) -> None:
    last = max(1, -(-total // ROWS))
    if page > last:
        raise NotFound(f"there is no page {page}: the last one is {last}")


def _certified(row: Row[Any], now_ms: int) -> Certified:
    state: Literal["valid", "expired", "revoked"] = "valid"
    if row.revoked_ms is not None:
        state = "revoked"
    elif row.valid_until_ms <= now_ms:
        state = "expired"
    return Certified(row.serial, row.valid_until_ms, row.revoked_ms, state)


def _holders() -> Select[Any]:
    """Registered keys with their certificates."""
    return select(
        accounts.c.name,
        holders.c.role,
        holders.c.card,
        certificates.c.serial,
        certificates.c.valid_until_ms,
        certificates.c.revoked_ms,
    ).select_from(
        certificates.join(holders, holders.c.kid == certificates.c.kid).join(
            accounts, accounts.c.id == holders.c.account_id
        )
    )


def _ending(now_ms: int) -> Select[Any]:
    """The latest certificates of registered keys that are in the last quarter of their validity: holders
    renew theirs at its half, so these were not renewed."""
    later = certificates.alias()
    superseded = select(later.c.serial).where(
        later.c.kid == certificates.c.kid, later.c.serial > certificates.c.serial
    )
    left = certificates.c.valid_until_ms - now_ms
    return (
        _holders()
        .where(
            certificates.c.revoked_ms.is_(None),
            left > 0,
            left * 4 < certificates.c.valid_until_ms - certificates.c.issued_ms,
            ~superseded.exists(),
        )
        .order_by(certificates.c.valid_until_ms, certificates.c.serial)
    )


def _ending_row(row: Row[Any], now_ms: int) -> Ending:
    card = registered_card(row.card)
    return Ending(row.name, row.role, card.name, card.fingerprint, _certified(row, now_ms))


def _streams() -> Select[Any]:
    granted = (
        select(func.count())
        .select_from(grants)
        .where(grants.c.stream == streams.c.stream, grants.c.revoked_from_ms.is_(None))
        .scalar_subquery()
    )
    return select(
        streams,
        accounts.c.name.label("account"),
        coverage.c.sealed_until_ms,
        coverage.c.looked_ms,
        coverage.c.fault,
        granted.label("grants"),
    ).select_from(
        streams.join(holders, holders.c.kid == streams.c.kid)
        .join(accounts, accounts.c.id == holders.c.account_id)
        .outerjoin(coverage, coverage.c.stream == streams.c.stream)
    )


async def _stream_rows(connection: AsyncConnection, query: Select[Any]) -> tuple[StreamRow, ...]:
    found = []
    for row in await connection.execute(query):
        descriptor = registered_descriptor(row.descriptor, row.stream)
        unit_ms = descriptor.layout.unit_ms
        found.append(
            StreamRow(
                stream=row.stream.hex(),
                account=row.account,
                lanes=tuple(lane.name for lane in descriptor.lanes),
                unit_ms=unit_ms,
                start_ms=descriptor.start * unit_ms,
                sealed_until_ms=row.sealed_until_ms,
                region=row.region,
                tariff_zone=row.tariff_zone,
                listed=row.listed,
                grants=row.grants,
                looked_ms=row.looked_ms,
                fault=row.fault,
            )
        )
    return tuple(found)
