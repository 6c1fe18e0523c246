"""The store and the root as the gateway uses them, with how they answer, for the status and the watchdog."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from typing import Literal, TypeVar

from gateway.errors import StoreDenied, StoreUnavailable, TrustError
from gateway.host.clock import Clock
from gateway.registry.evidence import Evidence
from gateway.store.bucket import Bucket
from gateway.stream.fetch import listed
from gateway.trust.root import Note, Root, unnoted

T = TypeVar("T")

_SLOW_NS = 10 * 10**9


class WatchedBucket:
    """`Bucket`, and the request that has waited the longest. `errors` counts the requests that failed because
    the store did not answer, or refused."""

    def __init__(self, bucket: Bucket, clock: Clock) -> None:
        self._bucket = bucket
        self._clock = clock
        self.errors = 0
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
        except (StoreUnavailable, StoreDenied):
            self.errors += 1
            raise
        finally:
            del self._asked[request]


class WatchedRoot:
    """`Root`. `answered` is when it last did what it was asked (ns, monotonic; 0 before the first time),
    `errors` counts the calls that failed."""

    def __init__(self, root: Root, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self.assurance: Literal["tpm", "software"] = root.assurance
        self.public_key = root.public_key
        self.answered = 0
        self.errors = 0

    async def hmac(self, message: bytes) -> bytes:
        return await self._noted(self._root.hmac(message))

    async def sign(self, message: bytes) -> bytes:
        return await self._noted(self._root.sign(message))

    async def draw_incarnation(self, note: Note = unnoted) -> int:
        return await self._noted(self._root.draw_incarnation(note))

    async def incarnation_counter(self) -> int | None:
        return await self._noted(self._root.incarnation_counter())

    async def random(self, n: int) -> bytes:
        return await self._noted(self._root.random(n))

    async def evidence(self) -> Evidence | None:
        return await self._noted(self._root.evidence())

    async def activate(self, credential_blob: bytes, secret: bytes) -> bytes:
        return await self._noted(self._root.activate(credential_blob, secret))

    @property
    def fault(self) -> str | None:
        return self._root.fault

    @property
    def hung(self) -> bool:
        return self._root.hung

    async def aclose(self) -> None:
        await self._root.aclose()

    async def _noted(self, answer: Awaitable[T]) -> T:
        try:
            given = await answer
        except TrustError:
            self.errors += 1
            raise
        self.answered = self._clock.monotonic()
        return given
