"""A bucket of which some objects are asked for ahead: whoever gets them later waits less, and a server that
gets several requests at once works less on each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from gateway.store.bucket import Bucket


class AheadBucket:
    """`Bucket` whose objects can be asked for ahead. An object that was is handed out once."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._under_way: dict[str, asyncio.Task[bytes]] = {}

    def ask(self, keys: Iterable[str]) -> None:
        """Begin to get the objects under these keys."""
        for key in keys:
            self._under_way[key] = asyncio.create_task(self._bucket.get(key))

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        await self._bucket.put(key, data, replace=replace)

    async def get(self, key: str) -> bytes:
        task = self._under_way.pop(key, None)
        return await (self._bucket.get(key) if task is None else task)

    def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        return self._bucket.list(prefix, after)

    async def delete(self, key: str) -> None:
        await self._bucket.delete(key)

    async def aclose(self) -> None:
        """Give up what was asked for and nobody got; the bucket itself stays open."""
        for task in self._under_way.values():
            task.cancel()
        if self._under_way:
            await asyncio.gather(*self._under_way.values(), return_exceptions=True)
