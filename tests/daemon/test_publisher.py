"""The publisher sends in order, again until confirmed, and neither store nor disk can end the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.daemon.rollback import StoreAhead
from gateway.ledger.records import ObjectKind, Outgoing
from gateway.store.directory import DirectoryBucket
from gateway.trust.signing import sign
from gateway.wire import names
from gateway.wire.kinds import class_at
from tests.support.clock import NS
from tests.support.home import CHUNK_UNITS, LINK_UNITS, Home, kind_of
from tests.support.provider import Provider

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def has_some_to_send(home: Home) -> list[str]:
    """The keys of what waits, in order."""
    await home.runs(2 * LINK_UNITS)
    await home.grants(Provider(home.clock.now_ms), "10s", from_ms=0)
    await home.runs(2 * LINK_UNITS)
    waiting = [queued.object.key for queued in await home.ledger.outbox(1000)]
    assert len(waiting) > 16  # more than it sends at a time
    return waiting


async def test_all_goes_out_once_in_order(home: Home) -> None:
    async with home:
        waiting = await has_some_to_send(home)
        await home.publish()
        assert [key for key, _ in home.bucket.puts] == waiting
        assert await home.ledger.backlog() == 0
        assert home.publisher.fault is None
        assert home.publisher.answered_ms == home.clock.now_ms


async def test_while_nothing_is_sent_the_store_has_not_answered(home: Home) -> None:
    async with home:
        await has_some_to_send(home)
        async with publishing(home):
            await all_sent(home)
            answered = home.publisher.answered_ms
            for _ in range(5):
                home.clock.pass_s(60)
                await home.clock.asleep()
        assert home.publisher.answered_ms == answered


@asynccontextmanager
async def publishing(home: Home) -> AsyncIterator[asyncio.Task[None]]:
    """The publisher at work; time passes when it is `pressed`."""
    working = asyncio.create_task(home.publisher.run())
    try:
        await home.clock.asleep()
        yield working
        assert not working.done()
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def all_sent(home: Home) -> None:
    """Let time pass until nothing waits."""
    for _ in range(100):
        if not await home.ledger.backlog():
            return
        home.clock.pass_s(60)
        await home.clock.asleep()
    pytest.fail("objects still wait")


async def test_a_store_that_fails_at_any_put_gets_all_in_order(home: Home) -> None:
    """What was confirmed is not sent again, what was not is, and nothing is sent ahead of its turn."""
    async with home:
        waiting = await has_some_to_send(home)
        async with publishing(home):
            assert [key for key, _ in home.bucket.puts] == waiting
            for after in range(4):
                home.bucket.away = True
                home.clock.pass_s(60)
                await home.runs(CHUNK_UNITS)
                await home.clock.asleep()
                waiting += [queued.object.key for queued in await home.ledger.outbox(1000)]
                home.bucket.away = False
                home.bucket.fuse.set(after)
                await all_sent(home)
        assert [key for key, _ in home.bucket.puts] == waiting
        await home.check_energy()


async def test_a_store_that_takes_and_does_not_say_so(home: Home) -> None:
    """The same bytes again: no foreign object is met, and all arrive."""
    async with home:
        waiting = await has_some_to_send(home)
        home.bucket.deaf = True
        for _ in range(3):
            await home.publish()
        assert await home.ledger.backlog() == len(waiting)
        home.bucket.deaf = False
        await home.publish()
        assert await home.ledger.backlog() == 0
        home.check_puts()
        await home.check_energy()
        assert [entry.what for entry in await home.ledger.audit_log(10)] == ["start", "grant"]


async def test_a_store_that_is_away_for_hours_loses_nothing_and_is_not_pressed(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async with home:
        home.bucket.away = True
        await home.runs(2 * LINK_UNITS)
        async with publishing(home):
            tries = home.bucket.fuse.calls
            for _ in range(60):
                home.reads(119, 1000, 500)
                await home.commit()
                await home.clock.asleep()
            assert home.bucket.fuse.calls - tries <= 65
            waiting = [queued.object.key for queued in await home.ledger.outbox(10_000)]
            assert home.publisher.fault == "the store does not answer"
            lines = [line for line in caplog.messages if "nothing is lost" in line]
            assert 1 < len(lines) <= 60 * 119 // 60 + 1  # one a minute at most
            home.bucket.away = False
            await all_sent(home)
            assert [key for key, _ in home.bucket.puts] == waiting
            assert "sending resumes" in caplog.messages[-1]
            assert home.publisher.fault is None
        await home.check_energy()


def pause(home: Home) -> float:
    """How long the one that sleeps will sleep, in seconds."""
    ((wake, _, _),) = home.clock._sleepers
    return (wake - home.clock.monotonic()) / NS


async def test_pauses_grow_to_a_minute_and_begin_anew(home: Home) -> None:
    async with home:
        await home.runs(2 * LINK_UNITS)
        for _ in range(2):
            pauses = []
            home.bucket.away = True
            async with publishing(home):
                for _ in range(9):
                    pauses.append(pause(home))
                    home.clock.pass_s(pauses[-1])
                    await home.clock.asleep()
                assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
                home.bucket.away = False
                home.clock.pass_s(60)
                await home.clock.asleep()
                assert pause(home) == 1


async def test_a_disk_that_is_full_does_not_end_the_gateway(home: Home) -> None:
    """Whichever of the publisher's transactions fails, it tries again, and sends nothing out of turn."""
    async with home:
        waiting = await has_some_to_send(home)
        async with publishing(home):
            for after in range(5):
                home.bucket.away = True
                home.clock.pass_s(60)
                await home.runs(CHUNK_UNITS)
                await home.clock.asleep()
                waiting += [queued.object.key for queued in await home.ledger.outbox(1000)]
                home.bucket.away = False
                home.database.fuse.set(after, 2)
                home.clock.pass_s(60)
                await home.clock.asleep()
                if home.database.fuse.blown:
                    assert "disk is full" in str(home.publisher.fault)
                home.mend()
                await all_sent(home)
            assert home.publisher.fault is None
        assert list(dict.fromkeys(key for key, _ in home.bucket.puts)) == list(dict.fromkeys(waiting))
        await home.check_energy()


