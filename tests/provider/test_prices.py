"""Price series: what a file says is what is published, and nothing replaces it unnoticed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.layout import DAY_MS
from gateway.chain.prices import Dynamic, Rule, TimeOfUse
from gateway.chain.tariff import Tariff
from gateway.errors import KeyTaken, Refused, UsageError
from gateway.provider.identity import Identity, new_identity, open_identity
from gateway.provider.prices import (
    Price,
    SeriesTerms,
    draft,
    from_tariff,
    publish,
    read_csv,
    sign,
    spell_price,
    write_csv,
)
from gateway.store.directory import DirectoryBucket
from gateway.store.opening import open_bucket
from gateway.stream.prices import published, read_series
from gateway.wire import names
from gateway.wire.card import Card
from gateway.wire.prices import MAX_SPAN_MS, PriceSeries
from tests.support.servers import S3Server

NOW_MS = 1_767_200_000_000
HOUR_MS = 3_600_000
TERMS = SeriesTerms("Day ahead", ("import",), "EUR", "Europe/Berlin")


def ms(text: str) -> int:
    """A moment, UTC, as Unix ms."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


DAY = ms("2026-03-29")


@pytest.fixture
def acme(tmp_path: Path) -> tuple[Identity, Card]:
    card = new_identity(tmp_path / "acme", "ACME", NOW_MS - DAY_MS)
    return open_identity(tmp_path / "acme"), card


@pytest.fixture
def bucket(tmp_path: Path) -> DirectoryBucket:
    (tmp_path / "store").mkdir()
    return DirectoryBucket(tmp_path / "store")


def hours(
    first: int, *prices: str, name: str = "Day ahead", lanes: tuple[str, ...] = ("import",)
) -> PriceSeries:
    """A draft of a price an hour, from hour `first` of the day on."""
    listed = [
        Price(DAY + (first + n) * HOUR_MS, DAY + (first + n + 1) * HOUR_MS, Decimal(price))
        for n, price in enumerate(prices)
    ]
    return draft(replace(TERMS, name=name, lanes=lanes), listed)


PRICES = st.decimals(-(10**6), 10**6, places=6).map(lambda price: price.normalize())


@st.composite
def drafts(draw: st.DrawFn) -> PriceSeries:
    """Intervals of any length to the ms, with gaps."""
    at, listed = draw(st.integers(0, 2**42)), []
    for _ in range(draw(st.integers(1, 20))):
        end = at + draw(st.integers(1, DAY_MS))
        listed.append(Price(at, end, draw(PRICES)))
        at = end + draw(st.sampled_from((0, 0, 1, HOUR_MS)))
    return draft(TERMS, draw(st.permutations(listed)))


@given(drafts())
def test_csv_comes_back_as_it_was(series: PriceSeries) -> None:
    assert draft(TERMS, read_csv(write_csv(series), "it", "UTC")) == series


@given(drafts())
def test_a_draft_has_each_price_exactly(series: PriceSeries) -> None:
    for one, price in zip(series.intervals, read_csv(write_csv(series), "it", "UTC"), strict=True):
        assert (one.start_ms, one.end_ms) == (price.start_ms, price.end_ms)
        assert Decimal(one.price) == price.price * 10**series.decimals
        assert Decimal(spell_price(series, one)) == price.price


