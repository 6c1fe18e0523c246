"""Following a price series: one grant for each period, of its very prices, and nothing undecided."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import floor
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.layout import Layout
from gateway.chain.tariff import cent
from gateway.control.client import ControlClient
from gateway.control.documents import GrantStatus
from gateway.control.follows import ConfirmRequest, FollowRequest
from gateway.daemon.follower import Followed, Follower, NewFollow
from gateway.errors import GatewayError, LedgerError, NotGranted, Refused, UsageError
from gateway.household.bills import bills as bills_shown
from gateway.household.money import Sums
from gateway.household.objects import ControlBucket
from gateway.household.prices import Prices, SeriesName
from gateway.ledger.records import GrantRecord
from gateway.provider.bill import bills
from gateway.provider.followed import priced_grants
from gateway.provider.identity import CARD_FILE
from gateway.provider.prices import sign
from gateway.store.directory import DirectoryBucket
from gateway.stream.prices import in_force, read_series, tariff_of, unpriced
from gateway.stream.reader import StreamReader
from gateway.stream.times import unix_ms
from gateway.wire import cose, names
from gateway.wire.grant import read_grant_body
from gateway.wire.prices import PriceInterval, PriceSeries
from gateway.wire.tariff import tariff_body
from tests.stream.stream import Provider
from tests.support.home import MEMORY, Home
from tests.support.serving import serving
from tests.support.stored import Stored

HOUR = 3_600_000
DAY = 24 * HOUR
LAYOUT = Layout(HOUR, 24)
START_S = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
NAME = "Day ahead"


class Market:
    """A provider that publishes prices into a home's store, or hands them over."""

    def __init__(self, home: Home, folder: Path) -> None:
        self.home = home
        self.provider = Provider.new(folder / "acme")
        self.card = (folder / "acme" / CARD_FILE).read_bytes()
        self.serial = 0
        self.series: list[PriceSeries] = []

    def made(
        self, start_ms: int, prices: Sequence[int], name: str = NAME, serial: int | None = None, **more: Any
    ) -> tuple[PriceSeries, bytes]:
        """A price an hour from `start_ms` on, in tenths of a cent, signed."""
        self.serial = serial or self.serial + 1
        intervals = tuple(PriceInterval(start_ms + n * HOUR, HOUR, p) for n, p in enumerate(prices))
        draft = PriceSeries(
            bytes(16),
            0,
            name,
            more.get("lanes", ("import",)),
            more.get("currency", "EUR"),
            3,
            "UTC",
            intervals,
            0,
        )
        return sign(self.provider.identity, draft, self.serial, self.home.clock.now_ms)

    async def publishes(self, start_ms: int, prices: Sequence[int], **more: Any) -> PriceSeries:
        """Into the store, which takes it whether the gateway reaches it or not."""
        series, data = self.made(start_ms, prices, **more)
        key = names.price_series(series.provider, series.start_ms, series.serial)
        await self.home.bucket._bucket.put(key, data)
        self.series.append(series)
        return series

    def wants(self, **changes: Any) -> NewFollow:
        wanted = NewFollow(self.card, NAME, ("import",), "day", "UTC", None, "the bill")
        return replace(wanted, **changes)

    async def follows(self, *, confirmed: bool = False, **changes: Any) -> Followed:
        """The household decides, having compared the fingerprint."""
        made, found, _ = await follower(self.home).follow(
            await self.home.stream(),
            self.provider.card,
            self.wants(**changes),
            confirmed=confirmed,
            fingerprints=[self.provider.card.fingerprint],
        )
        assert made is not None, found
        return made

    def tariff(self, a_ms: int, series: Sequence[PriceSeries] | None = None) -> bytes | None:
        """What the bill of the day from `a_ms` on should be granted under; None while prices are missing."""
        given = [one for one in (self.series if series is None else series) if one.name == NAME]
        if unpriced(in_force(given, "import", a_ms, a_ms + DAY), "import", a_ms, a_ms + DAY):
            return None
        return tariff_body(tariff_of(given, ["import"], "UTC", a_ms, a_ms + DAY))


def follower(home: Home) -> Follower:
    return home.session.follower