@pytest.mark.parametrize("kind", ["stream", "chunk", "grant", "new"])
async def test_a_foreign_object_in_the_way_is_overwritten_and_told(home: Home, kind: str) -> None:
    async with home:
        waiting = await has_some_to_send(home)
        key = next(key for key in waiting if kind_of(key) == kind)
        await DirectoryBucket(home.folder / "store").put(key, b"not ours")
        await home.publish()
        assert await home.ledger.backlog() == 0
        (told,) = [entry for entry in await home.ledger.audit_log(99) if entry.what == "store"]
        assert key in told.detail
        assert "a foreign object was in the way" in told.detail
        await home.check_energy()


@pytest.mark.parametrize("kind", ["stream", "chunk", "grant", "new"])
async def test_our_own_object_of_another_place_in_the_way_is_a_foreign_one(home: Home, kind: str) -> None:
    """The store may copy what it holds to wherever it likes; that must not look like a rolled-back ledger."""
    async with home:
        await has_some_to_send(home)
        await home.publish()
        held = {kind_of(key): data for key, data in home.bucket.puts}
        await home.runs(2 * LINK_UNITS)
        await home.adds("garage")
        await home.runs(2 * LINK_UNITS)
        await home.grants(Provider(home.clock.now_ms), "10s", from_ms=0, meter="garage")
        waiting = [queued.object.key for queued in await home.ledger.outbox(1000)]
        key = next(key for key in waiting if kind_of(key) == kind)
        await DirectoryBucket(home.folder / "store").put(key, held[kind])
        await home.publish()
        assert await home.ledger.backlog() == 0
        assert key in (await home.ledger.audit_log(1))[0].detail
        await home.check_energy()
        await home.check_energy("garage")


KINDS: dict[str, ObjectKind] = {
    "stream": "descriptor",
    "chunk": "chunk",
    "grant": "grant",
    "new": "tokens",
    "revoked": "revocation",
}


