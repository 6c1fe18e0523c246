"""The catalogue: a series is listed like any stream, with its lanes and times, and none of its values."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.chain.layout import LANES, SERIES
from gateway.errors import UsageError
from gateway.registrar.api import CatalogueQuery
from gateway.registrar.catalogue import Wanted
from gateway.registrar.indexer import Indexer
from gateway.registrar.service import Registrar
from gateway.store.directory import DirectoryBucket
from gateway.wire import names
from tests.registrar.test_credentials import Signing
from tests.stream.stream import START, Home, random_readings
from tests.support.clock import FakeClock
from tests.support.registrar import Holder, register


async def test_a_series_is_listed_with_its_lanes_and_coverage(
    registrar: Registrar, clock: FakeClock, tmp_path: Path
) -> None:
    owner, ours, theirs = (Holder(role, clock.now_ms) for role in ("gateway", "provider", "provider"))
    energy = Home(signer=Signing(owner), assurance="software")
    climate = Home([*SERIES, "count"], signer=Signing(owner), assurance="software")
    for home in (energy, climate):
        home.seal(random_readings(90, home.lanes))
        home.write(tmp_path / "store")
    climate.grant(ours.card, "20s", lanes=("temperature", "count"))
    climate.write(tmp_path / "store")
    await registrar.accounts.add("muller", "household", "correct horse battery")
    signed = [home.objects[names.descriptor(home.id)] for home in (energy, climate)]
    await register(registrar, "muller", "correct horse battery", owner, *signed)
    indexer = Indexer(registrar.database, DirectoryBucket(tmp_path / "store"), clock)
    await indexer.look([energy.id, climate.id])

    (found,) = await registrar.catalogue.streams(None, Wanted(lane="temperature"))
    assert (found.stream, found.lanes) == (climate.id.hex(), (*SERIES, "count"))
    assert (found.start_ms, found.sealed_until_ms) == (START * 1000, (START + 90) * 1000)
    (grant,) = found.grants
    assert (grant.lanes, grant.granularity) == (("temperature", "count"), "20s")
    fields = "stream signer assurance unit_ms lanes region tariff_zone start_ms sealed_until_ms grants"
    assert set(found.model_dump()) == {*fields.split(), "certificate"}
    assert set(grant.model_dump()) == {
        *("id", "kind", "lanes", "granularity", "zone", "purpose", "from_ms", "until_ms", "revoked_from_ms")
    }
    for lane in SERIES:
        assert await registrar.catalogue.streams(ours.kid, Wanted(lane=lane)) == [found]
        assert await registrar.catalogue.streams(theirs.kid, Wanted(lane=lane)) == []
    for wanted, homes in (
        (Wanted(lane="import"), {energy.id}),
        (Wanted(lane="count"), {climate.id}),
        (Wanted(), {energy.id, climate.id}),
        (Wanted(lane="temperature", covers_until_ms=(START + 91) * 1000), set()),
    ):
        assert {one.stream for one in await registrar.catalogue.streams(None, wanted)} == {
            home.hex() for home in homes
        }, wanted


def test_every_lane_can_be_asked_for() -> None:
    for lane in LANES:
        assert CatalogueQuery.parse({"lane": lane}).lane == lane
    with pytest.raises(UsageError):
        CatalogueQuery.parse({"lane": "heat"})
