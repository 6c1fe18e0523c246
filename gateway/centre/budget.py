"""The memory that looks at homes take together for the store's objects, which a store may make as large as it
likes, up to MOST_BYTES each.

A look counts with all that it was given so far, until it ends, and with MOST_BYTES for each object that it
has asked for. Where that would be too much, it waits for others to end; the look that began first waits for
what is on its way alone, so that all come to their end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from gateway.store.bucket import MOST_BYTES, Bucket


class Budget:
    """`most` bytes of a bucket's objects, for looks side by side."""

    def __init__(self, bucket: Bucket, most: int) -> None:
        self._bucket = bucket
        self._most = most
        self._looks: dict[_Counted, None] = {}  # in the order in which they began
        self._waiting: deque[_Turn] = deque()
        self._asked = 0
        self._held = 0

    @contextmanager
    def look(self) -> Iterator[Bucket]:
        """The bucket for one look; what it gave is let go of at the end."""
        own = _Counted(self._bucket, self)
        self._looks[own] = None
        try:
            yield own
        finally:
            del self._looks[own]
            self._held -= own.held
            self._admit()

    async def ask(self, look: _Counted) -> None:
        """Wait until the look may get one more object."""
        if not self._waiting and self._fits():
            self._asked += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((look, turn))
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove((look, turn))
            else:  # its turn came at the same time
                self.given(look, 0)
            raise

    def given(self, look: _Counted, size: int) -> None:
        """What the look has asked for has come, so many bytes, or will not come."""
        look.held += size
        self._held += size
        self._asked -= 1
        self._admit()

    def _fits(self) -> bool:
        return self._held + MOST_BYTES * (self._asked + 1) <= self._most

    def _admit(self) -> None:
        waiting = self._waiting
        while waiting and self._fits():
            self._let(waiting.popleft())
        if waiting and not self._asked:
            first = next(iter(self._looks))
            turn = next((one for one in waiting if one[0] is first), None)
            if turn is not None:
                waiting.remove(turn)
                self._let(turn)

    def _let(self, turn: _Turn) -> None:
        if not turn[1].done():  # it may have been given up just now
            self._asked += 1
            turn[1].set_result(None)


_Turn = tuple["_Counted", asyncio.Future[None]]


class _Counted:
    """`Bucket` of one look: `held` bytes were given to it."""

    def __init__(self, bucket: Bucket, budget: Budget) -> None:
        self._bucket = bucket
        self._budget = budget
        self.held = 0

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        await self._bucket.put(key, data, replace=replace)

    async def get(self, key: str) -> bytes:
        await self._budget.ask(self)
        size = 0
        try:
            data = await self._bucket.get(key)
            size = len(data)
        finally:
            self._budget.given(self, size)
        return data

    def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        return self._bucket.list(prefix, after)

    async def delete(self, key: str) -> None:
        await self._bucket.delete(key)

    async def aclose(self) -> None:
        """The bucket itself stays open."""
