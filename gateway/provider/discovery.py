"""The homes of a bucket that granted a provider something, found by looking through it.

Without a registrar nobody vouches for a stream's signer here: it is the one that the store's descriptor
names, and the home is not `verified` until a person compares it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.chain.grant import Grant
from gateway.chain.keys import STREAM_BYTES
from gateway.errors import GatewayError, Refused, StoreDenied
from gateway.provider.desk import AT_ONCE, Failure, Home, Homes, Progress, side_by_side
from gateway.provider.grants import limit_of
from gateway.provider.identity import Identity
from gateway.store.bucket import Bucket
from gateway.store.kept import KeptBucket
from gateway.stream.fetch import listed
from gateway.stream.grants import grants
from gateway.stream.reader import StreamReader
from gateway.stream.times import moment
from gateway.wire import cose, names
from gateway.wire.stream import Descriptor, Head

_VERSION = "v1/"
_DIGITS = "0123456789abcdef"
_PASSED = 200  # keys of one stream that are passed over before the next stream is listed


@dataclass(frozen=True, slots=True)
class Granted:
    """A grant to the provider. From the unit `limit` on it opens nothing, by its `until` or a revocation."""

    grant: Grant
    limit: int | None
    revoked: bool


@dataclass(frozen=True, slots=True)
class GrantedHome:
    """A home, and its grants to the provider, the earliest first. `head` is None where nothing is sealed
    yet."""

    home: Home
    descriptor: Descriptor
    head: Head | None
    grants: tuple[Granted, ...]

    def moment(self, unit: int) -> datetime:
        """When a unit of the stream begins, UTC."""
        return moment(unit, self.descriptor.layout.unit_ms)


_Look = GrantedHome | Failure


@dataclass(frozen=True, slots=True)
class Found:
    """The homes that granted the provider something, and the streams that cannot be looked at. `denied` is
    how many the store did not let it read: what these granted, it cannot open."""

    homes: tuple[GrantedHome, ...]
    failures: tuple[Failure, ...]
    denied: int = 0


async def find(bucket: Bucket, identity: Identity, progress: Progress | None = None) -> Found:
    """Look through the whole bucket, streams by id. It takes at most two listings for each stream, one for
    each grant, and three small objects for each stream beside its grants. Raises the bucket's errors."""
    ids = await streams_in(bucket)

    async def look(stream: bytes) -> _Look:
        try:
            home = Home(stream, await _signer(bucket, stream), verified=False)
            return await _granted(bucket, home, identity)
        except GatewayError as error:
            return Failure(stream, error)

    return await _gather((look(stream) for stream in ids), len(ids), progress)


async def find_listed(
    bucket: Bucket, homes: Sequence[Home], identity: Identity, progress: Progress | None = None
) -> Found:
    """What these homes granted; those that granted nothing are left out."""

    async def look(home: Home) -> _Look:
        try:
            return await _granted(bucket, home, identity)
        except GatewayError as error:
            return home.failed(error)

    return await _gather((look(home) for home in homes), len(homes), progress)


async def in_store(bucket: Bucket, identity: Identity, progress: Progress | None) -> Homes:
    """The source (`desk.Source`) of all homes of a bucket that granted the provider sums."""
    found = await find(bucket, identity, progress)
    granted = [one.home for one in found.homes if any(held.grant.kind == "windows" for held in one.grants)]
    return Homes(tuple(granted), found.failures)


async def streams_in(bucket: Bucket) -> list[bytes]:
    """The ids of all streams in a bucket, sorted; whatever else lies there is passed over. It takes 16
    listings, and one more for each stream of many objects."""
    parts = await asyncio.gather(*(_streams_from(bucket, digit) for digit in _DIGITS))
    return [stream for part in parts for stream in part]


async def _streams_from(bucket: Bucket, digit: str) -> list[bytes]:
    found: list[bytes] = []
    after: str | None = ""
    while after is not None:
        keys = listed(bucket, _VERSION + digit, after)
        after = None
        folder, passed = "", 0
        async with aclosing(keys):
            async for key in keys:
                if folder and key.startswith(folder):
                    passed += 1
                    if passed == _PASSED:
                        after = folder[:-1] + "0"  # "0" is the character after "/"
                        break
                    continue
                name, slash, _ = key.removeprefix(_VERSION).partition("/")
                folder, passed = f"{_VERSION}{name}/" if slash else "", 0
                if slash and re.fullmatch(f"[{_DIGITS}]{{{2 * STREAM_BYTES}}}", name):
                    found.append(bytes.fromhex(name))
    return found


async def _signer(bucket: Bucket, stream: bytes) -> bytes:
    """The kid of the key that the stream's descriptor names."""
    key = names.descriptor(stream)
    payload = cose.payload_unchecked(await bucket.get(key), key)[1]
    return cose.kid_of(Descriptor.from_payload(payload, key).signing_key)


async def _granted(bucket: Bucket, home: Home, identity: Identity) -> GrantedHome:
    """The home with its grants to the provider, perhaps none. Refused where anything of it is invalid: in the
    store, not in what is kept of it."""
    if isinstance(bucket, KeptBucket):
        with suppress(Refused):
            return await _granted_in(bucket, home, identity)
        bucket.clear(names.stream_prefix(home.stream))
        bucket = bucket.source
    return await _granted_in(bucket, home, identity)


async def _granted_in(bucket: Bucket, home: Home, identity: Identity) -> GrantedHome:
    reader = await StreamReader.open(bucket, home.stream, home.signer)
    async with aclosing(grants(reader)) as found:
        own = [grant async for _, _, grant in found if grant.provider == identity.kid]
    head = await reader.read_head() if own else None
    held = [Granted(grant, *await limit_of(reader, grant, head)) for grant in own]
    held.sort(key=lambda one: (one.grant.first, one.grant.serial))
    return GrantedHome(home, reader.descriptor, head, tuple(held))


async def _gather(
    looks: Iterable[Coroutine[Any, Any, _Look]], count: int, progress: Progress | None
) -> Found:
    homes: list[GrantedHome] = []
    failures: list[Failure] = []
    done = denied = 0
    async with aclosing(side_by_side(looks, AT_ONCE)) as looked:
        async for look in looked:
            done += 1
            if progress is not None:
                progress(done, count)
            if isinstance(look, GrantedHome):
                homes += [look] * bool(look.grants)
            elif isinstance(look.error, StoreDenied):
                denied += 1
            else:
                failures.append(look)
    return Found(tuple(homes), tuple(failures), denied)
