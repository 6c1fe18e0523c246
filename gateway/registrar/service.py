"""The registrar's parts, opened together: what the HTTP server and the commands work with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from gateway.host.clock import Clock
from gateway.registrar.access import Access
from gateway.registrar.accounts import Accounts
from gateway.registrar.cards import Cards
from gateway.registrar.catalogue import Catalogue
from gateway.registrar.credentials import StorageCredentials
from gateway.registrar.database import Database
from gateway.registrar.identity import RegistrarIdentity, open_identity
from gateway.registrar.indexer import Indexer
from gateway.registrar.loads import LoadService
from gateway.registrar.nonces import Nonces
from gateway.registrar.registration import Registration
from gateway.registrar.requests import Requests
from gateway.registrar.sessions import Sessions
from gateway.registrar.settings import Settings
from gateway.registrar.storage import SessionIssuer
from gateway.store.opening import open_bucket
from gateway.web.passwords import Passwords


@dataclass(frozen=True, slots=True)
class Registrar:
    """An open registrar."""

    settings: Settings
    clock: Clock
    identity: RegistrarIdentity
    database: Database
    access: Access
    accounts: Accounts
    cards: Cards
    sessions: Sessions
    registration: Registration
    requests: Requests
    catalogue: Catalogue
    indexer: Indexer | None
    """None without a store."""
    credentials: StorageCredentials | None
    """None without a bucket: of a folder there are none."""
    loads: LoadService | None
    """None without [loads]."""


@asynccontextmanager
async def open_registrar(
    settings: Settings, clock: Clock, passwords: Passwords | None = None
) -> AsyncIterator[Registrar]:
    """Open the registrar's key and database, which is migrated as needed. UsageError where there is no key,
    or a part of the settings cannot be used; Unavailable where the database does not answer."""
    identity = open_identity(settings.registrar.state)
    roots = None
    if settings.registrar.ek_roots is not None:
        from gateway.registrar.attestation import EkRoots  # noqa: PLC0415 - loads the TPM's library

        roots = EkRoots.load(settings.registrar.ek_roots)
    async with AsyncExitStack() as stack:
        database = await Database.open(settings.database_url, settings.database_password())
        stack.push_async_callback(database.close)
        passwords = passwords or Passwords()
        stack.callback(passwords.close)
        access = Access(database, clock)
        accounts = Accounts(database, passwords, clock)
        catalogue = Catalogue(database, clock)
        indexer, credentials, loads = None, None, None
        if (store := settings.store) is not None:
            location = store.location()
            bucket = open_bucket(location)
            stack.push_async_callback(bucket.aclose)
            indexer = Indexer(database, bucket, clock)
            if not store.is_folder:
                issuer = SessionIssuer(location, store.role)
                stack.push_async_callback(issuer.aclose)
                credentials = StorageCredentials(store, database, catalogue, indexer, access, issuer)
            if (chosen := settings.loads) is not None:
                loads = LoadService(database, bucket, chosen.key, chosen.k_min, clock)
        cards = Cards(database, identity, clock, settings.registrar.validity_ms)
        yield Registrar(
            settings=settings,
            clock=clock,
            identity=identity,
            database=database,
            access=access,
            accounts=accounts,
            cards=cards,
            sessions=Sessions(database, identity, access, clock, Nonces(clock)),
            registration=Registration(
                database,
                identity,
                accounts,
                access,
                cards,
                clock,
                roots=roots,
                software_roots=settings.registrar.software_roots,
            ),
            requests=Requests(database, access, cards, clock),
            catalogue=catalogue,
            indexer=indexer,
            credentials=credentials,
            loads=loads,
        )
