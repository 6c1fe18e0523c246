"""Buckets of objects that are at hand, and of what was read of another: for what must be shown to others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from gateway.errors import NotFound, StoreDenied
from gateway.store.bucket import Bucket


class MemoryBucket:
    """`Bucket` of the objects in a mapping, to be read only."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self._objects = objects

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        raise StoreDenied(f"{key!r} cannot be stored: these objects are only read")

    async def get(self, key: str) -> bytes:
        if key not in self._objects:
            raise NotFound(f"there is no object {key!r}")
        return self._objects[key]

    async def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        for key in sorted(self._objects):
            if key.startswith(prefix) and key > after:
                yield key

    async def delete(self, key: str) -> None:
        raise StoreDenied(f"{key!r} cannot be removed: these objects are only read")

    async def aclose(self) -> None:
        pass


class NotedBucket:
    """`bucket`, and in `read` all objects that were got from it."""

    def __init__(self, bucket: Bucket) -> None:
        self.read: dict[str, bytes] = {}
        self._bucket = bucket

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        await self._bucket.put(key, data, replace=replace)

    async def get(self, key: str) -> bytes:
        data = await self._bucket.get(key)
        self.read[key] = data
        return data

    def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        return self._bucket.list(prefix, after)

    async def delete(self, key: str) -> None:
        await self._bucket.delete(key)

    async def aclose(self) -> None:
        await self._bucket.aclose()
