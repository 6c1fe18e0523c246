"""Objects at hand are read as from any bucket, and what was read of another is noted."""

from __future__ import annotations

import pytest

from gateway.errors import NotFound, StoreDenied
from gateway.store.memory import MemoryBucket, NotedBucket

OBJECTS = {"a/1": b"one", "a/2": b"two", "b": b"three"}


async def test_objects_at_hand() -> None:
    bucket = MemoryBucket(OBJECTS)
    assert [key async for key in bucket.list("a/")] == ["a/1", "a/2"]
    assert [key async for key in bucket.list("", "a/1")] == ["a/2", "b"]
    assert await bucket.get("b") == b"three"
    with pytest.raises(NotFound, match="there is no object 'a'"):
        await bucket.get("a")
    for change in (bucket.put("a/1", b"other", replace=True), bucket.delete("a/1")):
        with pytest.raises(StoreDenied, match="these objects are only read"):
            await change
    await bucket.aclose()


async def test_what_was_read_is_noted() -> None:
    bucket = NotedBucket(MemoryBucket(OBJECTS))
    assert [key async for key in bucket.list("")] == list(OBJECTS)
    assert bucket.read == {}
    await bucket.get("a/2")
    with pytest.raises(NotFound):
        await bucket.get("c")
    assert bucket.read == {"a/2": b"two"}
    with pytest.raises(StoreDenied):
        await bucket.put("c", b"")
    with pytest.raises(StoreDenied):
        await bucket.delete("b")
    await bucket.aclose()