async def granted(home: Home) -> dict[int, GrantRecord]:
    """The bills granted, by the moment from which their one period is; a period has one."""
    found: dict[int, GrantRecord] = {}
    for record in await home.ledger.grants():
        grant = read_grant_body(record.body, HOUR, "it")
        assert grant.kind == "bill"
        assert grant.until is not None
        assert grant.complete(grant.until) == 1
        assert grant.first * HOUR not in found
        found[grant.first * HOUR] = record
    periods = await home.ledger.followed()
    assert [(one.first * HOUR, one.grant) for one in periods] == [
        (first, record.id) for first, record in sorted(found.items())
    ]
    return dict(sorted(found.items()))


def home_at(folder: Path) -> Home:
    return Home(folder, layout=LAYOUT, chunk_units=8, start_s=START_S - 25 * 3600)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_at(tmp_path)


def day(n: int) -> int:
    """Day n, from 2026-06-01 on, Unix ms."""
    return int(START_S) * 1000 + n * DAY


async def begun(home: Home) -> None:
    """The stream has begun before day 0, and it is midnight after it."""
    await home.runs(49)
    await home.publish()
    assert home.clock.now_ms == day(1)


FLAT = [300 + n for n in range(24)]


async def test_each_day_is_granted_when_it_is_over_and_its_prices_are_known(
    home: Home, tmp_path: Path
) -> None:
    async with home:
        await begun(home)
        market = Market(home, tmp_path)
        await home.runs(1)
        made = await market.follows()
        assert [(one.first * HOUR, one.why) for one in made.periods] == [
            (day(2), "the period is not over yet")
        ]
        await market.publishes(day(2), FLAT)
        await home.runs(46)
        await follower(home).tick()
        assert await granted(home) == {}
        await home.runs(1)
        await follower(home).tick()
        await follower(home).tick()
        assert list(await granted(home)) == [day(2)]
        await home.runs(24)
        await follower(home).tick()
        (state,) = await follower(home).all()
        assert [(one.first * HOUR, one.why) for one in state.periods] == [
            (
                day(3),
                "there is no price of import from 2026-06-04T00:00:00+00:00 until 2026-06-05T00:00:00+00:00",
            ),
            (day(4), "the period is not over yet"),
        ]
        await market.publishes(day(3), FLAT[:23])
        await follower(home).tick()
        (state,) = await follower(home).all()
        assert "from 2026-06-04T23:00:00+00:00 until 2026-06-05" in str(state.periods[0].why)
        await market.publishes(day(3) + 23 * HOUR, [1])
        await follower(home).tick()
        found = await granted(home)
        assert list(found) == [day(2), day(3)]
        for first, record in found.items():
            assert record.tariff == market.tariff(first)
        await home.runs(24)
        assert [one.next_window for one in await home.ledger.grants()] == [1, 1]


@settings(max_examples=25)
@given(st.data())
def test_any_life_grants_each_complete_period_once_under_prices_that_were_in_force(
    data: st.DataObject,
) -> None:
    """Through crashes at any transaction, a store that is away, corrections, gaps, and prices handed over."""
    asyncio.run(lives(data))


