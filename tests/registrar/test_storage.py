"""Storage credentials on both servers: what their holders reach, and above all what they do not."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from boto3.session import Session
from botocore import UNSIGNED
from botocore.config import Config as BotoConfig
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.layout import Layout
from gateway.config import Config
from gateway.daemon import doctor
from gateway.errors import Refused, StoreDenied, StoreUnavailable, UsageError
from gateway.provider.query import Query
from gateway.provider.sums import Sums
from gateway.registrar.storage import (
    MOST_POLICY,
    Granted,
    Policy,
    SessionIssuer,
    batches,
    bucket_policy,
    gateway_policy,
    provider_policy,
    written,
)
from gateway.store.bucket import Bucket
from gateway.store.credentials import Credentials
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.stream.chunks import Problem
from gateway.stream.reader import StreamReader
from gateway.stream.verify import verify
from gateway.wire import cose, names
from tests.provider.reading import DAY_MS, Answer, expected
from tests.stream.stream import Home, Provider, random_readings
from tests.support import servers
from tests.support.faulty import FaultyBucket
from tests.support.home import Home as Gateway
from tests.support.provider import Provider as Holder
from tests.support.servers import ACCOUNT, BUCKET, ROLE, S3Server


class Source:
    """Gives the same until it is told otherwise."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials

    async def present(self, key: str, refused: Credentials | None = None) -> Credentials:
        return self.credentials


@asynccontextmanager
async def opened(location: Location) -> AsyncIterator[Bucket]:
    bucket = open_bucket(location)
    try:
        yield bucket
    finally:
        await bucket.aclose()


@pytest.fixture
def root() -> str:
    """The folder of the bucket in which a test's streams are."""
    return f"homes/{secrets.token_hex(8)}"


def place(server: S3Server, root: str, credentials: Credentials) -> Location:
    """The same folder, for who holds these credentials."""
    return Location.parse(
        f"s3://{BUCKET}/{root}", server.endpoint, "us-east-1", credentials=Source(credentials)
    )


@pytest.fixture
async def issuer(server: S3Server) -> AsyncIterator[SessionIssuer]:
    made = SessionIssuer(server.location(), ROLE)
    yield made
    await made.aclose()


def client(kind: str, server: S3Server, credentials: Credentials) -> Any:
    """boto3 as an attacker would use it."""
    made: Any = Session().client(
        kind,  # type: ignore[call-overload]
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        aws_session_token=credentials.session_token,
        config=BotoConfig(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )
    return made


def denied(attempts: dict[str, Callable[[], Any]]) -> None:
    """Every one of them is refused: for its right, not for its form."""
    for name, attempt in attempts.items():
        try:
            answer = attempt()
        except ClientError as error:
            answer = error.response
        status, errors = answer["ResponseMetadata"]["HTTPStatusCode"], answer.get("Errors", [])
        assert status == 403 or [one["Code"] for one in errors] == ["AccessDenied"], (name, answer)


def gets(s3: Any, *keys: str) -> dict[str, Callable[[], Any]]:
    """All ways to read an object."""
    parts = {"Bucket": BUCKET}
    return {
        f"{how.__name__} {key}": partial(how, **parts, Key=key, **more)
        for key in keys
        for how, more in (
            (s3.get_object, {}),
            (s3.head_object, {}),
            (s3.get_object_attributes, {"ObjectAttributes": ["ETag"]}),
            (s3.get_object_tagging, {}),
            (s3.get_object_acl, {}),
        )
    }


def lists(s3: Any, *prefixes: str) -> dict[str, Callable[[], Any]]:
    """All ways to list what begins with a prefix."""
    return {
        f"{how.__name__} {prefix!r} {more}": partial(how, Bucket=BUCKET, Prefix=prefix, **more)
        for prefix in prefixes
        for how in (s3.list_objects_v2, s3.list_objects, s3.list_object_versions)
        for more in ({}, {"Delimiter": "/"})
    }


def changes(s3: Any, *keys: str) -> dict[str, Callable[[], Any]]:
    """All ways to change an object, or how long it stays."""
    return {
        f"{how.__name__} {key}": partial(how, Bucket=BUCKET, Key=key, **more)
        for key in keys
        for how, more in (
            (s3.put_object, {"Body": b"x"}),
            (s3.create_multipart_upload, {}),
            (s3.put_object_tagging, {"Tagging": {"TagSet": []}}),
        )
    } | deletes(s3, *keys)


def deletes(s3: Any, *keys: str) -> dict[str, Callable[[], Any]]:
    return {
        f"delete {key} {many}": partial(s3.delete_objects, Bucket=BUCKET, Delete={"Objects": [{"Key": key}]})
        if many
        else partial(s3.delete_object, Bucket=BUCKET, Key=key)
        for key in keys
        for many in (False, True)
    }


def rules(s3: Any) -> dict[str, Callable[[], Any]]:
    """The bucket's own settings."""
    rule = {"Expiration": {"Days": 1}, "Status": "Enabled", "Filter": {"Prefix": ""}, "ID": "all"}
    return {
        "policy": lambda: s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(open_to_all())),
        "lifecycle": lambda: s3.put_bucket_lifecycle_configuration(
            Bucket=BUCKET, LifecycleConfiguration={"Rules": [rule]}
        ),
        "bucket": lambda: s3.delete_bucket(Bucket=BUCKET),
        "another": lambda: s3.create_bucket(Bucket="another"),
    }


