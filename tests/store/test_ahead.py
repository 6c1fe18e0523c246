"""Objects that are asked for ahead: each is fetched once, and fails only whoever gets it."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import NotFound
from gateway.store.ahead import AheadBucket
from gateway.store.memory import MemoryBucket, NotedBucket


class Slow(MemoryBucket):
    """Objects that take a turn of the loop; counts those that were asked for and those that came."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(objects)
        self.asked: list[str] = []
        self.came: list[str] = []

    async def get(self, key: str) -> bytes:
        self.asked.append(key)
        await asyncio.sleep(0)
        data = await super().get(key)
        self.came.append(key)
        return data


async def test_what_was_asked_for_is_handed_out_once() -> None:
    source = Slow({"a": b"1", "b": b"2"})
    bucket = AheadBucket(source)
    bucket.ask(["a", "b"])
    await asyncio.sleep(0)
    assert source.asked == ["a", "b"]  # side by side
    assert (await bucket.get("b"), await bucket.get("a")) == (b"2", b"1")
    assert source.asked == ["a", "b"]
    assert await bucket.get("a") == b"1"
    assert source.asked == ["a", "b", "a"]
    await bucket.aclose()


async def test_what_fails_fails_whoever_gets_it() -> None:
    bucket = AheadBucket(Slow({"a": b"1"}))
    bucket.ask(["a", "none", "nobody asks"])
    assert await bucket.get("a") == b"1"
    with pytest.raises(NotFound, match="'none'"):
        await bucket.get("none")
    await bucket.aclose()  # and what failed is not heard of


async def test_what_nobody_gets_is_given_up() -> None:
    source = Slow({"a": b"1"})
    bucket = AheadBucket(source)
    bucket.ask(["a"])
    await bucket.aclose()
    assert source.came == []


async def test_the_rest_goes_to_the_bucket() -> None:
    source = NotedBucket(MemoryBucket({"a/b": b"1", "a/c": b"2"}))
    bucket = AheadBucket(source)
    assert [key async for key in bucket.list("a/", "a/b")] == ["a/c"]
    assert await bucket.get("a/b") == b"1"
    assert source.read == {"a/b": b"1"}
