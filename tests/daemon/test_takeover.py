"""A ledger that was rolled back: the store's chain stands, and goes on without a fork, exact to the mWh."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.layout import Layout
from gateway.control.client import ControlClient
from gateway.control.documents import GrantStatus, NewGrant
from gateway.daemon.rollback import StoreAhead
from gateway.errors import LedgerError, StoreUnavailable, TrustError
from gateway.intervals.estimation import MOST_WAITING
from gateway.ledger.records import GrantRecord
from gateway.store.directory import DirectoryBucket
from gateway.wire import names
from gateway.wire.es256 import ORDER
from gateway.wire.grant import Revocation, read_grant_body
from tests.support.home import CHUNK_UNITS, LINK_UNITS, MEMORY, Home, kind_of
from tests.support.provider import Provider
from tests.support.serving import serving

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def ends_well(home: Home, provider: Provider) -> None:
    """It goes on sealing and publishing, and everything in the store fits."""
    await home.runs(2 * LINK_UNITS)
    await home.stop()
    await home.start()
    assert await home.publishes_all() == 0
    home.check_puts()
    home.check_heads()
    for meter in home.meters:
        stored = await home.check_energy(meter)
        assert stored.end == home.unit_read(home.clock.wall()) + 1
        home.check_kept(stored)
        for record in await home.ledger.grants(stored.descriptor.stream):
            await home.check_grant(provider, record, stored)
            if names.revocation(record.stream, record.id) in dict(home.bucket.puts):
                assert record.revoked_from is not None


async def rollbacks(home: Home) -> list[str]:
    log = await home.ledger.audit_log(1000)
    return [entry.detail for entry in log if "were taken over" in entry.detail and entry.what == "rollback"]


async def with_a_copy(home: Home, after: int = 3 * CHUNK_UNITS + 7) -> Provider:
    """A stream with a grant, a copy of the ledger in the midst of it, and `after` units published since."""
    await home.runs(2 * LINK_UNITS + 3)
    provider = Provider(home.clock.now_ms)
    await home.grants(provider, f"{10 * home.layout.unit_ms}ms", from_ms=0)
    await home.runs(11)
    await home.publish()
    home.copies("old")
    await home.runs(after)
    await home.publish()
    return provider


@pytest.mark.parametrize("sealed_since", [0, 1, CHUNK_UNITS, 8 * CHUNK_UNITS])
async def test_the_head_in_the_store_tells(home: Home, sealed_since: int) -> None:
    """Also when the restored gateway sealed more, with the store away, than it had published before."""
    async with home:
        provider = await with_a_copy(home)
        before = await home.stored()
        await home.restores("old")
        home.bucket.away = True
        await home.runs(sealed_since)
        await home.publish()
        home.bucket.away = False
        with pytest.raises(StoreAhead, match=r"names chunk .*, which the ledger does not know"):
            await home.publish()
        assert await home.publishes_all() == 1
        after = await home.stored()
        assert after.chunks[: len(before.chunks)] == before.chunks
        (told,) = await rollbacks(home)
        assert f"up to unit {before.end}; " in told
        await ends_well(home, provider)


async def test_a_chunk_in_the_way_tells_where_the_head_does_not(home: Home) -> None:
    async with home:
        provider = await with_a_copy(home)
        head = names.head((await home.stream()).id)
        await DirectoryBucket(home.folder / "store").delete(head)
        await home.restores("old")
        await home.runs(2 * LINK_UNITS)
        with pytest.raises(StoreAhead, match=r"chunk/.* is already in the store, with other bytes"):
            await home.publish()
        assert await home.publishes_all() == 1
        await ends_well(home, provider)


async def test_a_bundle_in_the_way_tells_where_the_chunks_do_not(home: Home) -> None:
    """The copy was made between a chunk and its tokens."""
    async with home:
        await home.runs(2 * LINK_UNITS)
        provider = Provider(home.clock.now_ms)
        await home.grants(provider, "10s", from_ms=0)
        await home.publish()
        for _ in range(CHUNK_UNITS):
            home.reads()
        home.root.fail_after(1)  # the chunk's signature, then not the bundle's
        await home.commit()
        home.copies("old")
        await home.commit()
        await home.publish()
        await home.restores("old")
        with pytest.raises(StoreAhead, match=r"new/.* is already in the store, with other bytes"):
            await home.publish()
        assert await home.publishes_all() == 1
        await ends_well(home, provider)


async def test_a_copy_made_between_a_put_and_its_confirmation(home: Home) -> None:
    """Its outbox still has a chunk that the store has too, with the same bytes."""
    async with home:
        provider = await with_a_copy(home, after=CHUNK_UNITS + 1)
        await home.runs(CHUNK_UNITS)
        assert kind_of((await home.ledger.outbox(1))[0].object.key) == "chunk"
        home.bucket.deaf = True
        await home.publish()
        home.copies("unconfirmed")
        home.bucket.deaf = False
        await home.runs(2 * LINK_UNITS)
        await home.publish()
        await home.restores("unconfirmed")
        await home.runs(CHUNK_UNITS)
        assert await home.publishes_all() == 1
        await ends_well(home, provider)


async def test_across_incarnations_and_back_again_to_the_same_copy(home: Home) -> None:
    async with home:
        provider = await with_a_copy(home)
        for _ in range(3):
            for _ in range(3):
                await home.runs(CHUNK_UNITS + 3)
                await home.crashes_and_starts()
            await home.grants(provider, "20s", from_ms=0)
            await home.runs(LINK_UNITS)
            await home.publishes_all()
            await home.runs(LINK_UNITS)
            await home.publish()
            await home.restores("old")
            await home.runs(7)
        assert await home.publishes_all() == 1
        stored = await home.stored()
        assert len({chunk.incarnation for chunk in stored.chunks}) >= 6
        await ends_well(home, provider)


async def test_several_meters_each_take_their_own_over(tmp_path: Path) -> None:
    async with Home(tmp_path, meters=("main", "garage")) as home:
        await home.runs(2 * LINK_UNITS)
        provider = Provider(home.clock.now_ms)
        for meter in home.meters:
            await home.grants(provider, "10s", from_ms=0, meter=meter)
        await home.publish()
        home.copies("old")
        await home.runs(LINK_UNITS)
        await home.publish()
        await home.restores("old")
        assert await home.publishes_all() == 2
        await ends_well(home, provider)


async def test_a_copy_from_before_the_first_chunk(home: Home) -> None:
    async with home:
        await home.runs(LINK_UNITS + 1)
        provider = Provider(home.clock.now_ms)
        while not await home.ledger.streams():
            await home.runs(1, every=1)
        await home.publish()
        home.copies("old")
        await home.runs(LINK_UNITS)
        await home.publish()
        await home.restores("old")
        assert await home.publishes_all() == 1
        await ends_well(home, provider)


async def test_a_revocation_that_the_ledger_forgot_stands(home: Home) -> None:
    """A restored backup must not open again what the household closed."""
    async with home:
        provider = await with_a_copy(home, after=0)
        (record,) = await home.ledger.grants()
        revoked = (await home.granter.revoke(record.id)).record
        await home.publish()
        await home.restores("old")
        assert (await home.ledger.grants())[0].revoked_from is None
        home.bucket.away = True
        await home.runs(2 * LINK_UNITS)  # tokens of later windows wait to be sent
        home.bucket.away = False
        assert await home.publishes_all() == 1
        (now,) = await home.ledger.grants()
        assert now.revoked_from == revoked.revoked_from
        await ends_well(home, provider)
        (told,) = await rollbacks(home)
        assert "1 revoked grants that were open" in told


async def test_the_revocation_of_another_grant_revokes_nothing(home: Home) -> None:
    async with home:
        provider = await with_a_copy(home)
        other = (await home.granter.revoke((await home.grants(provider, "10s")).id)).record
        await home.publish()
        (mine,) = [record for record in await home.ledger.grants() if record.id != other.id]
        store = home.folder / "store"
        copied = store / names.revocation(mine.stream, mine.id)
        copied.write_bytes((store / names.revocation(other.stream, other.id)).read_bytes())
        await home.crashes_and_starts()
        assert await home.publishes_all() == 0
        copied.unlink()
        await ends_well(home, provider)


async def test_a_grant_made_after_the_rollback_is_served_from_the_stores_chain(home: Home) -> None:
    async with home:
        provider = await with_a_copy(home)
        await home.restores("old")
        home.bucket.away = True
        await home.runs(CHUNK_UNITS)
        new = await home.grants(provider, "10s", from_ms=0)
        await home.granter.revoke(new.id)
        newer = await home.grants(provider, "20s", from_ms=0)
        home.bucket.away = False
        assert await home.publishes_all() == 1
        assert {record.id for record in await home.ledger.grants()} >= {new.id, newer.id}
        await ends_well(home, provider)


@pytest.mark.parametrize("what", ["store", "ledger", "root"])
async def test_whatever_fails_in_the_midst_of_it_it_is_done_again(home: Home, what: str) -> None:
    async with home:
        provider = await with_a_copy(home)
        await home.restores("old")
        await home.runs(CHUNK_UNITS)
        with pytest.raises(StoreAhead):
            await home.publish()
        stream = await home.stream()
        fuse = {"store": home.bucket.fuse, "ledger": home.database.fuse, "root": home.root.fuse}[what]
        failed = 0
        for after in range(100):
            fuse.set(after)
            try:
                takeover = await home.takeover(stream.id)
                await takeover.apply(await takeover.read())
            except (StoreUnavailable, LedgerError, TrustError):
                home.mend()
                failed += 1
                assert await rollbacks(home) == []
            else:
                break
        home.mend()
        assert failed >= 3
        assert len(await rollbacks(home)) == 1
        home.kept.clear()
        await home.session_begins()
        await ends_well(home, provider)


# --- readings in the units that are dropped


async def behind(home: Home) -> tuple[Provider, int]:
    """A restored ledger, and the first unit that it can read."""
    provider = await with_a_copy(home)
    await home.restores("old")
    return provider, home.unit_read(home.clock.wall()) + 1


async def counts(home: Home, first: int, end: int, meter: str = "main") -> set[int]:
    stored = await home.check_energy(meter)
    return set(stored.d["count"][first - stored.start : end - stored.start].tolist())


@pytest.mark.parametrize(
    ("unit_ms", "meanwhile"),
    [
        (1000, 0),
        (1000, 1),
        (1000, 5 * CHUNK_UNITS + 3),
        (60_000, 5 * CHUNK_UNITS + 3),
        (3_600_000, CHUNK_UNITS),
    ],
)
async def test_what_was_read_before_and_during_a_take_over_is_sealed_as_read(
    tmp_path: Path, unit_ms: int, meanwhile: int
) -> None:
    async with Home(tmp_path, layout=Layout(unit_ms, LINK_UNITS)) as home:
        provider, first = await behind(home)
        home.bucket.away = True
        await home.runs(LINK_UNITS + 5)
        await home.crashes_and_starts()
        await home.runs(LINK_UNITS)
        home.bucket.away = False
        home.meanwhile = meanwhile
        assert await home.publishes_all() == 1
        await ends_well(home, provider)
        assert await counts(home, first, home.unit_read(home.clock.wall())) == {1}


async def test_a_power_cut_while_the_store_is_read_costs_nothing_that_was_durable(home: Home) -> None:
    async with home:
        provider, first = await behind(home)
        await home.runs(LINK_UNITS + 7)
        await (await home.takeover((await home.stream()).id)).read()
        await home.runs(CHUNK_UNITS + 5)
        await home.commit()
        cut = home.unit_read(home.clock.wall())
        home.reads(imported=9)  # in memory alone
        await home.crashes_and_starts()
        assert await home.publishes_all() == 1
        await ends_well(home, provider)
        assert await counts(home, first, cut + 1) == {1}
        assert await counts(home, cut + 1, cut + 2) == {0}


async def test_a_power_cut_after_the_replacement_costs_no_energy(home: Home) -> None:
    async with home:
        provider, first = await behind(home)
        await home.runs(LINK_UNITS + 7)
        cut = home.unit_read(home.clock.wall())
        takeover = await home.takeover((await home.stream()).id)
        await takeover.apply(await takeover.read())
        home.kept.clear()
        await home.crashes_and_starts()
        assert await home.publishes_all() == 0
        await ends_well(home, provider)
        assert await counts(home, first, cut + 1) == {0}


async def test_the_readings_of_the_latest_units_are_kept_and_older_ones_go_first(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.daemon.regained.MOST_UNITS", 2 * CHUNK_UNITS)
    async with home:
        provider, first = await behind(home)
        await home.runs(7 * CHUNK_UNITS)
        now = home.unit_read(home.clock.wall())
        assert await home.publishes_all() == 1
        await ends_well(home, provider)
        assert await counts(home, first, now + 1 - 2 * CHUNK_UNITS) == {0}
        assert await counts(home, now + 1 - CHUNK_UNITS, now + 1) == {1}


async def test_more_readings_than_a_sampler_keeps_are_all_sealed_as_read(home: Home) -> None:
    async with home:
        _, first = await behind(home)
        await home.runs(MOST_WAITING + 2 * LINK_UNITS, every=1000)
        now = home.unit_read(home.clock.wall())
        assert await home.publishes_all() == 1
        await home.runs(LINK_UNITS)
        assert await home.publishes_all() == 0
        assert await counts(home, first, now + 1) == {1}


async def test_only_the_meter_that_is_behind_is_sealed_anew(tmp_path: Path) -> None:
    async with Home(tmp_path, meters=("main", "garage")) as home:
        await home.runs(2 * LINK_UNITS)
        provider = Provider(home.clock.now_ms)
        for meter in home.meters:
            await home.grants(provider, "10s", from_ms=0, meter=meter)
        await home.publish()
        home.copies("old")
        for _ in range(LINK_UNITS):
            home.reads()
        await home.commit()
        await home.publish()
        await home.restores("old")
        first = home.unit_read(home.clock.wall()) + 1
        await home.runs(LINK_UNITS)
        garage = [home.kept[key] for key in sorted(home.kept) if key[0] == (await home.stream("garage")).id]
        home.meanwhile = CHUNK_UNITS + 3
        assert await home.publishes_all() == 1
        await ends_well(home, provider)
        for meter in home.meters:
            assert await counts(home, first, home.unit_read(home.clock.wall()), meter) == {1}
        stored = await home.stored("garage")
        at = first - stored.start
        sealed = [
            b"".join(stored.c[lane][at + n].tobytes() for lane in home.lanes) for n in range(LINK_UNITS)
        ]
        assert sealed == garage[-LINK_UNITS:]


async def test_regained_readings_stay_in_their_units_whatever_the_clock_shows(home: Home) -> None:
    async with home:
        provider, first = await behind(home)
        await home.runs(LINK_UNITS)
        await home.crash()
        end = home.unit_read(home.clock.wall()) + 1
        home.clock.step_s(-3600)
        home.clock.is_trusted = False
        await home.start()
        assert await home.publishes_all() == 1
        assert (await home.ledger.position(await home.stream())).next_unit == end
        home.clock.step_s(3600)
        home.clock.is_trusted = True
        await ends_well(home, provider)
        assert await counts(home, first, end) == {1}


async def test_grants_made_and_revoked_while_the_store_is_read(home: Home) -> None:
    async with home:
        provider, _ = await behind(home)
        stream = await home.stream()
        (old,) = await home.ledger.grants()
        await home.runs(LINK_UNITS)
        takeover = await home.takeover(stream.id)
        read = await takeover.read()
        new = await home.grants(provider, "10s", from_ms=0)
        await home.runs(LINK_UNITS)
        gone = await home.grants(provider, "20s", from_ms=0)
        await home.runs(CHUNK_UNITS)
        await home.granter.revoke(gone.id)
        await home.granter.revoke(old.id)
        await home.commit()
        regained = await takeover.apply(read)
        home.kept.clear()
        await home.session_begins(regained)
        assert await home.publishes_all() == 0
        records = {record.id: record for record in await home.ledger.grants()}
        assert records[new.id].revoked_from is None
        assert records[new.id].next_window > 0
        await ends_well(home, provider)


async def test_a_grant_revoked_here_and_in_the_store_keeps_the_revocation_made_here(home: Home) -> None:
    async with home:
        await with_a_copy(home, after=0)
        (record,) = await home.ledger.grants()
        await home.granter.revoke(record.id)
        await home.publish()
        await home.restores("old")
        await home.runs(CHUNK_UNITS)
        takeover = await home.takeover(record.stream)
        read = await takeover.read()
        assert set(read.revoked) == {record.id}
        mine = (await home.granter.revoke(record.id)).record
        regained = await takeover.apply(read)
        home.kept.clear()
        await home.session_begins(regained)
        (now,) = await home.ledger.grants()
        assert now.revoked_from == mine.revoked_from
        assert "; 0 revoked grants" in (await rollbacks(home))[0]


async def test_a_copied_head_is_no_sign_of_a_rollback(tmp_path: Path) -> None:
    async with Home(tmp_path, meters=("main", "garage")) as home:
        await home.runs(2 * LINK_UNITS)
        await home.publish()
        main, garage = await home.stream("main"), await home.stream("garage")
        store = home.folder / "store"
        (store / names.head(main.id)).write_bytes((store / names.head(garage.id)).read_bytes())
        await home.crashes_and_starts()
        assert await home.publishes_all() == 0
        assert f"belongs at {names.head(garage.id)}" in (await home.ledger.audit_log(1))[0].detail
        await ends_well(home, Provider(home.clock.now_ms))


@pytest.mark.parametrize("junk", ["not ours", "another chunk"])
async def test_what_is_no_part_of_the_chain_does_not_hide_the_rest_of_it(home: Home, junk: str) -> None:
    async with home:
        provider = await with_a_copy(home)
        stream = await home.stream()
        chunks = [(key, data) for key, data in home.bucket.puts if kind_of(key) == "chunk"]
        last = names.number_in(chunks[-1][0])
        data = b"not ours" if junk == "not ours" else chunks[0][1]
        for unit in (last - CHUNK_UNITS + 1, last + 1):
            await DirectoryBucket(home.folder / "store").put(names.chunk(stream.id, unit, 1000), data)
        await home.restores("old")
        assert await home.publishes_all() == 1
        assert (await home.ledger.position(stream)).last.end == last + CHUNK_UNITS  # type: ignore[union-attr]
        for unit in (last - CHUNK_UNITS + 1, last + 1):
            await DirectoryBucket(home.folder / "store").delete(names.chunk(stream.id, unit, 1000))
        await ends_well(home, provider)


@pytest.mark.parametrize("gone", [0, 1, -1])
async def test_a_store_that_lost_chunks_is_told_and_the_ledger_is_left_alone(home: Home, gone: int) -> None:
    """The head says that there is more than the store can show."""
    async with home:
        await with_a_copy(home)
        new = [key for key, _ in home.bucket.puts if kind_of(key) == "chunk"][-3:]
        await DirectoryBucket(home.folder / "store").delete(new[gone])
        await home.restores("old")
        await home.runs(5)
        position = await home.ledger.position(await home.stream())
        with pytest.raises(LedgerError, match="are missing from the store"):
            await home.publishes_all()
        assert await home.ledger.position(await home.stream()) == position
        assert await rollbacks(home) == []


async def test_a_store_that_lost_what_it_had_confirmed_is_told(home: Home) -> None:
    async with home:
        await with_a_copy(home)
        old = [key for key, _ in home.bucket.puts if kind_of(key) == "chunk"][-4]
        await DirectoryBucket(home.folder / "store").delete(old)
        await home.restores("old")
        with pytest.raises(LedgerError, match="missing from the store"):
            await home.publishes_all()


async def test_an_empty_store_is_no_sign_of_a_rollback(home: Home) -> None:
    async with home:
        await with_a_copy(home)
        (home.folder / "store").rename(home.folder / "lost")
        (home.folder / "store").mkdir()
        await home.crashes_and_starts()
        await home.runs(LINK_UNITS)
        assert await home.publishes_all() == 0


@dataclass(frozen=True)
class Act:
    what: str
    a: int = 0

    def __repr__(self) -> str:
        return f"{self.what}({self.a})"


def acts(what: str, most: int = 0) -> st.SearchStrategy[Act]:
    return st.builds(Act, st.just(what), st.integers(0, most))


LIFE = st.lists(
    st.one_of(
        acts("runs", 70),
        acts("gap", 90),
        acts("copy", 1),
        acts("restore", 1),
        acts("publish", 3),
        acts("cut off", 12),
        acts("grant", 4),
        acts("revoke", 3),
        acts("crash"),
        acts("slow store", 70),
        acts("dies while it commits", 12),
    ),
    min_size=4,
    max_size=22,
)


async def happens(home: Home, provider: Provider, act: Act) -> None:
    match act.what:
        case "runs":
            await home.runs(act.a)
        case "gap":
            home.reads(act.a, 1000, 10)
        case "copy":
            home.copies(str(act.a))
        case "restore":
            if (home.folder / "copies" / str(act.a)).exists():
                await home.restores(str(act.a))
        case "publish":
            await home.publishes_all()
        case "cut off":  # the store goes away in the midst of it
            home.bucket.fuse.set(act.a, None)
            try:
                await home.publishes_all()
            except StoreUnavailable:
                await home.crashes_and_starts()
            home.mend()
        case "grant":
            await home.grants(provider, f"{5 * (act.a + 1)}s", from_ms=0)
        case "revoke":
            grants = await home.ledger.grants()
            if len(grants) > act.a:
                await home.granter.revoke(grants[act.a].id)
        case "slow store":
            home.meanwhile = act.a
        case "crash":
            await home.crashes_and_starts()
        case "dies while it commits":
            for fuse in (home.database.fuse, home.root.fuse):
                fuse.set(act.a, None)
            await home.commit()
            await home.crashes_and_starts()


async def lives(life: list[Act]) -> None:
    with tempfile.TemporaryDirectory(prefix="home-", dir=MEMORY) as folder:
        async with Home(Path(folder)) as home:
            await home.runs(LINK_UNITS + 10)
            provider = Provider(home.clock.now_ms)
            while not await home.ledger.streams():
                await home.runs(5)
            home.copies("0")
            for act in life:
                await happens(home, provider, act)
            await home.publishes_all()
            await home.runs(2 * CHUNK_UNITS)  # where the store has no head, only the next chunk shows it
            await home.publishes_all()
            await ends_well(home, provider)


@settings(max_examples=40)
@given(LIFE)
def test_rolled_back_at_any_time_the_chain_goes_on_without_a_fork(life: list[Act]) -> None:
    asyncio.run(lives(life))


async def test_a_signatures_twin_is_no_sign_of_a_rollback(tmp_path: Path) -> None:
    """A store has no key, and can turn each signature (r, s) into (r, n - s), which ECDSA takes too. Objects
    that it had and did not confirm are sent again, and meet their twins."""
    async with Home(tmp_path) as home:
        await home.runs(3 * LINK_UNITS)
        home.bucket.deaf = True
        await home.publish()
        home.bucket.deaf = False
        store = home.folder / "store"
        twins = [path for path in store.rglob("*.cose") if path.is_file()]
        for path in twins:
            data = path.read_bytes()
            path.write_bytes(data[:-32] + (ORDER - int.from_bytes(data[-32:], "big")).to_bytes(32, "big"))
        assert twins
        before = (await home.ledger.position(await home.stream())).next_unit
        assert await home.publishes_all() == 0
        assert (await home.ledger.position(await home.stream())).next_unit == before
        await home.runs(LINK_UNITS)
        assert await home.publishes_all() == 0
        await home.check_energy()


# --- grants that the ledger does not know


async def shown(home: Home, folder: Path) -> tuple[dict[str, GrantStatus], tuple[str, ...]]:
    """What the control API says: the grants by id, and what is wrong."""
    async with serving(home, folder / "s"):
        client = ControlClient(folder / "s")
        grants = [one for one in await client.grants() if isinstance(one, GrantStatus)]
        return {one.id: one for one in grants}, (await client.status()).faults


async def found(home: Home) -> list[str]:
    log = await home.ledger.audit_log(1000)
    return [entry.detail for entry in log if "this grant was found in the store" in entry.detail]


async def with_an_unknown_grant(home: Home, after: int) -> tuple[Provider, GrantRecord]:
    """A ledger from before a grant was made and sent, and `after` units."""
    provider = await with_a_copy(home, after=0)
    lost = await home.grants(provider, "6s", from_ms=0, purpose="unknown")
    await home.runs(after)
    await home.publish()
    await home.restores("old")
    return provider, lost


@pytest.mark.parametrize("after", [0, 3 * CHUNK_UNITS + 7])
async def test_a_grant_that_the_ledger_does_not_know_is_taken_into_it(
    home: Home, tmp_path: Path, after: int
) -> None:
    """With nothing else to take over, and in a take-over of the chain."""
    async with home:
        provider, lost = await with_an_unknown_grant(home, after)
        assert lost.id not in {record.id for record in await home.ledger.grants()}
        assert await home.publishes_all() == (1 if after else 0)
        (record,) = [record for record in await home.ledger.grants() if record.id == lost.id]
        assert (record.body, record.key, record.revoked_from) == (lost.body, b"", None)
        # It is shown, and why nothing is published for it.
        await home.runs(2 * CHUNK_UNITS)
        grants, faults = await shown(home, tmp_path)
        one = grants[lost.id.hex()]
        assert (one.provider, one.purpose) == (provider.card.kid.hex(), "unknown")
        assert str(one.fault).startswith(
            "its key was lost with the ledger that made it, so nothing is published"
        )
        assert faults == (f"grant {lost.id.hex()} of {one.provider} gets no tokens: {one.fault}",)
        # It counts in the consent check: 6 s and 15 s give 3 s.
        wanted = NewGrant("windows", "15s", "UTC", None, "tests", 0, None)
        made, consent = await home.granter.new(await home.stream(), [provider.card], wanted, confirmed=False)
        assert made == []
        assert any(lost.id in finding.grants for finding in consent.provider)
        # Serials go on after its own.
        assert sorted(grant.serial for grant in grants.values()) == [1, 2]
        new = await home.grants(provider, "20s")
        assert read_grant_body(new.body, 1000, "it").serial == one.serial + 1
        # It can be revoked: the provider finds the revocation in the store.
        revoked = (await home.granter.revoke(lost.id)).record
        await home.publishes_all()
        key = names.revocation(lost.stream, lost.id)
        data = await home.bucket.get(key)
        at = Revocation.read_at(key, data, home.root.public_key, 1000).from_unit
        assert at == revoked.revoked_from is not None
        assert (await shown(home, tmp_path))[1] == ()
        # All of this happened once.
        await home.crashes_and_starts()
        assert await home.publishes_all() == 0
        assert len(await found(home)) == 1
        await home.runs(2 * LINK_UNITS)
        assert await home.publishes_all() == 0
        await home.check_energy()


async def test_a_take_over_looks_for_unknown_grants_itself(home: Home) -> None:
    """A copy of this gateway may have made them since the last start, which compared."""
    async with home:
        _, lost = await with_an_unknown_grant(home, CHUNK_UNITS)
        await home.takes_over(lost.stream)
        (record,) = [record for record in await home.ledger.grants() if record.id == lost.id]
        assert record.next_window > 0  # as many as have their tokens in the store
        assert await home.publishes_all() == 0


async def test_serials_go_on_after_the_largest_that_is_known(home: Home) -> None:
    """Where the store has lost one of the grants too, their number is less."""
    async with home:
        provider = await with_a_copy(home, after=0)
        gone, kept = [await home.grants(provider, size, from_ms=0) for size in ("6s", "12s")]
        await home.publish()
        await home.restores("old")
        for path in (home.folder / "store").rglob(f"{gone.id.hex()}/**/*.cose"):
            path.unlink()
        assert await home.publishes_all() == 0
        grants = await home.ledger.grants()
        assert len(grants) == 2
        assert kept.id in {record.id for record in grants}
        new = await home.grants(provider, "20s")
        assert read_grant_body(new.body, 1000, "it").serial == 4


@pytest.mark.parametrize("after", [0, CHUNK_UNITS])
async def test_an_unknown_grant_that_was_revoked_is_revoked(home: Home, after: int) -> None:
    async with home:
        provider = await with_a_copy(home, after=0)
        lost = await home.grants(provider, "6s", from_ms=0)
        await home.runs(after)
        revoked = (await home.granter.revoke(lost.id)).record
        await home.publish()
        await home.restores("old")
        assert await home.publishes_all() == (1 if after else 0)
        (record,) = [record for record in await home.ledger.grants() if record.id == lost.id]
        assert record.revoked_from == revoked.revoked_from
        await home.runs(LINK_UNITS)
        assert await home.publishes_all() == 0


async def test_both_halves_of_an_unknown_load(home: Home, tmp_path: Path) -> None:
    async with home:
        provider = await with_a_copy(home, after=0)
        centre, service = (Provider(home.clock.now_ms) for _ in range(2))
        wanted = NewGrant("load", "10s", "UTC", None, "the street", None, None)
        stream = await home.stream()
        pair, _ = await home.granter.new(
            stream,
            [centre.card, service.card],
            wanted,
            confirmed=True,
            fingerprints=[one.card.fingerprint for one in (centre, service)],
        )
        await home.runs(CHUNK_UNITS)
        await home.publish()
        await home.restores("old")
        assert await home.publishes_all() == 1
        assert {one.grant.id for one in pair} <= {record.id for record in await home.ledger.grants()}
        before = {record.id: record.next_window for record in await home.ledger.grants()}
        await home.runs(2 * LINK_UNITS)
        assert await home.publishes_all() == 0
        now = {record.id: record.next_window for record in await home.ledger.grants()}
        assert [id_ for id_ in now if now[id_] > before[id_]] == [
            record.id for record in await home.ledger.grants() if record.key
        ]
        await home.check_energy()
        assert len([fault for fault in (await shown(home, tmp_path))[1] if "key was lost" in fault]) == 2
        assert provider.card.kid


@pytest.mark.parametrize("junk", ["not ours", "elsewhere", "no id"])
async def test_what_lies_in_a_grants_place_and_is_none_is_passed_over(home: Home, junk: str) -> None:
    async with home:
        provider = await with_a_copy(home)
        (record,) = await home.ledger.grants()
        store, other = DirectoryBucket(home.folder / "store"), bytes(16)
        key = names.grant(record.stream, other)
        if junk == "not ours":
            await store.put(key, b"not ours")
        elif junk == "elsewhere":
            await store.put(key, await home.bucket.get(names.grant(record.stream, record.id)))
        else:
            await store.put(key.replace(other.hex(), "folder"), b"not ours")
        for _ in range(2):
            await home.crashes_and_starts()
            assert await home.publishes_all() == 0
        assert [one.id for one in await home.ledger.grants()] == [record.id]
        log = [entry.detail for entry in await home.ledger.audit_log(1000) if other.hex() in entry.detail]
        assert len(log) == (0 if junk == "no id" else 1)
        await store.delete(key)
        await ends_well(home, provider)


# --- a head that has gone back


async def told(home: Home) -> list[str]:
    log = await home.ledger.audit_log(1000)
    return [entry.detail for entry in log if entry.what == "store" and "had confirmed" in entry.detail]


async def test_a_store_whose_head_is_gone_is_told_of_once(home: Home, tmp_path: Path) -> None:
    async with home:
        provider = await with_a_copy(home)
        assert await told(home) == []
        key = names.head((await home.stream()).id)
        await DirectoryBucket(home.folder / "store").delete(key)
        home.bucket.deaf = True  # nor does a new head get through
        for _ in range(2):
            await home.crashes_and_starts()
            await home.publish()
            home.bucket.deaf = False
            await DirectoryBucket(home.folder / "store").delete(key)
            home.bucket.deaf = True
        (said,) = await told(home)
        assert said.startswith(f"the store had confirmed {key} of chunk ")
        assert "and now there is none" in said
        home.bucket.deaf = False
        await ends_well(home, provider)


async def test_a_store_whose_head_is_older_is_told_of_once_a_time(home: Home, tmp_path: Path) -> None:
    """It is in status until the gateway starts again, and sealing goes on."""
    async with home:
        provider = await with_a_copy(home)
        head = home.folder / "store" / names.head((await home.stream()).id)
        older = head.read_bytes()
        for times in (1, 2):
            await home.runs(LINK_UNITS)
            await home.publish()
            newer = head.read_bytes()
            assert newer != older
            head.write_bytes(older)
            await home.crashes_and_starts()
            assert await home.publishes_all() == 0
            assert len(await told(home)) == times
            assert (await shown(home, tmp_path))[1] == (((await told(home))[-1]),)
            assert "and now it names chunk " in (await told(home))[-1]
            await home.crashes_and_starts()
            assert await home.publishes_all() == 0
            assert len(await told(home)) == times
            assert (await shown(home, tmp_path))[1] == ()
        await ends_well(home, provider)