async def lives(data: st.DataObject) -> None:  # noqa: PLR0915 - a life is long
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        home = home_at(Path(folder))
        async with home:
            await begun(home)
            market = Market(home, Path(folder))
            first = day(data.draw(st.sampled_from((1, 2))))
            made = await market.follows(from_ms=first)
            today, ended_with = 1, None
            held: list[PriceSeries] = []  # what the gateway has or may have
            allowed: dict[int, list[bytes]] = {}
            for _ in range(data.draw(st.integers(4, 14))):
                what = data.draw(
                    st.sampled_from(
                        ("day", "day", "day", "prices", "prices", "hand", "crash", "away", "tick", "end")
                    )
                )
                if what == "day":
                    await home.runs(24, every=24)
                    today += 1
                elif what in ("prices", "hand"):
                    at = day(data.draw(st.integers(1, today + 1))) + HOUR * data.draw(
                        st.sampled_from((0, 0, 0, 5))
                    )
                    prices = data.draw(st.lists(st.integers(200, 400), min_size=24, max_size=30))
                    if what == "prices":
                        await market.publishes(at, prices)
                    elif ended_with is None:
                        series, signed = market.made(at, prices)
                        assert await follower(home).accept(signed) == series
                        held.append(series)
                        note(market, held, allowed, today)
                elif what == "crash":
                    home.database.fuse.set(data.draw(st.integers(0, 25)), None)
                    held += [one for one in market.series if one not in held]
                    note(market, held, allowed, today)
                    await attempt(home)
                    home.mend()
                    await home.crashes_and_starts()
                    if data.draw(st.booleans()):
                        await home.publish()  # else the store is not compared with the ledger
                elif what == "away":
                    home.bucket.away = True
                    note(market, held, allowed, today)  # what it has may be of days that are over
                    await follower(home).tick()
                    home.bucket.away = False
                elif what == "tick":
                    held += [one for one in market.series if one not in held]
                    note(market, held, allowed, today)
                    before = await granted(home)
                    await follower(home).tick()
                    after = await granted(home)
                    for n in range(today + 1):
                        complete = day(n) >= first and n < today and market.tariff(day(n), held) is not None
                        if ended_with is None and complete and home.publisher.compared:
                            assert day(n) in after
                        if day(n) not in before and day(n) in after:
                            assert complete
                            assert home.publisher.compared
                            assert after[day(n)].tariff == market.tariff(day(n), held)
                elif what == "end" and ended_with is None:
                    await follower(home).end(made.record.id)
                    ended_with = await granted(home)
                found = await granted(home)
                assert ended_with is None or set(found) == set(ended_with)
                for at, record in found.items():
                    assert first <= at < day(today)
                    assert record.tariff in allowed[at]


def note(market: Market, held: Sequence[PriceSeries], allowed: dict[int, list[bytes]], today: int) -> None:
    """Whatever is granted from now on may be under these prices."""
    for n in range(today + 1):
        body = market.tariff(day(n), held)
        if body is not None:
            allowed.setdefault(day(n), []).append(body)


async def attempt(home: Home) -> None:
    with suppress(LedgerError):
        await follower(home).tick()


async def test_weeks_offline_are_caught_up_and_a_replayed_or_foreign_series_is_nothing(
    home: Home, tmp_path: Path
) -> None:
    async with home:
        await begun(home)
        market, other = Market(home, tmp_path), Market(home, tmp_path / "other")
        await market.follows()
        signed = [market.made(day(n), FLAT)[1] for n in range(2, 16)]
        await home.stop()
        home.clock.pass_s(15 * 86_400)
        await home.start()
        await home.runs(24)
        await home.publish()
        for one in (*signed, *signed):
            await follower(home).accept(one)
        with pytest.raises(UsageError, match="are not followed"):
            await follower(home).accept(other.made(day(2), FLAT)[1])
        with pytest.raises(Refused, match="the signature"):
            await follower(home).accept(signed[0][:-1] + bytes([signed[0][-1] ^ 1]))
        with pytest.raises(Refused, match="has the serial 3, as another series"):
            await follower(home).accept(market.made(day(4), [1] * 24, serial=3)[1])
        await follower(home).tick()
        assert sorted(await granted(home)) == [day(n) for n in range(2, 16)]


async def test_it_works_by_itself_every_quarter_of_an_hour(home: Home, tmp_path: Path) -> None:
    async with home:
        await begun(home)
        market = Market(home, tmp_path)
        working = asyncio.create_task(follower(home).run())
        try:
            await market.follows(from_ms=day(1))
            await market.publishes(day(1), FLAT)
            await home.clock.asleep()
            await home.runs(24)
            await home.clock.asleep()
            assert list(await granted(home)) == [day(1)]
            (one,) = await follower(home).all()
            await follower(home).end(one.record.id)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