def test_times_without_an_offset_are_the_zones() -> None:
    text = "from,until,price\n2026-03-29T00:00,2026-03-29T01:00,0.1\n"
    text += "2026-03-29T03:00,2026-03-29T04:00:00+02:00,1\n"
    assert read_csv("\ufeff" + text, "it", "Europe/Berlin") == [
        Price(DAY - HOUR_MS, DAY, Decimal("0.1")),
        Price(DAY + HOUR_MS, DAY + 2 * HOUR_MS, Decimal(1)),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "prices.csv: its first line must be from,until,price"),
        ("from,until\n", "prices.csv: its first line must be from,until,price"),
        ("from,until,price\n1,2\n", "prices.csv, line 2: it has 2 columns; it must have from,until,price"),
        (
            "from,until,price\n\n2026-01-01,x,1\n",
            "prices.csv, line 3: 'x' is not a time: use 2026-03-29T00:15:00",
        ),
        (
            "from,until,price\n2026-01-01,2026-01-02,1e\n",
            "prices.csv, line 2: '1e' is not a price: use a number",
        ),
        (
            "from,until,price\n2026-10-25T02:30,2026-10-25T04:00,1\n",
            "prices.csv, line 2: clocks in Europe/Berlin change at 2026-10-25T02:30, so that time",
        ),
        (
            "from,until,price\n2026-03-29T02:30,2026-03-29T04:00,1\n",
            "prices.csv, line 2: clocks in Europe/Berlin change at 2026-03-29T02:30, so that time",
        ),
        ('from,until,price\n"' + "x" * 200_000, "prices.csv, line 2: this is not CSV"),
    ],
)
def test_bad_csv_is_named(text: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_csv(text, "prices.csv", "Europe/Berlin")
    assert str(raised.value).startswith(says)


@given(st.text())
def test_any_text_is_prices_or_refused(text: str) -> None:
    with suppress(UsageError):
        read_csv("from,until,price\n" + text, "it", "Europe/Berlin")


def one(start: int, end: int, price: str) -> Price:
    return Price(start, end, Decimal(price))


@pytest.mark.parametrize(
    ("prices", "says"),
    [
        ([], "there are no prices to publish"),
        ([one(1, 1, "1")], "the price from 1970-01-01T00:00:00.001000Z on ends before it begins, or at once"),
        ([one(-1, 1, "1")], "the price from 1969-12-31T23:59:59.999000Z on begins before 1970"),
        ([one(0, 1, "NaN")], "the price from 1970-01-01T00:00:00Z on, NaN, is not one: expected a number"),
        ([one(0, 1, "1e-13")], "the price from 1970-01-01T00:00:00Z on, 1E-13, is not one"),
        ([one(0, 1, "1e10")], "the price from 1970-01-01T00:00:00Z on, 1E+10, is not one"),
        (
            [one(0, 1000, "1e9"), one(1000, 2000, "1e-12")],
            "the price from 1970-01-01T00:00:00Z on, 1E+9, has too many digits",
        ),
        (
            [one(0, 2000, "1"), one(1000, 3000, "1")],
            "two prices overlap: one ends at 1970-01-01T00:00:02Z, the next begins at 1970-01-01T00:00:01Z",
        ),
        (
            [one(0, 1, "1"), one(MAX_SPAN_MS, MAX_SPAN_MS + 1, "1")],
            "the price series cannot be published: it spans more than 366 days",
        ),
    ],
)
def test_what_a_series_cannot_hold_is_said(prices: list[Price], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        draft(TERMS, prices)
    assert str(raised.value).startswith(says)


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        (replace(TERMS, name=" "), "the series' name is invalid: expected 1 to 80 printable characters"),
        (replace(TERMS, name="x" * 81), "the series' name is invalid"),
        (replace(TERMS, currency=""), 'the currency must be 1 to 8 printable bytes, such as "EUR"'),
        (
            replace(TERMS, lanes=("power",)),
            "prices are of import, of export, or of both: --lanes import,export",
        ),
        (replace(TERMS, zone="Europe/Nowhere"), "Europe/Nowhere"),
    ],
)
def test_bad_terms_are_named(terms: SeriesTerms, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace(".", r"\.")):
        draft(terms, [one(0, 1, "1")])


LISTED = Tariff(
    "EUR",
    4,
    "Europe/Berlin",
    HOUR_MS,
    {"import": Dynamic(DAY, (3215, 3215, -12)), "export": Dynamic(DAY, (1, 1, 1))},
)


class TestTariff:
    def test_a_list_is_taken_whole(self) -> None:
        assert from_tariff(LISTED, ("import",), None, None) == [
            one(DAY, DAY + 2 * HOUR_MS, "0.3215"),
            one(DAY + 2 * HOUR_MS, DAY + 3 * HOUR_MS, "-0.0012"),
        ]

    def test_a_part_of_it(self) -> None:
        some = from_tariff(LISTED, ("export",), DAY + HOUR_MS, DAY + 2 * HOUR_MS)
        assert some == [one(DAY + HOUR_MS, DAY + 2 * HOUR_MS, "0.0001")]

    def test_prices_by_the_clock_over_the_day_with_23_hours(self) -> None:
        night = TimeOfUse((Rule(10, begin=0, end=360), Rule(20)))
        tariff = Tariff("EUR", 2, "Europe/Berlin", 900_000, {"import": night})
        begin = DAY - HOUR_MS  # local midnight; clocks go forward at 02:00
        assert from_tariff(tariff, ("import",), begin, begin + 23 * HOUR_MS) == [
            one(begin, begin + 5 * HOUR_MS, "0.10"),
            one(begin + 5 * HOUR_MS, begin + 23 * HOUR_MS, "0.20"),
        ]

    @pytest.mark.parametrize(
        ("lanes", "begin", "end", "says"),
        [
            (("import", "export"), None, None, "prices of import and export differ: make a series of each"),
            (("import",), DAY, DAY, "the prices must end after they begin"),
            (("import",), 0, DAY, "a price series spans at most 366 days"),
            (("import",), DAY, DAY + 4 * HOUR_MS, "the tariff has no price of import for the step"),
        ],
    )
    def test_what_it_does_not_have_is_said(
        self, lanes: tuple[str, ...], begin: int | None, end: int | None, says: str
    ) -> None:
        with pytest.raises(UsageError, match=says):
            from_tariff(LISTED, lanes, begin, end)

    def test_prices_by_the_clock_need_a_time(self) -> None:
        tariff = Tariff("EUR", 2, "Europe/Berlin", 900_000, {"import": TimeOfUse((Rule(10),))})
        with pytest.raises(UsageError, match=r"name the time, --from and --until$"):
            from_tariff(tariff, ("import",), None, None)


