"""Price series: which prices are in force, the tariff of a period, and series read with a card."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.layout import DAY_MS
from gateway.errors import Refused, UsageError
from gateway.provider.prices import sign
from gateway.store.directory import DirectoryBucket
from gateway.stream.prices import in_force, near, published, read_all, read_series, tariff_of, unpriced
from gateway.wire import names
from gateway.wire.prices import MAX_SPAN_MS, PriceInterval, PriceSeries
from tests.stream.stream import START, Provider

NOW_MS = START * 1000

HOURS = 12


@st.composite
def corrected(draw: st.DrawFn) -> list[PriceSeries]:
    """Series of some hours each, in any order of serials, of intervals of any length."""
    found = []
    for serial in draw(st.permutations(range(1, draw(st.integers(1, 6)) + 1))):
        at, intervals = draw(st.integers(0, HOURS)), []
        for _ in range(draw(st.integers(1, 5))):
            length = draw(st.integers(1, 3))
            intervals.append(PriceInterval(at, length, draw(st.integers(-9, 9))))
            at += length + draw(st.sampled_from((0, 0, 1)))
        lanes = draw(st.sampled_from((("import",), ("export",), ("import", "export"))))
        series = PriceSeries(bytes(16), serial, "it", lanes, "EUR", serial % 3, "UTC", tuple(intervals), 0)
        found.append(series)
    return found


@given(corrected(), st.integers(0, HOURS), st.integers(1, HOURS))
def test_at_each_moment_the_highest_serial_has_the_price(
    series: list[PriceSeries], begin: int, length: int
) -> None:
    for lane in ("import", "export"):
        found = in_force(series, lane, begin, begin + length)
        gaps = unpriced(found, lane, begin, begin + length)
        for moment in range(begin, begin + length):
            having = [
                (of.serial, Decimal(one.price).scaleb(-of.decimals))
                for of in series
                if lane in of.lanes
                for one in of.intervals
                if one.start_ms <= moment < one.end_ms
            ]
            here = [(one.serial, one.price) for one in found if one.start_ms <= moment < one.end_ms]
            assert here == ([max(having)] if having else [])
            assert sum(one.start_ms <= moment < one.end_ms for one in gaps) == (not having)


@given(corrected(), st.integers(0, HOURS), st.integers(1, HOURS))
def test_a_tariff_of_series_has_just_their_prices(series: list[PriceSeries], begin: int, length: int) -> None:
    lanes = ("import", "export")
    held = {lane: in_force(series, lane, begin, begin + length) for lane in lanes}
    if any(unpriced(held[lane], lane, begin, begin + length) for lane in lanes):
        with pytest.raises(UsageError, match=r"there is no price of (import|export) from 1970-01-01T"):
            tariff_of(series, lanes, "UTC", begin, begin + length)
        return
    tariff = tariff_of(series, lanes, "UTC", begin, begin + length)
    assert tariff == tariff_of(series[::-1], lanes, "UTC", begin, begin + length)
    for lane in lanes:
        runs = tariff.weights([lane], 1, begin, begin + length)[lane]
        for moment in range(begin, begin + length):
            (right,) = [one.price for one in held[lane] if one.start_ms <= moment < one.end_ms]
            (run,) = [one for one in runs if one.first <= moment < one.end]
            assert Decimal(run.price).scaleb(-tariff.scale) == right


def test_prices_in_two_currencies_make_no_tariff() -> None:
    one = PriceSeries(bytes(16), 1, "it", ("import",), "EUR", 0, "UTC", (PriceInterval(0, 5, 1),), 0)
    other = replace(one, serial=2, currency="CHF", intervals=(PriceInterval(5, 5, 1),))
    with pytest.raises(UsageError, match="in CHF and in EUR: a bill has one currency"):
        tariff_of([one, other], ["import"], "UTC", 0, 10)
    assert tariff_of([one, other], ["import"], "UTC", 0, 5).currency == "EUR"


def test_prices_that_change_within_milliseconds_make_no_tariff() -> None:
    parts = (PriceInterval(0, 1, 1), PriceInterval(1, DAY_MS - 1, 2))
    series = PriceSeries(bytes(16), 1, "it", ("import",), "EUR", 0, "UTC", parts, 0)
    with pytest.raises(UsageError, match="the prices change within steps of 1 ms"):
        tariff_of([series], ["import"], "UTC", 0, DAY_MS)


def series(start_ms: int, length_ms: int = 1000) -> PriceSeries:
    interval = PriceInterval(start_ms, length_ms, 1)
    return PriceSeries(bytes(16), 0, "it", ("import",), "EUR", 0, "UTC", (interval,), 0)


async def test_the_series_of_a_time_are_read_from_a_bucket(provider: Provider, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    bucket, kid = DirectoryBucket(tmp_path / "store"), provider.card.kid
    starts = [NOW_MS - 5000, NOW_MS, NOW_MS + 5000, *range(NOW_MS + 10**6, NOW_MS + 10**6 + 20)]
    for serial, start in enumerate(starts, 1):
        _, data = sign(provider.identity, series(start), serial, NOW_MS)
        await bucket.put(names.price_series(kid, start, serial), data)
    found = await published(bucket, provider.card, NOW_MS - 4000, NOW_MS + 5001)
    assert [one.serial for one in found] == [2, 3]
    assert len(await published(bucket, provider.card, 0, 2**60)) == len(starts)
    keys = [names.price_series(kid, start, 1) for start in (0, 1, 10)]
    assert near(keys, MAX_SPAN_MS, 10) == keys[1:2]
    with pytest.raises(Refused, match="is signed by key"):
        await read_all(
            bucket, Provider.new(tmp_path / "other").card.signing_key, [names.price_series(kid, NOW_MS, 2)]
        )


async def test_a_series_issued_when_the_card_was_not_valid_is_refused(
    provider: Provider, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    bucket, card = DirectoryBucket(tmp_path / "store"), provider.card
    for serial, issued in enumerate((card.valid_from_ms - 1, card.valid_from_ms, card.valid_until_ms - 1), 1):
        _, data = sign(provider.identity, series(NOW_MS + serial), serial, issued)
        await bucket.put(names.price_series(card.kid, NOW_MS + serial, serial), data)
        if serial == 1:
            with pytest.raises(Refused, match=r"it was issued at .*, when the card was not valid"):
                read_series(data, card, "it")
            with pytest.raises(Refused, match="series 1 was issued at"):
                await published(bucket, card, NOW_MS, NOW_MS + DAY_MS)
            await bucket.delete(names.price_series(card.kid, NOW_MS + serial, serial))
        else:
            assert read_series(data, card, "it").serial == serial
    assert [one.serial for one in await published(bucket, card, NOW_MS, NOW_MS + DAY_MS)] == [2, 3]