async def signed_once_more(home: Home, key: str) -> Outgoing:
    """The object at a key of the store, with other bytes that say the same: ECDSA is random."""
    data = await DirectoryBucket(home.folder / "store").get(key)
    item = class_at(key).read(data, home.root.public_key, key)
    again = await sign(home.root, item)
    assert again != data
    return Outgoing(KINDS[kind_of(key)], key, again)


@pytest.mark.parametrize("kind", ["chunk", "new"])
async def test_our_own_other_bytes_in_the_way_mean_a_rolled_back_ledger(home: Home, kind: str) -> None:
    async with home:
        waiting = await has_some_to_send(home)
        key = next(key for key in waiting if kind_of(key) == kind)
        await home.publish()
        bucket = DirectoryBucket(home.folder / "store")
        before = await bucket.get(key)
        await home.ledger.enqueue((await home.stream()).id, [await signed_once_more(home, key)])
        with pytest.raises(StoreAhead, match="is already in the store, with other bytes"):
            await home.publish()
        assert await bucket.get(key) == before


@pytest.mark.parametrize("kind", ["stream", "grant", "revoked"])
async def test_our_own_other_bytes_that_say_the_same_stand(home: Home, kind: str) -> None:
    async with home:
        waiting = await has_some_to_send(home)
        (grant,) = await home.ledger.grants()
        await home.granter.revoke(grant.id)
        waiting.append(names.revocation(grant.stream, grant.id))
        await home.publish()
        key = next(key for key in waiting if kind_of(key) == kind)
        bucket = DirectoryBucket(home.folder / "store")
        before = await bucket.get(key)
        await home.ledger.enqueue(grant.stream, [await signed_once_more(home, key)])
        await home.publish()
        assert await bucket.get(key) == before
        assert await home.ledger.backlog() == 0
        assert "stays as it is" in (await home.ledger.audit_log(1))[0].detail


@pytest.mark.parametrize("kind", ["stream", "chunk", "head"])
async def test_a_folder_in_the_way_is_waited_out(home: Home, kind: str) -> None:
    async with home:
        waiting = await has_some_to_send(home)
        folder = home.folder / "store" / next(key for key in waiting if kind_of(key) == kind)
        folder.mkdir(parents=True)
        await home.publish()
        assert "a folder has that name" in str(home.publisher.fault)
        folder.rmdir()
        await home.publish()
        assert await home.ledger.backlog() == 0
        await home.check_energy()


async def test_a_store_that_refuses_is_asked_again(home: Home) -> None:
    async with home:
        waiting = await has_some_to_send(home)
        store = home.folder / "store"
        store.rename(home.folder / "unmounted")
        await home.publish()
        assert "there is no directory" in str(home.publisher.fault)
        (home.folder / "unmounted").rename(store)
        await home.publish()
        assert list(dict.fromkeys(key for key, _ in home.bucket.puts)) == waiting


async def test_cancelled_at_any_await_it_forgets_nothing(home: Home) -> None:
    async with home:
        await has_some_to_send(home)
        for turns in range(40):
            working = asyncio.create_task(home.publisher.run())
            for _ in range(turns):
                await asyncio.sleep(0)
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
        await home.publish()
        assert await home.ledger.backlog() == 0
        home.check_puts()
        await home.check_energy()


async def test_cancelled_with_a_full_disk_it_ends(home: Home) -> None:
    """What was sent cannot be confirmed, and that must not hide that the gateway ends."""
    async with home:
        await has_some_to_send(home)
        home.bucket.hold = asyncio.Event()
        working = asyncio.create_task(home.publisher.run())
        async with asyncio.timeout(20):
            await home.bucket.holds.wait()
        home.database.fuse.set(0, None)
        working.cancel()
        ended, _ = await asyncio.wait({working}, timeout=20)
        assert ended
        assert working.cancelled()
        home.mend()
        home.bucket.hold = None
        await home.publish()
        assert await home.ledger.backlog() == 0
        home.check_puts()
