"""A bucket for a reader of many objects gives what any bucket of the same place gives."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from gateway.errors import KeyTaken, NotFound, StoreDenied, UsageError
from gateway.store.directory import DirectoryBucket
from gateway.store.location import Location
from gateway.store.s3 import S3Bucket
from gateway.store.s3_many import ManyGets, open_for_many
from tests.support.servers import S3Server


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home where nothing is configured."""
    monkeypatch.setenv("HOME", str(tmp_path))


async def test_a_directory_is_opened_as_ever(tmp_path: Path) -> None:
    bucket = open_for_many(Location.parse(str(tmp_path)), 2)
    assert isinstance(bucket, DirectoryBucket)
    await bucket.aclose()


async def test_it_gives_what_the_server_has(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = open_for_many(server.location(secrets.token_hex(8)), 4)
    assert isinstance(bucket, ManyGets)
    objects = {f"v1/{n}/x": secrets.token_bytes(n * 4000) for n in range(12)}
    for key, data in objects.items():
        await bucket.put(key, data)
    assert [key async for key in bucket.list("v1/")] == sorted(objects)
    with monkeypatch.context() as patch:
        patch.setattr(S3Bucket, "get", None)  # none of these needs it
        found = await asyncio.gather(*map(bucket.get, objects))
        assert dict(zip(objects, found, strict=True)) == objects
        with pytest.raises(NotFound, match="has no 'v1/none'"):
            await bucket.get("v1/none")
        objects = {key: data + b"more" for key, data in objects.items()}
        patch.setattr(S3Bucket, "put", None)  # nor do these
        await asyncio.gather(*(bucket.put(key, data, replace=True) for key, data in objects.items()))
        assert dict(zip(objects, await asyncio.gather(*map(bucket.get, objects)), strict=True)) == objects
    with pytest.raises(UsageError, match="not a bucket's key"):
        await bucket.get("v1/../x")
    with pytest.raises(UsageError, match="not a bucket's key"):
        await bucket.put("v1/../x", b"", replace=True)
    with pytest.raises(KeyTaken):
        await bucket.put("v1/3/x", b"other")
    await bucket.delete("v1/3/x")
    with pytest.raises(NotFound):
        await bucket.get("v1/3/x")
    await bucket.aclose()


async def test_wrong_keys_are_explained_as_ever(server: S3Server) -> None:
    location = dataclasses.replace(server.location(secrets.token_hex(8)), secret_key="wrong")
    bucket, plain = open_for_many(location, 2), S3Bucket(location)
    said = []
    for one in (bucket, plain):
        with pytest.raises(StoreDenied) as raised:
            await one.get("v1/x")
        said.append((type(raised.value), str(raised.value)))
        await one.aclose()
    assert said[0] == said[1]


ANSWERS: dict[str, Callable[[], web.Response | web.HTTPException]] = {
    "a captive portal": lambda: web.Response(text="welcome"),
    "a redirect": lambda: web.HTTPFound("http://127.0.0.1:1/"),
    "a 404 of another server": lambda: web.Response(status=404, text="nothing here"),
    "an error": lambda: web.Response(status=503),
    "huge": lambda: web.Response(headers={"Content-Length": str(1 << 40)}),
}


@pytest.mark.parametrize("what", sorted(ANSWERS))
async def test_any_other_answer_is_left_to_boto3(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        made = ANSWERS[what]()
        if isinstance(made, web.HTTPException):
            raise made
        return made

    asked: list[str] = []

    async def get(_: S3Bucket, key: str) -> bytes:
        asked.append(key)
        return b"by boto3"

    async def put(_: S3Bucket, key: str, data: bytes, *, replace: bool = False) -> None:
        assert replace
        asked.append(f"{key} = {data!r}")

    monkeypatch.setattr(S3Bucket, "get", get)
    monkeypatch.setattr(S3Bucket, "put", put)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [address] = runner.addresses
    endpoint = f"http://127.0.0.1:{address[1]}"
    location = Location.parse("s3://bucket/home", endpoint, "us-east-1", "key", "secret")
    bucket = open_for_many(location, 2)
    assert isinstance(bucket, ManyGets)
    assert await bucket.get("v1/x") == b"by boto3"
    await bucket.put("v1/x", b"1", replace=True)
    assert asked == ["v1/x", "v1/x = b'1'"]
    await bucket.aclose()
    await runner.cleanup()


async def test_a_setting_that_is_not_plain_is_left_to_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    location = Location.parse("s3://bucket", "http://127.0.0.1:1", "us-east-1", "key", "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    bucket = open_for_many(location, 2)
    assert isinstance(bucket, S3Bucket)
    await bucket.aclose()
