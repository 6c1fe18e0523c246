"""A registrar's store, as a provider reaches it: with sessions for a few streams each, renewed as they end.

async with granted_store(membership, identity, clock) as store:
    bucket = open_bucket(await store.location(stream))
    reader = await StreamReader.open(bucket, stream, signer, grants=await store.grants(stream))
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import GatewayError, Refused, StoreDenied, Unavailable
from gateway.host.clock import Clock, unix_ms
from gateway.provider.identity import Identity
from gateway.provider.membership import Membership, catalogue, sign
from gateway.store.credentials import Credentials
from gateway.store.location import Location
from gateway.wire import names
from gateway.wire.signed import Signed

if TYPE_CHECKING:  # as in `gateway.provider.membership`
    from gateway.registry.documents import CredentialsAnswer

Fetch = Callable[[Sequence[bytes]], Awaitable["CredentialsAnswer"]]

_STREAM = re.compile(r"v1/([0-9a-f]{32})/")
_AHEAD = 16
"""Streams that one session is asked for: more than fit in its policy, which shows how many do."""
_LEAST_MS = 5 * 60_000
"""Credentials that end sooner are renewed first: a long object takes as long."""
_LOGIN_MS = 50 * 60_000
"""A session at the registrar lasts an hour."""


class GrantedStore:
    """Where the streams lie that granted a provider something, and the credentials to read them: a
    `CredentialsSource`. `streams` are those that will be read; `fetch` asks the registrar for some of them.
    """

    def __init__(self, streams: Sequence[bytes], fetch: Fetch, clock: Clock) -> None:
        self._streams = sorted(streams)
        self._fetch = fetch
        self._clock = clock
        self._sessions: dict[bytes, Credentials] = {}
        self._grants: dict[bytes, tuple[bytes, ...]] = {}
        self._alone: set[bytes] = set()
        """Streams that were asked for with one that is no longer the provider's: each refusal counts there as
        an attempt, and many would shut the provider out."""
        self._asking = asyncio.Lock()
        self._place: Location | None = None

    async def location(self, stream: bytes) -> Location:
        """The bucket, with this source as its credentials. The errors are those of `grants`."""
        await self.grants(stream)
        assert self._place is not None
        return self._place

    async def grants(self, stream: bytes) -> tuple[bytes, ...]:
        """The ids of this provider's grants on a stream, which are all that its credentials reach there.
        StoreDenied where the stream granted it nothing; Unavailable where the registrar does not answer."""
        await self.present(names.stream_prefix(stream))
        return self._grants[stream]

    async def present(self, key: str, refused: Credentials | None = None) -> Credentials:
        """As `CredentialsSource` says."""
        found = _STREAM.match(key)
        if found is None:
            raise StoreDenied(f"no stream is at {key!r}, and a provider's credentials reach streams alone")
        stream = bytes.fromhex(found[1])
        async with self._asking:
            if not self._usable(stream, refused):
                await self._renew(stream)
            return self._sessions[stream]

    def _usable(self, stream: bytes, refused: Credentials | None = None) -> bool:
        known = self._sessions.get(stream)
        if known is None or known == refused:
            return False
        return known.expires_ms is None or known.expires_ms > unix_ms(self._clock) + _LEAST_MS

    async def _renew(self, stream: bytes) -> None:
        """Get a session that reaches `stream`, and others as far as it has room for them."""
        others: list[bytes] = []
        if stream not in self._alone:
            left = (other for other in self._streams if other > stream and not self._usable(other))
            others = list(islice((other for other in left if other not in self._alone), _AHEAD - 1))
        try:
            try:
                answer = await self._fetch([stream, *others])
            except Refused:  # one of the others may no longer be its own
                if not others:
                    raise
                self._alone.update(others)
                answer = await self._fetch([stream])
        except Refused as error:
            raise StoreDenied(str(error)) from None
        except Unavailable:
            raise
        except GatewayError as error:
            raise Unavailable(f"the registrar gives no storage credentials: {error}") from None
        keys = Credentials(answer.access_key, answer.secret_key, answer.session_token, answer.expires_ms)
        if not answer.url.startswith("s3://"):
            raise StoreDenied("the registrar names a store that is not a bucket, s3://NAME")
        self._place = Location.parse(answer.url, answer.endpoint, answer.region, credentials=self)
        for one in {stream, *others} & {bytes.fromhex(reached) for reached in answer.streams}:
            self._sessions[one] = keys
            self._grants[one] = tuple(bytes.fromhex(grant) for grant in answer.grants.get(one.hex(), ()))
        if not self._usable(stream):
            raise StoreDenied(f"the registrar gave no credentials that reach the stream {stream.hex()}")


@asynccontextmanager
async def granted_store(
    membership: Membership, identity: Identity, clock: Clock
) -> AsyncIterator[GrantedStore]:
    """The store of the registrar at which a provider is registered, with all streams that granted it
    something. Unavailable where the registrar does not answer, and the errors that it answers with."""
    logged_in: int | None = None

    async def signed(item: Signed) -> bytes:
        return sign(identity, item)

    from gateway.registry.client import RegistrarClient  # noqa: PLC0415 - as above

    async with RegistrarClient(
        membership.url, None if membership.ca is None else Path(membership.ca)
    ) as client:

        async def fetch(streams: Sequence[bytes]) -> CredentialsAnswer:
            await log_in()
            return await client.credentials(streams)

        async def log_in() -> None:
            nonlocal logged_in
            now_ms = unix_ms(clock)
            if logged_in is None or not logged_in <= now_ms < logged_in + _LOGIN_MS:
                await client.login(identity.kid, membership.registrar, now_ms, signed)
                logged_in = now_ms

        await log_in()
        streams = [bytes.fromhex(one.stream) async for one in catalogue(client, granted="true")]
        yield GrantedStore(streams, fetch, clock)
