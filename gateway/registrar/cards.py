"""Certificates: the registrar signs the cards of gateways and providers, renews and revokes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, bindparam, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.chain.layout import DAY_MS
from gateway.errors import NotFound, Refused, UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.registrar.database import Database
from gateway.registrar.identity import RegistrarIdentity
from gateway.registrar.streams import ids_of
from gateway.registrar.tables import accounts, certificates, holders, sessions
from gateway.stream.times import spell
from gateway.wire import cose
from gateway.wire.card import Card
from gateway.wire.certificate import MAX_REVOKED, MAX_STREAMS, Certificate, Revocations

NEXT_LIST_MS = DAY_MS
"""How long a list of revocations holds."""
_SIGN_AGAIN_MS = DAY_MS // 24
_BEGIN_EARLY_MS = 300_000
"""Certificates are valid from this long ago: their readers' clocks differ."""
_INSERT = insert(certificates)
_SIGN = update(certificates).where(certificates.c.serial == bindparam("number"))
_LATEST = (
    select(certificates)
    .where(certificates.c.kid == bindparam("key"))
    .order_by(certificates.c.serial.desc())
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate in the registrar's list, with its account unless that was removed; times in Unix ms."""

    serial: int
    kid: bytes
    account: str | None
    role: str | None
    issued_ms: int
    valid_until_ms: int
    revoked_ms: int | None


class Cards:
    """Issues, renews and revokes certificates, signed with the registrar's key."""

    def __init__(
        self, database: Database, identity: RegistrarIdentity, clock: Clock, validity_ms: int
    ) -> None:
        self._database = database
        self._identity = identity
        self._clock = clock
        self._validity_ms = validity_ms
        self._list: tuple[Revocations, bytes] | None = None

    async def issue(
        self,
        connection: AsyncConnection,
        card: Card,
        signed_card: bytes,
        assurance: Literal["tpm", "software"] | None,
        stream_ids: Sequence[bytes],
    ) -> bytes:
        """Sign a certificate of a card and these streams, in order, in the caller's transaction: valid for as
        long as the settings say, but no longer than the card."""
        now_ms = unix_ms(self._clock)
        until_ms = min(now_ms + self._validity_ms, card.valid_until_ms)
        row = {"kid": card.kid, "issued_ms": now_ms, "valid_until_ms": until_ms, "signed": b""}
        done = await connection.execute(_INSERT, row)
        assert done.inserted_primary_key is not None
        serial = done.inserted_primary_key[0]
        certificate = Certificate(
            card=signed_card,
            serial=serial,
            valid_from_ms=now_ms - _BEGIN_EARLY_MS,
            valid_until_ms=until_ms,
            registrar=self._identity.card.name,
            assurance=assurance,
            streams=tuple(stream_ids) or None,
        )
        signed = self._identity.sign(certificate)
        await connection.execute(_SIGN, {"number": serial, "signed": signed})
        return signed

    async def present(self, kid: bytes) -> bytes:
        """The latest certificate of a key; NotFound where it has none, Refused where that was revoked."""
        async with self._database.reading() as connection:
            row = await latest(connection, kid)
        if row is None:
            raise NotFound(f"no certificate was issued for the key {kid.hex()}")
        check_not_revoked(row.serial, row.revoked_ms, kid)
        return row.signed

    async def renew(self, kid: bytes) -> bytes:
        """A new certificate for the same card and the present streams. The present one stays while its
        streams are the same and more than half of its validity is left."""
        async with self._database.writing() as connection:
            holder = (await connection.execute(select(holders).where(holders.c.kid == kid))).one_or_none()
            if holder is None:
                raise NotFound(f"no card with the key {kid.hex()} is registered")
            card = Card.read_self_signed(holder.card, "the registered card")
            return await self.certify(connection, card, holder.card, holder.assurance)

    async def certify(
        self,
        connection: AsyncConnection,
        card: Card,
        signed_card: bytes,
        assurance: Literal["tpm", "software"] | None,
    ) -> bytes:
        """The present certificate of a registered card where that still says what is true, else a new one; in
        the caller's transaction. `card` is what `signed_card` says, checked."""
        now_ms, kid = unix_ms(self._clock), card.kid
        if card.valid_until_ms <= now_ms:
            raise Refused(f"the card of {card.name!r} has expired: register a new card of the same key")
        ids = await ids_of(connection, kid)
        if len(ids) > MAX_STREAMS:
            raise UsageError(
                f"the gateway would have {len(ids)} streams: a certificate has room for {MAX_STREAMS}"
            )
        row = await latest(connection, kid)
        if row is not None:
            check_not_revoked(row.serial, row.revoked_ms, kid)
            known = Certificate.read(row.signed, self._identity.card.signing_key, "the present certificate")
            same = (
                known.card == signed_card
                and known.assurance == assurance
                and known.streams == (tuple(ids) or None)
            )
            half_ms = (known.valid_from_ms + known.valid_until_ms) // 2
            lasting = card.valid_until_ms <= known.valid_until_ms
            if same and (now_ms < half_ms or lasting):
                return row.signed
        return await self.issue(connection, card, signed_card, assurance, ids)

    async def revoke(self, serial: int) -> None:
        """Revoke a certificate and all others of its key, and end that key's sessions. NotFound where no
        certificate has this serial."""
        async with self._database.writing() as connection:
            kid = (
                await connection.execute(select(certificates.c.kid).where(certificates.c.serial == serial))
            ).scalar()
            if kid is None:
                raise NotFound(f"no certificate has the serial {serial}")
            await revoke_all(connection, kid, unix_ms(self._clock))

    async def all(self) -> list[Issued]:
        """All certificates, by serial."""
        query = (
            select(certificates, accounts.c.name, holders.c.role)
            .outerjoin(holders, holders.c.kid == certificates.c.kid)
            .outerjoin(accounts, accounts.c.id == holders.c.account_id)
            .order_by(certificates.c.serial)
        )
        async with self._database.reading() as connection:
            rows = await connection.execute(query)
        return [
            Issued(row.serial, row.kid, row.name, row.role, row.issued_ms, row.valid_until_ms, row.revoked_ms)
            for row in rows
        ]

    async def revocations(self) -> bytes:
        """The signed list of revoked certificates that would be valid otherwise."""
        now_ms = unix_ms(self._clock)
        query = (
            select(certificates.c.serial)
            .where(certificates.c.revoked_ms.is_not(None), certificates.c.valid_until_ms > now_ms)
            .order_by(certificates.c.serial)
        )
        async with self._database.reading() as connection:
            serials = tuple((await connection.execute(query)).scalars()) or None
        if len(serials or ()) > MAX_REVOKED:
            raise UsageError(f"more than {MAX_REVOKED} certificates are revoked: shorten their validity")
        if self._list is not None:
            known, signed = self._list
            if known.serials == serials and known.issued_ms <= now_ms < known.issued_ms + _SIGN_AGAIN_MS:
                return signed
        found = Revocations(now_ms, now_ms + NEXT_LIST_MS, serials)
        self._list = found, self._identity.sign(found)
        return self._list[1]


def registered_card(signed_card: bytes) -> Card:
    """A card out of the database: its signature was checked when it was registered."""
    return Card.from_payload(cose.payload_unchecked(signed_card, "the card")[1], "the registered card")


async def latest(connection: AsyncConnection, kid: bytes) -> _Latest | None:
    """The latest certificate of a key, revoked or not."""
    row = (await connection.execute(_LATEST, {"key": kid})).one_or_none()
    return None if row is None else _Latest(row.serial, row.signed, row.valid_until_ms, row.revoked_ms)


@dataclass(frozen=True, slots=True)
class _Latest:
    serial: int
    signed: bytes
    valid_until_ms: int
    revoked_ms: int | None


def check_not_revoked(serial: int, revoked_ms: int | None, kid: bytes) -> None:
    """Refused where a certificate was revoked."""
    if revoked_ms is not None:
        raise Refused(
            f"certificate {serial} of the key {kid.hex()} was revoked at {spell(revoked_ms, 1)}: ask the "
            "registrar's operator"
        )


async def revoke_all(connection: AsyncConnection, kid: bytes, now_ms: int) -> None:
    """Revoke all certificates of a key and end its sessions, in the caller's transaction."""
    open_ones = (certificates.c.kid == kid) & certificates.c.revoked_ms.is_(None)
    await connection.execute(update(certificates).where(open_ones).values(revoked_ms=now_ms))
    await connection.execute(delete(sessions).where(sessions.c.kid == kid))


def skip_serials(connection: Connection, count: int) -> None:
    """Leave out the next `count` serials, which a registrar whose backup this is may have given after it: a
    serial that was given twice would be revoked for both. To be called last: MariaDB commits."""
    last = (connection.execute(select(func.max(certificates.c.serial))).scalar() or 0) + count
    if connection.dialect.name == "sqlite":
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = 'certificates'"))
        insertion = text("INSERT INTO sqlite_sequence (name, seq) VALUES ('certificates', :last)")
        connection.execute(insertion, {"last": last})
    else:
        connection.execute(text(f"ALTER TABLE certificates AUTO_INCREMENT = {last + 1}"))
