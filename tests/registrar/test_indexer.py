"""The catalogue is what lies in the store, for whoever may see it, and one bad stream holds up no other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import select

from gateway.registrar.catalogue import MOST, Wanted
from gateway.registrar.indexer import AGE_MS, Indexer
from gateway.registrar.server import serving
from gateway.registrar.service import Registrar
from gateway.registrar.streams import Listing, add_streams
from gateway.registrar.tables import coverage
from gateway.registry.client import RegistrarClient
from gateway.store.directory import DirectoryBucket
from gateway.wire import names
from gateway.wire.grant import Revocation
from gateway.wire.stream import Head
from tests.stream.stream import START, Home, Provider, random_readings
from tests.support.clock import FakeClock
from tests.support.registrar import Holder, register

NORTH, SOUTH = Listing("north", "DE", listed=True), Listing("south", "DE", listed=False)


@dataclass
class Town:
    """Two homes with a registered gateway each, the first listed and in the north, and two providers: both
    homes granted the first minutes, the first one the second ten seconds."""

    registrar: Registrar
    indexer: Indexer
    store: Path
    homes: list[Home]
    ours: Provider
    theirs: Provider

    def write(self) -> None:
        for home in self.homes:
            for key, data in home.objects.items():
                path = self.store / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    async def looks(self) -> None:
        self.write()
        await self.indexer.look([home.id for home in self.homes])

    async def fault(self, home: Home) -> str | None:
        async with self.registrar.database.reading() as connection:
            query = select(coverage.c.fault).where(coverage.c.stream == home.id)
            found: str | None = (await connection.execute(query)).scalar()
            return found


@pytest.fixture
async def town(registrar: Registrar, clock: FakeClock, tmp_path: Path) -> Town:
    store = tmp_path / "store"
    store.mkdir()
    homes = [Home(assurance="software"), Home(["import"], assurance="software")]
    ours, theirs = Provider.new(tmp_path / "ours"), Provider.new(tmp_path / "theirs")
    for number, (home, listing) in enumerate(zip(homes, (NORTH, SOUTH), strict=True)):
        password = await registrar.accounts.add(f"Müller {number}", "household")
        holder = Holder("gateway", clock.now_ms, key=home.signer.key)
        descriptor = home.objects[names.descriptor(home.id)]
        await register(registrar, f"Müller {number}", password, holder, descriptor)
        async with registrar.database.writing() as connection:
            await add_streams(connection, holder.kid, {home.id: descriptor}, clock.now_ms, listing)
        home.seal(random_readings(120, home.lanes))
        home.grant(ours.card, "1min", lanes=("import",))
    homes[0].grant(theirs.card, "10s", lanes=("import",))
    indexer = Indexer(registrar.database, DirectoryBucket(store), clock)
    return Town(registrar, indexer, store, homes, ours, theirs)


async def test_each_provider_sees_its_own_grants_and_nobodys_name(town: Town) -> None:
    await town.looks()
    catalogue = town.registrar.catalogue
    first, second = (home.id.hex() for home in town.homes)
    mine = await catalogue.streams(town.ours.identity.kid, Wanted())
    assert {one.stream for one in mine} == {first, second}
    assert [grant.granularity for one in mine for grant in one.grants] == ["1min", "1min"]
    others = await catalogue.streams(town.theirs.identity.kid, Wanted())
    assert [one.stream for one in others] == [first]  # the second is not listed
    assert [grant.granularity for grant in others[0].grants] == ["10s"]
    strangers = await catalogue.streams(bytes(16), Wanted())
    assert [(one.stream, one.grants) for one in strangers] == [(first, ())]
    assert "Müller" not in repr((mine, others, strangers))
    everything = await catalogue.streams(None, Wanted())
    assert sorted(len(one.grants) for one in everything) == [1, 2]


async def test_a_stream_has_its_lanes_and_coverage(town: Town) -> None:
    await town.looks()
    (one,) = await town.registrar.catalogue.streams(None, Wanted(region="north"))
    home = town.homes[0]
    assert (one.signer, one.assurance, one.unit_ms) == (home.signer.kid.hex(), "software", 1000)
    assert one.lanes == tuple(home.lanes)
    assert (one.start_ms, one.sealed_until_ms) == (START * 1000, (START + 120) * 1000)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), {0, 1}),
        (Wanted(region="north"), {0}),
        (Wanted(region="south", tariff_zone="DE"), {1}),
        (Wanted(region="North"), set()),
        (Wanted(region="nor%"), set()),
        (Wanted(tariff_zone="DE"), {0, 1}),
        (Wanted(lane="export"), {0}),
        (Wanted(lane="import"), {0, 1}),
        (Wanted(granted=True), {0, 1}),
        (Wanted(covers_from_ms=START * 1000, covers_until_ms=(START + 120) * 1000), {0, 1}),
        (Wanted(covers_from_ms=START * 1000 - 1), set()),
        (Wanted(covers_until_ms=(START + 121) * 1000), set()),
    ],
)
async def test_what_is_asked_for_is_found(town: Town, wanted: Wanted, found: set[int]) -> None:
    await town.looks()
    streams = await town.registrar.catalogue.streams(None, wanted)
    assert {one.stream for one in streams} == {town.homes[number].id.hex() for number in found}


async def test_a_revocation_is_seen_and_a_grant_of_a_removed_object_is_gone(town: Town) -> None:
    await town.looks()
    home, provider = town.homes[1], town.ours.identity.kid
    ((grant_id,),) = (await town.registrar.catalogue.granted_to(provider, [home.id])).values()
    revoked = Revocation(home.id, grant_id, START + 60)
    home.objects[names.revocation(home.id, grant_id)] = home.signer.sign(revoked)
    key = names.head(home.id)
    head = Head.read(home.objects[key], home.signer.public, key)
    home.objects[key] = home.signer.sign(replace(head, revoked=(grant_id,)))
    await town.looks()
    (one,) = await town.registrar.catalogue.streams(provider, Wanted(region="south"))
    assert one.grants[0].revoked_from_ms == (START + 60) * 1000


async def test_a_foreign_or_broken_object_is_said_and_holds_up_no_other(town: Town) -> None:
    await town.looks()
    home, other = town.homes
    theirs = next(key for key in other.objects if key.endswith("grant.cose"))
    foreign = names.grant(home.id, bytes(16))
    home.objects[foreign] = other.objects[theirs]
    other.grant(town.theirs.card, "1min", lanes=("import",))
    await town.looks()
    assert foreign in (await town.fault(home) or "")
    assert await town.fault(other) is None
    found = {one.stream: one for one in await town.registrar.catalogue.streams(None, Wanted())}
    assert len(found[home.id.hex()].grants) == 2  # as it was known
    assert len(found[other.id.hex()].grants) == 2  # looked at all the same
    del home.objects[foreign]
    (town.store / foreign).unlink()
    await town.looks()
    assert await town.fault(home) is None


async def test_all_streams_are_looked_at_again_once_they_are_due(town: Town, clock: FakeClock) -> None:
    town.write()
    working = asyncio.create_task(town.indexer.run())
    try:
        await clock.asleep()
        assert len(await town.registrar.catalogue.streams(None, Wanted(granted=True))) == 2
        town.homes[1].grant(town.theirs.card, "1min", lanes=("import",))
        town.write()
        for seconds, grants in ((AGE_MS / 1000 - 60, 1), (120, 2)):
            clock.pass_s(seconds)
            await clock.asleep()
            (one,) = await town.registrar.catalogue.streams(None, Wanted(region="south"))
            assert len(one.grants) == grants
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def test_pages_and_certificates_over_http(town: Town, clock: FakeClock) -> None:
    await town.looks()
    registrar = town.registrar
    holder = Holder("provider", clock.now_ms, key=town.ours.identity.signing_key)
    await register(registrar, "ours", await registrar.accounts.add("ours", "provider"), holder)

    async def sign(item: object) -> bytes:
        return holder.sign(item)  # type: ignore[arg-type]

    async with serving(registrar) as url, RegistrarClient(url) as client:
        await client.login(holder.kid, registrar.identity.card, clock.now_ms, sign)
        one = await client.catalogue(limit="1")
        two = await client.catalogue(limit="1", after=one.after or "")
        assert {one.streams[0].stream, two.streams[0].stream} == {home.id.hex() for home in town.homes}
        assert (await client.catalogue(limit="1", after=two.after or "")).after is None
        assert (await client.catalogue(limit=str(MOST))).after is None
        assert all(page.streams[0].certificate for page in (one, two))
        (serial,) = [
            found.serial for found in await registrar.cards.all() if found.kid == town.homes[0].signer.kid
        ]
        await registrar.cards.revoke(serial)
        certified = {found.stream: found.certificate for found in (await client.catalogue()).streams}
        assert certified[town.homes[0].id.hex()] is None
        assert certified[town.homes[1].id.hex()] is not None
        (provider,) = (await client.providers()).providers
        assert provider.kid == holder.kid.hex()