async def test_a_ledger_from_a_backup_grants_no_period_again_by_itself(home: Home, tmp_path: Path) -> None:
    """The grant is in the store, and the ledger does not know it: the household is asked."""
    async with home:
        await begun(home)
        market = Market(home, tmp_path)
        made = await market.follows(from_ms=day(1))
        await market.publishes(day(1), FLAT)
        await home.stop()
        home.copies("before")
        await home.start()
        await home.runs(24)
        await home.publish()
        await follower(home).tick()
        assert list(await granted(home)) == [day(1)]
        await home.publish()
        await home.restores("before")
        await follower(home).tick()
        (state,) = await follower(home).all()
        assert "was not compared with the ledger" in str(state.periods[0].why)
        assert await home.ledger.grants() == []
        await market.publishes(day(1) + HOUR, [1])
        await home.publishes_all()
        await home.runs(24)
        await follower(home).tick()
        (state,) = await follower(home).all()
        assert state.record.id == made.record.id
        (found,) = state.periods[0].findings
        assert "is unknown: its tariff was lost with the ledger that made it" in found
        assert len(await home.ledger.grants()) == 1
        assert state.periods[0].check is not None
        await follower(home).confirm(state.record.id, day(1), state.periods[0].check)
        assert len(await home.ledger.grants()) == 2


async def test_what_the_store_makes_up_stops_no_series(home: Home, tmp_path: Path) -> None:
    async with home:
        await begun(home)
        market, other = Market(home, tmp_path), Market(home, tmp_path / "other")
        await market.follows(from_ms=day(1))
        kid, bucket = market.provider.card.kid, home.bucket._bucket
        moved = market.made(day(-5), FLAT)[1]
        for serial, data in ((100, moved), (101, other.made(day(1), FLAT)[1]), (102, b"")):
            await bucket.put(names.price_series(kid, day(0), serial), data)
        await bucket.put(names.prices(kid) + "odd.cose", b"")
        await market.publishes(day(1), FLAT)
        await home.runs(24)
        await follower(home).tick()
        assert list(await granted(home)) == [day(1)]
        gets: list[str] = []
        plain = bucket.get

        async def counted(key: str) -> bytes:
            gets.append(key)
            return await plain(key)

        bucket.get = counted  # type: ignore[method-assign]
        await follower(home).tick()
        assert gets == []


async def test_prices_of_no_date_stop_nothing(home: Home, tmp_path: Path) -> None:
    """A provider's own signed series, of times that no calendar has, and of the largest prices."""
    async with home:
        await begun(home)
        market = Market(home, tmp_path)
        await market.follows(from_ms=day(1))
        for start_ms in (2**64 - 2 * DAY, 2**63 - 2 * DAY, 253_402_300_800_000 - 23 * HOUR):
            await market.publishes(start_ms, FLAT)
            with pytest.raises(Refused, match="after the year 9999"):
                await follower(home).accept(market.made(start_ms, FLAT)[1])
        await market.publishes(day(1), [2**63 - 1, -(2**63)] * 12)
        await market.publishes(day(2), FLAT)
        await home.runs(48)
        await follower(home).tick()
        assert list(await granted(home)) == [day(2)]


async def test_a_correction_after_the_grant_changes_nothing_and_is_noted(home: Home, tmp_path: Path) -> None:
    async with home:
        await begun(home)
        market = Market(home, tmp_path)
        await market.follows(from_ms=day(1))
        await market.publishes(day(1), FLAT)
        await home.runs(24)
        await follower(home).tick()
        before = await granted(home)
        await market.publishes(day(1) + 3 * HOUR, [999])
        await market.publishes(day(2), FLAT)
        await market.publishes(day(1), FLAT, name="Another")
        await follower(home).tick()
        assert await granted(home) == before
        log = [entry.detail for entry in await home.ledger.audit_log(50) if entry.what == "prices"]
        assert len(log) == 1
        assert (
            "series 2 of the prices 'Day ahead' of ACME Energy corrects a period whose bill is granted"
            in log[0]
        )


