"""Grants: their tokens open exactly the granted windows, once, whatever happens at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.chain.layout import Layout
from gateway.chain.prices import Dynamic, Rule, TimeOfUse
from gateway.chain.tariff import Tariff
from gateway.config import SeriesSection
from gateway.control.documents import NewGrant
from gateway.errors import LedgerError, Refused, TrustError, Unavailable, UsageError
from gateway.wire import names
from gateway.wire.cose import digest
from gateway.wire.grant import read_grant_body
from gateway.wire.tariff import tariff_body
from tests.support.home import CHUNK_UNITS, LINK_UNITS, UNIT_MS, Home, kind_of
from tests.support.provider import Provider


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def begun(home: Home, units: int = LINK_UNITS + 2 * CHUNK_UNITS) -> Provider:
    """A stream with some chunks, and a provider to grant to."""
    await home.runs(LINK_UNITS + units)
    return Provider(home.clock.now_ms)


async def test_from_now_on(home: Home) -> None:
    async with home:
        provider = await begun(home)
        now = home.layout.unit_at(home.clock.wall())
        record = await home.grants(provider, "10s")
        await home.runs(95)
        await home.publish()
        grant = await home.check_grant(provider, record, await home.check_energy())
        assert now <= grant.first < now + 10
        assert grant.until is None
        assert grant.lanes == ("import", "export")
        assert (await home.ledger.grants())[0].next_window >= 7


async def test_from_the_past_is_served_at_once(home: Home) -> None:
    async with home:
        provider = await begun(home)
        stream = await home.stream()
        record = await home.grants(provider, "10s", from_ms=0, lanes=("count", "power"))
        await home.publish()
        stored = await home.check_energy()
        grant = await home.check_grant(provider, record, stored)
        assert grant.first == stream.start
        assert grant.lanes == ("count", "power")
        assert (await home.ledger.grants())[0].next_window == (stored.end - stream.start) // 10


async def test_from_the_future_opens_nothing_before(home: Home) -> None:
    async with home:
        provider = await begun(home)
        from_ms = home.clock.now_ms + 60_000
        record = await home.grants(provider, "10s", from_ms=from_ms)
        await home.runs(50)
        assert (await home.ledger.grants())[0].next_window == 0
        await home.runs(50)
        await home.publish()
        grant = await home.check_grant(provider, record, await home.check_energy())
        assert grant.first * UNIT_MS >= from_ms
        assert (await home.ledger.grants())[0].next_window > 0


@pytest.mark.slow
async def test_it_opens_nothing_outside_the_times_that_were_decided(home: Home) -> None:
    """Both ends lie in the midst of windows, and of units: the windows they cut stay closed."""
    async with home:
        provider = await begun(home)
        now_ms = home.clock.now_ms
        times = {}
        for off in range(0, 11_000, 700):
            from_ms, until_ms = now_ms - 40_000 + off, now_ms + 20_000 + off
            record = await home.grants(provider, "10s", from_ms=from_ms, until_ms=until_ms)
            times[record.id] = from_ms, until_ms
        await home.runs(60)
        await home.publish()
        stored = await home.check_energy()
        for record in await home.ledger.grants():
            grant = await home.check_grant(provider, record, stored)
            from_ms, until_ms = times[record.id]
            assert grant.until is not None
            assert from_ms <= grant.first * UNIT_MS < from_ms + 10_000
            assert until_ms - 10_000 < grant.until * UNIT_MS <= until_ms
            assert record.next_window == (grant.until - grant.first) // 10


async def test_days_have_23_24_or_25_hours(tmp_path: Path) -> None:
    begin = datetime(2026, 10, 22, 11, tzinfo=UTC).timestamp()
    layout = Layout(3_600_000, 24)
    async with Home(tmp_path, layout=layout, chunk_units=8, start_s=begin) as home:
        await home.runs(30)
        provider = Provider(home.clock.now_ms)
        record = await home.grants(provider, "day", zone="Europe/Berlin", from_ms=0)
        await home.runs(24 * 6)
        await home.publish()
        stored = await home.check_energy()
        grant = await home.check_grant(provider, record, stored)
        lengths = [b - a for a, b in (grant.window(j) for j in range(4))]
        assert lengths == [24, 25, 24, 24]
        assert (await home.ledger.grants())[0].next_window >= 4


async def test_revoking_stops(home: Home) -> None:
    async with home:
        provider = await begun(home)
        record = await home.grants(provider, "10s")
        kept = await home.grants(provider, "10s")
        await home.runs(37)
        revoked = (await home.granter.revoke(record.id)).record
        assert revoked.revoked_from == (await home.ledger.position(await home.stream())).next_unit
        await home.runs(80)
        again = (await home.granter.revoke(record.id)).record
        assert again.revoked_from == revoked.revoked_from
        await home.stop()
        await home.start()
        await home.runs(60)
        await home.publish()
        stored = await home.check_energy()
        await home.check_grant(provider, revoked, stored)
        await home.check_grant(provider, kept, stored)
        by_id = {one.id: one.next_window for one in await home.ledger.grants()}
        assert 0 < by_id[record.id] < by_id[kept.id] - 5
        assert [kind_of(key) for key, _ in home.bucket.puts].count("revoked") == 1
        log = [entry.what for entry in await home.ledger.audit_log(10) if entry.what != "start"]
        assert log == ["grant", "grant", "revocation"]
        with pytest.raises(UsageError, match="there is no grant 0000"):
            await home.granter.revoke(bytes(16))


async def test_tasks_that_issue_at_once_issue_once(home: Home) -> None:
    async with home:
        provider = await begun(home)
        stream = await home.stream()
        for _ in range(3):
            await home.grants(provider, "10s", from_ms=0)
        for _ in range(CHUNK_UNITS + 2):
            home.reads()
        last = (await home.ledger.position(stream)).last
        assert last is not None
        await asyncio.gather(
            home.commit(),
            *(home.issuer.issue(stream, last.end) for _ in range(5)),
            *(home.grants(provider, "20s", from_ms=0) for _ in range(3)),
            home.granter.revoke((await home.ledger.grants())[0].id),
        )
        await home.publish()
        home.check_puts()
        stored = await home.check_energy()
        grants = await home.ledger.grants()
        assert len(grants) == 6
        decided = [await home.check_grant(provider, record, stored) for record in grants]
        assert sorted(grant.serial for grant in decided) == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
async def test_a_cancelled_issue_leaves_no_window_out_and_doubles_none(home: Home) -> None:
    async with home:
        provider = await begun(home)
        stream = await home.stream()
        record = await home.grants(provider, "10s", from_ms=home.clock.now_ms)
        for turns in range(0, 60, 2):
            for _ in range(CHUNK_UNITS):
                home.reads()
            task = asyncio.create_task(home.commit())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await home.crashes_and_starts()
            issue = asyncio.create_task(home.issuer.issue(stream, 2**40))
            for _ in range(turns // 2):
                await asyncio.sleep(0)
            issue.cancel()
            await asyncio.gather(issue, return_exceptions=True)
        await home.runs(LINK_UNITS)
        await home.publish()
        home.check_puts()
        await home.check_grant(provider, record, await home.check_energy())


async def test_a_root_that_fails_at_any_call_makes_a_whole_grant_or_none(home: Home) -> None:
    """And one that stands without its tokens gets them with the next chunk."""
    async with home:
        provider = await begun(home)
        made = []
        for calls in range(12):
            home.root.fail_after(calls)
            try:
                made.append(await home.grants(provider, "10s", from_ms=0))
            except TrustError:
                assert len(await home.ledger.grants()) == len(made)
                assert calls < 5
            if not home.root.fuse.blown:
                break
        assert [record.next_window > 0 for record in made] == [False, False, True]
        home.mend()
        await home.runs(CHUNK_UNITS)
        await home.publish()
        stored = await home.check_energy()
        for record in made:
            await home.check_grant(provider, record, stored)


async def test_a_load_that_fails_at_any_point_is_a_whole_pair_or_none(home: Home) -> None:
    async with home:
        await begun(home)
        stream = await home.stream()
        cards = [Provider(home.clock.now_ms, name).card for name in ("Centre", "Service")]
        wish = NewGrant("load", "10s", "UTC", ("import",), "tests", 0, None)
        for after in range(30):
            before = len(await home.ledger.grants())
            home.root.fail_after(after) if after % 2 else home.database.fuse.set(after // 2)
            try:
                await home.granter.new(
                    stream, cards, wish, confirmed=True, fingerprints=[card.fingerprint for card in cards]
                )
            except (LedgerError, TrustError):
                home.mend()
                assert len(await home.ledger.grants()) == before
            else:
                home.mend()
                assert len(await home.ledger.grants()) == before + 2
        assert before > 10


async def test_a_ledger_that_fails_at_any_transaction_makes_a_whole_grant_or_none(home: Home) -> None:
    async with home:
        provider = await begun(home)
        for after in range(20):
            before = await home.ledger.grants()
            home.database.fuse.set(after)
            try:
                await home.grants(provider, "10s", from_ms=0)
            except LedgerError:
                home.mend()
                assert len(await home.ledger.grants()) == len(before)
            else:
                blown = home.database.fuse.blown
                home.mend()
                assert len(await home.ledger.grants()) == len(before) + 1
                if not blown:
                    break
        assert after > 5
        await home.runs(CHUNK_UNITS)
        await home.publish()
        stored = await home.check_energy()
        for record in await home.ledger.grants():
            await home.check_grant(provider, record, stored)


async def test_a_series_is_granted_whole_unless_lanes_are_named(tmp_path: Path) -> None:
    section = SeriesSection(name="climate", lanes=("temperature", "occupancy"))
    async with Home(tmp_path, series=[section]) as home:
        await home.runs(LINK_UNITS)
        for _ in range(2):
            home.session.series["climate"].put({"temperature": 21, "occupancy": 2})
            await home.runs(LINK_UNITS)
        provider = Provider(home.clock.now_ms)
        for lanes, granted in (
            (None, ("temperature", "occupancy", "count")),
            (("count", "temperature"), ("count", "temperature")),
        ):
            record = await home.grants(provider, meter="climate", lanes=lanes)
            assert read_grant_body(record.body, UNIT_MS, "it").lanes == granted
        with pytest.raises(UsageError, match="has no lane import: use temperature, occupancy, count"):
            await home.grants(provider, meter="climate", lanes=("import",))
        with pytest.raises(UsageError, match="has no lane temperature: use import, export, power, count"):
            await home.grants(provider, lanes=("temperature",))


async def test_no_grant_before_the_clock_is_right(home: Home) -> None:
    async with home:
        provider = await begun(home)
        home.clock.is_trusted = False
        with pytest.raises(Unavailable, match="the clock is not set yet"):
            await home.grants(provider)
        assert await home.ledger.grants() == []


async def test_what_cannot_be_granted_gets_a_sentence(home: Home) -> None:
    async with home:
        provider = await begun(home)
        stream = await home.stream()
        for wish, sentence in (
            ({"granularity": "7"}, "granularity '7': it must be"),
            ({"granularity": "1ms"}, "not a whole number of this stream's units"),
            ({"granularity": "day", "zone": "Mars/Base"}, "time zone 'Mars/Base'"),
            ({"lanes": ("power", "gas")}, "the meter main has no lane gas: use import, export, power, count"),
            ({"lanes": ()}, "they must be some of"),
            ({"lanes": ("import", "import")}, "each once"),
            ({"purpose": "x" * 300}, "purpose: it must be at most 256"),
            ({"purpose": "two\nlines"}, "printable"),
            ({"until_ms": stream.start * UNIT_MS}, "the grant ends before its first window does"),
            ({"until_ms": home.clock.now_ms + 19_000}, "the grant ends before its first window does"),
        ):
            with pytest.raises(UsageError, match=sentence):
                await home.grants(provider, **wish)
        for changes, sentence in (
            ({"role": "gateway"}, "a grant needs a provider's"),
            ({"valid_until_ms": home.clock.now_ms}, "not valid today"),
            ({"valid_from_ms": home.clock.now_ms + 1}, "not valid today"),
        ):
            provider.card = replace(Provider(home.clock.now_ms).card, **changes)
            with pytest.raises(UsageError, match=sentence):
                await home.grants(provider)
        provider.card = replace(Provider(home.clock.now_ms).card, xwing_key=bytes(1216))
        with pytest.raises(Refused, match="X-Wing public key is invalid"):
            await home.grants(provider)
        assert await home.ledger.grants() == []


DAY_MS = 86_400_000


async def test_the_kinds_of_grant_that_cannot_be_get_a_sentence(tmp_path: Path) -> None:
    """Confirmed or not."""
    async with Home(tmp_path, layout=Layout(900_000, 96), chunk_units=96) as home:
        await home.runs(200)
        stream, now_ms = await home.stream(), home.clock.now_ms
        today = now_ms // DAY_MS * DAY_MS

        def tariff(prices: Sequence[int] = (30,), lane: str = "import", start: int = today) -> Tariff:
            return Tariff("EUR", 2, "UTC", DAY_MS, {lane: Dynamic(start, tuple(prices))})

        rules = Tariff("EUR", 2, "UTC", 900_000, {"import": TimeOfUse((Rule(30),))})
        defaults: dict[str, Any] = {
            "kind": "windows",
            "granularity": "24h",
            "zone": "UTC",
            "purpose": "tests",
        }
        defaults |= dict.fromkeys(("lanes", "from_ms", "until_ms", "tariff"))
        for wish, sentence in (
            ({"kind": "raw", "granularity": "36h"}, "a raw grant opens whole links of 24h: its granularity"),
            ({"kind": "raw", "granularity": "day"}, "opens whole links, not a day"),
            (
                {"kind": "raw", "from_ms": today + 3_600_000},
                "from: a raw grant opens whole links; expected a time at",
            ),
            ({"kind": "raw", "until_ms": today + 9 * DAY_MS - 1}, "until: a raw grant opens whole links"),
            ({"tariff": rules}, "a bill has a tariff, and no other grant has one"),
            ({"kind": "bill"}, "a bill has a tariff"),
            (
                {"kind": "bill", "tariff": rules, "granularity": "12h"},
                "a bill for each 12h reveals nearly as much as",
            ),
            ({"kind": "bill", "tariff": rules, "lanes": ("export",)}, "the tariff has no price of export"),
            ({"kind": "bill", "tariff": tariff(lane="export"), "lanes": ("import",)}, "no price of import"),
            (
                {"kind": "bill", "tariff": tariff(), "from_ms": now_ms},
                "prices end before the first whole 24h",
            ),
            (
                {"kind": "bill", "tariff": tariff([1] * 9, start=today + 2 * DAY_MS)},
                "no price of import for the",
            ),
            (
                {"kind": "bill", "tariff": tariff([2**60] * 9)},
                r"a bill could pass 2\^63 in units of 10\^-8 EUR",
            ),
            (
                {"kind": "bill", "tariff": tariff([0] * 9 + [5, 0, 0] + [0] * 9), "granularity": "120h"},
                "import: 24h decide nine tenths of this tariff's bill for 120h, the window from",
            ),
        ):
            for confirmed in (False, True):
                wanted = defaults | wish
                with pytest.raises(UsageError, match=sentence):
                    await home.granter.new(
                        stream, [Provider(now_ms).card], NewGrant(**wanted), confirmed=confirmed
                    )
        assert await home.ledger.grants() == []


async def test_a_bill_ends_with_its_prices(tmp_path: Path) -> None:
    async with Home(tmp_path, layout=Layout(900_000, 96), chunk_units=96) as home:
        await home.runs(200)
        provider, today = Provider(home.clock.now_ms), home.clock.now_ms // DAY_MS * DAY_MS
        tariff = Tariff("EUR", 2, "UTC", DAY_MS, {"import": Dynamic(today, (30, 31, 32))})
        for until_ms in (None, today + 9 * DAY_MS):
            record = await home.grants(provider, "24h", kind="bill", tariff=tariff, until_ms=until_ms)
            grant = read_grant_body(record.body, 900_000, "the grant")
            assert (grant.first, grant.until) == (
                (today + DAY_MS) // 900_000,
                (today + 3 * DAY_MS) // 900_000,
            )
            assert (grant.lanes, grant.tariff) == (("import",), digest(tariff_body(tariff)))
            assert record.tariff == tariff_body(tariff)


@pytest.mark.parametrize(
    "prices",
    [
        Dynamic(0, (30,) * 36_000),  # to 2068
        TimeOfUse((Rule(9000, begin=600, end=660, dates=(24_000,)), Rule(30))),
        TimeOfUse((Rule(31, since=24_000), Rule(30))),
        TimeOfUse((Rule(31, before=24_000), Rule(30))),
    ],
)
async def test_bills_end_before_prices_that_nobody_has_checked(
    tmp_path: Path, prices: Dynamic | TimeOfUse
) -> None:
    """The consent check goes through a year of bills. A later date could mark a single hour."""
    async with Home(tmp_path, layout=Layout(900_000, 96), chunk_units=96) as home:
        await home.runs(200)
        provider = Provider(home.clock.now_ms)
        step_ms = DAY_MS if isinstance(prices, Dynamic) else 900_000
        tariff = Tariff("EUR", 2, "UTC", step_ms, {"import": prices})
        record = await home.grants(provider, "month", kind="bill", tariff=tariff)
        grant = read_grant_body(record.body, 900_000, "the grant")
        found = list(tariff.periods(grant.lanes, grant.granularity, grant.first, None))
        assert grant.until == found[-1][1]


async def test_prices_that_name_no_late_date_are_billed_for_ever(tmp_path: Path) -> None:
    async with Home(tmp_path, layout=Layout(900_000, 96), chunk_units=96) as home:
        await home.runs(200)
        provider, soon = Provider(home.clock.now_ms), home.clock.now_ms // DAY_MS + 100
        rules = Rule(31, since=soon), Rule(30, months=(1, 2)), Rule(20)
        tariff = Tariff("EUR", 2, "UTC", 900_000, {"import": TimeOfUse(rules)})
        record = await home.grants(provider, "month", kind="bill", tariff=tariff)
        assert read_grant_body(record.body, 900_000, "the grant").until is None


async def test_findings_are_told_and_nothing_is_granted_until_confirmed(home: Home) -> None:
    async with home:
        provider = await begun(home)
        stream = await home.stream()
        await home.grants(provider, "15s")
        wish = NewGrant("windows", "10s", "UTC", ("import",), "tests", None, None)
        records, found = await home.granter.new(stream, [provider.card], wish, confirmed=False)
        assert records == []
        assert ["5s sums of import" in finding.sentence for finding in found.provider] == [True]
        other = Provider(home.clock.now_ms)
        records, found = await home.granter.new(stream, [other.card], wish, confirmed=False)
        assert (records, found.provider, len(found.pooled)) == ([], [], 1)
        assert len(await home.ledger.grants()) == 1
        records, _ = await home.granter.new(stream, [provider.card], wish, confirmed=True)
        assert len(records) == 1


@pytest.mark.slow
async def test_a_long_history_goes_out_in_bundles_of_a_bounded_size(tmp_path: Path) -> None:
    async with Home(tmp_path, layout=Layout(1000, 3600), chunk_units=3600) as home:
        await home.runs(1)
        home.reads(3 * 3600, 12_345)
        await home.runs(5)
        await home.stop()
        await home.start()
        provider = Provider(home.clock.now_ms)
        record = await home.grants(provider, "1s", from_ms=0)
        await home.publish()
        stored = await home.check_energy()
        await home.check_grant(provider, record, stored)
        firsts = [names.number_in(key) for key, _ in home.bucket.puts if kind_of(key) == "new"]
        assert firsts == list(range(0, stored.end - stored.start, 2880))
        assert record.next_window == stored.end - stored.start > 2 * 2880
