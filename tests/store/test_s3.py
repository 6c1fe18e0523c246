"""An S3 server's outages, refusals and broken answers, as the bucket reports them."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from boto3.session import Session

from gateway.errors import KeyTaken, NotFound, StoreDenied, StoreUnavailable
from gateway.store import calls, s3
from gateway.store.bucket import Bucket
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from tests.store.relay import Cut, Fault, Instead, Lost, Relay, Request, Silence, error, relay
from tests.support.servers import BUCKET, S3Server

PORTAL = Instead("200 OK", "<html><body>Welcome to the hotel</body></html>", "text/html")
DEADLINE_S = 30


def listing(entries: str, truncated: str = "false", end: str = "</ListBucketResult>") -> Instead:
    return Instead("200 OK", f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{entries}{end}")


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
async def bucket(relayed: Relay) -> AsyncIterator[Bucket]:
    async with opened(relayed.location) as made:
        yield made


async def test_an_outage_ends_without_a_hand(server: S3Server) -> None:
    async with opened(server.location(secrets.token_hex(8))) as bucket:
        await bucket.put("v1/a", b"1")
        await asyncio.to_thread(server.stop)
        try:
            for attempt in (
                bucket.put("v1/b", b"2"),
                bucket.get("v1/a"),
                bucket.list("").__anext__(),
                bucket.delete("v1/a"),
            ):
                async with asyncio.timeout(DEADLINE_S):
                    with pytest.raises(StoreUnavailable, match=server.endpoint):
                        await attempt
        finally:
            await asyncio.to_thread(server.start)
        assert await bucket.get("v1/a") == b"1"
        await bucket.put("v1/b", b"2")
        assert [key async for key in bucket.list("")] == ["v1/a", "v1/b"]


@pytest.mark.parametrize("wrong", ["secret", "both"])
async def test_wrong_credentials_are_denied_without_telling_them(server: S3Server, wrong: str) -> None:
    secret = secrets.token_hex(20)
    location = dataclasses.replace(server.location(), secret_key=secret)
    if wrong == "both":
        location = dataclasses.replace(location, access_key=secrets.token_hex(10))
    assert secret not in repr(location)
    async with opened(location) as bucket:
        for attempt in (
            bucket.put("v1/a", b"1"),
            bucket.put("v1/a", b"1", replace=True),
            bucket.get("v1/a"),
            bucket.list("").__anext__(),
            bucket.delete("v1/a"),
        ):
            with pytest.raises(StoreDenied, match="check the credentials") as caught:
                await attempt
            said = "".join(traceback.format_exception(caught.value))
            assert secret not in said
            assert server.secret_key not in said
            assert "botocore.exceptions" not in said
            assert server.endpoint in str(caught.value)
            assert f"s3://{BUCKET}" in str(caught.value)


async def test_a_bucket_that_is_not_there_is_denied(server: S3Server) -> None:
    location = dataclasses.replace(server.location(), url="s3://nowhere")
    async with opened(location) as bucket:
        for attempt in (bucket.put("v1/a", b"1"), bucket.get("v1/a"), bucket.list("").__anext__()):
            with pytest.raises(StoreDenied, match="create the bucket"):
                await attempt


async def test_no_credentials_at_all_are_denied(
    seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    place = Location.parse(f"s3://{BUCKET}", seaweedfs.endpoint)
    for location, advice in ((place, "set AWS_"), (dataclasses.replace(place, advice="ask Jo"), "ask Jo")):
        async with opened(location) as bucket:
            with pytest.raises(StoreDenied, match=f"no usable credentials; {advice}"):
                await bucket.get("v1/a")


async def test_boto3s_own_credentials_serve_where_none_are_given(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    async with opened(Location.parse(f"s3://{BUCKET}/{secrets.token_hex(8)}", server.endpoint)) as bucket:
        await bucket.put("v1/a", b"1")
        assert await bucket.get("v1/a") == b"1"


async def test_a_profile_that_is_not_there_is_denied(
    seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    async with opened(Location.parse(f"s3://{BUCKET}", seaweedfs.endpoint)) as bucket:
        with pytest.raises(StoreDenied, match=r"no usable credentials; set .* or a profile of AWS's tools"):
            await bucket.get("v1/a")


async def test_checksums_are_sent_where_asked_for(server: S3Server) -> None:
    async with relay(server.location(secrets.token_hex(8))) as relayed:
        for checksums in ("when_required", "when_supported"):
            relayed.seen.clear()
            async with opened(dataclasses.replace(relayed.location, checksums=checksums)) as bucket:
                await bucket.put(checksums, b"1")
                assert await bucket.get(checksums) == b"1"
            sent = any(
                name.startswith("x-amz-checksum-")
                for request in relayed.seen
                if request.method == "PUT"
                for name in request.headers
            )
            assert sent == (checksums == "when_supported")


async def test_a_prefix_hides_its_neighbours(server: S3Server) -> None:
    name = secrets.token_hex(8)
    async with (
        opened(server.location(f"{name}/home")) as home,
        opened(server.location(f"{name}/homes")) as homes,
    ):
        await home.put("a", b"1")
        await homes.put("b", b"2")
        assert [key async for key in home.list("")] == ["a"]
        assert [key async for key in homes.list("", "a")] == ["b"]
        with pytest.raises(NotFound):
            await home.get("b")
    async with opened(server.location(name)) as above:
        assert [key async for key in above.list("")] == ["home/a", "homes/b"]


async def test_objects_whose_names_are_no_keys_are_passed_over(server: S3Server) -> None:
    name = secrets.token_hex(8)
    client = Session().client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
    )
    for key in ("a folder's mark/", ".hidden", "grüße"):
        client.put_object(Bucket=BUCKET, Key=f"{name}/{key}", Body=b"")
    client.close()
    async with opened(server.location(name)) as bucket:
        await bucket.put("b", b"")
        assert [key async for key in bucket.list("")] == ["b"]


async def test_a_list_out_of_order_is_refused(seaweedfs: S3Server) -> None:
    async with opened(seaweedfs.location(secrets.token_hex(8))) as bucket:
        for key in ("a/b", "a-b"):  # it lists folder by folder
            await bucket.put(key, b"")
        with pytest.raises(StoreUnavailable, match="order"):
            [key async for key in bucket.list("")]


async def test_a_list_that_begins_with_what_it_was_to_come_after_is_whole(
    relayed: Relay, bucket: Bucket
) -> None:
    def contents(*names: str) -> str:
        root = relayed.location.url.partition("meters/")[2]
        fields = "<LastModified>2026-11-01T00:00:00Z</LastModified><Size>1</Size>"
        return "".join(f"<Contents><Key>{root}/{name}</Key>{fields}</Contents>" for name in names)

    def plan(request: Request) -> Instead:
        last = parse_qs(urlsplit(request.path).query).get("start-after", [""])[0]
        return listing(contents("b", "c")) if last.endswith("/b") else listing(contents("a", "b"), "true")

    relayed.plan = plan
    assert [key async for key in bucket.list("")] == ["a", "b", "c"]
    relayed.plan = lambda request: listing(contents("a", "b"), "true")  # it forgets where it was
    with pytest.raises(StoreUnavailable, match="order"):
        [key async for key in bucket.list("")]


async def test_an_endpoint_with_the_buckets_name_is_told(relayed: Relay, bucket: Bucket) -> None:
    relayed.plan = lambda request: error("404 Not Found", "NoSuchKey")
    with pytest.raises(StoreDenied, match="leave the bucket's name out of the store's endpoint"):
        [key async for key in bucket.list("")]


async def test_a_put_whose_answer_is_lost_is_stored_once(relayed: Relay, bucket: Bucket) -> None:
    await bucket.put("v1/first", b"")  # which shows that the server minds conditions
    relayed.seen.clear()
    relayed.plan = lambda request: Lost() if len(relayed.seen) == 1 else None
    await bucket.put("v1/a", b"1")
    assert [request.method for request in relayed.seen] == ["PUT", "PUT", "GET"]
    assert await bucket.get("v1/a") == b"1"


async def test_a_put_whose_answers_are_all_lost_is_found_later(relayed: Relay, bucket: Bucket) -> None:
    relayed.plan = lambda request: Lost()
    with pytest.raises(StoreUnavailable):
        await bucket.put("v1/a", b"1")
    relayed.plan = lambda request: None
    await bucket.put("v1/a", b"1")
    with pytest.raises(KeyTaken):
        await bucket.put("v1/a", b"2")


@pytest.mark.parametrize(
    "refusal", [error("501 Not Implemented", "NotImplemented"), error("400 Bad Request", "NotImplemented")]
)
async def test_a_server_without_conditions_is_looked_at_first(
    relayed: Relay, bucket: Bucket, refusal: Instead
) -> None:
    relayed.plan = lambda request: refusal if request.conditional else None
    await bucket.put("v1/a", b"1")
    await bucket.put("v1/a", b"1")
    with pytest.raises(KeyTaken):
        await bucket.put("v1/a", b"2")
    await bucket.put("v1/b", b"2")
    assert await bucket.get("v1/a") == b"1"
    assert await bucket.get("v1/b") == b"2"
    assert sum(request.conditional for request in relayed.seen) == 1


async def test_a_conflict_with_a_writer_under_way_is_for_later(relayed: Relay, bucket: Bucket) -> None:
    conflict = error("409 Conflict", "ConditionalRequestConflict")
    relayed.plan = lambda request: conflict if request.conditional else None
    with pytest.raises(StoreUnavailable, match="other writers"):
        await bucket.put("v1/a", b"1")
    relayed.plan = lambda request: None
    await bucket.put("v1/a", b"1")


async def test_one_error_of_the_server_is_got_over(relayed: Relay, bucket: Bucket) -> None:
    relayed.plan = lambda request: error("500 Oops", "InternalError") if len(relayed.seen) == 1 else None
    await bucket.put("v1/a", b"1")
    assert await bucket.get("v1/a") == b"1"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (error("503 Busy", "SlowDown"), "SlowDown"),
        (error("500 Oops", "InternalError"), "HTTP 500"),
        (error("429 Slow", "Busy"), "HTTP 429"),
        (Instead("502 Bad Gateway", "<html>nginx</html>", "text/html"), "HTTP 502"),
        (listing("<Contents><Key>", end=""), "HTTP 500"),  # so botocore names what it cannot parse
        (PORTAL, "is not an S3 server"),
        (listing("", "true"), "no more of it"),
        (listing("<Contents><Key>b</Key></Contents><Contents><Key>a</Key></Contents>"), "order"),
        (listing("<Contents><Key>a</Key><Key>b</Key></Contents>"), "garbled"),
        (listing("<Contents><Name>a</Name></Contents>"), "garbled"),
        (listing("<Contents><Key>a</Key><Size>large</Size></Contents>"), "garbled"),
        (listing("<Contents><Key>a</Key><LastModified>once</LastModified></Contents>"), "garbled"),
        (Instead("301 Moved Permanently\r\nLocation: http://example.org/"), "garbled"),
        (Instead("HELLO"), "broke"),
        (Cut(1), "HTTP 500"),
        (Lost(), "broke"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_list_that_goes_wrong_is_for_later(
    relayed: Relay, bucket: Bucket, fault: Fault, said: str
) -> None:
    await bucket.put("v1/a", b"1")
    relayed.plan = lambda request: fault
    with pytest.raises(StoreUnavailable, match=said):
        [key async for key in bucket.list("")]


@pytest.mark.parametrize("empty", [1, 2, 7])
async def test_empty_pages_do_not_end_a_list(relayed: Relay, bucket: Bucket, empty: int) -> None:
    """Servers send truncated pages without any key (s3ql/s3ql #170, TileDB-Inc/TileDB #1218)."""

    def plan(request: Request) -> Fault:
        (at,) = parse_qs(urlsplit(request.path).query).get("continuation-token", ["0"])
        if int(at) < empty:
            return listing(f"<NextContinuationToken>{int(at) + 1}</NextContinuationToken>", "true")
        return listing("<Contents><Key>v1/a</Key></Contents><Contents><Key>v1/b</Key></Contents>")

    relayed.plan = plan
    assert [key async for key in bucket.list("v1/")] == ["v1/a", "v1/b"]


async def test_empty_pages_without_end_are_for_later(relayed: Relay, bucket: Bucket) -> None:
    endless = listing("<NextContinuationToken>again</NextContinuationToken>", "true")
    relayed.plan = lambda request: endless
    with pytest.raises(StoreUnavailable, match="no more of it"):
        [key async for key in bucket.list("v1/")]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Cut(1), "broke"),
        (Cut(1000), "broke"),
        (PORTAL, "is not an S3 server"),
        (Lost(), "broke"),
        (Instead('200 OK\r\nETag: "1"\r\nLast-Modified: once', "x"), "garbled"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_broken_answer_is_never_taken_for_an_object(
    relayed: Relay, bucket: Bucket, fault: Fault, said: str
) -> None:
    await bucket.put("v1/a", b"x" * 2000)
    relayed.plan = lambda request: fault
    with pytest.raises(StoreUnavailable, match=said) as caught:
        await bucket.get("v1/a")
    assert caught.value.__context__ is None  # it would hold the answer, and its connection
    relayed.plan = lambda request: None
    assert await bucket.get("v1/a") == b"x" * 2000


@pytest.mark.parametrize("replace", [False, True])
async def test_a_captive_portal_stores_nothing(relayed: Relay, bucket: Bucket, replace: bool) -> None:
    relayed.plan = lambda request: PORTAL
    with pytest.raises(StoreUnavailable, match="is not an S3 server"):
        await bucket.put("v1/a", b"1", replace=replace)


async def test_another_web_servers_404_is_not_an_absent_object(relayed: Relay, bucket: Bucket) -> None:
    relayed.plan = lambda request: Instead("404 Not Found", "<html>nothing here</html>", "text/html")
    with pytest.raises(StoreDenied, match="HTTP 404"):
        await bucket.get("v1/a")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (error("403 Forbidden", "AccessDenied"), "lack the permission"),
        (error("403 Forbidden", "RequestTimeTooSkewed"), "clock"),
        (error("400 Bad Request", "ExpiredToken"), "expired"),
        (error("400 Bad Request", "AuthorizationHeaderMalformed"), "region"),
        (error("403 Forbidden", "Other"), "Other"),
        (error("403 Forbidden", "Some secret, 12345!"), r"\(HTTP 403\)"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_refusals_say_what_to_do(relayed: Relay, bucket: Bucket, fault: Fault, said: str) -> None:
    relayed.plan = lambda request: fault
    with pytest.raises(StoreDenied, match=said) as caught:
        await bucket.get("v1/a")
    assert "12345" not in str(caught.value)


async def test_silence_ends(relayed: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_READ_S", 0.2)
    relayed.plan = lambda request: Silence()
    async with opened(relayed.location) as bucket, asyncio.timeout(DEADLINE_S):
        with pytest.raises(StoreUnavailable, match="in time"):
            await bucket.get("v1/a")


async def test_closing_waits_for_what_is_under_way(relayed: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_CLOSING_S", DEADLINE_S)
    arrived = asyncio.Event()

    def plan(request: Request) -> None:
        arrived.set()

    relayed.plan = plan
    bucket = open_bucket(relayed.location)
    put = asyncio.create_task(bucket.put("v1/a", b"1"))
    await arrived.wait()
    await bucket.aclose()
    assert put.done()
    await put
    async with opened(relayed.location) as another:
        assert await another.get("v1/a") == b"1"
