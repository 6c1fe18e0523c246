"""A provider's homes and their store through a registrar: who granted it something, as the catalogue has it,
and the store with credentials that reach those streams and no others.

Who signs a stream is taken from the gateway's certificate, which the registrar signs: the homes are verified.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import NotGranted, Refused, Unavailable
from gateway.host.clock import Clock, unix_ms
from gateway.provider.desk import Failure, Home, Homes, Progress, Source
from gateway.provider.identity import Identity
from gateway.provider.membership import Membership, catalogue, open_membership, session
from gateway.registry.documents import CatalogueStream, CredentialsAnswer
from gateway.store.bucket import Bucket
from gateway.store.credentials import Credentials
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.wire.certificate import Certificate

_AT_ONCE = 4
"""Sessions of the store that are kept open while nothing is asked of them."""
_ASKED = 256
"""Streams that credentials are asked for at a time; a session's policy has room for fewer."""
_LEAST_MS = 60_000


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

    async def credentials(self, streams: Sequence[bytes]) -> CredentialsAnswer:
        """Storage credentials that reach these streams, as many of them as fit."""
        async with session(self._membership, self._identity, unix_ms(self._clock)) as client:
            return await client.credentials(streams)

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


@dataclass(slots=True)
class _Part:
    """A session of the store: what it reaches, until when (Unix ms), and how many calls are under way."""

    bucket: Bucket
    reaches: frozenset[bytes]
    expires_ms: int
    busy: int = 0


@dataclass(frozen=True, slots=True)
class _Fixed:
    """Credentials of one session, which nobody renews: a new session takes their place."""

    credentials: Credentials = field(repr=False)

    async def present(self, refused: Credentials | None = None) -> Credentials:
        return self.credentials


class GrantedBucket:
    """The store of a registrar's households, as a `Bucket` to read from: for each stream it uses a session
    whose credentials reach that stream, and asks the registrar for one where it has none."""

    def __init__(self, through: Through, clock: Clock) -> None:
        self.through = through
        self._clock = clock
        self._order: dict[bytes, int] = {}
        self._streams: list[bytes] = []
        self._parts: OrderedDict[int, _Part] = OrderedDict()
        self._asking = asyncio.Lock()

    def will_read(self, streams: Sequence[bytes]) -> None:
        """Say which streams will be read, in their order, so that one session serves neighbours."""
        self._streams = list(streams)
        self._order = {stream: i for i, stream in enumerate(streams)}

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        raise NotGranted("a provider may only read the households' store")

    async def get(self, key: str) -> bytes:
        async with self._part(key) as bucket:
            return await bucket.get(key)

    async def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        async with self._part(prefix) as bucket:
            async for key in bucket.list(prefix, after):
                yield key

    async def delete(self, key: str) -> None:
        raise NotGranted("a provider may only read the households' store")

    async def aclose(self) -> None:
        parts, self._parts = list(self._parts.values()), OrderedDict()
        for part in parts:
            await part.bucket.aclose()

    @asynccontextmanager
    async def _part(self, key: str) -> AsyncIterator[Bucket]:
        """The bucket with a session that reaches the stream of a key."""
        stream = _stream_of(key)
        part = self._known(stream)
        if part is None:
            async with self._asking:
                part = self._known(stream) or await self._asked(stream)
        part.busy += 1
        try:
            yield part.bucket
        finally:
            part.busy -= 1

    def _known(self, stream: bytes) -> _Part | None:
        until = unix_ms(self._clock) + _LEAST_MS
        return next(
            (one for one in self._parts.values() if stream in one.reaches and one.expires_ms > until), None
        )

    async def _asked(self, stream: bytes) -> _Part:
        """A new session, for the stream and as many of those that come after it as fit."""
        at = self._order.get(stream)
        wanted = [stream] if at is None else self._streams[at : at + _ASKED]
        answer = await self.through.credentials(wanted)
        if stream.hex() not in answer.streams:
            raise Unavailable(f"the registrar gave no credentials for the stream {stream.hex()}: try again")
        keys = Credentials(answer.access_key, answer.secret_key, answer.session_token, answer.expires_ms)
        location = Location.parse(answer.url, answer.endpoint, answer.region, credentials=_Fixed(keys))
        part = _Part(open_bucket(location), frozenset(map(bytes.fromhex, answer.streams)), answer.expires_ms)
        self._parts[id(part)] = part
        idle = [number for number, one in self._parts.items() if not one.busy and one is not part]
        for number in idle[: max(0, len(self._parts) - _AT_ONCE)]:
            await self._parts.pop(number).bucket.aclose()
        return part


def in_catalogue(where: Where, stream: bytes | None = None) -> Source:
    """The source of the homes that the registrar's catalogue has, for a `GrantedBucket`; of `stream` alone
    where it is given. NotGranted where that granted nothing."""

    async def source(bucket: Bucket, identity: Identity, progress: Progress | None) -> Homes:
        assert isinstance(bucket, GrantedBucket)
        found = await bucket.through.homes(where)
        if stream is not None:
            homes = tuple(one for one in found.homes if one.stream == stream)
            failures = tuple(one for one in found.failures if one.stream == stream)
            if not homes and not failures:
                raise NotGranted(
                    f"the registrar's catalogue has no grant of stream {stream.hex()} to this provider, "
                    f"{identity.kid.hex()}; it is some minutes behind the store"
                )
            found = Homes(homes, failures)
        bucket.will_read([one.stream for one in found.homes])
        return found

    return source


@asynccontextmanager
async def opened_through(folder: Path, identity: Identity, clock: Clock) -> AsyncIterator[GrantedBucket]:
    """The store of the registrar at which the provider's `folder` is registered, closed at the end."""
    bucket = GrantedBucket(Through(open_membership(folder), identity, clock), clock)
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
