"""Storage credentials as the registrar gives them out: to whom, for which streams, and for nobody else's."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import insert

from gateway.cli.main import main
from gateway.errors import Refused, StoreDenied, StoreUnavailable, UsageError
from gateway.host.clock import SystemClock, unix_ms
from gateway.provider.granted import granted_store
from gateway.provider.identity import CARD_FILE, new_identity, open_identity
from gateway.provider.membership import join
from gateway.provider.query import Query
from gateway.provider.sums import Sums
from gateway.registrar.accounts import AccountRole
from gateway.registrar.credentials import Given, StorageCredentials
from gateway.registrar.server import serving
from gateway.registrar.service import Registrar
from gateway.registrar.settings import Settings, StoreSection
from gateway.registrar.storage import batches, bucket_policy, provider_policy, written
from gateway.registrar.tables import grants
from gateway.store.bucket import Bucket
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.stream.reader import StreamReader
from gateway.wire import names
from gateway.wire.card import Card
from tests.provider.reading import DAY_MS, Answer, expected
from tests.stream.stream import Home, Signer, random_readings
from tests.support.clock import FakeClock
from tests.support.registrar import ADDRESS, Holder, log_in, open_new, register, settings
from tests.support.servers import BUCKET, ROLE, S3Server

STREAMS = [bytes([n]) * 16 for n in range(3)]
GRANT, OTHER = b"g" * 16, b"o" * 16
NOWHERE = "http://127.0.0.1:9"


def chosen(folder: Path, prefix: str, server: S3Server | None = None) -> Settings:
    """A registrar of the streams below a prefix of the bucket."""
    keys = folder / "s3"
    keys.touch(mode=0o600)
    own = ("any", "any") if server is None else (server.access_key, server.secret_key)
    keys.write_text(f"access_key_id={own[0]}\nsecret_access_key={own[1]}\n")
    store = StoreSection(
        url=f"s3://{BUCKET}/{prefix}",
        endpoint=NOWHERE if server is None else server.endpoint,
        region="us-east-1",
        credentials=keys,
        role=ROLE,
        credential_hours=1,
    )
    return settings(folder / "state").model_copy(update={"store": store})


class Town:
    """Two homes and two providers at one registrar. The first home has the streams 0 and 1, of which it
    granted 0 to `ours` and to the other provider; the second has 2."""

    def __init__(self, registrar: Registrar, now_ms: int) -> None:
        self.registrar = registrar
        self.home, self.neighbour = Holder("gateway", now_ms), Holder("gateway", now_ms)
        self.ours, self.theirs = Holder("provider", now_ms, "Ours"), Holder("provider", now_ms, "Theirs")

    async def begin(self) -> None:
        holders = (self.home, self.neighbour, self.ours, self.theirs)
        streams: tuple[list[bytes], ...] = (STREAMS[:2], STREAMS[2:], [], [])
        for number, (holder, own) in enumerate(zip(holders, streams, strict=True)):
            role: AccountRole = "household" if holder.card.role == "gateway" else "provider"
            password = await self.registrar.accounts.add(f"account {number}", role)
            signed = [holder.descriptor(stream) for stream in own]
            await register(self.registrar, f"account {number}", password, holder, *signed)
        for grant, provider in ((GRANT, self.ours), (OTHER, self.theirs)):
            await self.granted(STREAMS[0], grant, provider)

    async def granted(self, stream: bytes, grant: bytes, provider: Holder, **changes: int) -> None:
        row = {"stream": stream, "id": grant, "provider": provider.kid, "kind": "windows", "lanes": "import"}
        more: dict[str, object] = {"granularity": "15min", "zone": "UTC", "purpose": "tests", "from_ms": 0}
        async with self.registrar.database.writing() as connection:
            await connection.execute(insert(grants).values({**row, **more, **changes}))

    async def give(self, holder: Holder, *streams: bytes) -> Given:
        session = await self.registrar.sessions.find(await log_in(self.registrar, holder))
        return await self.credentials.give(session, streams, ADDRESS)

    @property
    def credentials(self) -> StorageCredentials:
        assert self.registrar.credentials is not None
        return self.registrar.credentials


@asynccontextmanager
async def town(where: Settings, clock: FakeClock) -> AsyncIterator[Town]:
    async with open_new(where, clock) as registrar:
        made = Town(registrar, clock.now_ms)
        await made.begin()
        yield made


@pytest.fixture
def prefix() -> str:
    return secrets.token_hex(8)


@asynccontextmanager
async def bucket_of(given: Given, server: S3Server, prefix: str) -> AsyncIterator[Bucket]:
    keys = given.credentials
    place = Location.parse(
        f"s3://{BUCKET}/{prefix}",
        server.endpoint,
        "us-east-1",
        keys.access_key,
        keys.secret_key,
        session_token=keys.session_token,
    )
    async with opened_store(place) as bucket:
        yield bucket


async def test_each_gets_what_is_its_own(
    server: S3Server, prefix: str, tmp_path: Path, clock: FakeClock
) -> None:
    async with town(chosen(tmp_path, prefix, server), clock) as made:
        given = await made.give(made.home)
        assert set(given.streams) == set(STREAMS[:2])
        async with bucket_of(given, server, prefix) as bucket:
            for stream in STREAMS[:2]:
                await bucket.put(names.descriptor(stream), b"1")
            for grant in (GRANT, OTHER):
                await bucket.put(names.grant(STREAMS[0], grant), b"1")
            with pytest.raises(StoreDenied):
                await bucket.put(names.descriptor(STREAMS[2]), b"1")
        given = await made.give(made.ours)
        assert given.streams == {STREAMS[0]: [GRANT]}
        async with bucket_of(given, server, prefix) as bucket:
            assert await bucket.get(names.grant(STREAMS[0], GRANT)) == b"1"
            assert await bucket.get(names.descriptor(STREAMS[0])) == b"1"
            for key in (names.grant(STREAMS[0], OTHER), names.descriptor(STREAMS[1])):
                with pytest.raises(StoreDenied):
                    await bucket.get(key)


async def test_credentials_reach_the_latest_grants_where_not_all_fit(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with town(chosen(tmp_path, "homes"), clock) as made:
        old, new, revoked = b"z" * 16, b"n" * 16, b"a" * 16
        await made.granted(STREAMS[0], revoked, made.ours, from_ms=9, revoked_from_ms=10)
        await made.granted(STREAMS[0], new, made.ours, from_ms=8)
        await made.granted(STREAMS[0], old, made.ours, from_ms=7)
        held = await made.registrar.catalogue.granted_to(made.ours.kid, ())
        assert held == {STREAMS[0]: [new, old, GRANT, revoked]}
        many = {STREAMS[0]: held[STREAMS[0]] + [bytes([9, n]) * 8 for n in range(20)]}
        first = batches(many, partial(provider_policy, BUCKET, "homes", kid=made.ours.kid))[0]
        assert list(first[STREAMS[0]])[:4] == held[STREAMS[0]]


async def test_a_foreign_stream_is_refused_and_recorded(
    seaweedfs: S3Server, prefix: str, tmp_path: Path, clock: FakeClock
) -> None:
    async with town(chosen(tmp_path, prefix, seaweedfs), clock) as made:
        for holder, stream in ((made.home, STREAMS[2]), (made.ours, STREAMS[1])):
            with pytest.raises(Refused, match="no credentials reach it"):
                await made.give(holder, stream)
        recorded = await made.registrar.access.all()
        assert [one.kind for one in recorded] == ["prefix", "prefix"]


async def test_a_store_that_is_away_is_an_outage(tmp_path: Path, clock: FakeClock) -> None:
    async with town(chosen(tmp_path, "homes"), clock) as made:
        for holder, streams in ((made.home, []), (made.ours, []), (made.ours, [STREAMS[1], STREAMS[2]])):
            with pytest.raises(StoreUnavailable, match="cannot be used now"):
                await made.give(holder, *streams)
        assert await made.registrar.access.all() == []
        indexer = made.registrar.indexer
        assert indexer is not None
        working = asyncio.create_task(indexer.run())
        await clock.asleep()
        assert not working.done()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def test_a_policy_for_all_has_what_each_would_be_given(tmp_path: Path, clock: FakeClock) -> None:
    async with town(chosen(tmp_path, "homes"), clock) as made:
        await made.registrar.cards.revoke(
            next(one.serial for one in await made.registrar.cards.all() if one.kid == made.theirs.kid)
        )
        policy = await made.credentials.policy("arn:aws:iam::1:user/{kid}")
        user = {one.kid: f"arn:aws:iam::1:user/{one.kid.hex()}" for one in (made.home, made.neighbour)}
        expected = bucket_policy(
            BUCKET,
            "homes",
            {user[kid]: STREAMS[:2] if kid == made.home.kid else STREAMS[2:] for kid in sorted(user)},
            {f"arn:aws:iam::1:user/{made.ours.kid.hex()}": (made.ours.kid, {STREAMS[0]: [GRANT]})},
        )
        assert policy == expected
        assert OTHER.hex() not in written(policy)


async def test_nobody_to_allow_anything_to(tmp_path: Path, clock: FakeClock) -> None:
    async with open_new(chosen(tmp_path, "homes"), clock) as registrar:
        assert registrar.credentials is not None
        with pytest.raises(UsageError, match="nothing to allow"):
            await registrar.credentials.policy("arn:aws:iam::1:user/{kid}")


def test_the_command_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "registrar.toml"
    file.write_text('registrar = { name = "Registrar", state = "state" }\nstore = { url = "s3://meters" }')
    arguments = ["registrar", "policy", "--config", str(file)]

    async def begin() -> str:
        async with town(settings(tmp_path / "state"), FakeClock()) as made:
            return made.neighbour.kid.hex()

    neighbour = asyncio.run(begin())
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    users = {one["Principal"]["AWS"][0] for one in printed["Statement"]}
    assert len(users) == 4
    assert f"arn:aws:iam::000000000000:user/{neighbour}" in users
    assert main([*arguments, "--user", "neighbour"]) == 2
    assert "expected arn:aws:iam::ACCOUNT:user/{kid}" in capsys.readouterr().err
    least = 'registrar = { name = "Registrar", state = "state" }\n'
    for store in ("", f'store = {{ url = "{tmp_path}" }}'):
        file.write_text(least + store)
        assert main(arguments) == 2
        assert "has no [store] that is a bucket" in capsys.readouterr().err


async def test_a_provider_reads_through_its_registrar(server: S3Server, prefix: str, tmp_path: Path) -> None:
    """From login to sums, by the registrar's HTTP API and what it says of the store alone."""
    clock, provider = SystemClock("host"), tmp_path / "provider"
    now_ms = unix_ms(clock)
    new_identity(provider, "ACME Energy", now_ms)
    identity = open_identity(provider)
    async with open_new(chosen(tmp_path, prefix, server), clock) as registrar, serving(registrar) as url:
        owner = Holder("gateway", now_ms)
        home = Home(signer=Signing(owner), assurance="software")
        home.seal(random_readings(90))
        card = Card.read_self_signed((provider / CARD_FILE).read_bytes(), "the card")
        home.grant(card, "20s")
        other = home.grant(Holder("provider", now_ms).card, "10s")
        async with opened_store(server.location(prefix)) as bucket:
            for key, data in home.objects.items():
                await bucket.put(key, data, replace=True)
        for name, role in (("muller", "household"), ("acme", "provider")):
            await registrar.accounts.add(name, role, "correct horse battery")  # type: ignore[arg-type]
        descriptor = home.objects[names.descriptor(home.id)]
        await register(registrar, "muller", "correct horse battery", owner, descriptor)
        membership = await join(
            provider,
            identity,
            url=url,
            ca=None,
            user="acme",
            password="correct horse battery",
            registrar_kid=registrar.identity.card.kid,
            now_ms=now_ms,
        )
        async with granted_store(membership, identity, clock) as store:
            place, grants = await store.location(home.id), await store.grants(home.id)
            async with opened_store(place) as bucket:
                reader = await StreamReader.open(bucket, home.id, home.signer.kid, grants=grants)
                await reader.refresh(now_ms, DAY_MS)
                sums = await Sums.ask(reader, identity, Query())
                rows = [row async for row in sums.rows()]
                assert len(rows) == 4
                expected(home, Answer(sums, rows))
                with pytest.raises(StoreDenied, match="lack the permission"):
                    await bucket.get(names.grant(home.id, other.id))
                with pytest.raises(StoreDenied, match="granted this provider nothing"):
                    await bucket.get(names.descriptor(STREAMS[2]))


