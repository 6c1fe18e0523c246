"""GETs without boto3's client: where they serve, they give what boto3 gives, and elsewhere they keep out."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import boto3.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import NotFound
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.store.s3 import S3Bucket
from gateway.store.s3_get import PlainGets, _listed
from tests.support.servers import BUCKET, S3Server

PLAIN = Location.parse("s3://meters/home", "http://127.0.0.1:1", "us-east-1", "key", "secret")
TIMEOUT_S = (1.0, 1.0)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home where nothing is configured."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
async def bucket(server: S3Server, home: Path) -> AsyncIterator[S3Bucket]:
    made = open_bucket(server.location(secrets.token_hex(8)))
    assert isinstance(made, S3Bucket)
    yield made
    await made.aclose()


async def test_reads_do_without_boto3(
    server: S3Server, bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("v1/a", "v1/b/c", "v1/b/d"):
        await bucket.put(key, key.encode() * 10_000)
    monkeypatch.setattr(boto3.session, "Session", None)
    reader = open_bucket(dataclasses.replace(server.location(), url=bucket._location.url))
    try:
        assert await reader.get("v1/b/c") == b"v1/b/c" * 10_000
        assert [key async for key in reader.list("v1/", "v1/a")] == ["v1/b/c", "v1/b/d"]
        assert [key async for key in reader.list("v2/")] == []
        with pytest.raises(NotFound, match="has no 'v1/c'"):
            await reader.get("v1/c")
    finally:
        await reader.aclose()


async def test_keys_may_come_from_the_environment(
    server: S3Server, bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bucket.put("v1/a", b"1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    monkeypatch.setattr(boto3.session, "Session", None)
    reader = open_bucket(Location.parse(bucket._location.url, server.endpoint))
    try:
        assert await reader.get("v1/a") == b"1"
    finally:
        await reader.aclose()


async def test_lists_are_those_of_boto3(server: S3Server, bucket: S3Bucket) -> None:
    prefix = bucket._root
    client = bucket._client()
    for name in ("a b", "a+b", "a%20b", "a&lt;b", "grüße", "v1/x", "0/" + "y" * 200):
        client.put_object(Bucket=BUCKET, Key=prefix + name, Body=b"")
    assert bucket._plain is not None
    for after in ("", prefix + "a b", prefix + "a%20b", prefix + "zz"):
        assert bucket._plain.page(prefix, after) == bucket._page_through_boto3("", after)


def test_what_boto3_alone_knows_is_left_to_it(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    def serves(location: Location = PLAIN) -> bool:
        made = PlainGets.of(location, TIMEOUT_S, 1)
        if made is not None:
            made.close()
        return made is not None

    assert serves()
    assert not serves(dataclasses.replace(PLAIN, endpoint=None))
    assert not serves(dataclasses.replace(PLAIN, access_key=None, secret_key=None))
    assert not serves(dataclasses.replace(PLAIN, checksums="when_supported"))
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_USE_FIPS_ENDPOINT", "http_proxy", "HTTPS_PROXY"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "http://127.0.0.1:1")
            assert not serves(), name
    (home / ".aws").mkdir()
    (home / ".aws" / "config").write_text("[default]\ns3 =\n    addressing_style = virtual\n")
    assert not serves()


@pytest.mark.usefixtures("home")
def test_keys_in_the_environment_come_with_their_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    for location, keys in (
        (PLAIN, ("key", "secret", None)),
        (dataclasses.replace(PLAIN, access_key=None, secret_key=None), ("other", "secret", "token")),
    ):
        made = PlainGets.of(location, TIMEOUT_S, 1)
        assert made is not None
        assert made._keys() == keys
        made.close()


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_what_is_no_list_is_none(data: bytes) -> None:
    assert _listed(data) is None
    assert _listed(b"<ListBucketResult><IsTruncated>false</IsTruncated>" + data + b"</ListBucketResult>") in (
        None,
        ([], False),
    )
