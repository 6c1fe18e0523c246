"""Objects of a bucket, fetched several at a time and handed out in the order of their keys."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress

from gateway.errors import NotFound
from gateway.store.bucket import Bucket
from gateway.wire import names

_AT_ONCE = 8


async def get(bucket: Bucket, key: str) -> bytes | None:
    """The bytes under `key`, or None."""
    try:
        return await bucket.get(key)
    except NotFound:
        return None


async def get_ahead(bucket: Bucket, keys: Sequence[str]) -> dict[str, bytes | None]:
    """The bytes under each of `keys`, or None. A key that failed is left out: asking again says why."""
    if len(keys) == 1:  # without a task
        with suppress(Exception):
            return {keys[0]: await get(bucket, keys[0])}
        return {}
    found = await asyncio.gather(*(get(bucket, key) for key in keys), return_exceptions=True)
    return {key: one for key, one in zip(keys, found, strict=True) if not isinstance(one, BaseException)}


async def listed(bucket: Bucket, prefix: str, after: str = "") -> AsyncGenerator[str, None]:
    """The keys that begin with `prefix`, strictly after `after`, whatever their form."""
    keys: AsyncIterator[str] = bucket.list(prefix, after)
    try:
        async for key in keys:
            yield key
    finally:
        if isinstance(keys, AsyncGenerator):
            await keys.aclose()


async def first_key(bucket: Bucket, prefix: str, after: str = "") -> str | None:
    """The first key that begins with `prefix`, strictly after `after`."""
    async with aclosing(listed(bucket, prefix, after)) as keys:
        async for key in keys:
            return key
    return None


async def numbered(bucket: Bucket, prefix: str, after: str, end: int) -> AsyncGenerator[str, None]:
    """The keys of chunks or bundles strictly after `after` whose number lies below `end`."""
    async with aclosing(listed(bucket, prefix, after)) as keys:
        async for key in keys:
            if names.number_in(key) >= end:
                return
            yield key


async def holding(keys: AsyncGenerator[str, None], number: int) -> AsyncGenerator[str, None]:
    """`keys` from the last one whose number is at most `number`, which is the one that should hold it."""
    candidate: str | None = None
    async with aclosing(keys):
        async for key in keys:
            if candidate is not None and names.number_in(key) > number:
                yield candidate
            candidate = key
    if candidate is not None:
        yield candidate


async def objects(
    bucket: Bucket, keys: AsyncGenerator[str, None]
) -> AsyncGenerator[tuple[str, bytes | None], None]:
    """Each key with its bytes, in the keys' order; None where the object is gone since it was listed."""
    waiting: deque[tuple[str, asyncio.Task[bytes | None]]] = deque()
    try:
        async with aclosing(keys):
            async for key in keys:
                waiting.append((key, asyncio.create_task(get(bucket, key))))
                if len(waiting) == _AT_ONCE:
                    yield waiting[0][0], await waiting[0][1]
                    waiting.popleft()
        while waiting:
            yield waiting[0][0], await waiting[0][1]
            waiting.popleft()
    finally:
        for _, task in waiting:
            task.cancel()
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)
