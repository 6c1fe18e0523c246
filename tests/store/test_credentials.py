"""Credentials that change while a bucket is open, on both servers and both ways of reading."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
import traceback
from collections.abc import AsyncIterator

import pytest

from gateway.errors import StoreDenied, StoreUnavailable, Unavailable, UsageError
from gateway.store.credentials import Credentials
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.store.s3 import S3Bucket
from tests.support.servers import BUCKET, S3Server


class Source:
    """Gives what the test says, and notes what was refused."""

    def __init__(self, *given: Credentials) -> None:
        self.given = list(given)
        self.refused: list[Credentials] = []
        self.asked = 0

    async def present(self, key: str, refused: Credentials | None = None) -> Credentials:
        self.asked += 1
        if refused is not None:
            self.refused.append(refused)
            if len(self.given) > 1 and self.given[0] == refused:
                del self.given[0]
        if not self.given:
            raise Unavailable("the registrar does not answer")
        return self.given[0]


def policy(folder: str) -> dict[str, object]:
    """May do everything with the objects of one folder."""
    resources = [f"arn:aws:s3:::{BUCKET}/{folder}/*", f"arn:aws:s3:::{BUCKET}"]
    actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"]
    allowed = {"Effect": "Allow", "Action": actions, "Resource": resources}
    return {"Version": "2012-10-17", "Statement": [allowed]}


@pytest.fixture
def folder() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def valid(server: S3Server, folder: str) -> Credentials:
    return server.session(policy(folder))


@pytest.fixture
def expired(valid: Credentials) -> Credentials:
    """What a server no longer accepts."""
    return dataclasses.replace(valid, session_token=secrets.token_urlsafe(200))


@pytest.fixture(params=["plain", "boto3"])
def way(request: pytest.FixtureRequest) -> str:
    way: str = request.param
    return way


@pytest.fixture
async def opened(server: S3Server, folder: str, way: str) -> AsyncIterator[tuple[Source, S3Bucket]]:
    source = Source()
    place = Location.parse(f"s3://{BUCKET}/{folder}", server.endpoint, "us-east-1", credentials=source)
    bucket = open_bucket(place)
    assert isinstance(bucket, S3Bucket)
    assert bucket._plain is not None
    if way == "boto3":
        bucket._plain.close()
        bucket._plain = None
    yield source, bucket
    await bucket.aclose()


async def use(bucket: S3Bucket) -> None:
    """Every kind of request."""
    await bucket.put("v1/a", b"1")
    assert await bucket.get("v1/a") == b"1"
    assert [key async for key in bucket.list("v1/")] == ["v1/a"]
    await bucket.delete("v1/a")


async def test_keys_of_a_session_may_be_given(server: S3Server, folder: str, valid: Credentials) -> None:
    place = Location.parse(
        f"s3://{BUCKET}/{folder}",
        server.endpoint,
        "us-east-1",
        valid.access_key,
        valid.secret_key,
        session_token=valid.session_token,
    )
    bucket = open_bucket(place)
    assert isinstance(bucket, S3Bucket)
    await use(bucket)
    await bucket.put("v1/b", b"2")
    assert bucket._plain is not None
    assert bucket._plain.get(f"{folder}/v1/b") == b"2"
    await bucket.aclose()


async def test_every_kind_of_request_is_signed_with_what_the_source_gives(
    opened: tuple[Source, S3Bucket], valid: Credentials
) -> None:
    source, bucket = opened
    source.given = [valid]
    await use(bucket)
    assert source.asked >= 4
    assert not source.refused


async def test_expired_ones_are_renewed_without_a_hand(
    opened: tuple[Source, S3Bucket], expired: Credentials, valid: Credentials
) -> None:
    source, bucket = opened
    source.given = [valid]
    await bucket.put("v1/a", b"1")
    for attempt in (
        bucket.put("v1/b", b"1"),
        bucket.get("v1/a"),
        bucket.list("v1/").__anext__(),
        bucket.delete("v1/b"),
    ):
        source.given, source.refused = [expired, valid], []
        assert await attempt in (None, b"1", "v1/a")
        assert source.refused == [expired]
    assert [key async for key in bucket.list("v1/")] == ["v1/a"]


async def test_a_bucket_follows_its_source_to_other_rights(
    server: S3Server, opened: tuple[Source, S3Bucket], valid: Credentials
) -> None:
    source, bucket = opened
    source.given = [valid]
    await bucket.put("v1/a", b"1")
    source.given = [server.session(policy("elsewhere"))]
    with pytest.raises(StoreDenied):
        await bucket.get("v1/a")
    source.given = [valid]
    assert await bucket.get("v1/a") == b"1"


async def test_expired_ones_without_others_are_denied_with_a_sentence_and_no_secret(
    opened: tuple[Source, S3Bucket], expired: Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    source, bucket = opened
    source.given = [expired]
    caplog.set_level(logging.DEBUG)
    for attempt in (bucket.put("v1/a", b"1"), bucket.get("v1/a"), bucket.list("").__anext__()):
        asked = len(source.refused)
        with pytest.raises(StoreDenied, match=r"check the credentials|have expired") as caught:
            await attempt
        assert len(source.refused) == asked + 1  # once
        said = "".join(traceback.format_exception(caught.value)) + repr(source.given)
        for secret in (expired.secret_key, expired.session_token or ""):
            assert secret not in said
            assert expired.secret_key not in caplog.text


async def test_no_others_to_be_had_is_said_beside_the_refusal(
    opened: tuple[Source, S3Bucket], expired: Credentials
) -> None:
    source, bucket = opened

    async def present(key: str, refused: Credentials | None = None) -> Credentials:
        if refused is None:
            return expired
        raise Unavailable("the registrar does not answer")

    source.present = present  # type: ignore[method-assign]
    with pytest.raises(StoreDenied, match=r"credentials .*the registrar does not answer"):
        await bucket.get("v1/a")


async def test_none_for_now_is_an_outage_and_ends_by_itself(
    opened: tuple[Source, S3Bucket], valid: Credentials
) -> None:
    source, bucket = opened
    for attempt in (bucket.put("v1/a", b"1"), bucket.get("v1/a"), bucket.list("").__anext__()):
        with pytest.raises(StoreUnavailable, match="the registrar does not answer"):
            await attempt
    source.given = [valid]
    await use(bucket)


async def test_a_right_that_lacks_has_the_source_asked_once(
    server: S3Server, opened: tuple[Source, S3Bucket], valid: Credentials
) -> None:
    """Else each refused request would cost the registrar one."""
    source, bucket = opened
    elsewhere = server.session(policy("elsewhere"))
    again = server.session(policy("elsewhere"))
    source.given = [elsewhere, again]
    for _ in range(3):
        with pytest.raises(StoreDenied, match="lack the permission"):
            await bucket.put("v1/a", b"1", replace=True)
    assert source.refused == [elsewhere]
    source.given = [valid]
    await use(bucket)


async def test_a_source_that_hangs_ends_in_time(
    opened: tuple[Source, S3Bucket], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, bucket = opened

    async def present(key: str, refused: Credentials | None = None) -> Credentials:
        await asyncio.Event().wait()
        raise AssertionError

    source.present = present  # type: ignore[method-assign]
    monkeypatch.setattr("gateway.store.s3.deadline_s", lambda size: 0.01)
    with pytest.raises(StoreUnavailable, match="credentials were not there"):
        await bucket.get("v1/a")


def test_no_repr_has_a_secret() -> None:
    credentials = Credentials("access", "hidden1", "hidden2", 1)
    source = Source(credentials)
    for shown in (
        repr(credentials),
        repr(Location.parse("s3://meters", None, None, "access", "hidden1", session_token="hidden2")),
        repr(Location.parse("s3://meters", credentials=source)),
    ):
        assert "hidden" not in shown


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"session_token": "token"}, "session token is given without"),
        ({"access_key": "a", "secret_key": "b", "session_token": "to ken"}, "session token .* space"),
        ({"access_key": "a", "secret_key": "b", "credentials": Source()}, "one of the two"),
    ],
)
def test_what_does_not_go_together_is_a_usage_error(given: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Location.parse("s3://meters", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["plain", "boto3"])
async def test_each_request_is_signed_for_what_it_is_about(
    server: S3Server, opened: tuple[Source, S3Bucket], folder: str, way: str
) -> None:
    """Sessions of several reaches serve one bucket, side by side."""
    source, bucket = opened
    sessions = {part: server.session(policy(f"{folder}/{part}")) for part in ("a", "b")}

    async def present(key: str, refused: Credentials | None = None) -> Credentials:
        assert refused is None
        return sessions[key[0]]

    source.present = present  # type: ignore[method-assign]
    keys = [f"{part}/{number}" for number in range(20) for part in "ab"]
    await asyncio.gather(*(bucket.put(key, key.encode()) for key in keys))
    assert await asyncio.gather(*(bucket.get(key) for key in keys)) == [key.encode() for key in keys]
    assert [key async for key in bucket.list("b/")] == sorted(key for key in keys if key[0] == "b")