async def test_what_the_check_finds_is_confirmed_once_and_anything_worse_asks(
    home: Home, tmp_path: Path
) -> None:
    """Windows of another provider make bills tell more; a decision that covers that covers it day by day."""
    async with home:
        await begun(home)
        await home.runs(48)
        market = Market(home, tmp_path)
        neighbour = Provider.new(tmp_path / "neighbour")
        await home.grants(neighbour, "12h", lanes=("import",), from_ms=day(1))
        prices = [300] * 12 + [200] * 6 + [400] * 6
        for n in range(1, 5):
            await market.publishes(day(n), prices)
        stream, fingerprint = await home.stream(), market.provider.card.fingerprint
        again: dict[str, Any] = {"confirmed": False, "fingerprints": [fingerprint]}
        made, found, sample = await follower(home).follow(
            stream, market.provider.card, market.wants(), **again
        )
        assert made is None
        assert sample is not None
        assert sample.first * HOUR == day(2)
        assert found.pooled
        assert not found.provider
        assert await home.ledger.follows() == []
        await market.follows(confirmed=True, from_ms=day(1))
        assert sorted(set(await bills_of(home))) == [day(1), day(2)]
        await home.runs(24)
        await follower(home).tick()
        assert sorted(await bills_of(home)) == [day(1), day(2), day(3)]
        # Shorter stretches of a price tell more.
        await market.publishes(day(4), [300] * 12 + [200] * 9 + [400] * 3)
        await home.runs(24)
        await follower(home).tick()
        assert sorted(await bills_of(home)) == [day(1), day(2), day(3)]
        (state,) = await follower(home).all()
        asking = state.periods[0]
        assert asking.first * HOUR == day(4)
        assert asking.check is not None
        assert "if all providers pool what they hold: " in asking.findings[0]
        with pytest.raises(UsageError, match="something else is found"):
            await follower(home).confirm(state.record.id, day(4), "0")
        with pytest.raises(UsageError, match="nothing is asked"):
            await follower(home).confirm(state.record.id, day(5), asking.check)
        after = await follower(home).confirm(state.record.id, day(4), asking.check)
        assert [one.why for one in after.periods] == ["the period is not over yet"]
        assert sorted(await bills_of(home)) == [day(1), day(2), day(3), day(4)]
        await market.publishes(day(5), [300] * 12 + [200] * 9 + [400] * 3)
        await home.runs(24)
        await follower(home).tick()
        assert len(await bills_of(home)) == 5


async def bills_of(home: Home) -> list[int]:
    found = [read_grant_body(record.body, HOUR, "it") for record in await home.ledger.grants()]
    return [grant.first * HOUR for grant in found if grant.kind == "bill"]


async def test_a_bill_that_says_very_much_asks_first(home: Home, tmp_path: Path) -> None:
    async with home:
        await begun(home)
        market = Market(home, tmp_path)
        await market.follows(from_ms=day(1))
        await market.publishes(day(1), [99_000 + n for n in range(24)])
        await home.runs(24)
        await follower(home).tick()
        assert await granted(home) == {}
        (state,) = await follower(home).all()
        assert state.periods[0].findings == ("the bill says up to 17 bits",)
        assert state.periods[0].check is not None
        await follower(home).confirm(state.record.id, day(1), state.periods[0].check)
        assert list(await granted(home)) == [day(1)]


async def test_prices_that_would_reveal_single_hours_are_never_granted_and_hold_up_no_other_day(
    home: Home, tmp_path: Path
) -> None:
    async with home:
        await begun(home)
        market = Market(home, tmp_path)
        await market.follows(from_ms=day(1))
        await market.publishes(day(1), [0] * 20 + [900, 0, 0, 0])
        await market.publishes(day(2), FLAT)
        await home.runs(48)
        await follower(home).tick()
        assert list(await granted(home)) == [day(2)]
        (state,) = await follower(home).all()
        assert "such a bill is never granted" in str(state.periods[0].why)


