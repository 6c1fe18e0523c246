"""A grant that cannot be read or served holds up neither sealing nor the other grants, and is told of."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from gateway.chain.layout import Layout
from gateway.chain.prices import Rule, TimeOfUse
from gateway.chain.tariff import Tariff
from gateway.control.client import ControlClient
from gateway.control.documents import GrantStatus, NewGrant
from gateway.ledger.records import GrantRecord
from tests.support.home import Home
from tests.support.provider import Provider
from tests.support.serving import serving

UNIT_MS, LINK = 900_000, 8
BEGIN_S = datetime(2026, 5, 28, 20, tzinfo=UTC).timestamp()
TARIFF = Tariff("EUR", 4, "UTC", UNIT_MS, {"import": TimeOfUse((Rule(3215),))})
DAY = 96  # units


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Units of 15 min, links of two hours."""
    return Home(tmp_path, layout=Layout(UNIT_MS, LINK), chunk_units=LINK, start_s=BEGIN_S)


class Zones:
    """The time zones as gateway.chain knows them; a test changes those of Berlin."""

    def __init__(self) -> None:
        self.berlin: str | None = "Europe/Berlin"

    def __call__(self, name: str) -> ZoneInfo:
        found = self.berlin if name == "Europe/Berlin" else name
        if found is None:
            raise ZoneInfoNotFoundError(name)
        return ZoneInfo(found)


@pytest.fixture
def zones(monkeypatch: pytest.MonkeyPatch) -> Zones:
    zones = Zones()
    monkeypatch.setattr("gateway.chain.window.ZoneInfo", zones)
    return zones


async def begun(home: Home) -> tuple[Provider, GrantRecord, GrantRecord]:
    """A stream with a grant of Berlin's days and one of hours, each served for more than a day."""
    await home.runs(16)
    provider = Provider(home.clock.now_ms)
    days = await home.grants(provider, "day", zone="Europe/Berlin", from_ms=0)
    hours = await home.grants(provider, "1h", from_ms=0)
    await home.runs(2 * DAY)
    return provider, days, hours


async def served(home: Home, grant: GrantRecord) -> int:
    (record,) = [record for record in await home.ledger.grants() if record.id == grant.id]
    return record.next_window


async def audited(home: Home, grant: GrantRecord) -> list[str]:
    log = await home.ledger.audit_log(1000)
    return [entry.detail for entry in log if f"grant {grant.id.hex()} of Stadtwerke gets no" in entry.detail]


async def told(
    home: Home, folder: Path, grant: GrantRecord
) -> tuple[GrantStatus | None, str, tuple[str, ...]]:
    """What the control API says of it: its status, if it could be read, its fault, and the status' faults."""
    async with serving(home, folder / "s"):
        client = ControlClient(folder / "s")
        (one,) = [one for one in await client.grants() if one.id == grant.id.hex()]
        return one if isinstance(one, GrantStatus) else None, str(one.fault), (await client.status()).faults


async def goes_on(home: Home, hours: GrantRecord, days: GrantRecord) -> None:
    """Two more days are sealed and paged, the hours are served, the days are not."""
    before = await served(home, days), await served(home, hours), await paged(home)
    await home.runs(2 * DAY)
    assert await served(home, days) == before[0]
    assert await served(home, hours) >= before[1] + 46
    assert await paged(home) >= before[2] + DAY
    await home.commit()
    position = await home.ledger.position(await home.stream())
    assert position.next_unit == home.unit_read(home.clock.wall()) + 1


async def paged(home: Home) -> int:
    """Until which unit days have their pages."""
    last = await home.ledger.last_page(await home.stream(), "day")
    assert last is not None
    return last.end