def open_to_all() -> Policy:
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": f"arn:aws:s3:::{BUCKET}/*",
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


# --- what fits in a policy


ids = st.binary(min_size=16, max_size=16)


@given(
    st.dictionaries(ids, st.lists(ids, min_size=1, max_size=30, unique=True), min_size=1, max_size=30),
    st.sampled_from(["", "north", "homes/of/the/north"]),
)
def test_each_part_fits_and_together_they_are_all(granted: Granted, root: str) -> None:
    policy = partial(provider_policy, "a-bucket", root, kid=bytes(16))
    parts = batches(granted, policy)
    assert all(len(written(policy(part))) <= MOST_POLICY for part in parts)
    assert all(part[stream] for part in parts for stream in part)
    found = [(stream, one) for part in parts for stream, some in part.items() for one in some]
    assert sorted(found) == sorted((stream, one) for stream, some in granted.items() for one in some)
    # No two parts that follow each other would fit into one.
    for one, two in pairwise(parts):
        if not one.keys() & two.keys() and sum(map(len, two.values())) == len(two):
            joined = {**one, next(iter(two)): next(iter(two.values()))}
            assert len(written(policy(joined))) > MOST_POLICY


def test_how_many_streams_fit() -> None:
    """What the registrar's documentation says of a bucket named `meters`, without a folder."""
    streams = [secrets.token_bytes(16) for _ in range(100)]
    gateway = batches(dict.fromkeys(streams, ()), partial(gateway_policy, BUCKET, ""))
    provider = batches({one: [one] for one in streams}, partial(provider_policy, BUCKET, "", kid=bytes(16)))
    grants = batches({streams[0]: streams}, partial(provider_policy, BUCKET, "", kid=bytes(16)))
    assert (len(gateway[0]), len(provider[0]), len(grants[0][streams[0]])) == (16, 3, 7)


def test_a_stream_that_granted_nothing_is_in_no_policy() -> None:
    one, two = secrets.token_bytes(16), secrets.token_bytes(16)
    assert two.hex() not in written(provider_policy(BUCKET, "", {one: [one], two: []}, bytes(16)))
    with pytest.raises(UsageError, match="granted"):
        provider_policy(BUCKET, "", {two: []}, bytes(16))


# --- a provider


class Granting:
    """Two homes in the store of `server`, of which the first granted something to `ours` and to another, and
    the second to the other alone."""

    def __init__(self, server: S3Server, root: str, ours: Provider, theirs: Provider) -> None:
        self.server, self.root, self.ours, self.theirs = server, root, ours, theirs
        self.home, self.foreign = Home(), Home()
        for home in (self.home, self.foreign):
            home.seal(random_readings(90))
        self.grant = self.home.grant(ours.card, "20s")
        self.other = self.home.grant(theirs.card, "10s")
        self.revoked = self.home.grant(ours.card, "30s")
        self.home.revoke(self.revoked)
        self.foreign_grant = self.foreign.grant(theirs.card, "10s")
        self.foreign_pages = [names.page(self.foreign.id, period) for period in ("2026-11-22", "2026-11")]
        self.foreign.objects |= dict.fromkeys(self.foreign_pages, b"a page")

    @property
    def granted(self) -> Granted:
        return {self.home.id: [self.grant.id, self.revoked.id]}

    async def put(self) -> None:
        async with opened(self.server.location(self.root)) as bucket:
            for home in (self.home, self.foreign):
                await asyncio.gather(
                    *(bucket.put(key, data, replace=True) for key, data in home.objects.items())
                )

    def keys(self, home: Home) -> list[str]:
        return [f"{self.root}/{key}" for key in home.objects]


@pytest.fixture
async def granting(server: S3Server, root: str, tmp_path: Path, provider: Provider) -> Granting:
    made = Granting(server, root, provider, Provider.new(tmp_path / "other"))
    await made.put()
    return made


@pytest.fixture
async def held(granting: Granting, issuer: SessionIssuer) -> Credentials:
    """What the registrar gives to the provider."""
    return await issuer.assume(
        provider_policy(BUCKET, granting.root, granting.granted, granting.ours.card.kid), 900
    )


async def sums(bucket: Bucket, granting: Granting) -> Answer:
    home = granting.home
    reader = await StreamReader.open(bucket, home.id, home.signer.kid, grants=granting.granted[home.id])
    await reader.refresh(time.time_ns() // 1_000_000, DAY_MS)
    asked = await Sums.ask(reader, granting.ours.identity, Query("20s"))
    return Answer(asked, [row async for row in asked.rows()])


async def test_a_provider_reads_what_was_granted(granting: Granting, held: Credentials) -> None:
    async with opened(place(granting.server, granting.root, held)) as bucket:
        answer = await sums(bucket, granting)
        assert len(answer.rows) == 4
        expected(granting.home, answer)
        granting.home.seal(random_readings(60))
        await granting.put()
        assert len((await sums(bucket, granting)).rows) == 7


async def test_a_provider_verifies_what_it_reaches(granting: Granting, held: Credentials) -> None:
    home, found = granting.home, list[Problem]()
    async with opened(place(granting.server, granting.root, held)) as bucket:
        examine = partial(verify, bucket, home.id, home.signer.kid, None, found.append, lambda _: None)
        tally = await examine(granting.granted[home.id])
        assert (tally.problems, tally.grants) == (0, 2)
        missing = secrets.token_bytes(16)
        with pytest.raises(StoreDenied):
            await examine([missing])


async def test_a_grant_that_the_store_hides_is_missed(granting: Granting, issuer: SessionIssuer) -> None:
    missing = secrets.token_bytes(16)
    granted = {granting.home.id: [granting.grant.id, missing]}
    held = await issuer.assume(provider_policy(BUCKET, granting.root, granted, granting.ours.card.kid), 900)
    async with opened(place(granting.server, granting.root, held)) as bucket:
        reader = await StreamReader.open(
            bucket, granting.home.id, granting.home.signer.kid, grants=granted[granting.home.id]
        )
        with pytest.raises(Refused, match=rf"{missing.hex()}/grant.cose is missing: .* expected"):
            await Sums.ask(reader, granting.ours.identity, Query())
        found: list[Problem] = []
        await verify(
            bucket,
            granting.home.id,
            granting.home.signer.kid,
            None,
            found.append,
            lambda _: None,
            granted[granting.home.id],
        )
        assert [one.key for one in found] == [names.grant(granting.home.id, missing)]


async def test_a_provider_gets_neither_others_grants_nor_streams_that_granted_it_nothing(
    granting: Granting, held: Credentials
) -> None:
    theirs = f"{granting.root}/{names.grants(granting.home.id)}{granting.other.id.hex()}/"
    forbidden = [key for key in granting.keys(granting.home) if key.startswith(theirs)]
    assert len(forbidden) > 1
    absent = f"{theirs}revoked.cose"
    with closing(client("s3", granting.server, held)) as s3:
        denied({"absent": lambda: s3.get_object(Bucket=BUCKET, Key=absent)})
        denied(gets(s3, *forbidden, *granting.keys(granting.foreign)[:5]))
        denied(gets(s3, *(f"{granting.root}/{key}" for key in granting.foreign_pages)))
        for around in (
            f"x-/../grant/{granting.other.id.hex()}/grant.cose",
            "s/../grant/",
            "day/2026-/../../",
        ):
            with pytest.raises(ClientError, match=r"400|InvalidRequest|InvalidResourceName"):
                s3.get_object(
                    Bucket=BUCKET, Key=f"{granting.root}/{names.stream_prefix(granting.home.id)}{around}"
                )
        # And what it may get is there.
        allowed = set(granting.keys(granting.home)) - set(forbidden)
        assert any("/chunk/" in key for key in allowed)
        for key in allowed:
            s3.get_object(Bucket=BUCKET, Key=key)
        for period in ("2026-11-22", "2026-11"):
            with pytest.raises(s3.exceptions.NoSuchKey):
                s3.get_object(Bucket=BUCKET, Key=f"{granting.root}/{names.page(granting.home.id, period)}")


async def test_a_provider_lists_neither_others_grants_nor_streams_that_granted_it_nothing(
    granting: Granting, held: Credentials
) -> None:
    home, foreign = (
        f"{granting.root}/{names.stream_prefix(one.id)}" for one in (granting.home, granting.foreign)
    )
    theirs = f"{granting.root}/{names.grants(granting.home.id)}{granting.other.id.hex()}"
    with closing(client("s3", granting.server, held)) as s3:
        denied(lists(s3, "", "homes", f"{granting.root}/", f"{granting.root}/v1/", home[:-1], home))
        denied(lists(s3, home + "g", home + "grant", home + "grant/", theirs, theirs + "/", theirs + "/new/"))
        denied(lists(s3, home + "/grant/", home[:-1] + "*"))
        denied(lists(s3, foreign, foreign + "chunk/", foreign + "grant/"))
        denied(
            {"all": lambda: s3.list_objects_v2(Bucket=BUCKET), "v1": lambda: s3.list_objects(Bucket=BUCKET)}
        )
        denied({"uploads": lambda: s3.list_multipart_uploads(Bucket=BUCKET, Prefix=home)})
        ours = f"{granting.root}/{names.grants(granting.home.id)}{granting.grant.id.hex()}/"
        for prefix in ("chunk/", "day/", "month/"):
            s3.list_objects_v2(Bucket=BUCKET, Prefix=home + prefix)
        for fold in ("", "new/", "day/", "month/"):
            s3.list_objects_v2(Bucket=BUCKET, Prefix=ours + fold)


async def test_a_provider_changes_nothing(granting: Granting, held: Credentials) -> None:
    ours = granting.keys(granting.home)
    with closing(client("s3", granting.server, held)) as s3:
        denied(changes(s3, ours[0], ours[1], ours[-1], f"{ours[0]}x", *granting.keys(granting.foreign)[:1]))
        denied(rules(s3))
    async with opened(granting.server.location(granting.root)) as bucket:
        for key, data in granting.home.objects.items():
            assert await bucket.get(key) == data


# --- a gateway


@pytest.fixture
async def gateway(granting: Granting, issuer: SessionIssuer) -> Credentials:
    """What the registrar gives to the gateway of the first home."""
    return await issuer.assume(gateway_policy(BUCKET, granting.root, [granting.home.id]), 900)


async def test_a_gateway_does_nothing_to_another_s_stream(granting: Granting, gateway: Credentials) -> None:
    root, own = granting.root, granting.keys(granting.home)[0]
    foreign = granting.keys(granting.foreign)
    prefix = f"{root}/{names.stream_prefix(granting.foreign.id)}"
    with closing(client("s3", granting.server, gateway)) as s3:
        denied(gets(s3, *foreign[:5]))
        denied(lists(s3, prefix, prefix + "chunk/", prefix + "grant/", "", f"{root}/", f"{root}/v1/"))
        denied(changes(s3, *foreign[:5], f"{prefix}new", f"{root}/other", "other"))
        denied(rules(s3))
        stolen = {"Bucket": BUCKET, "Key": foreign[0]}
        denied(
            {
                "copied from": lambda: s3.copy_object(Bucket=BUCKET, Key=f"{own}x", CopySource=stolen),
                "copied to": lambda: s3.copy_object(
                    Bucket=BUCKET, Key=foreign[0], CopySource={"Bucket": BUCKET, "Key": own}
                ),
            }
        )
        for around in (
            f"{own}/../../{granting.foreign.id.hex()}/head.cose",
            f"{root}/v1//x",
            f"/{foreign[0]}",
        ):
            with pytest.raises(ClientError):
                s3.get_object(Bucket=BUCKET, Key=around)
            with pytest.raises(ClientError):
                s3.put_object(Bucket=BUCKET, Key=around, Body=b"x")
    async with opened(granting.server.location(root)) as bucket:
        for key, data in granting.foreign.objects.items():
            assert await bucket.get(key) == data


async def test_a_gateway_deletes_nothing_of_its_own(granting: Granting, gateway: Credentials) -> None:
    chunk = next(key for key in granting.keys(granting.home) if "/chunk/" in key)
    with closing(client("s3", granting.server, gateway)) as s3:
        denied(deletes(s3, chunk, granting.keys(granting.home)[0]))
        assert s3.get_object(Bucket=BUCKET, Key=chunk)


async def test_the_doctor_finds_a_gateway_s_credentials_whole(
    granting: Granting, gateway: Credentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = place(granting.server, granting.root, gateway)
    monkeypatch.setattr(doctor, "location", lambda _: where)
    file = tmp_path / "gateway.toml"
    file.write_text(
        f"""
        gateway = {{ state = "state" }}
        trust = {{ root = "software" }}
        store = {{ url = "{where.url}", endpoint = "{where.endpoint}" }}
        [[meter]]
        name = "main"
        profile = "eastron-sdm630"
        tcp = {{ host = "127.0.0.1", port = 1 }}
        """
    )
    found = [one async for one in doctor.examine(Config.load(file)) if one.part == "store"]
    assert [one.sentence for one in found] == [f"{where.url}: list, put and get work"]


async def test_a_gateway_lives_on_its_credentials(
    server: S3Server, root: str, issuer: SessionIssuer, tmp_path: Path
) -> None:
    """Publisher, rollback check, read-back and take-over of a ledger that was restored, and nothing but the
    rights of the gateway's policy; then the provider of its grant reads with its own."""
    unit_ms, hour = 60_000, 60
    home = Gateway(tmp_path, layout=Layout(unit_ms, hour), chunk_units=hour)
    source = Source(Credentials("none", "none", "none"))
    where = Location.parse(f"s3://{BUCKET}/{root}", server.endpoint, "us-east-1", credentials=source)
    async with opened(where) as bucket:
        home.bucket = FaultyBucket(bucket)
        holder = Holder(home.clock.wall() // 1_000_000)
        async with home:
            await home.runs(hour, every=hour)
            stream = (await home.stream()).id
            source.credentials = await issuer.assume(gateway_policy(BUCKET, root, [stream]), 900)
            granted = await home.grants(holder, "15min")
            await home.runs(3 * hour, every=hour)
            await home.publishes_all()
            home.copies("old")
            await home.runs(24 * hour, every=hour)  # past the end of a day, so that pages are made
            revoked = await home.grants(holder, "1h")
            await home.granter.revoke(revoked.id)
            await home.publishes_all()
            looking = asyncio.create_task(home.session.readback.run())
            await home.clock.asleep()
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            assert home.session.readback.faults == []
            await home.restores("old")
            await home.runs(hour, every=hour)
            assert await home.publishes_all() == 1
            await home.runs(26 * hour, every=hour)
            await home.publishes_all()
            stored = await home.check_energy()
            signer = cose.kid_of(home.root.public_key)
        keys = [key async for key in bucket.list(names.stream_prefix(stream))]
        assert any("/day/" in key for key in keys)
    policy = provider_policy(BUCKET, root, {stream: [granted.id, revoked.id]}, holder.card.kid)
    async with opened(place(server, root, await issuer.assume(policy, 900))) as bucket:
        reader = await StreamReader.open(bucket, stream, signer, grants=[granted.id, revoked.id])
        await reader.refresh(home.clock.wall() // 1_000_000, DAY_MS)
        assert reader.head is not None
        assert reader.head.next_unit == stored.end
        found: list[Problem] = []
        tally = await verify(
            bucket, stream, signer, None, found.append, lambda _: None, [granted.id, revoked.id]
        )
        assert found == []
        assert tally.grants == 2
        nonces = await holder.nonces(bucket, stored.descriptor.signing_key, stream, granted.id, unit_ms)
        for (a, b), (nonce, *_) in nonces.items():
            assert stored.opened("import", a, b, nonce) == stored.total("import", a, b)
        assert len(nonces) > 4


# --- prices


async def test_prices_are_put_by_their_provider_and_read_by_every_gateway(
    granting: Granting, held: Credentials, gateway: Credentials
) -> None:
    root, kid = granting.root, granting.ours.card.kid
    own, other = names.price_series(kid, 1, 2), names.price_series(secrets.token_bytes(16), 1, 2)
    async with opened(granting.server.location(root)) as bucket:
        await bucket.put(other, b"another's")
    async with opened(place(granting.server, root, held)) as bucket:
        await bucket.put(own, b"prices")
        assert await bucket.get(own) == b"prices"
        assert [key async for key in bucket.list(names.prices(kid))] == [own]
        with pytest.raises(StoreDenied):
            await bucket.get(other)
    async with opened(place(granting.server, root, gateway)) as bucket:
        assert await bucket.get(own) == b"prices"
        assert await bucket.get(other) == b"another's"
        assert [key async for key in bucket.list(names.prices(kid))] == [own]
        assert {key async for key in bucket.list(names.PRICES)} == {own, other}


async def test_nobody_puts_prices_of_another_and_nobody_deletes_any(
    granting: Granting, held: Credentials, gateway: Credentials
) -> None:
    root, kid = granting.root, granting.ours.card.kid
    own, other = (f"{root}/{names.price_series(one, 1, 2)}" for one in (kid, secrets.token_bytes(16)))
    async with opened(granting.server.location()) as bucket:
        await asyncio.gather(*(bucket.put(key, b"prices") for key in (own, other)))
    with closing(client("s3", granting.server, held)) as s3:
        denied(gets(s3, other))
        denied(changes(s3, other, f"{root}/{names.PRICES}x", f"{root}/{names.prices(kid)[:-1]}x"))
        denied(deletes(s3, own))
        denied(lists(s3, f"{root}/{names.PRICES}", other[:-10], f"{root}/{names.prices(kid)[:-2]}"))
    with closing(client("s3", granting.server, gateway)) as s3:
        denied(changes(s3, own, other, f"{root}/{names.prices(kid)}new"))
    async with opened(granting.server.location()) as bucket:
        for key in (own, other):
            assert await bucket.get(key) == b"prices"


# --- users of a store without sessions


@pytest.fixture
def own_bucket(granting: Granting) -> Iterator[tuple[Any, str]]:
    """A bucket of the test's own with the same objects, and its administrator's client."""
    server = granting.server
    name = f"users-{secrets.token_hex(8)}"
    with closing(client("s3", server, Credentials(server.access_key, server.secret_key))) as s3:
        s3.create_bucket(Bucket=name)
        for home in (granting.home, granting.foreign):
            for key, data in home.objects.items():
                s3.put_object(Bucket=name, Key=f"{granting.root}/{key}", Body=data)
        yield s3, name


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
async def test_a_bucket_s_policy_gives_its_users_the_same(
    granting: Granting, own_bucket: tuple[Any, str]
) -> None:
    (administrator, name), root, home = own_bucket, granting.root, granting.home
    gateway, provider, nobody = granting.server.users
    policy = bucket_policy(
        name, root, {gateway: [home.id]}, {provider: (granting.ours.card.kid, granting.granted)}
    )
    administrator.put_bucket_policy(Bucket=name, Policy=written(policy))
    ours, foreign = (f"{root}/{names.stream_prefix(one.id)}" for one in (granting.home, granting.foreign))
    theirs = f"{ours}grant/{granting.other.id.hex()}/"
    keys = {user: granting.server.users[user] for user in (gateway, provider, nobody)}
    get, put, listed = {}, {}, {}
    for user, held in keys.items():
        with closing(client("s3", granting.server, held)) as s3:
            get[user] = partial(tried, s3.get_object, Bucket=name)
            put[user] = partial(tried, s3.put_object, Bucket=name, Body=b"x")
            listed[user] = partial(tried, s3.list_objects_v2, Bucket=name)
            assert not tried(s3.delete_object, Bucket=name, Key=f"{ours}head.cose")
            for where in (f"{foreign}head.cose", f"{foreign}stream.cose"):
                assert not get[user](Key=where)
            assert not listed[user](Prefix=foreign)
            assert not listed[user](Prefix=f"{root}/")
            assert not put[user](Key=f"{foreign}new")
    assert put[gateway](Key=f"{ours}new")
    assert get[gateway](Key=f"{theirs}grant.cose")
    assert listed[gateway](Prefix=f"{ours}grant/")
    assert get[provider](Key=f"{ours}stream.cose")
    assert get[provider](Key=f"{ours}grant/{granting.grant.id.hex()}/grant.cose")
    assert listed[provider](Prefix=f"{ours}chunk/")
    assert not put[provider](Key=f"{ours}new")
    assert not get[provider](Key=f"{theirs}grant.cose")
    assert not listed[provider](Prefix=f"{ours}grant/")
    prices = f"{root}/{names.prices(granting.ours.card.kid)}"
    assert put[provider](Key=f"{prices}1")
    assert get[gateway](Key=f"{prices}1")
    assert listed[gateway](Prefix=f"{root}/{names.PRICES}")
    assert not put[gateway](Key=f"{prices}2")
    assert not put[provider](Key=f"{root}/{names.prices(bytes(16))}1")
    assert not get[nobody](Key=f"{prices}1")
    for attempt in (get[nobody](Key=f"{ours}head.cose"), listed[nobody](Prefix=f"{ours}chunk/")):
        assert not attempt


def tried(request: Callable[..., Any], **parts: Any) -> bool:
    """Whether it is allowed."""
    try:
        answer = request(**parts)
    except ClientError as error:
        answer = error.response
    status = answer["ResponseMetadata"]["HTTPStatusCode"]
    assert status in (200, 403), answer
    return bool(status == 200)


async def test_a_bucket_s_policy_lets_nobody_in_who_has_no_name(
    granting: Granting, own_bucket: tuple[Any, str]
) -> None:
    """MinIO, which knows its users by policies of their own, takes it too."""
    administrator, name = own_bucket
    user = f"{ACCOUNT}user/gateway"
    policy = bucket_policy(
        name, granting.root, {user: [granting.home.id]}, {user: (granting.ours.card.kid, granting.granted)}
    )
    administrator.put_bucket_policy(Bucket=name, Policy=written(policy))
    unsigned: Any = Session().client(
        "s3",
        endpoint_url=granting.server.endpoint,
        region_name="us-east-1",
        config=BotoConfig(signature_version=UNSIGNED, s3={"addressing_style": "path"}),
    )
    with closing(unsigned):
        key = f"{granting.root}/{names.descriptor(granting.home.id)}"
        assert not tried(unsigned.get_object, Bucket=name, Key=key)
        assert not tried(unsigned.put_object, Bucket=name, Key=key, Body=b"x")
        assert not tried(unsigned.list_objects_v2, Bucket=name, Prefix=key[:-11])


# --- sessions


async def test_a_session_cannot_shed_its_policy(server: S3Server, issuer: SessionIssuer) -> None:
    given = await issuer.assume(gateway_policy(BUCKET, "", [bytes(16)]), 900)
    with closing(client("sts", server, given)) as sts:
        everything = json.dumps(open_to_all()).replace('"Principal": "*", ', "")
        for more in ({}, {"Policy": everything}):
            with pytest.raises(ClientError, match="AccessDenied"):
                sts.assume_role(RoleArn=ROLE, RoleSessionName="again", **more)


async def test_a_role_that_its_own_sessions_may_assume_is_found(tmp_path: Path) -> None:
    with servers.seaweedfs(tmp_path) as server:
        server.stop()
        sessions = tmp_path / "iam.json"
        sessions.write_text(sessions.read_text().replace(f"{ACCOUNT}user/{servers.ADMIN}", "*"))
        server.start()
        issuer = SessionIssuer(server.location(), ROLE)
        for _ in range(2):
            with pytest.raises(StoreDenied, match="trust policy name the registrar's own user"):
                await issuer.assume(gateway_policy(BUCKET, "", [bytes(16)]), 900)
        await issuer.aclose()


async def test_what_a_session_gives(issuer: SessionIssuer) -> None:
    before = time.time_ns() // 1_000_000
    given = await issuer.assume(gateway_policy(BUCKET, "", [bytes(16)]), 3600)
    assert given.expires_ms is not None
    assert abs(given.expires_ms - before - 3_600_000) < 60_000
    assert given.session_token
    for secret in (given.secret_key, given.session_token):
        assert secret not in repr(given)


@pytest.mark.parametrize("duration_s", [899, 43_201])
async def test_a_duration_that_no_server_takes(issuer: SessionIssuer, duration_s: int) -> None:
    with pytest.raises(UsageError, match=f"cannot last {duration_s} s: it lasts 900 to 43200 s"):
        await issuer.assume(gateway_policy(BUCKET, "", [bytes(16)]), duration_s)


async def test_the_longest_policy_and_duration(server: S3Server, issuer: SessionIssuer, root: str) -> None:
    """And a token of it still fits in the headers of a request."""
    streams = [secrets.token_bytes(16) for _ in range(40)]
    part = batches({one: [one] for one in streams}, partial(provider_policy, BUCKET, root, kid=bytes(16)))[0]
    policy = provider_policy(BUCKET, root, part, bytes(16))
    assert len(written(policy)) > 1400
    given = await issuer.assume(policy, 43_200)
    async with opened(server.location(root)) as bucket:
        for stream in streams:
            await bucket.put(names.descriptor(stream), b"1")
    async with opened(place(server, root, given)) as bucket:
        for stream in streams:
            if stream in part:
                assert await bucket.get(names.descriptor(stream)) == b"1"
            else:
                with pytest.raises(StoreDenied):
                    await bucket.get(names.descriptor(stream))


async def test_a_policy_that_is_too_long(issuer: SessionIssuer) -> None:
    streams = [secrets.token_bytes(16) for _ in range(40)]
    with pytest.raises(UsageError, match="a session's may have 2048: name fewer streams"):
        await issuer.assume(gateway_policy(BUCKET, "", streams), 900)


async def test_keys_that_may_not_assume_the_role(server: S3Server) -> None:
    secret = secrets.token_hex(20)
    issuer = SessionIssuer(dataclasses.replace(server.location(), secret_key=secret), ROLE)
    with pytest.raises(StoreDenied) as caught:
        await issuer.assume(gateway_policy(BUCKET, "", [bytes(16)]), 900)
    assert secret not in str(caught.value)
    await issuer.aclose()


async def test_no_server_is_an_outage() -> None:
    issuer = SessionIssuer(Location.parse("s3://meters", "http://127.0.0.1:9", None, "a", "b"), ROLE)
    with pytest.raises(StoreUnavailable, match=r"STS at http://127\.0\.0\.1:9 cannot be used now"):
        await issuer.assume(gateway_policy(BUCKET, "", [bytes(16)]), 900)
    await issuer.aclose()


async def test_a_role_is_assumed_on_a_thread(issuer: SessionIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    assume = issuer._assume

    def noted(*parts: Any) -> Credentials:
        threads.append(threading.get_ident())
        return assume(*parts)

    monkeypatch.setattr(issuer, "_assume", noted)
    await issuer.assume(gateway_policy(BUCKET, "", [bytes(16)]), 900)
    assert threads
    assert threading.get_ident() not in threads
