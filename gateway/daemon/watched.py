"""A store as the gateway uses it, with what it has been asked and has not answered yet, for the status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime

from gateway.host.clock import Clock
from gateway.store.bucket import Bucket
from gateway.stream.fetch import listed

_SLOW_NS = 10 * 10**9


class WatchedBucket:
    """`Bucket`, and the request that has waited the longest."""

    def __init__(self, bucket: Bucket, clock: Clock) -> None:
        self._bucket = bucket
        self._clock = clock
        self._asked: dict[object, tuple[str, int, int]] = {}  # what, and when (ns, wall and monotonic)

    @property
    def slow(self) -> str | None:
        """The request that has waited the longest, if for 10 s or more, as a sentence."""
        for what, wall, began in self._asked.values():  # in the order in which they began
            if self._clock.monotonic() - began >= _SLOW_NS:
                since = datetime.fromtimestamp(wall / 1e9, UTC)
                return f"the store has not answered since {since:%Y-%m-%d %H:%M:%S} UTC: {what}"
        return None

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        with self._asking(f"putting {key}, {len(data)} bytes"):
            await self._bucket.put(key, data, replace=replace)

    async def get(self, key: str) -> bytes:
        with self._asking(f"getting {key}"):
            return await self._bucket.get(key)

    async def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        async with aclosing(listed(self._bucket, prefix, after)) as keys:
            while True:
                with self._asking(f"listing {prefix}"):
                    key = await anext(keys, None)
                if key is None:
                    return
                yield key

    async def delete(self, key: str) -> None:
        with self._asking(f"deleting {key}"):
            await self._bucket.delete(key)

    async def aclose(self) -> None:
        await self._bucket.aclose()

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        request = object()
        self._asked[request] = what, self._clock.wall(), self._clock.monotonic()
        try:
            yield
        finally:
            del self._asked[request]