async def test_decisions_that_cannot_be_are_refused(home: Home, tmp_path: Path) -> None:
    async with home:
        await begun(home)
        market = Market(home, tmp_path)
        stream, card = await home.stream(), market.provider.card
        for says, changes in (
            ("granularity '1h': bills are of each day or month", {"granularity": "1h"}),
            ("series: it must be the name", {"series": " "}),
            ("purpose: it is empty", {"purpose": ""}),
            ("lanes power: they must be import, export or both", {"lanes": ("power",)}),
            ("lanes : they must be", {"lanes": ()}),
            ("time zone 'Mars'", {"zone": "Mars"}),
        ):
            with pytest.raises(UsageError, match=says):
                await market.follows(**changes)
        with pytest.raises(UsageError, match="has the role gateway"):
            await follower(home).follow(stream, replace(card, role="gateway"), market.wants(), confirmed=True)
        made, found, _ = await follower(home).follow(stream, card, market.wants(), confirmed=True)
        assert made is None
        assert [one.card.kid for one in found.strangers] == [card.kid]
        one = await market.follows()
        with pytest.raises(UsageError, match=f"is followed already, by decision {one.record.id.hex()}"):
            await market.follows()
        await market.follows(series="Another")
        ended = await follower(home).end(one.record.id)
        assert ended.record.ended_ms == home.clock.now_ms
        assert ended.periods == ()
        await market.follows()
        with pytest.raises(UsageError, match="there is no decision 0000"):
            await follower(home).end(bytes(16))


async def test_a_decision_made_anew_grants_no_period_a_second_time(home: Home, tmp_path: Path) -> None:
    async with home:
        await begun(home)
        market = Market(home, tmp_path)
        first = await market.follows(from_ms=day(1))
        for n in range(1, 4):
            await market.publishes(day(n), FLAT)
        await home.runs(48)
        await follower(home).tick()
        await follower(home).end(first.record.id)
        await home.runs(24)
        await follower(home).tick()
        assert list(await granted(home)) == [day(1), day(2)]
        second = await market.follows(from_ms=day(1))
        assert list(await granted(home)) == [day(1), day(2), day(3)]
        assert len(second.grants) == 3


async def test_prices_that_no_period_needs_leave_the_ledger(home: Home, tmp_path: Path) -> None:
    async with home:
        await begun(home)
        market = Market(home, tmp_path)
        made = await market.follows(from_ms=day(1))
        old = await market.publishes(day(-100), FLAT)
        other = await market.publishes(day(1), FLAT, name="Another")
        needed = await market.publishes(day(1), FLAT)
        await follower(home).tick()
        kept = {one.serial: one.data is not None for one in await home.ledger.prices(needed.provider)}
        assert kept == {old.serial: False, other.serial: False, needed.serial: True}
        await market.follows(series="Another")
        kept = {one.serial: one.data is not None for one in await home.ledger.prices(needed.provider)}
        assert kept == {old.serial: False, other.serial: True, needed.serial: True}
        for one in await follower(home).all():
            await follower(home).end(one.record.id)
        assert await home.ledger.prices(needed.provider) == []
        assert made.record.id


@pytest.mark.slow
async def test_without_a_clock_nothing_is_decided_or_granted(home: Home, tmp_path: Path) -> None:
    async with home:
        await begun(home)
        market = Market(home, tmp_path)
        await market.follows(from_ms=day(1))
        await market.publishes(day(1), FLAT)
        await home.runs(24)
        await follower(home).accept(market.made(day(5), FLAT)[1])
        kept = await home.ledger.prices(market.provider.card.kid)
        home.clock.is_trusted = False
        home.clock.step_s(10 * 366 * 86_400)
        await follower(home).tick()
        assert await granted(home) == {}
        assert await home.ledger.prices(market.provider.card.kid) == kept
        with pytest.raises(GatewayError, match="the clock is not set yet"):
            await market.follows(series="Another")