class Signing(Signer):
    """A holder's key, as a stream's signer."""

    def __init__(self, holder: Holder) -> None:
        self.key = holder.key
        self.public = holder.card.signing_key
        self.kid = holder.kid


@asynccontextmanager
async def opened_store(place: Location) -> AsyncIterator[Bucket]:
    bucket = open_bucket(place)
    try:
        yield bucket
    finally:
        await bucket.aclose()


async def test_a_stream_that_lies_in_the_store_under_another_signer_gets_no_credentials(
    tmp_path: Path, seaweedfs: S3Server
) -> None:
    """Who registers the id of a stream that is somebody else's, unregistered yet, may not write into it."""
    prefix = f"taken/{secrets.token_hex(6)}"
    clock = FakeClock()
    async with open_new(chosen(tmp_path, prefix, seaweedfs), clock) as registrar:
        owner, thief = Holder("gateway", clock.now_ms), Holder("gateway", clock.now_ms)
        stream = secrets.token_bytes(16)
        store = open_bucket(seaweedfs.location(prefix))
        await store.put(names.descriptor(stream), owner.descriptor(stream))
        await store.aclose()
        password = await registrar.accounts.add("thief", "household")
        await register(registrar, "thief", password, thief, thief.descriptor(stream))
        session = await registrar.sessions.find(await log_in(registrar, thief))
        assert registrar.credentials is not None
        with pytest.raises(Refused, match="names the signing key"):
            await registrar.credentials.give(session, (), ADDRESS)
        assert [one.kind for one in await registrar.access.all()] == ["prefix"]
