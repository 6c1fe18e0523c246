"""The credentials of a registrar's store: fetched for a few streams at a time, kept, and renewed in time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.errors import GatewayError, NotFound, Refused, StoreDenied, Unavailable
from gateway.provider.granted import GrantedStore
from gateway.registry.documents import CredentialsAnswer
from gateway.store.credentials import Credentials
from gateway.wire import names
from tests.support.clock import FakeClock

STREAMS = [bytes([n]) * 16 for n in range(20)]
HOUR_MS = 3_600_000
ROOM = 4


class Registrar:
    """Gives sessions of an hour that reach the first few of the streams asked for."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.own = set(STREAMS)
        self.asked: list[list[bytes]] = []
        self.fails: GatewayError | None = None

    async def fetch(self, streams: Sequence[bytes]) -> CredentialsAnswer:
        self.asked.append(list(streams))
        if self.fails is not None:
            raise self.fails
        if foreign := [stream for stream in streams if stream not in self.own]:
            raise Refused(f"the stream {foreign[0].hex()} granted this provider nothing")
        reached = [stream.hex() for stream in sorted(streams)[:ROOM]]
        return CredentialsAnswer(
            url="s3://meters/homes",
            endpoint="http://127.0.0.1:9000",
            access_key=f"key{len(self.asked)}",
            secret_key="secret",
            session_token="token",
            expires_ms=self.clock.now_ms + HOUR_MS,
            streams=tuple(reached),
            grants={one: (one[::-1],) for one in reached},
        )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def registrar(clock: FakeClock) -> Registrar:
    return Registrar(clock)


@pytest.fixture
def store(registrar: Registrar, clock: FakeClock) -> GrantedStore:
    return GrantedStore(STREAMS, registrar.fetch, clock)


async def present(store: GrantedStore, stream: bytes, refused: Credentials | None = None) -> Credentials:
    return await store.present(names.head(stream), refused)


async def test_streams_share_sessions_as_far_as_these_have_room(
    store: GrantedStore, registrar: Registrar
) -> None:
    for _ in range(2):
        for stream in STREAMS:
            await present(store, stream)
    assert len(registrar.asked) == len(STREAMS) // ROOM
    assert await store.grants(STREAMS[7]) == (bytes.fromhex(STREAMS[7].hex()[::-1]),)
    place = await store.location(STREAMS[7])
    assert (place.url, place.endpoint, place.credentials) == (
        "s3://meters/homes",
        "http://127.0.0.1:9000",
        store,
    )


async def test_they_are_renewed_before_they_end_and_not_sooner(
    store: GrantedStore, registrar: Registrar, clock: FakeClock
) -> None:
    first = await present(store, STREAMS[0])
    clock.pass_s(50 * 60)
    assert await present(store, STREAMS[0]) == first
    clock.pass_s(6 * 60)
    assert await present(store, STREAMS[0]) != first


async def test_refused_ones_are_renewed_at_once(store: GrantedStore) -> None:
    first = await present(store, STREAMS[0])
    second = await present(store, STREAMS[0], first)
    assert second != first
    assert await present(store, STREAMS[0], first) == second  # another request was refused with them too


async def test_those_that_are_valid_outlast_the_registrar(
    store: GrantedStore, registrar: Registrar, clock: FakeClock
) -> None:
    first = await present(store, STREAMS[0])
    registrar.fails = Unavailable("the registrar does not answer")
    assert await present(store, STREAMS[0]) == first
    with pytest.raises(Unavailable, match="the registrar does not answer"):
        await present(store, STREAMS[ROOM])
    clock.pass_s(3600)
    with pytest.raises(Unavailable, match="the registrar does not answer"):
        await present(store, STREAMS[0])
    registrar.fails = None
    assert await present(store, STREAMS[0]) != first


async def test_a_stream_that_is_no_longer_its_own_leaves_the_others(
    store: GrantedStore, registrar: Registrar
) -> None:
    registrar.own.remove(STREAMS[1])
    await present(store, STREAMS[0])
    with pytest.raises(StoreDenied, match=f"{STREAMS[1].hex()} granted this provider nothing"):
        await present(store, STREAMS[1])
    await present(store, STREAMS[2])


async def test_few_refusals_come_of_many_streams_that_are_no_longer_its_own(
    store: GrantedStore, registrar: Registrar
) -> None:
    """The registrar counts each, and shuts those out for a while who are refused often."""
    lost = STREAMS[5::5]
    registrar.own -= set(lost)
    for stream in STREAMS:
        if stream in lost:
            with pytest.raises(StoreDenied):
                await present(store, stream)
        else:
            await present(store, stream)
    refused = [asked for asked in registrar.asked if not set(asked) <= registrar.own]
    assert len(refused) <= 2 * len(lost)


async def test_a_registrar_that_names_a_folder_or_no_grants_is_a_store_that_denies(
    store: GrantedStore, registrar: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = registrar.fetch

    async def folder(streams: Sequence[bytes]) -> CredentialsAnswer:
        return (await whole(streams)).model_copy(update={"url": "/etc", "endpoint": None})

    monkeypatch.setattr(store, "_fetch", folder)
    with pytest.raises(StoreDenied, match="not a bucket"):
        await present(store, STREAMS[0])

    async def others(streams: Sequence[bytes]) -> CredentialsAnswer:
        reached = tuple(one.hex() for one in (*streams, b"x" * 16))
        return (await whole(streams)).model_copy(update={"streams": reached, "grants": {}})

    monkeypatch.setattr(store, "_fetch", others)
    assert await store.grants(STREAMS[0]) == ()
    monkeypatch.setattr(store, "_fetch", folder)
    with pytest.raises(StoreDenied):
        await present(store, b"x" * 16)


async def test_what_no_stream_holds_is_denied_without_asking(
    store: GrantedStore, registrar: Registrar
) -> None:
    for key in ("", "v1/", "v1/doctor", "v2/" + "0" * 32 + "/"):
        with pytest.raises(StoreDenied, match="no stream is at"):
            await store.present(key)
    assert registrar.asked == []


async def test_any_other_error_is_one_of_a_store(store: GrantedStore, registrar: Registrar) -> None:
    registrar.fails = NotFound("no such route")
    with pytest.raises(Unavailable, match="no storage credentials: no such route"):
        await present(store, STREAMS[0])
