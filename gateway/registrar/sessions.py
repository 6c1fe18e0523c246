"""Sessions of gateways and providers: a signed answer to a nonce gives a token for an hour.

The database has the token's SHA-256, so that a copy of it opens no session.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import bindparam, delete, exists, insert, select

from gateway.host.clock import Clock, unix_ms
from gateway.registrar.access import Access
from gateway.registrar.cards import check_not_revoked, registered_card
from gateway.registrar.database import Database
from gateway.registrar.identity import RegistrarIdentity
from gateway.registrar.nonces import Nonces
from gateway.registrar.tables import accounts, certificates, holders, sessions
from gateway.stream.times import spell
from gateway.web.refusals import NotAuthenticated
from gateway.wire import cose
from gateway.wire.card import Card
from gateway.wire.request import Login

LIFETIME_MS = 3_600_000
_TOKEN_BYTES = 32
# Statements that each login or request takes are made once.
_HOLDER = (
    select(holders.c.account_id, holders.c.card, certificates)
    .join(certificates, certificates.c.kid == holders.c.kid)
    .where(holders.c.kid == bindparam("key"))
    .order_by(certificates.c.serial.desc())
    .limit(1)
)
_BEGIN = insert(sessions)
_CERTIFIED = (
    exists(certificates.c.serial)
    .where(certificates.c.kid == sessions.c.kid)
    .where(certificates.c.revoked_ms.is_(None), certificates.c.valid_until_ms > bindparam("now_ms"))
)
_FIND = (
    select(holders, accounts.c.name)
    .select_from(sessions.join(holders).join(accounts))
    .where(sessions.c.token_digest == bindparam("digest"), sessions.c.expires_ms > bindparam("now_ms"))
    .where(_CERTIFIED.correlate(sessions))
)


@dataclass(frozen=True, slots=True)
class Session:
    """Who asks: the key of a gateway or provider, its card and its account."""

    kid: bytes
    role: Literal["gateway", "provider"]
    account_id: int
    account: str
    card: Card
    assurance: Literal["tpm", "software"] | None


class Sessions:
    """Begins sessions and finds them by their tokens."""

    def __init__(
        self,
        database: Database,
        identity: RegistrarIdentity,
        access: Access,
        clock: Clock,
        nonces: Nonces,
    ) -> None:
        self._database = database
        self._identity = identity
        self._access = access
        self._clock = clock
        self._nonces = nonces

    def nonce(self) -> tuple[bytes, int]:
        """A nonce to sign, and until when it is good (Unix ms)."""
        return self._nonces.new()

    async def begin(self, signed_login: bytes, address: str) -> tuple[str, int]:
        """A session's token, and until when it holds (Unix ms), for a signed gw1/login over one of this
        registrar's nonces. Refused, and recorded, where the key is unknown, its certificate has expired or
        was revoked, or the nonce is not good."""
        kid = cose.payload_unchecked(signed_login, "the login")[0]
        now_ms = unix_ms(self._clock)
        async with self._access.attempt("login", address, kid.hex()) as attempt:
            async with self._database.reading() as connection:
                found = (await connection.execute(_HOLDER, {"key": kid})).one_or_none()
            if found is None:
                raise NotAuthenticated(f"the key {kid.hex()} is not registered here: register it first")
            attempt.account_id = found.account_id
            card = registered_card(found.card)
            login = Login.read(signed_login, card.signing_key, "the login")
            attempt.kind = "nonce"
            if login.registrar != self._identity.card.kid:
                raise NotAuthenticated("the login is for another registrar")
            self._nonces.use(login.nonce)
            attempt.kind = "certificate"
            check_not_revoked(found.serial, found.revoked_ms, kid)
            if found.valid_until_ms <= now_ms:
                raise NotAuthenticated(
                    f"the certificate of the key {kid.hex()} has expired at "
                    f"{spell(found.valid_until_ms, 1)}: register again, with user name and password"
                )
            token, expires_ms = secrets.token_urlsafe(_TOKEN_BYTES), now_ms + LIFETIME_MS
            async with self._database.writing() as connection:
                row = {"token_digest": _digest(token), "kid": kid, "expires_ms": expires_ms}
                await connection.execute(_BEGIN, row)
        return token, expires_ms

    async def find(self, token: str) -> Session:
        """The session of a token; NotAuthenticated where there is none, or it has ended, as it does with the
        certificate of its key."""
        asked = {"digest": _digest(token), "now_ms": unix_ms(self._clock)}
        async with self._database.reading() as connection:
            row = (await connection.execute(_FIND, asked)).one_or_none()
        if row is None:
            raise NotAuthenticated("the session has ended, or never was: log in again")
        return Session(row.kid, row.role, row.account_id, row.name, registered_card(row.card), row.assurance)

    async def prune(self) -> None:
        """Delete the sessions that have ended."""
        async with self._database.writing() as connection:
            await connection.execute(delete(sessions).where(sessions.c.expires_ms <= unix_ms(self._clock)))


def _digest(token: str) -> bytes:
    # A header's bytes that are not UTF-8 are surrogates in its text.
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()
