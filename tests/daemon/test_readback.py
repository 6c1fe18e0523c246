"""Stores that lose or damage what they have confirmed: it is noticed within a day, said, and sent again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.chain.layout import Layout
from gateway.daemon.readback import ReadBack
from tests.support.home import Home
from tests.support.provider import Provider

pytestmark = pytest.mark.slow

DAY = 24 * 60  # units of a minute
HOUR = 60


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, layout=Layout(60_000, HOUR), chunk_units=HOUR)


def readback(home: Home) -> ReadBack:
    return home.session.readback


async def looks(home: Home) -> None:
    """The read-back works until it rests."""
    working = asyncio.create_task(readback(home).run())
    await home.clock.asleep()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def lives(home: Home, units: int, every: int = 120) -> None:
    """Ordinary life, with the publisher and the read-back at work now and then."""
    for _ in range(units // every):
        await home.runs(every, every=60)
        await home.publish()
        await looks(home)
        await home.publish()


def files(home: Home) -> dict[str, bytes]:
    """All that is in the store but the head."""
    store = home.folder / "store"
    found = {str(path.relative_to(store)): path for path in store.rglob("*.cose")}
    return {key: path.read_bytes() for key, path in sorted(found.items()) if path.name != "head.cose"}


async def said(home: Home) -> list[str]:
    return [entry.detail for entry in await home.ledger.audit_log(99) if entry.what == "store"]


async def test_a_store_that_loses_its_newest_chunks_gets_them_again_byte_for_byte(home: Home) -> None:
    async with home:
        await lives(home, DAY // 2)
        before = files(home)
        gone = sorted(key for key in before if "/chunk/" in key)[-3:]
        for key in gone:
            (home.folder / "store" / key).unlink()
        await lives(home, DAY)  # past the end of the day
        after = files(home)
        assert {key: after[key] for key in before} == before
        (line,) = await said(home)
        assert f"3 are gone, from {gone[0]} to {gone[-1]}: the gateway sends them again" in line
        status = await home.session.status()
        assert status.faults == (line,)
        await home.check_energy()
        await lives(home, DAY)
        assert (await home.session.status()).faults == ()  # the next look found all there
        assert await said(home) == [line]


async def test_all_kinds_of_objects_are_found_again(home: Home) -> None:
    async with home:
        await lives(home, 2 * HOUR)
        await home.grants(Provider(home.clock.now_ms), "1h", from_ms=0)
        await lives(home, DAY)
        before = files(home)
        fresh = [one.key for one in await home.ledger.kept(await home.stream())]
        assert {key.split("/")[2] for key in fresh} == {"stream.cose", "chunk", "day", "so-far", "grant"}
        for key in fresh:
            (home.folder / "store" / key).unlink()
        await lives(home, DAY)
        after = files(home)
        assert {key: after[key] for key in before} == before


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: bytes(len(data))])
async def test_an_object_with_other_bytes_is_replaced_and_said(home: Home, damage: object) -> None:
    async with home:
        await lives(home, 4 * HOUR)
        before = files(home)
        key = sorted(key for key in before if "/chunk/" in key)[1]
        (home.folder / "store" / key).write_bytes(damage(before[key]))  # type: ignore[operator]
        await lives(home, DAY)
        assert files(home)[key] == before[key]
        assert any(f"1 have other bytes than were sent, from {key}" in line for line in await said(home))
        await home.check_energy()


async def test_what_is_kept_is_let_go_and_does_not_grow(home: Home) -> None:
    async with home:
        most = []
        for _ in range(5):
            await lives(home, DAY)
            kept = await home.ledger.kept(await home.stream())
            most.append(len(kept))
            assert all(one.sent_ms > home.clock.now_ms - 2 * 86_400_000 for one in kept)
        assert max(most) <= 2 * 24 + 4
        assert await said(home) == []


async def test_each_day_is_looked_for_once(home: Home) -> None:
    async with home:
        await lives(home, 2 * DAY)
        gets: list[str] = []
        inner = home.bucket._bucket.get

        async def counted(key: str) -> bytes:
            gets.append(key)
            return await inner(key)

        home.bucket._bucket.get = counted  # type: ignore[method-assign]
        await lives(home, 2 * DAY)
        read = [key for key in gets if "/chunk/" in key]
        assert len(set(read)) >= 40
        assert len(read) <= 1.5 * len(set(read))  # once, but those of the last hours of a day, twice


async def test_a_store_that_is_away_is_looked_into_later(home: Home) -> None:
    async with home:
        await lives(home, DAY // 2)
        before = files(home)
        gone = sorted(key for key in before if "/chunk/" in key)[-1]
        (home.folder / "store" / gone).unlink()
        await home.runs(DAY, every=60)
        await home.publish()
        for after in range(4):
            home.bucket.fuse.set(after, None)
            await looks(home)
            assert await said(home) == []
        home.bucket.fuse.set(None)
        await looks(home)
        await home.publish()
        assert files(home)[gone] == before[gone]


async def test_a_head_that_went_back_is_a_reason_to_look_at_once(home: Home) -> None:
    """A snapshot of the store is put back while the gateway is off."""
    async with home:
        await lives(home, 2 * HOUR)
        (head,) = (home.folder / "store").rglob("head.cose")
        old, there = head.read_bytes(), files(home)
        await lives(home, 4 * HOUR)
        before = files(home)
        await home.crash()
        head.write_bytes(old)
        for key in before.keys() - there.keys():
            (home.folder / "store" / key).unlink()
        await home.start()
        await home.publish()
        await looks(home)
        await home.publish()
        assert {key: files(home)[key] for key in before} == before
        await lives(home, HOUR * 2)
        await home.check_energy()


async def test_a_stream_without_pages_is_looked_into_once_a_day(tmp_path: Path) -> None:
    async with Home(tmp_path, layout=Layout(70_000, HOUR), chunk_units=HOUR) as home:
        await lives(home, DAY // 2)
        before = files(home)
        gone = sorted(key for key in before if "/chunk/" in key)[-1]
        (home.folder / "store" / gone).unlink()
        await lives(home, DAY)
        assert files(home)[gone] == before[gone]
        assert len(await home.ledger.kept(await home.stream())) < 30


async def test_it_waits_until_the_store_is_known_not_to_be_ahead(home: Home) -> None:
    async with home:
        await lives(home, DAY)
        kept = await home.ledger.kept(await home.stream())
        await home.crashes_and_starts()
        home.clock.pass_s(2 * 86_400)
        await looks(home)
        assert await home.ledger.kept(await home.stream()) == kept
        await home.publish()
        await looks(home)
        assert await home.ledger.kept(await home.stream()) != kept
