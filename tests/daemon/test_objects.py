"""The objects that the household may read: the gateway's own and prices, in the store or on the way there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.daemon.objects import Objects
from gateway.errors import NotFound, StoreUnavailable, UsageError
from gateway.wire import names
from tests.support.home import LINK_UNITS, Home

FOREIGN = "v1/" + "00" * 16 + "/head.cose"


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    """A home with a series of prices and another gateway's stream in its store."""
    async with Home(tmp_path) as home:
        await home.bucket.put("v1/prices/" + "ab" * 16 + "/1.cose", b"price")
        await home.bucket.put(FOREIGN, b"foreign")
        await home.bucket.put("v1/doctor", b"probe")
        await home.runs(2 * LINK_UNITS)
        yield home


def objects(home: Home) -> Objects:
    return Objects(home.ledger, home.bucket, lambda: None)


async def all_keys(home: Home, prefix: str = "", most: int = 1000) -> list[str]:
    """All keys, page by page."""
    found: list[str] = []
    more = True
    while more:
        keys, more = await objects(home).keys(prefix, found[-1] if found else "", most)
        assert len(keys) <= most
        assert keys or not more
        found += keys
    return found


async def test_what_waits_and_what_is_stored_make_one_list(home: Home) -> None:
    waiting = await all_keys(home)
    await home.publish()
    stored = [key async for key in home.bucket.list("v1/") if key not in (FOREIGN, "v1/doctor")]
    assert waiting == await all_keys(home) == stored
    await home.runs(LINK_UNITS)
    both = await all_keys(home)
    assert set(stored) < set(both)
    assert both == sorted(set(both))
    for most in (1, 2, 7):
        assert await all_keys(home, most=most) == both
    stream = await home.stream()
    for prefix in (
        names.chunks(stream.id),
        names.stream_prefix(stream.id)[:20],
        names.PRICES,
        "v1",
        "v1/prices/b",
    ):
        for most in (1, 1000):
            assert await all_keys(home, prefix, most) == [key for key in both if key.startswith(prefix)]
    await home.publish()
    assert await all_keys(home) == both


async def test_each_is_read_as_it_lies_in_the_store_or_waits(home: Home) -> None:
    keys = await all_keys(home)
    before = {key: await objects(home).get(key) for key in keys}
    await home.publish()
    for key in keys:
        assert await objects(home).get(key) == before[key] == await home.bucket.get(key)
    head = names.head((await home.stream()).id)
    await home.runs(LINK_UNITS)
    assert await objects(home).get(head) != await home.bucket.get(head)  # the newest waits
    with pytest.raises(NotFound):
        await objects(home).get(head + "x")


async def test_nothing_else_in_the_bucket_is_handed_out(home: Home) -> None:
    await home.publish()
    stream = names.stream_prefix((await home.stream()).id)
    for key in (FOREIGN, "v1/doctor", "v1/prices", stream[:-1], "ledger", stream + "../" + FOREIGN):
        with pytest.raises(UsageError):
            await objects(home).get(key)
    for prefix in ("v2/", FOREIGN, "v1/doctor", stream[:-1] + "0"):
        assert await all_keys(home, prefix) == []


async def test_while_the_store_is_away_what_the_ledger_has_is_read(home: Home) -> None:
    await home.publish()
    sent = await all_keys(home)
    stored = {key: await objects(home).get(key) for key in sent}
    await home.runs(LINK_UNITS)
    home.bucket.away = True
    head = names.head((await home.stream()).id)
    for key in sent:
        if key.startswith(names.PRICES):
            with pytest.raises(StoreUnavailable):
                await objects(home).get(key)
        elif key != head:
            assert await objects(home).get(key) == stored[key]
    newest = await objects(home).get(head)
    assert newest != stored[head]
    home.bucket.away = False
    await home.publish()
    home.bucket.away = True
    assert await objects(home).get(head) == newest  # as it was confirmed
    # The end of a stream alone would look as if the rest were gone.
    with pytest.raises(StoreUnavailable):
        await objects(home).keys("v1/", "", 1000)


async def test_while_sending_finds_the_store_away_it_is_not_asked(home: Home) -> None:
    """It may take as long as a request may; what the ledger has is there at once."""
    objects_of = home.session._control._objects
    await home.publish()
    chunk = (await all_keys(home, names.chunks((await home.stream()).id)))[0]
    sent = await objects_of.get(chunk)
    await home.runs(LINK_UNITS)
    home.bucket.away = True
    await home.publish()
    calls = home.bucket.fuse.calls
    assert await objects_of.get(chunk) == sent
    for key in (names.page((await home.stream()).id, "2026-05"), "v1/prices/x"):
        with pytest.raises(StoreUnavailable, match="the store does not answer"):
            await objects_of.get(key)
    with pytest.raises(StoreUnavailable, match="the store does not answer"):
        await objects_of.keys("v1/", "", 10)
    assert home.bucket.fuse.calls == calls
    home.bucket.away = False
    await home.publish()
    assert await objects_of.keys("v1/", "", 1000) == (await all_keys(home), False)
