"""Keys that lack a right, buckets with object lock, and servers that do not mind conditions."""

from __future__ import annotations

import dataclasses
import secrets
from contextlib import closing
from pathlib import Path

import pytest
from boto3.session import Session
from botocore.config import Config as BotoConfig

from gateway.config import Config, credential
from gateway.daemon.doctor import Diagnosis, examine
from gateway.errors import KeyTaken, NotFound, StoreDenied, StoreUnavailable
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from tests.store.relay import Fault, Request, Unheard, error, relay
from tests.store.test_s3 import opened
from tests.support.servers import S3Server

RIGHTS = ["s3:ListBucket", "s3:GetObject", "s3:PutObject"]
LACKING = [
    *(("seaweedfs", right) for right in RIGHTS),  # where to write is to delete, too
    *(("minio", right) for right in (*RIGHTS, "s3:DeleteObject")),
]


@pytest.fixture
def lacking(request: pytest.FixtureRequest) -> str:
    right: str = request.param
    return right


@pytest.fixture
def limited(server: S3Server, lacking: str, monkeypatch: pytest.MonkeyPatch) -> Location:
    """A place whose keys lack one right, which may be in boto3's environment."""
    place = server.location(secrets.token_hex(8))
    if server.limited:
        access_key, secret_key = server.limited[lacking]
        return dataclasses.replace(place, access_key=access_key, secret_key=secret_key)
    given = server.session_without(lacking)
    for name, value in (
        ("AWS_ACCESS_KEY_ID", given.access_key),
        ("AWS_SECRET_ACCESS_KEY", given.secret_key),
        ("AWS_SESSION_TOKEN", given.session_token or ""),
    ):
        monkeypatch.setenv(name, value)
    return dataclasses.replace(place, access_key=None, secret_key=None)


async def diagnose(place: Location, folder: Path) -> Diagnosis:
    """What the doctor says of the store."""
    credentials = ""
    if place.access_key is not None:
        path = folder / "s3"
        path.touch(mode=0o600)
        path.write_text(f"access_key_id={place.access_key}\nsecret_access_key={place.secret_key}\n")
        credentials = f'credentials = "{path}"'
    config = folder / "gateway.toml"
    config.write_text(
        f"""
        gateway = {{ state = "{folder}/state" }}
        clock = {{ source = "host" }}
        trust = {{ root = "software" }}
        [store]
        url = "{place.url}"
        endpoint = "{place.endpoint}"
        region = "us-east-1"
        {credentials}
        [[meter]]
        name = "main"
        profile = "eastron-sdm630"
        tcp = {{ host = "127.0.0.1", port = 1 }}
        """
    )
    [found] = [one async for one in examine(Config.load(config)) if one.part == "store"]
    return found


@pytest.mark.parametrize(("server", "lacking"), LACKING, indirect=True)
async def test_each_right_that_lacks_is_named(server: S3Server, limited: Location, lacking: str) -> None:
    async with opened(dataclasses.replace(server.location(), url=limited.url)) as whole:
        await whole.put("v1/there", b"1")
    async with opened(limited) as bucket:
        works = {
            "s3:PutObject": bucket.put("v1/new", b"1", replace=True),
            "s3:GetObject": bucket.get("v1/there"),
            "s3:ListBucket": bucket.list("v1/").__anext__(),
        }
        for right, work in works.items():
            if right == lacking:
                with pytest.raises(StoreDenied, match=f"lack the permission {right};"):
                    await work
            else:
                await work


@pytest.mark.parametrize(("server", "lacking"), LACKING, indirect=True)
async def test_the_doctor_needs_no_right_to_delete_and_names_each_that_lacks(
    limited: Location, lacking: str, tmp_path: Path
) -> None:
    found = await diagnose(limited, tmp_path)
    if lacking == "s3:DeleteObject":
        assert found.sentence == f"{limited.url}: list, put and get work"
        assert found.ok
    else:
        assert not found.ok
        assert f"lack the permission {lacking};" in found.sentence


async def test_the_doctor_looks_again_and_again_with_one_object(server: S3Server, tmp_path: Path) -> None:
    place = server.location(secrets.token_hex(8))
    for _ in range(3):
        assert (await diagnose(place, tmp_path)).ok
    async with opened(place) as bucket:
        assert [key async for key in bucket.list("")] == ["v1/doctor"]


async def test_absent_is_not_concluded_without_the_right_to_list(minio: S3Server) -> None:
    """Amazon's S3 says 403 of what is absent to whoever may not list."""

    def plan(request: Request) -> Fault | None:
        listing = request.method == "GET" and "list-type=2" in request.path
        absent = request.method == "GET" and "absent" in request.path
        return error("403 Forbidden", "AccessDenied") if listing or absent else None

    async with relay(minio.location(secrets.token_hex(8))) as made, opened(made.location) as bucket:
        made.plan = plan
        await bucket.put("v1/there", b"1")
        assert await bucket.get("v1/there") == b"1"
        with pytest.raises(
            StoreDenied, match=r"s3:ListBucket, without which .* whether 'v1/absent' is there"
        ):
            await bucket.get("v1/absent")
        # With the right to list, 403 says that the object is there, or that none may be read.
        made.plan = lambda request: (
            None if "list-type=2" in request.path else error("403 Forbidden", "AccessDenied")
        )
        with pytest.raises(StoreDenied, match="lack the permission s3:GetObject;"):
            await bucket.get("v1/absent")
        made.plan = lambda request: None
        with pytest.raises(NotFound):
            await bucket.get("v1/absent")


