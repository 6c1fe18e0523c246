"""A bucket on an S3 server for a reader or a writer of many objects: its GETs, and its PUTs that replace what
is there, go on the loop itself, without a thread each.

As with `s3_get`, only the plainest setting is served, and only what goes well: any other request is made
again through `S3Bucket`, which retries, and has the errors.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from gateway.errors import NotFound
from gateway.store.bucket import MOST_BYTES, Bucket, check_key, deadline_s
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.store.s3_trust import authorities

if TYPE_CHECKING:
    from gateway.store.s3_get import PlainGets

_CONNECT_S = 3
_READ_S = 10  # of silence


def open_for_many(location: Location, at_once: int) -> Bucket:
    """The bucket at a location, for up to `at_once` GETs and PUTs at a time. Open it where the loop runs that
    uses it."""
    bucket = open_bucket(location)
    if not location.url.startswith("s3://"):
        return bucket
    from gateway.store.s3_get import PlainGets  # noqa: PLC0415 - boto3 loads slowly, and a directory needs none

    plain = PlainGets.of(location, (_CONNECT_S, _READ_S), 1)
    return bucket if plain is None else ManyGets(bucket, location, plain, at_once)


class ManyGets:
    """`Bucket` on the same S3 server as `bucket`, which does all but the GETs and the replacing PUTs that go
    well."""

    def __init__(self, bucket: Bucket, location: Location, plain: PlainGets, at_once: int) -> None:
        import aiohttp  # noqa: PLC0415 - loads slowly

        self._bucket = bucket
        self._where = f"the store {location.url} at {location.endpoint}"
        _, slash, prefix = location.url.removeprefix("s3://").partition("/")
        self._root = prefix + slash
        self._plain = plain
        known = authorities(location)
        trusted = ssl.create_default_context(cafile=known) if isinstance(known, str) else True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=at_once, ssl=trusted),
            timeout=aiohttp.ClientTimeout(total=deadline_s(0), sock_connect=_CONNECT_S, sock_read=_READ_S),
            auto_decompress=False,
        )
        self._failed: tuple[type[Exception], ...] = (aiohttp.ClientError, TimeoutError, OSError, ValueError)

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        check_key(key)
        try:
            done = replace and await self._put(f"/{self._root}{key}", data)
        except self._failed:
            done = False
        if not done:
            await self._bucket.put(key, data, replace=replace)

    async def get(self, key: str) -> bytes:
        check_key(key)
        try:
            data = await self._get(f"/{self._root}{key}")
        except self._failed:
            data = None
        if data is None:
            return await self._bucket.get(key)
        return data

    def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        return self._bucket.list(prefix, after)

    async def delete(self, key: str) -> None:
        await self._bucket.delete(key)

    async def aclose(self) -> None:
        await self._session.close()
        await asyncio.sleep(0)  # aiohttp closes its connections in the loop's next round
        await self._bucket.aclose()

    async def _get(self, path: str) -> bytes | None:
        """The bytes at a path of the bucket's; NotFound where the server says that there are none; None, or
        any of `_failed`, for an answer that is not for here."""
        url, headers = self._plain.signed(path)
        async with self._session.get(url, headers=headers, allow_redirects=False) as answer:
            if answer.content_length is None or answer.content_length > MOST_BYTES:
                return None
            data = await answer.read()
        if answer.status == 404 and b"<Code>NoSuchKey</Code>" in data:
            raise NotFound(f"{self._where} has no {path[1:].removeprefix(self._root)!r}")
        if answer.status != 200 or not {"ETag", "Last-Modified"} <= answer.headers.keys():
            return None
        return data

    async def _put(self, path: str, data: bytes) -> bool:
        """Whether the server took the bytes. Any of `_failed` for an answer that is not for here."""
        url, headers = self._plain.signed(path, data)
        async with self._session.put(url, headers=headers, data=data, allow_redirects=False) as answer:
            await answer.read()
            return answer.status == 200 and "ETag" in answer.headers
