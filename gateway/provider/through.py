"""A provider's homes and their store through a registrar: who granted it something, as the catalogue has it,
and the store with credentials that reach those streams and no others.

Who signs a stream is taken from the gateway's certificate, which the registrar signs: the homes are verified.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import NotGranted, Refused
from gateway.host.clock import Clock, unix_ms
from gateway.provider.desk import Failure, Home, Homes, Progress, Source
from gateway.provider.granted import GrantedStore, granted_store
from gateway.provider.homes import Listed
from gateway.provider.identity import Identity
from gateway.provider.membership import Membership, catalogue, open_membership, session
from gateway.store.bucket import Bucket
from gateway.store.opening import open_bucket
from gateway.wire import names
from gateway.wire.certificate import Certificate

if TYPE_CHECKING:  # as in `gateway.provider.membership`
    from gateway.registry.documents import CatalogueStream


@dataclass(frozen=True, slots=True)
class Where:
    """Which homes of the catalogue: of a region, of a tariff zone, with a lane; None means any."""

    region: str | None = None
    tariff_zone: str | None = None
    lane: str | None = None

    def query(self) -> dict[str, str]:
        """The catalogue's query."""
        parts = {"region": self.region, "tariff_zone": self.tariff_zone, "lane": self.lane}
        return {name: value for name, value in parts.items() if value is not None}


class Through:
    """The registrar of a membership, for the holder of `identity`."""

    def __init__(self, membership: Membership, identity: Identity, clock: Clock) -> None:
        self._membership = membership
        self._identity = identity
        self._clock = clock

    async def streams(self, where: Where, *, granted: bool) -> list[CatalogueStream]:
        """The streams of the catalogue; with `granted`, those that granted the provider something."""
        query = where.query() | ({"granted": "true"} if granted else {})
        async with session(self._membership, self._identity, unix_ms(self._clock)) as client:
            return [one async for one in catalogue(client, **query)]

    async def homes(self, where: Where) -> Homes:
        """The homes that granted the provider sums, each with the ids of its grants; and those whose gateway
        has no valid certificate, which cannot be trusted."""
        homes: list[Home] = []
        failures: list[Failure] = []
        for one in await self.streams(where, granted=True):
            if not any(grant.kind == "windows" for grant in one.grants):
                continue
            stream = bytes.fromhex(one.stream)
            try:
                homes.append(self._home(one))
            except Refused as error:
                failures.append(Failure(stream, error))
        return Homes(tuple(homes), tuple(failures))

    async def loads(self) -> tuple[list[tuple[Listed, str]], list[Failure]]:
        """The loads that were granted to the provider, each with its home's region in the catalogue; and the
        homes whose gateway has no valid certificate, which cannot be trusted."""
        found: list[tuple[Listed, str]] = []
        failures: list[Failure] = []
        for one in await self.streams(Where(), granted=True):
            ids = [bytes.fromhex(grant.id) for grant in one.grants if grant.kind == "load"]
            try:
                signer = self._home(one).signer if ids else b""
            except Refused as error:
                failures.append(Failure(bytes.fromhex(one.stream), error))
            else:
                found += [(Listed(bytes.fromhex(one.stream), signer, grant), one.region) for grant in ids]
        return found, failures

    def _home(self, one: CatalogueStream) -> Home:
        """The home of a stream: its signer is the holder of the certificate that names the stream."""
        what = f"the certificate of the gateway of stream {one.stream}"
        if one.certificate is None:
            raise Refused(f"{what} was revoked or has expired: its readings cannot be trusted")
        registrar = self._membership.registrar
        certificate = Certificate.read(one.certificate, registrar.signing_key, what)
        certificate.check(unix_ms(self._clock), what)
        stream = bytes.fromhex(one.stream)
        if stream not in (certificate.streams or ()):
            raise Refused(f"{what} does not name the stream")
        grants = tuple(bytes.fromhex(grant.id) for grant in one.grants)
        return Home(stream, certificate.holder.kid, grants=grants)


class GrantedBucket:
    """The store of a registrar's households, as a `Bucket` to read from. Of a stream's grants it shows the
    provider's own: others its credentials cannot even list."""

    def __init__(self, through: Through, store: GrantedStore) -> None:
        self.through = through
        self._store = store
        self._bucket: Bucket | None = None

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        raise NotGranted("a provider may only read the households' store")

    async def get(self, key: str) -> bytes:
        return await (await self._opened(key)).get(key)

    async def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        bucket, stream = await self._opened(prefix), _stream_of(prefix)
        folders = [prefix]
        if prefix == names.grants(stream):
            folders = [f"{prefix}{grant.hex()}/" for grant in sorted(await self._store.grants(stream))]
        for folder in folders:
            async for key in bucket.list(folder, after):
                yield key

    async def delete(self, key: str) -> None:
        raise NotGranted("a provider may only read the households' store")

    async def aclose(self) -> None:
        if self._bucket is not None:
            await self._bucket.aclose()

    async def _opened(self, key: str) -> Bucket:
        if self._bucket is None:
            place = await self._store.location(_stream_of(key))
            if self._bucket is None:  # no other task has opened it meanwhile
                self._bucket = open_bucket(place)
        return self._bucket


def in_catalogue(where: Where, stream: bytes | None = None) -> Source:
    """The source of the homes that the registrar's catalogue has, for a `GrantedBucket`; of `stream` alone
    where it is given. NotGranted where that, or all homes that `where` asks for, granted nothing."""

    async def source(bucket: Bucket, identity: Identity, progress: Progress | None) -> Homes:
        assert isinstance(bucket, GrantedBucket)
        found = await bucket.through.homes(where)
        if stream is not None:
            homes = tuple(one for one in found.homes if one.stream == stream)
            failures = tuple(one for one in found.failures if one.stream == stream)
            if not homes and not failures:
                raise NotGranted(
                    f"the registrar's catalogue has no grant of stream {stream.hex()} to this provider, "
                    f"{identity.kid.hex()}; it may be a quarter of an hour behind the store"
                )
            found = Homes(homes, failures)
        if where.query() and not found.homes and not found.failures:
            asked = ", ".join(f"{name}={value}" for name, value in where.query().items())
            raise NotGranted(
                f"the registrar's catalogue has no grant of sums to this provider, {identity.kid.hex()},"
                f" with {asked}; it may be a quarter of an hour behind the store"
            )
        return found

    return source


@asynccontextmanager
async def opened_through(folder: Path, identity: Identity, clock: Clock) -> AsyncIterator[GrantedBucket]:
    """The store of the registrar at which the provider's `folder` is registered, closed at the end."""
    membership = open_membership(folder)
    async with granted_store(membership, identity, clock) as store:
        bucket = GrantedBucket(Through(membership, identity, clock), store)
        try:
            yield bucket
        finally:
            await bucket.aclose()


def _stream_of(key: str) -> bytes:
    parts = key.split("/")
    try:
        return bytes.fromhex(parts[1])
    except (IndexError, ValueError):
        raise NotGranted(
            f"{key!r} is no stream's: a provider reaches the streams that granted it something, and no more"
        ) from None