@pytest.fixture
def locked(server: S3Server) -> Location:
    """A new bucket that keeps each version for a day."""
    client = Session().client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=BotoConfig(s3={"addressing_style": "path"}),
    )
    name = f"locked-{secrets.token_hex(8)}"
    with closing(client):
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
        client.put_object_lock_configuration(
            Bucket=name,
            ObjectLockConfiguration={
                "ObjectLockEnabled": "Enabled",
                "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}},
            },
        )
    return dataclasses.replace(server.location(), url=f"s3://{name}")


async def test_a_bucket_with_object_lock_serves(locked: Location, tmp_path: Path) -> None:
    async with opened(locked) as bucket:
        await bucket.put("v1/a", b"1")
        await bucket.put("v1/a", b"1")
        with pytest.raises(KeyTaken):
            await bucket.put("v1/a", b"2")
        for data in (b"1", b"2", b"3"):
            await bucket.put("v1/head", data, replace=True)
            assert await bucket.get("v1/head") == data
        assert [key async for key in bucket.list("")] == ["v1/a", "v1/head"]
    for _ in range(2):
        assert (await diagnose(locked, tmp_path)).ok


IGNORED = Unheard("if-none-match")


async def test_a_server_that_ignores_conditions_is_looked_at_first(minio: S3Server) -> None:
    async with relay(minio.location(secrets.token_hex(8))) as made:
        made.plan = lambda request: IGNORED if request.conditional else None
        async with opened(made.location) as bucket, opened(made.location) as other:
            await bucket.put("v1/a", b"1")
            with pytest.raises(KeyTaken):
                await other.put("v1/a", b"2")  # before it knows the server
            with pytest.raises(KeyTaken):
                await bucket.put("v1/a", b"2")
            assert await bucket.get("v1/a") == b"1"
            made.seen.clear()
            await bucket.put("v1/b", b"1")
            assert (made.seen[-1].method, made.seen[-1].conditional) == ("PUT", False)
            assert [request.method for request in made.seen[:-1]].count("PUT") == 0
            with pytest.raises(KeyTaken):
                await bucket.put("v1/b", b"2")


async def test_a_server_that_minds_conditions_is_not_looked_at_again(minio: S3Server) -> None:
    async with relay(minio.location(secrets.token_hex(8))) as made, opened(made.location) as bucket:
        await bucket.put("v1/a", b"1")
        made.seen.clear()
        await bucket.put("v1/b", b"1")
        assert [request.method for request in made.seen] == ["PUT"]


async def test_an_outage_while_a_server_is_tried_leaves_it_to_be_tried_again(minio: S3Server) -> None:
    async with relay(minio.location(secrets.token_hex(8))) as made, opened(made.location) as bucket:
        puts = 0

        def plan(request: Request) -> Fault | None:
            nonlocal puts
            puts += request.conditional
            if not request.conditional:
                return None
            return IGNORED if puts == 1 else error("503 Slow Down", "SlowDown")

        made.plan = plan
        with pytest.raises(StoreUnavailable):
            await bucket.put("v1/a", b"1")
        made.plan = lambda request: IGNORED if request.conditional else None
        await bucket.put("v1/a", b"1")
        with pytest.raises(KeyTaken):
            await bucket.put("v1/a", b"2")
        await bucket.put("v1/b", b"1")
        with pytest.raises(KeyTaken):
            await bucket.put("v1/b", b"2")


async def test_a_conflict_does_not_show_that_a_server_minds_conditions(minio: S3Server) -> None:
    async with relay(minio.location(secrets.token_hex(8))) as made, opened(made.location) as bucket:
        made.plan = lambda request: (
            error("409 Conflict", "InvalidBucketState") if request.conditional else None
        )
        with pytest.raises(StoreUnavailable):
            await bucket.put("v1/a", b"1")
        made.plan = lambda request: IGNORED if request.conditional else None
        await bucket.put("v1/a", b"1")
        await bucket.put("v1/b", b"1")
        with pytest.raises(KeyTaken):
            await bucket.put("v1/b", b"2")


@pytest.mark.parametrize("fault", [IGNORED, error("501 Not Implemented", "NotImplemented")], ids=repr)
async def test_the_doctor_tells_of_a_server_without_conditions(
    minio: S3Server, tmp_path: Path, fault: Fault
) -> None:
    async with relay(minio.location(secrets.token_hex(8))) as made:
        assert "If-None-Match" not in (await diagnose(made.location, tmp_path)).sentence
        made.plan = lambda request: fault if request.conditional else None
        found = await diagnose(made.location, tmp_path)
        assert found.ok
        assert "does not support If-None-Match" in found.sentence


@pytest.mark.parametrize(("user", "told"), [(1000, True), (0, False)])
async def test_the_doctor_tells_whom_the_units_credential_is_hidden_from(
    minio: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, told: bool
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(credential, "_RUNNING", tmp_path / "running")
    monkeypatch.setattr(credential, "_ENCRYPTED", tmp_path / "encrypted")
    monkeypatch.setattr("os.geteuid", lambda: user)
    place = dataclasses.replace(minio.location(), access_key=None, secret_key=None)
    found = await diagnose(place, tmp_path)
    assert not found.ok
    assert "the systemd credential s3" in found.sentence
    assert ("sudo gateway doctor" in found.sentence) == told


async def test_a_directory_keeps_what_came_first(tmp_path: Path) -> None:
    bucket = open_bucket(Location.parse(str(tmp_path)))
    for data in (b"1", b"2"):
        assert await bucket.keeps_first("v1/doctor", data)
        assert await bucket.get("v1/doctor") == data
