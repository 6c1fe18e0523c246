"""What every bucket does, on a directory and on two real servers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from gateway.errors import KeyTaken, NotFound, Refused, UsageError
from gateway.store.bucket import Bucket
from gateway.store.location import Location
from gateway.store.opening import open_bucket

STREAM = "v1/0123456789abcdef0123456789abcdef"


async def keys(bucket: Bucket, prefix: str = "", after: str = "") -> list[str]:
    return [key async for key in bucket.list(prefix, after)]


@pytest.fixture
async def other(location: Location) -> AsyncIterator[Bucket]:
    """A second client of the same bucket."""
    opened = open_bucket(location)
    yield opened
    await opened.aclose()


@pytest.mark.parametrize(
    "data", [b"", bytes(range(256)), os.urandom(3 << 20)], ids=["empty", "small", "large"]
)
async def test_what_was_put_is_got(bucket: Bucket, other: Bucket, data: bytes) -> None:
    await bucket.put(f"{STREAM}/head.cose", data)
    assert await other.get(f"{STREAM}/head.cose") == data


async def test_absent_keys_are_not_found(bucket: Bucket) -> None:
    await bucket.put("v1/a/b", b"1")
    for key in ("v1/none", "v1/a", "v1", "none/at/all", "v1/a/b/c"):
        with pytest.raises(NotFound, match=key):
            await bucket.get(key)


async def test_what_is_longer_than_any_object_of_ours_is_refused(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store must not fill the memory of who reads it."""
    for module in ("bucket", "directory"):
        monkeypatch.setattr(f"gateway.store.{module}.MOST_BYTES", 1000)
    await bucket.put("v1/most", bytes(1000))
    await bucket.put("v1/more", bytes(1001))
    assert len(await bucket.get("v1/most")) == 1000
    with pytest.raises(Refused, match="v1/more"):
        await bucket.get("v1/more")
    with pytest.raises(KeyTaken):
        await bucket.put("v1/more", b"ours")


async def test_same_bytes_again_are_a_success_and_others_are_not(bucket: Bucket, other: Bucket) -> None:
    await bucket.put("v1/a", b"first")
    await bucket.put("v1/a", b"first")
    await other.put("v1/a", b"first")
    for writer in (bucket, other):
        with pytest.raises(KeyTaken, match="v1/a"):
            await writer.put("v1/a", b"second")
        with pytest.raises(KeyTaken):
            await writer.put("v1/a", b"")
    assert await bucket.get("v1/a") == b"first"


async def test_replace_puts_whatever_is_there(bucket: Bucket) -> None:
    for data in (b"1", b"22", b"22", b""):
        await bucket.put("v1/head", data, replace=True)
        assert await bucket.get("v1/head") == data
    with pytest.raises(KeyTaken):
        await bucket.put("v1/head", b"3")


async def test_of_eight_writers_one_wins(bucket: Bucket, other: Bucket) -> None:
    for round_ in range(3):
        key = f"v1/race/{round_}"
        written = [f"writer {number}".encode() for number in range(8)]
        results = await asyncio.gather(
            *((bucket, other)[number % 2].put(key, data) for number, data in enumerate(written)),
            return_exceptions=True,
        )
        won = [data for data, result in zip(written, results, strict=True) if result is None]
        assert [await bucket.get(key)] == won
        assert sum(isinstance(result, KeyTaken) for result in results) == 7


async def test_eight_writers_of_the_same_bytes_all_succeed(bucket: Bucket, other: Bucket) -> None:
    await asyncio.gather(*((bucket, other)[number % 2].put("v1/same", b"same") for number in range(8)))
    assert await bucket.get("v1/same") == b"same"
    assert await keys(bucket) == ["v1/same"]


async def test_keys_are_listed_in_order_from_anywhere(bucket: Bucket) -> None:
    assert await keys(bucket) == []
    there = [
        "v1/00/chunk/2026-10-30/00000000692e0d00.cose",
        "v1/00/chunk/2026-10-31/00000000692e0d01.cose",
        "v1/00/chunk/2026-11-01/00000000692e0d02.cose",
        "v1/00/grant/aa/grant.cose",
        "v1/00/grant/aa/new/0000000000000000.cose",
        "v1/00/grant/aa/new/0000000000000010.cose",
        "v1/00/grant/aa/revoked.cose",
        "v1/00/head.cose",
        "v1/00/stream.cose",
        "v1/01/head.cose",
        "v1/Z",
        "v1/_",
        "v2",
    ]
    for key in reversed(there):
        await bucket.put(key, key.encode())
    prefixes = [
        "",
        "v1/",
        "v1/0",
        "v1/00/",
        "v1/00/chunk/2026-1",
        "v1/00/grant/aa/new/",
        "v2",
        "v3",
        "v1/00/head.cose",
    ]
    afters = [
        "",
        "A",
        "v1/00/chunk",
        "v1/00/chunk/2026-10-31/",
        "v1/00/grant/aa/new/0000000000000000",
        "zz",
        *there,
    ]
    for prefix in prefixes:
        for after in afters:
            expected = [key for key in there if key.startswith(prefix) and key > after]
            assert await keys(bucket, prefix, after) == expected, (prefix, after)


@pytest.mark.slow
async def test_lists_longer_than_a_page_are_whole(bucket: Bucket) -> None:
    there = sorted(f"{STREAM}/chunk/2026-10-{n % 28 + 1:02}/{n:016x}.cose" for n in range(1100))
    await asyncio.gather(*(bucket.put(key, b"x") for key in there))
    assert await keys(bucket, f"{STREAM}/chunk/") == there
    assert await keys(bucket, f"{STREAM}/chunk/", there[49]) == there[50:]


async def test_a_list_may_be_left_early(bucket: Bucket) -> None:
    for key in ("a", "b", "c"):
        await bucket.put(key, b"")
    async for key in bucket.list(""):
        assert key == "a"
        break


async def test_deleted_is_gone_and_may_be_put_anew(bucket: Bucket) -> None:
    await bucket.delete("v1/probe")
    await bucket.put("v1/probe", b"1")
    await bucket.delete("v1/probe")
    await bucket.delete("v1/probe")
    with pytest.raises(NotFound):
        await bucket.get("v1/probe")
    assert await keys(bucket) == []
    await bucket.put("v1/probe", b"2")
    assert await bucket.get("v1/probe") == b"2"


async def test_what_is_no_key_is_refused(bucket: Bucket) -> None:
    for key in (
        "",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/../b",
        ".a",
        "a b",
        "ä",
        "a\n",
        "a\0",
        "a" * 256,
        "a/" * 600 + "a",
    ):
        for attempt in (
            bucket.put(key, b"1"),
            bucket.put(key, b"1", replace=True),
            bucket.get(key),
            bucket.delete(key),
        ):
            with pytest.raises(UsageError, match="is not a bucket's key"):
                await attempt
    assert await keys(bucket) == []