@pytest.mark.slow
async def test_a_zone_that_moves_a_grants_borders(home: Home, zones: Zones, tmp_path: Path) -> None:
    """What was issued stays, the next days begin at the nearest midnights of the new zone, and no unit is
    left out or told twice."""
    async with home:
        provider, days, hours = await begun(home)
        assert (await told(home, tmp_path, days))[1:] == ("None", ())
        (before,) = [record.edges for record in await home.ledger.grants() if record.id == days.id]
        assert len(before) >= 2
        zones.berlin = "Asia/Tokyo"
        for _ in range(2):
            await home.stop()
            await home.start()
            await home.runs(2 * DAY)
        assert (await told(home, tmp_path, days))[1:] == ("None", ())
        assert await audited(home, days) == []
        zones.berlin = "Europe/Berlin"  # a provider's table, which has not moved, opens all of them
        await home.stop()
        await home.start()
        await home.publish()
        stored = await home.check_energy()
        for grant in (days, hours):
            await home.check_grant(provider, grant, stored)
        (after,) = [record.edges for record in await home.ledger.grants() if record.id == days.id]
        assert after[: len(before)] == before
        lengths = [(b - a) * UNIT_MS // 3_600_000 for a, b in pairwise(after)]
        assert len(lengths) >= 5
        assert lengths == [24] * (len(before) - 1) + [17] + [24] * (len(lengths) - len(before))


def no_zone(home: Home, zones: Zones) -> str:
    zones.berlin = None
    return "time zone 'Europe/Berlin' is not in the IANA list"


def no_body(home: Home, zones: Zones) -> str:
    alters(home, "body")
    return "id is missing"


def no_tariff(home: Home, zones: Zones) -> str:
    alters(home, "tariff")
    return "the tariff of grant"


def alters(home: Home, column: str) -> None:
    """An empty CBOR map in the record of the grant of days."""
    with closing(sqlite3.connect(home.state / "ledger.sqlite", isolation_level=None)) as db:
        altered = db.execute(f"UPDATE grant_ SET {column} = X'A0' WHERE instr(body, CAST('Berlin' AS BLOB))")
        assert altered.rowcount == 1


@pytest.mark.slow
@pytest.mark.parametrize("breaks", [no_zone, no_body, no_tariff])
async def test_a_grant_that_cannot_be_read(
    breaks: Callable[[Home, Zones], str], home: Home, zones: Zones, tmp_path: Path
) -> None:
    async with home:
        _, days, hours = await begun(home)
        await home.stop()
        says = breaks(home, zones)
        for _ in range(2):
            await home.start()
            await goes_on(home, hours, days)
            await home.stop()
        await home.start()
        status, fault, faults = await told(home, tmp_path, days)
        assert status is None
        assert says in fault
        assert faults == (f"grant {days.id.hex()} of Stadtwerke gets no tokens: {fault}",)
        assert await audited(home, days) == list(faults)
        # It is revoked like any other, and then nothing is wrong any more.
        revoked = await home.granter.revoke(days.id)
        assert revoked.record.revoked_from is not None
        assert (await told(home, tmp_path, days))[2] == ()


@pytest.mark.slow
async def test_a_new_grant_beside_one_that_the_consent_check_cannot_count(home: Home, zones: Zones) -> None:
    async with home:
        provider, days, _ = await begun(home)
        for zone, says in (("Asia/Tokyo", "has changed since"), (None, "not in the IANA list")):
            zones.berlin = zone
            await home.stop()
            await home.start()
            wanted = NewGrant("windows", "2h", "UTC", None, "tests", None, None)
            stream = await home.stream()
            made, found = await home.granter.new(stream, [provider.card], wanted, confirmed=False)
            (sentence,) = found.uncounted
            assert sentence.startswith(f"what grant {days.id.hex()} of Stadtwerke adds to this is unknown: ")
            assert says in sentence
            assert made == []
            (one,), _ = await home.granter.new(stream, [provider.card], wanted, confirmed=True)
            assert one.grant.serial == len(await home.ledger.grants())


@pytest.mark.slow
async def test_a_zone_that_is_away_for_a_while(home: Home, zones: Zones, tmp_path: Path) -> None:
    """Where the fault comes and goes in the midst of a run, the grant is served again once it is gone."""
    async with home:
        provider, days, hours = await begun(home)
        zones.berlin = None
        await goes_on(home, hours, days)
        status, fault, faults = await told(home, tmp_path, days)
        assert status is not None
        assert "not in the IANA list" in fault
        assert await audited(home, days) == list(faults)
        zones.berlin = "Europe/Berlin"
        await home.runs(2 * LINK)
        assert (await told(home, tmp_path, days))[1:] == ("None", ())
        await home.runs(DAY)
        await home.publish()
        stored = await home.check_energy()
        for grant in (days, hours):
            await home.check_grant(provider, grant, stored)
