"""The bucket over the control socket: what a reader of the store sees, and nothing of others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from gateway.control.client import ControlClient
from gateway.errors import GatewayError, NotFound, StoreDenied, StoreUnavailable, UsageError
from gateway.household.objects import ControlBucket
from gateway.wire import names
from tests.support.home import LINK_UNITS, Home
from tests.support.provider import Provider
from tests.support.serving import serving
from tests.support.stored import read_stored


@asynccontextmanager
async def at(home: Home) -> AsyncIterator[ControlBucket]:
    path = home.folder / "s"
    async with serving(home, path):
        yield ControlBucket(ControlClient(path))


async def test_a_stream_reads_as_from_its_store(tmp_path: Path) -> None:
    async with Home(tmp_path) as home:
        await home.runs(2 * LINK_UNITS)
        provider = Provider(home.clock.now_ms)
        record = await home.grants(provider)
        await home.runs(LINK_UNITS)
        async with at(home) as bucket:
            stream = await home.stream()
            ahead = await read_stored(bucket, home.root, stream.id)
            await home.publish()
            stored = await read_stored(bucket, home.root, stream.id)
            assert stored.c["import"].tolist() == ahead.c["import"].tolist()
            public, unit_ms = home.root.public_key, stream.layout.unit_ms
            assert await provider.nonces(bucket, public, stream.id, record.id, unit_ms)
            prefix = names.stream_prefix(stream.id)
            keys = [key async for key in home.bucket.list(prefix)]
            assert [key async for key in bucket.list(prefix)] == keys
            assert [key async for key in bucket.list(prefix, keys[2])] == keys[3:]
            for key in keys:
                assert await bucket.get(key) == await home.bucket.get(key)
            await bucket.aclose()


async def test_long_lists_come_in_parts(tmp_path: Path) -> None:
    async with Home(tmp_path) as home, at(home) as bucket:
        keys = [f"{names.PRICES}{number:032x}/x.cose" for number in range(2001)]
        for key in keys:
            await home.bucket.put(key, b"")
        assert [key async for key in bucket.list("v1/")] == keys


async def test_only_reads_and_only_the_gateways_own(tmp_path: Path) -> None:
    async with Home(tmp_path) as home, at(home) as bucket:
        await home.runs(2 * LINK_UNITS)
        own = names.stream_prefix((await home.stream()).id)
        with pytest.raises(NotFound):
            await bucket.get(own + "nothing")
        for key in (
            "v1/doctor",
            "v1/" + "00" * 16 + "/head.cose",
            own + "../../x",
            "/etc/passwd",
            "v1//x",
            "",
        ):
            with pytest.raises(UsageError):
                await bucket.get(key)
        with pytest.raises(StoreDenied):
            await bucket.put(own + "x", b"")
        with pytest.raises(StoreDenied):
            await bucket.delete(own + "head.cose")
        home.bucket.away = True
        with pytest.raises(StoreUnavailable, match="the store does not answer"):
            await bucket.get(own + "nothing")
        with pytest.raises(StoreUnavailable, match="the store does not answer"):
            [key async for key in bucket.list(own)]
    with pytest.raises(StoreUnavailable, match="no gateway answers"):
        await bucket.get(own + "nothing")


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "1e2", "٣", ""])
async def test_a_limit_that_is_none_gets_a_sentence(tmp_path: Path, limit: str) -> None:
    async with Home(tmp_path) as home, at(home):
        connector = aiohttp.UnixConnector(str(home.folder / "s"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://gateway/objects", params={"limit": limit}) as response,
        ):
            assert response.status == 400
            assert (await response.json())["error"] == "limit: expected a number from 1 to 1000"


async def test_an_older_gateway_is_no_empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not know the path answers 404 as well."""
    async with Home(tmp_path) as home, at(home) as bucket:
        monkeypatch.setattr("gateway.control.client.quote", lambda key: "")
        with pytest.raises(GatewayError) as caught:
            await bucket.get("v1/x")
        assert not isinstance(caught.value, NotFound)
