"""Storage credentials for those who have a session: a gateway's reach its own streams, a provider's the
streams that granted it something. Who asks for others is refused, and that is recorded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from sqlalchemy import select

from gateway.errors import Refused, UsageError
from gateway.registrar.access import Access
from gateway.registrar.cards import latest
from gateway.registrar.catalogue import Catalogue
from gateway.registrar.database import Database
from gateway.registrar.indexer import Indexer
from gateway.registrar.sessions import Session
from gateway.registrar.settings import StoreSection
from gateway.registrar.storage import (
    Granted,
    Policy,
    SessionIssuer,
    batches,
    bucket_policy,
    gateway_policy,
    provider_policy,
)
from gateway.registrar.streams import ids_of
from gateway.registrar.tables import holders
from gateway.store.credentials import Credentials

_FOREIGN = {"gateway": "is not this gateway's", "provider": "granted this provider nothing"}
_NONE = {"gateway": "register a stream first", "provider": "nobody granted it anything yet"}
_NEW = 16
"""Streams that are looked at in the store at once, where the catalogue knows of no grant there yet."""


@dataclass(frozen=True, slots=True)
class Given:
    """Credentials, and the streams that they reach; of a provider with its grants there."""

    credentials: Credentials
    streams: Granted


class StorageCredentials:
    """Gives out storage credentials, each for as many streams as fit in a session's policy."""

    def __init__(
        self,
        settings: StoreSection,
        database: Database,
        catalogue: Catalogue,
        indexer: Indexer,
        access: Access,
        issuer: SessionIssuer,
    ) -> None:
        self.settings = settings
        self._bucket, _, self._prefix = settings.url.removeprefix("s3://").partition("/")
        self._gateway = partial(gateway_policy, self._bucket, self._prefix)
        self._provider = partial(provider_policy, self._bucket, self._prefix)
        self._database = database
        self._catalogue = catalogue
        self._indexer = indexer
        self._access = access
        self._issuer = issuer

    async def give(self, session: Session, chosen: Collection[bytes], address: str) -> Given:
        """Credentials for the streams `chosen`, or for all that are the session's, as far as one policy
        reaches. Refused where one of them is not the session's; UsageError where it has none."""
        async with self._access.attempt("prefix", address, session.kid.hex()) as attempt:
            attempt.account_id = session.account_id
            held = await self._held(session, chosen)
            foreign = [stream for stream in chosen if stream not in held]
            if foreign:
                raise Refused(
                    f"the stream {foreign[0].hex()} {_FOREIGN[session.role]}: no credentials reach it"
                )
        if not held:
            raise UsageError(f"this {session.role} has no stream to reach: {_NONE[session.role]}")
        provider = partial(self._provider, kid=session.kid)
        policy = self._gateway if session.role == "gateway" else provider
        reached = batches(held, policy)[0]
        name = f"{session.role}-{session.kid.hex()}"
        credentials = await self._issuer.assume(policy(reached), self.settings.credential_seconds, name)
        return Given(credentials, reached)

    async def policy(self, user: str) -> Policy:
        """A policy of the bucket for a store without sessions: what every registered gateway and provider
        would be given, but for those whose certificate is revoked. `user` is the ARN of a user of the store,
        in which {kid} stands for the key's id. UsageError where nobody would be given anything."""
        async with self._database.reading() as connection:
            found = (await connection.execute(select(holders).order_by(holders.c.kid))).all()
            certified = {one.kid: await latest(connection, one.kid) for one in found}
            streams = {one.kid: await ids_of(connection, one.kid) for one in found if one.role == "gateway"}
        gateways: dict[str, list[bytes]] = {}
        providers: dict[str, tuple[bytes, Granted]] = {}
        for one in found:
            certificate, name = certified[one.kid], user.replace("{kid}", one.kid.hex())
            if certificate is None or certificate.revoked_ms is not None:
                continue
            if own := streams.get(one.kid):
                gateways[name] = own
            elif granted := await self._catalogue.granted_to(one.kid, ()):
                providers[name] = one.kid, granted
        if not gateways and not providers:
            raise UsageError("no registered gateway has a stream yet: there is nothing to allow")
        return bucket_policy(self._bucket, self._prefix, gateways, providers)

    async def _held(self, session: Session, chosen: Collection[bytes]) -> dict[bytes, list[bytes]]:
        """The session's streams among those chosen, or all of them, and a provider's grants there."""
        if session.role == "gateway":
            async with self._database.reading() as connection:
                own = await ids_of(connection, session.kid)
            own = [stream for stream in own if stream in chosen or not chosen]
            await self._indexer.check_own(own, session.kid)
            return {stream: [] for stream in own}
        held = await self._catalogue.granted_to(session.kid, chosen)
        unknown = [stream for stream in chosen if stream not in held]
        if unknown:  # perhaps granted since the store was looked at
            await self._indexer.look(unknown[:_NEW])
            held = await self._catalogue.granted_to(session.kid, chosen)
        return held
