"""The objects of a simulated fleet in memory, as they come into being."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Iterable

from gateway.errors import NotFound


class MemoryBucket:
    """`Bucket` of objects in memory, to read; `read` has the keys of those that were read."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._keys: list[str] = []
        self._sorted = True
        self.read: set[str] = set()

    def add(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Put objects, in place of those that are there."""
        self._objects.update(objects)
        self._sorted = False

    def __getitem__(self, key: str) -> bytes:
        return self._objects[key]

    async def get(self, key: str) -> bytes:
        try:
            data = self._objects[key]
        except KeyError:
            raise NotFound(key) from None
        self.read.add(key)
        return data

    async def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        if not self._sorted:
            self._keys, self._sorted = sorted(self._objects), True
        at = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        while at < len(self._keys) and self._keys[at].startswith(prefix):
            yield self._keys[at]
            at += 1

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass
