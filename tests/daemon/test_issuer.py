"""A gateway's tokens of every kind, issued as windows close and folded by day and month, open at the
provider's to exactly what was read."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest

from gateway.centre.load import load
from gateway.chain.layout import Layout
from gateway.chain.prices import Rule, TimeOfUse
from gateway.chain.tariff import Tariff
from gateway.control.documents import NewGrant
from gateway.ledger.records import GrantRecord
from gateway.provider import load as loads
from gateway.provider.bill import bill_grants, bills
from gateway.provider.load import Windows
from gateway.provider.query import Query
from gateway.provider.raw import raw_grants, units
from gateway.provider.sums import Sums
from gateway.registrar.summing import SummingService
from gateway.stream.reader import StreamReader
from gateway.stream.times import unix_ms
from gateway.wire import cose, names
from gateway.wire.grant import Tokens
from tests.stream.stream import Provider
from tests.support.home import Home
from tests.support.stored import Stored

UNIT_MS, LINK = 900_000, 8
DAY_MS = 86_400_000
BEGIN_S = datetime(2026, 5, 28, 20, tzinfo=UTC).timestamp()
TARIFF = Tariff(
    "EUR",
    4,
    "Europe/Berlin",
    UNIT_MS,
    {
        "import": TimeOfUse((Rule(3215, (0, 1, 2, 3, 4), 360, 1320), Rule(-2450))),
        "export": TimeOfUse((Rule(-810),)),
    },
)


def home_in(folder: Path) -> Home:
    """Units of 15 min, links of two hours."""
    folder.mkdir()
    return Home(folder, layout=Layout(UNIT_MS, LINK), chunk_units=LINK, start_s=BEGIN_S)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_in(tmp_path / "home")


@pytest.fixture
def provider(tmp_path: Path) -> Provider:
    return Provider.new(tmp_path / "acme")


@asynccontextmanager
async def reading(home: Home) -> AsyncIterator[StreamReader]:
    """The published stream, as a provider finds it."""
    await home.publish()
    reader = await StreamReader.open(home.bucket, (await home.stream()).id, cose.kid_of(home.root.public_key))
    await reader.refresh(home.clock.now_ms, DAY_MS)
    yield reader


async def lives(home: Home, days: int, imported: int = 345) -> None:
    """So many days, with a new incarnation in the midst of a link each day."""
    for _ in range(days):
        await home.runs(45, imported=imported)
        await home.stop()
        await home.start()
        await home.runs(51, imported=imported)


async def pair(home: Home, centre: Provider, service: Provider) -> list[GrantRecord]:
    wish = NewGrant("load", "1h", "UTC", ("import",), "the street", 0, None)
    made, _ = await home.granter.new(
        await home.stream(),
        [centre.card, service.card],
        wish,
        confirmed=True,
        fingerprints=[one.card.fingerprint for one in (centre, service)],
    )
    return [one.record for one in made]


def bundles(home: Home, stream: Stored, grant: bytes, fold: names.Fold) -> list[Tokens]:
    folder = home.folder / "store" / names.bundles(stream.descriptor.stream, grant, fold)
    return [
        Tokens.read(path.read_bytes(), home.root.public_key, path.name)
        for path in sorted(folder.glob("*.cose"))
    ]


def tokens(bundle: Tokens, words: int) -> list[bytes]:
    """The tokens, of so many words each unless they are raw ones."""
    if isinstance(bundle.words, tuple):
        return list(bundle.words)
    return [bundle.words[at : at + 8 * words] for at in range(0, len(bundle.words), 8 * words)]


@pytest.mark.slow
async def test_bills(home: Home, provider: Provider) -> None:
    """Granted into the past and on, a day each. The store is not needed for them: the ledger keeps what they
    are weighed by."""
    async with home:
        home.bucket.away = True
        await lives(home, 2, 250_000)
        await home.grants(
            provider,
            "day",
            zone="Europe/Berlin",
            kind="bill",
            tariff=TARIFF,
            from_ms=0,
        )
        await lives(home, 3, 250_000)
        home.bucket.away = False
        async with reading(home) as reader:
            stored = await home.check_energy()
            held = await bill_grants(reader, provider.identity, TARIFF)
            found = [bill async for bill in bills(reader, held, TARIFF)]
        assert len(found) == 4
        for bill in found:
            a, b = unix_ms(bill.start) // UNIT_MS, unix_ms(bill.end) // UNIT_MS
            weights = TARIFF.weights(("import", "export"), UNIT_MS, a, b)
            expected = sum(
                w.price * stored.total(lane, w.first, w.end) for lane in weights for w in weights[lane]
            )
            cents = math.floor(Fraction(expected, 10**8) + Fraction(1, 2))
            assert bill.amount * 100 == cents != 0


async def test_raw_links(home: Home, provider: Provider) -> None:
    async with home:
        await lives(home, 1)
        await home.grants(provider, "4h", kind="raw", lanes=("power", "import"))
        await lives(home, 2)
        async with reading(home) as reader:
            stored = await home.check_energy()
            held = await raw_grants(reader, provider.identity)
            at = held[0].grant.first
            async for opened in units(reader, held):
                assert opened.first == at
                for lane in ("power", "import"):
                    truth = stored.d[lane][at - stored.start : at - stored.start + opened.count]
                    assert opened.lanes[lane].tolist() == truth.tolist()
                at += opened.count
        assert at == held[0].grant.window(held[0].grant.complete(stored.end))[0] > held[0].grant.first + 96


async def test_loads_of_a_street(home: Home, tmp_path: Path) -> None:
    other = home_in(tmp_path / "other")
    centre, service = (Provider.new(tmp_path / name) for name in ("centre", "service"))
    async with home, other:
        homes, street = [], (home, other)
        for number, one in enumerate(street):
            await lives(one, 1)
            homes.append(await pair(one, centre, service))
            await one.runs(96, imported=1000 * number)
        async with reading(home) as first, reading(other) as second:
            stored = [await one.check_energy() for one in street]
            members = [
                loads.Member(reader, records[0].id)
                for reader, records in zip((first, second), homes, strict=True)
            ]
            SummingService.begin(service.folder)
            for hour in range(3, 20):
                begin = stored[0].start + 4 * hour
                window = Windows(("import",), ((begin * UNIT_MS, (begin + 4) * UNIT_MS),))
                answer = await SummingService.in_folder(service.folder, service.identity, 2).add(
                    members, window
                )
                total = sum(one.total("import", begin, begin + 4) for one in stored)
                assert (await load(members, centre.identity, answer)).tolist() == [[total]]
                assert total > 0
        for one, kept, records in zip(street, stored, homes, strict=True):
            for fold in names.FOLDS:
                assert bundles(one, kept, records[0].id, fold) == []  # nothing is published for the centre
            assert len(bundles(one, kept, records[1].id, "new")) > 1


@pytest.mark.parametrize("half", [0, 1])
async def test_a_load_ends_when_either_half_is_revoked(half: int, home: Home, tmp_path: Path) -> None:
    centre, service = (Provider.new(tmp_path / name) for name in ("centre", "service"))
    async with home:
        await lives(home, 1)
        records = await pair(home, centre, service)
        revoked = (await home.granter.revoke(records[half].id)).record
        assert revoked.revoked_from is not None
        served = {record.id: record.next_window for record in await home.ledger.grants()}
        await lives(home, 1)
        now = {record.id: record.next_window for record in await home.ledger.grants()}
        assert now[records[0].id] == 0
        assert served[records[1].id] <= now[records[1].id] <= served[records[1].id] + 1


@pytest.mark.slow
async def test_folded_bundles_hold_the_same_tokens(home: Home, provider: Provider, tmp_path: Path) -> None:
    """Of every kind, over days and the end of a month, and though the gateway started anew in between."""
    centre, service = (Provider.new(tmp_path / name) for name in ("centre", "service"))
    async with home:
        await lives(home, 1)
        grants = [
            await home.grants(provider, "1h"),
            await home.grants(provider, "2h", kind="raw"),
            await home.grants(provider, "24h", kind="bill", tariff=TARIFF),
            (await pair(home, centre, service))[1],
        ]
        await lives(home, 5)
        async with reading(home) as reader:
            stored = await home.check_energy()
            assert reader.days_end * UNIT_MS == int(datetime(2026, 6, 3, tzinfo=UTC).timestamp()) * 1000
            for record, width in zip(grants, (2, 0, 1, 1), strict=True):
                new = [
                    token
                    for bundle in bundles(home, stored, record.id, "new")
                    for token in tokens(bundle, width)
                ]
                assert len(new) >= 4
                for fold in names.FOLDS[1:]:
                    found = bundles(home, stored, record.id, fold)
                    for bundle in found:
                        at = bundle.first_window
                        again = tokens(bundle, width)
                        assert again == new[at : at + len(again)]
                    # A bill is folded once, by itself, as soon as it is made.
                    bill = record is grants[2]
                    assert len(found) >= (0 if bill and fold == "day" else 3 if bill or fold == "day" else 1)
            # The provider's reader takes the folded ones, and needs nothing else of days that are over.
            for path in (home.folder / "store").rglob("new/*.cose"):
                if names.number_in(str(path)) == 0:
                    path.unlink()
            sums = await Sums.ask(reader, provider.identity, Query("24h", ("import",)))
            rows = [row async for row in sums.rows()]
            assert len(rows) == 4
            for row in rows:
                a, b = unix_ms(row.start) // UNIT_MS, unix_ms(row.end) // UNIT_MS
                assert row.sums["import"] == stored.total("import", a, b)