async def test_over_the_control_socket(home: Home, tmp_path: Path) -> None:
    async with home, serving(home, tmp_path / "s"):
        await begun(home)
        market, client = Market(home, tmp_path), ControlClient(tmp_path / "s")
        request = FollowRequest(
            card=market.card, series=NAME, granularity="day", zone="UTC", from_ms=day(1), purpose="the bill"
        )
        answer = await client.follow(request)
        assert answer.follow is None
        assert [one.fingerprint for one in answer.strangers] == [market.provider.card.fingerprint]
        known = request.model_copy(update={"fingerprints": (market.provider.card.fingerprint,)})
        assert (await client.follow(known.model_copy(update={"dry_run": True}))).follow is None
        assert await client.follows() == ()
        answer = await client.follow(known)
        assert answer.follow is not None
        assert await client.follows() == (answer.follow,)
        assert (answer.follow.series, answer.follow.from_ms, answer.checked_from_ms) == (NAME, day(1), None)
        assert [(one.from_ms, one.state) for one in answer.follow.periods] == [(day(1), "waits")]

        async def cards() -> list[bytes]:
            return [market.card]

        kept = Prices(tmp_path / "kept", cards, home.clock)
        for start, prices, name in ((1, [99_000] * 24, NAME), (2, FLAT, NAME), (1, FLAT, "Another")):
            await kept.accept(market.made(day(start), prices, name)[1])
        assert await kept.hand_over(client) == 1
        assert await kept.hand_over(client) == 0
        await home.runs(24)
        assert (await client.status()).faults == ()
        await follower(home).tick()
        (asks,) = (await client.status()).faults
        assert f"waits for your word: gateway grant follow confirm {answer.follow.id[:8]}" in asks
        assert await kept.hand_over(client) == 1
        (shown,) = await client.follows()
        (period, _) = shown.periods
        assert (period.state, period.findings) == ("asks", ("the bill says up to 17 bits",))
        assert period.check is not None
        with pytest.raises(UsageError, match="something else is found"):
            await client.confirm_follow(shown.id, ConfirmRequest(from_ms=period.from_ms, seen="0" * 64))
        after = await client.confirm_follow(shown.id, ConfirmRequest(from_ms=day(1), seen=period.check))
        (grant,) = [one for one in await client.grants() if isinstance(one, GrantStatus)]
        assert after.grants == (grant.id,)
        assert grant.quantum == cent(3)
        assert await client.tariff(str(grant.tariff)) == market.tariff(
            day(1), (await one_series(home, market))
        )
        ended = await client.end_follow(shown.id)
        assert (ended.ended_ms, ended.periods) == (home.clock.now_ms, ())
        with pytest.raises(UsageError, match="are not followed"):
            await client.hand_prices(market.made(day(2), FLAT)[1])
        with pytest.raises(Refused, match="is not a COSE_Sign1"):
            await client.hand_prices(b"\x80")
        with pytest.raises(UsageError, match="no grant of a bill names the tariff 'ab'"):
            await client.tariff("ab")
        with pytest.raises(UsageError, match="not a decision's id"):
            await client.end_follow("xy")


async def test_the_household_hands_over_what_it_reads(home: Home, tmp_path: Path) -> None:
    async with home, serving(home, tmp_path / "s"):
        await begun(home)
        market, client = Market(home, tmp_path), ControlClient(tmp_path / "s")
        await market.follows(from_ms=day(1))

        async def cards() -> list[bytes]:
            return [one.card for one in await client.cards()] or [market.card]

        kept = Prices(tmp_path / "kept", cards, home.clock)
        await market.publishes(day(1), FLAT)
        await home.bucket._bucket.put(names.price_series(market.provider.card.kid, day(1), 77), b"")
        async with kept.current(ControlBucket(client), client):
            await home.clock.asleep()
            of = SeriesName(market.provider.card.kid, NAME)
            assert kept.series() == {of: ("import",)}
            assert await one_series(home, market) == market.series
            await market.publishes(day(2), FLAT)
            home.clock.pass_s(900)
            await home.clock.asleep()
            assert kept.until_ms(of, "import") == day(3)


def test_a_request_says_what_is_wrong_with_it() -> None:
    for request, says in (
        ({"series": "x"}, 'the decision lacks "card"'),
        ([], "the decision is not a JSON object"),
        ({"card": "", "series": "x", "zone": "UTC", "purpose": "x", "x": 1}, 'has an unknown field "x"'),
    ):
        with pytest.raises(UsageError, match=says):
            FollowRequest.parse(request)


async def one_series(home: Home, market: Market) -> list[PriceSeries]:
    """The series that the gateway has been handed."""
    kept = await home.ledger.prices(market.provider.card.kid)
    return [read_series(one.data, market.provider.card, "it") for one in kept if one.data is not None]