class TestPublish:
    def test_what_is_published_is_found_and_verified(
        self, acme: tuple[Identity, Card], bucket: DirectoryBucket
    ) -> None:
        identity, card = acme
        first = asyncio.run(publish(bucket, identity, hours(0, "0.1", "0.2"), NOW_MS))
        second = asyncio.run(publish(bucket, identity, hours(2, "0.3"), NOW_MS + 1))
        assert (first.serial, second.serial) == (1, 2)
        assert (first.provider, first.issued_ms) == (card.kid, NOW_MS)
        found = asyncio.run(published(bucket, card, DAY, DAY + DAY_MS))
        assert found == [first, second]
        assert asyncio.run(published(bucket, card, DAY + 2 * HOUR_MS, DAY + DAY_MS)) == [second]
        assert asyncio.run(published(bucket, card, DAY - DAY_MS, DAY)) == []

    def test_the_same_again_is_published_once(
        self, acme: tuple[Identity, Card], bucket: DirectoryBucket
    ) -> None:
        identity, card = acme
        first = asyncio.run(publish(bucket, identity, hours(0, "0.1"), NOW_MS))
        assert asyncio.run(publish(bucket, identity, hours(0, "0.1"), NOW_MS + 5)) == first
        assert asyncio.run(published(bucket, card, DAY, DAY + DAY_MS)) == [first]

    def test_other_prices_of_that_time_are_a_correction(
        self, acme: tuple[Identity, Card], bucket: DirectoryBucket
    ) -> None:
        identity, card = acme
        first = asyncio.run(publish(bucket, identity, hours(0, "0.1", "0.2"), NOW_MS))
        other = hours(1, "0.5")
        with pytest.raises(
            UsageError, match=r"^series 1 of the name 'Day ahead' already has prices of that time"
        ):
            asyncio.run(publish(bucket, identity, other, NOW_MS))
        second = asyncio.run(publish(bucket, identity, other, NOW_MS, correct=True))
        assert asyncio.run(published(bucket, card, DAY, DAY + DAY_MS)) == [first, second]
        # and back again: what was corrected is not taken for published still
        third = asyncio.run(publish(bucket, identity, hours(0, "0.1", "0.2"), NOW_MS, correct=True))
        assert third.serial == 3

    @pytest.mark.parametrize(
        "other", [hours(0, "0.5", name="Other"), hours(0, "0.5", lanes=("export",)), hours(1, "0.5")]
    )
    def test_other_names_lanes_and_gaps_are_no_correction(
        self, other: PriceSeries, acme: tuple[Identity, Card], bucket: DirectoryBucket
    ) -> None:
        identity, _ = acme
        with_gap = draft(
            TERMS, [one(DAY, DAY + HOUR_MS, "1"), one(DAY + 2 * HOUR_MS, DAY + 3 * HOUR_MS, "1")]
        )
        asyncio.run(publish(bucket, identity, with_gap, NOW_MS))
        assert asyncio.run(publish(bucket, identity, other, NOW_MS)).serial == 2

    def test_a_year_long_series_is_seen_from_its_last_day(
        self, acme: tuple[Identity, Card], bucket: DirectoryBucket
    ) -> None:
        identity, card = acme
        long = draft(TERMS, [one(DAY - MAX_SPAN_MS + HOUR_MS, DAY + HOUR_MS, "1")])
        year = asyncio.run(publish(bucket, identity, long, NOW_MS))
        assert asyncio.run(published(bucket, card, DAY, DAY + 1)) == [year]
        with pytest.raises(UsageError, match="already has prices of that time"):
            asyncio.run(publish(bucket, identity, hours(0, "0.5"), NOW_MS))

    def test_a_rival_publisher_is_not_overwritten(
        self, acme: tuple[Identity, Card], bucket: DirectoryBucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two processes that see the same store take the same serial: one of them fails."""
        identity, _ = acme

        async def nothing(prefix: str, after: str = "") -> AsyncIterator[str]:
            for key in list[str]():
                yield key

        monkeypatch.setattr(bucket, "list", nothing)
        asyncio.run(publish(bucket, identity, hours(0, "0.1"), NOW_MS))
        with pytest.raises(KeyTaken):
            asyncio.run(publish(bucket, identity, hours(0, "0.2"), NOW_MS))


@pytest.mark.slow
@pytest.mark.parametrize("server", ["seaweedfs", "minio"])
async def test_a_real_store(server: str, acme: tuple[Identity, Card], request: pytest.FixtureRequest) -> None:
    identity, card = acme
    running: S3Server = request.getfixturevalue(server)
    bucket = open_bucket(running.location(secrets.token_hex(8)))
    try:
        first = await publish(bucket, identity, hours(0, "0.1"), NOW_MS)
        second = await publish(bucket, identity, hours(0, "0.2"), NOW_MS, correct=True)
        assert await published(bucket, card, DAY, DAY + DAY_MS) == [first, second]
        with pytest.raises(KeyTaken):
            await bucket.put(names.price_series(card.kid, first.start_ms, 1), b"other")
    finally:
        await bucket.aclose()


def test_a_foreign_object_among_the_series_is_refused(
    acme: tuple[Identity, Card], bucket: DirectoryBucket, tmp_path: Path
) -> None:
    identity, card = acme
    new_identity(tmp_path / "other", "Other", NOW_MS)
    other = open_identity(tmp_path / "other")
    series, data = sign(other, hours(0, "0.1"), 1, NOW_MS)
    key = names.price_series(identity.kid, series.start_ms, 1)
    asyncio.run(bucket.put(key, data))
    for reading in (
        lambda: published(bucket, card, DAY, DAY + DAY_MS),
        lambda: publish(bucket, identity, hours(0, "0.1"), NOW_MS),
    ):
        with pytest.raises(Refused, match=f"^{key} is signed by key {other.kid.hex()}"):
            asyncio.run(reading())


def test_a_moved_series_is_refused(acme: tuple[Identity, Card], bucket: DirectoryBucket) -> None:
    identity, card = acme
    series, data = sign(identity, hours(0, "0.1"), 1, NOW_MS)
    key = names.price_series(identity.kid, series.start_ms, 2)
    asyncio.run(bucket.put(key, data))
    with pytest.raises(
        Refused, match=f"^{key} holds the object that belongs at .*0001.cose: copied or moved$"
    ):
        asyncio.run(published(bucket, card, DAY, DAY + DAY_MS))


@pytest.mark.parametrize(
    ("when", "valid"),
    [
        (lambda card: card.valid_from_ms - 1, False),
        (lambda card: card.valid_from_ms, True),
        (lambda card: card.valid_until_ms - 1, True),
        (lambda card: card.valid_until_ms, False),
    ],
)
def test_a_series_is_issued_while_the_card_is_valid(
    when: Callable[[Card], int], valid: bool, acme: tuple[Identity, Card]
) -> None:
    identity, card = acme
    series, data = sign(identity, hours(0, "0.1"), 1, when(card))
    if valid:
        assert read_series(data, card, "it") == series
        return
    with pytest.raises(
        Refused, match=r"^it was issued at .*, when the card was not valid: its time is 2025-12-30T"
    ):
        read_series(data, card, "it")
