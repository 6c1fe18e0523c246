"""Stores that hang: each request has an overall deadline by its size, and holds up nothing else."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import StoreUnavailable
from gateway.store import bucket as contract
from gateway.store.bucket import Bucket, deadline_s
from gateway.store.calls import Calls, moved
from gateway.store.directory import DirectoryBucket
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from tests.store.relay import Drip, Relay, Request, relay
from tests.support.servers import S3Server, wait_for

SOON_S = 20.0  # of real time, far above what anything here takes on a loaded machine
LONG = b"0" * 1000  # at a byte each 50 ms: 50 s

Ask = Callable[[Bucket], Coroutine[Any, Any, object]]


@asynccontextmanager
async def opened(location: Location) -> AsyncIterator[Bucket]:
    bucket = open_bucket(location)
    try:
        yield bucket
    finally:
        await bucket.aclose()


@pytest.fixture
async def relayed(seaweedfs: S3Server) -> AsyncIterator[Relay]:
    async with relay(seaweedfs.location(secrets.token_hex(8))) as made:
        yield made


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request may take 0.3 s, whatever its size."""
    monkeypatch.setattr(contract, "_BASE_S", 0.3)
    monkeypatch.setattr(contract, "_LEAST_RATE", 1e9)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "store"]


def test_a_deadline_is_a_minute_and_the_time_of_its_bytes_over_a_slow_modem() -> None:
    assert deadline_s(0) == 60
    assert deadline_s(29_000) < 70  # a quarter of an hour of seconds
    assert deadline_s(contract.MOST_BYTES) > 4 * 3600


async def first(bucket: Bucket) -> None:
    async for _ in bucket.list("v1/"):
        return


ASKED: dict[str, tuple[Ask, str]] = {
    "put": (lambda bucket: bucket.put("v1/new", b"1"), "putting 'v1/new'"),
    "replace": (lambda bucket: bucket.put("v1/a", b"2", replace=True), "putting 'v1/a'"),
    "get": (lambda bucket: bucket.get("v1/a"), "getting 'v1/a'"),
    "list": (first, "listing 'v1/'"),
    "delete": (lambda bucket: bucket.delete("v1/a"), "deleting 'v1/a'"),
}


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("at_once", [0, 100])
@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("plain", [True, False])
async def test_a_store_that_drips_is_given_up_at_the_deadline_and_its_thread_ends(
    relayed: Relay, asked: str, at_once: int, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, what = ASKED[asked]
    if not plain:
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")  # boto3's business, so all goes through it
    async with opened(relayed.location) as bucket:
        monkeypatch.setattr(contract, "_BASE_S", SOON_S)
        await bucket.put("v1/a", LONG)
        await bucket.put("v1/b", b"1")
        monkeypatch.setattr(contract, "_BASE_S", 1)
        drip = Drip(at_once)
        relayed.plan = lambda request: drip
        async with asyncio.timeout(SOON_S):
            with pytest.raises(StoreUnavailable, match=f"cannot be used now: {what} was not done in 1 s"):
                await ask(bucket)
        assert drip.started.is_set()
        assert await asyncio.to_thread(wait_for, lambda: not threads(), SOON_S)
        monkeypatch.setattr(contract, "_BASE_S", SOON_S)
        relayed.plan = lambda request: None
        assert await bucket.get("v1/b") == b"1"  # the same bucket goes on


async def test_a_request_that_hangs_holds_up_no_other(relayed: Relay) -> None:
    async with opened(relayed.location) as bucket:
        await bucket.put("v1/a", LONG)
        await bucket.put("v1/b", b"1")
        drip = Drip()

        def plan(request: Request) -> Drip | None:
            return drip if request.path.endswith("v1/a") else None

        relayed.plan = plan
        hanging = asyncio.create_task(bucket.get("v1/a"))
        await drip.started.wait()
        async with asyncio.timeout(SOON_S):
            assert await bucket.get("v1/b") == b"1"
            await bucket.put("v1/c", b"2")
            assert not hanging.done()
            hanging.cancel()
            await asyncio.wait([hanging])
            assert await asyncio.to_thread(wait_for, lambda: not threads(), SOON_S)


async def test_closing_breaks_off_what_hangs(relayed: Relay) -> None:
    bucket = open_bucket(relayed.location)
    await bucket.put("v1/a", LONG)
    drip = Drip()
    relayed.plan = lambda request: drip
    hanging = asyncio.create_task(bucket.get("v1/a"))
    await drip.started.wait()
    async with asyncio.timeout(SOON_S):
        await bucket.aclose()
        with pytest.raises(StoreUnavailable):
            await hanging


async def test_the_time_grows_with_what_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow store that goes on sending is waited for."""
    monkeypatch.setattr(contract, "_BASE_S", 0.2)
    monkeypatch.setattr(contract, "_LEAST_RATE", 100)
    calls, began = Calls(1, "the store"), time.monotonic()

    def slow() -> float:
        while time.monotonic() < began + 0.6:
            moved(5)
            time.sleep(0.02)
        return time.monotonic() - began

    assert await calls.run(slow, "getting it") > 0.5


@pytest.mark.usefixtures("hurried")
async def test_threads_that_cannot_be_ended_are_left_behind_and_never_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a network file system that hangs: here, a pipe that nobody writes."""
    bucket = DirectoryBucket(tmp_path)
    (tmp_path / "v1").mkdir()
    for name in ("a", "b"):
        os.mkfifo(tmp_path / "v1" / name)
    async with asyncio.timeout(SOON_S):
        for count in range(2):
            hung = await asyncio.gather(*(bucket.get("v1/a") for _ in range(8)), return_exceptions=True)
            assert all(isinstance(error, StoreUnavailable) for error in hung), count
        assert len(threads()) == 16
        with pytest.raises(StoreUnavailable, match="16 requests to it hang"):
            await bucket.get("v1/b")
        (tmp_path / "v1" / "a").open("wb").close()  # it answers again
        assert await asyncio.to_thread(wait_for, lambda: not threads(), SOON_S)
        monkeypatch.setattr(contract, "_BASE_S", SOON_S)
        await bucket.put("v1/c", b"1")
        assert await bucket.get("v1/c") == b"1"
        await bucket.aclose()