@pytest.mark.slow
async def test_three_months_of_bills_are_plain_sums(tmp_path: Path) -> None:  # noqa: PLR0915
    """In Berlin, over a change of clocks. Two months are corrected before their grants are made, and one of
    them after; the provider finds all grants by its series' name, and the household shows their amounts."""
    months = [unix_ms(datetime(2026, n, 1, tzinfo=ZoneInfo("Europe/Berlin"))) for n in (9, 10, 11, 12)]
    start_s = datetime(2026, 8, 30, 12, tzinfo=UTC).timestamp()
    home = Home(tmp_path, layout=LAYOUT, chunk_units=24, start_s=start_s)
    async with home:

        async def until(moment: int) -> None:
            await home.runs((moment - home.clock.now_ms) // HOUR, every=24, imported=900_000)
            await home.publish()
            await follower(home).tick()

        await home.runs(20)
        market = Market(home, tmp_path)
        await market.follows(granularity="month", zone="Europe/Berlin", from_ms=months[0])
        prices: dict[int, int] = {}

        async def publishes(begin: int, given: Sequence[int]) -> None:
            prices.update({begin + n * HOUR: price for n, price in enumerate(given)})
            await market.publishes(begin, given)

        for at in range(months[0], months[3], DAY):  # by days of 24 h, that are not the zone's
            given = [200 + 7919 * (at // HOUR + n) % 251 - 30 * (n % 7 == 0) for n in range(24)]
            await publishes(at, given[: (months[3] - at) // HOUR])
        await until(months[0] + 20 * DAY)
        await publishes(months[0] + 30 * HOUR, [950, -50])
        assert await granted(home) == {}
        await until(months[1] + DAY)
        assert list(await granted(home)) == [months[0]]
        await market.publishes(months[0] + 50 * HOUR, [1])
        late = market.serial
        await publishes(months[1] + 40 * HOUR, [500])
        await home.stop()
        await home.start()
        await until(months[3] + DAY)
        assert list(await granted(home)) == months[:3]
        await until(months[3] + 2 * DAY)

        stored = await home.check_energy()
        right = []
        for a, b in pairwise(months):
            units = range(a // HOUR, b // HOUR)
            mwh = {unit: stored.total("import", unit, unit + 1) for unit in units}
            exact = sum(
                (Fraction(prices[unit * HOUR], 1000) * mwh[unit] / 10**6 for unit in units), Fraction(0)
            )
            right.append((a, b, Decimal(floor(exact * 100 + Fraction(1, 2))).scaleb(-2)))
        lengths = [(b - a) // HOUR for a, b, _ in right]
        assert lengths == [30 * 24, 31 * 24 + 1, 30 * 24]
        bucket = DirectoryBucket(tmp_path / "store")
        reader = await StreamReader.open(bucket, stored.descriptor.stream, cose.kid_of(home.root.public_key))
        await reader.refresh(home.clock.now_ms, DAY)
        identity, card = market.provider.identity, market.provider.card
        priced = await priced_grants(reader, identity, bucket, card, NAME)
        tariffs = {one.held.grant.id: one.tariff for one in priced}
        found = [bill async for bill in bills(reader, [one.held for one in priced], tariffs)]
        assert [(unix_ms(bill.start), unix_ms(bill.end), bill.amount) for bill in found] == right
        assert [one.left_out for one in priced] == [(late,), (), ()]
        with pytest.raises(NotGranted, match="no bill under the 0 series named 'Another' is granted"):
            await priced_grants(reader, identity, bucket, card, "Another")
        await shows(home, tmp_path, stored, right)


async def shows(home: Home, tmp_path: Path, stored: Stored, right: list[tuple[int, int, Decimal]]) -> None:
    """What the household is shown, asked over the control socket."""
    client = ControlClient(tmp_path / "control.sock")

    def sums(meter: str) -> Sums:
        async def own(edges: Sequence[int], lanes: Sequence[str]) -> dict[str, list[int | None]]:
            return {
                lane: [stored.total(lane, a // HOUR, b // HOUR) for a, b in pairwise(edges)] for lane in lanes
            }

        return own

    async with serving(home, tmp_path / "control.sock"):
        grants = [one for one in await client.grants() if isinstance(one, GrantStatus)]
        (shown,) = await bills_shown(grants, client.tariff, sums, home.clock.now_ms)
    assert [(one.start_ms, one.end_ms, one.told) for one in shown.periods] == right
    assert {one.why for one in shown.periods} == {"rounded"}
