"""Revocations: the head names them as soon as the store has them, so that a reader need not ask for each."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.daemon import line
from gateway.errors import StoreUnavailable
from gateway.provider.grants import limit_of
from gateway.stream.grants import grants
from gateway.stream.reader import StreamReader
from gateway.wire import cose, names
from gateway.wire.stream import Head
from tests.support.home import CHUNK_UNITS, LINK_UNITS, MEMORY, Home, kind_of
from tests.support.provider import Provider

ANY_AGE_MS = 10**15


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def head_of(home: Home) -> Head:
    key = names.head((await home.stream()).id)
    return Head.read(await home.bucket.get(key), home.root.public_key, key)


async def begun(home: Home) -> Provider:
    """A stream with some chunks and a head in the store, and a provider to grant to."""
    await home.runs(2 * LINK_UNITS)
    await home.publish()
    return Provider(home.clock.now_ms)


async def test_a_revocation_makes_a_new_head_at_once(home: Home) -> None:
    """Without a new chunk, and after the revocation has left."""
    async with home:
        provider = await begun(home)
        kept, gone = await home.grants(provider, "10s"), await home.grants(provider, "20s")
        await home.publish()
        before = await head_of(home)
        assert before.revoked == ()
        await home.granter.revoke(gone.id)
        home.bucket.puts.clear()
        await home.commit()
        await home.publish()
        assert [kind_of(key) for key, _ in home.bucket.puts] == ["revoked", "head"]
        now = await head_of(home)
        assert now.revoked == (gone.id,)
        assert (now.seq, now.digest, now.next_unit) == (before.seq, before.digest, before.next_unit)
        await home.granter.revoke(kept.id)
        await home.commit()
        await home.publish()
        assert (await head_of(home)).revoked == tuple(sorted((kept.id, gone.id)))


async def test_a_head_is_signed_once_for_what_it_says(home: Home) -> None:
    async with home:
        provider = await begun(home)
        await home.granter.revoke((await home.grants(provider, "10s")).id)
        await home.commit()
        signed = home.root.calls
        for _ in range(3):
            await home.commit()
        assert home.root.calls == signed


async def test_a_revocation_in_a_stream_whose_meter_is_gone(tmp_path: Path) -> None:
    home = Home(tmp_path, meters=("main", "heat"))
    async with home:
        provider = await begun(home)
        record = await home.grants(provider, "10s", meter="heat")
        stream = await home.stream("heat")
        await home.stop()
        home.meters.remove("heat")
        await home.start()
        await home.publish()
        await home.granter.revoke(record.id)
        await home.commit()
        await home.publish()
        key = names.head(stream.id)
        assert Head.read(await home.bucket.get(key), home.root.public_key, key).revoked == (record.id,)


async def test_more_revoked_grants_than_a_head_names(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it names none, and a reader asks for each."""
    monkeypatch.setattr(line, "MOST_REVOKED", 1)
    async with home:
        provider = await begun(home)
        named = []
        for granularity in ("10s", "20s"):
            await home.granter.revoke((await home.grants(provider, granularity)).id)
            await home.commit()
            await home.publish()
            named.append((await head_of(home)).revoked)
        assert [None if one is None else len(one) for one in named] == [1, None]
        assert {limit[1] for limit in (await limits(home)).values()} == {True}


async def limits(home: Home) -> dict[bytes, tuple[int | None, bool]]:
    """The limit of each grant in the store, as a reader with the store's head finds it."""
    signer = cose.kid_of(home.root.public_key)
    reader = await StreamReader.open(home.bucket, (await home.stream()).id, signer)
    await reader.refresh(home.clock.now_ms, ANY_AGE_MS)
    return {grant.id: await limit_of(reader, grant, reader.head) async for _, _, grant in grants(reader)}


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("runs"), st.integers(1, 2 * CHUNK_UNITS)),
        st.tuples(st.just("grant"), st.integers(1, 4)),
        st.tuples(st.just("revoke"), st.integers(0, 4)),
        st.tuples(st.just("commit"), st.just(0)),
        st.tuples(st.just("publish"), st.just(0)),
        st.tuples(st.just("cut off"), st.integers(0, 6)),
        st.tuples(st.just("not heard"), st.just(0)),
        st.tuples(st.just("crash"), st.just(0)),
        st.tuples(st.just("dies while it commits"), st.integers(0, 8)),
    ),
    min_size=3,
    max_size=25,
)


async def happens(home: Home, provider: Provider, act: str, a: int) -> None:
    match act:
        case "runs":
            await home.runs(a)
        case "grant":
            await home.grants(provider, f"{5 * a}s", from_ms=0)
        case "revoke":
            made = await home.ledger.grants()
            if len(made) > a:
                await home.granter.revoke(made[a].id)
        case "commit":
            await home.commit()
        case "publish":
            await home.publish()
        case "cut off" | "not heard":
            home.bucket.deaf = act == "not heard"
            home.bucket.fuse.set(a if act == "cut off" else None, None)
            try:
                await home.publish()
            except StoreUnavailable:
                await home.crashes_and_starts()
            home.mend()
        case "crash":
            await home.crashes_and_starts()
        case "dies while it commits":
            for fuse in (home.database.fuse, home.root.fuse):
                fuse.set(a, None)
            await home.commit()
            await home.crashes_and_starts()


async def check(home: Home, provider: Provider) -> None:
    """What a reader finds in the store as it is now: each revocation that its head names, and no token of a
    window that ends after the unit of one."""
    stream, revoked = await home.stream(), {one.id: one.revoked_from for one in await home.ledger.grants()}
    for grant_id, (limit, cut) in (await limits(home)).items():
        opened = await provider.nonces(
            home.bucket, home.root.public_key, stream.id, grant_id, stream.layout.unit_ms
        )
        from_unit = revoked[grant_id]
        assert not cut or limit == from_unit
        assert from_unit is None or all(b <= from_unit for _, b in opened)


async def lives(acts: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory(prefix="home-", dir=MEMORY) as folder:
        async with Home(Path(folder)) as home:
            provider = await begun(home)
            for act in acts:
                await happens(home, provider, *act)
                await check(home, provider)
            await home.commit()
            await home.publish()
            home.check_heads()
            found = await limits(home)
            for record in await home.ledger.grants():
                assert found[record.id] == (record.revoked_from, record.revoked_from is not None)


@settings(max_examples=40)
@given(ACTS)
def test_whatever_happens_a_reader_opens_nothing_after_a_revocation(acts: list[tuple[str, int]]) -> None:
    asyncio.run(lives(acts))
