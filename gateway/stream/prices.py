"""Price series, read and checked with their provider's card, and which of their prices are in force.

A correction is a series with a higher serial, so the price of a moment follows from all series of one
provider, name and lane. From the prices of a whole billing period follows one tariff, the same for everybody
who has the same series.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from heapq import heappop, heappush
from itertools import pairwise
from math import gcd

from gateway.chain.layout import DAY_MS
from gateway.chain.prices import MAX_PRICES, Dynamic
from gateway.chain.tariff import Tariff
from gateway.errors import Refused, UsageError
from gateway.store.bucket import Bucket
from gateway.stream.times import spell
from gateway.wire import names
from gateway.wire.card import Card
from gateway.wire.prices import MAX_SPAN_MS, PriceSeries

_READ_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class PriceInForce:
    """A price of `currency` for a kWh over [start_ms, end_ms), Unix ms, and the serial of its series. Its
    exponent has as many decimals as its series."""

    start_ms: int
    end_ms: int
    price: Decimal
    currency: str
    serial: int


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A stretch [start_ms, end_ms), Unix ms, for which a lane has no price."""

    lane: str
    start_ms: int
    end_ms: int


def read_series(data: bytes, card: Card, what: str) -> PriceSeries:
    """The series in signed bytes, which `what` names. Refused unless the card's key signed it while the card
    was valid."""
    series = PriceSeries.read(data, card.signing_key, what)
    check_issued(series, card, what)
    return series


def check_issued(series: PriceSeries, card: Card, what: str) -> None:
    """Refused unless the card was valid when the series was issued."""
    if not card.valid_from_ms <= series.issued_ms < card.valid_until_ms:
        raise Refused(
            f"{what} was issued at {spell(series.issued_ms, 1)}, when the card was not valid: its time is"
            f" {spell(card.valid_from_ms, 1)} to {spell(card.valid_until_ms, 1)}"
        )


async def published(bucket: Bucket, card: Card, from_ms: int, until_ms: int) -> list[PriceSeries]:
    """The provider's series that have a part of [from_ms, until_ms), Unix ms, by serial. Refused for one that
    the card's key did not sign, while the card was valid, or that lies elsewhere than it belongs."""
    keys = [key async for key in bucket.list(names.prices(card.kid))]
    found = await read_all(bucket, card.signing_key, near(keys, from_ms, until_ms))
    for one in found:
        check_issued(one, card, f"series {one.serial}")
    inside = [one for one in found if one.start_ms < until_ms and one.end_ms > from_ms]
    return sorted(inside, key=lambda one: one.serial)


def near(keys: Iterable[str], from_ms: int, until_ms: int) -> list[str]:
    """Of the keys of series, those of series that may have a part of the time: by their start alone."""
    return [key for key in keys if from_ms - MAX_SPAN_MS < _start(key) < until_ms]


def _start(key: str) -> int:
    return names.number_in(key.rpartition("/")[0] + ".cose")


async def read_all(bucket: Bucket, public_key: bytes, keys: Sequence[str]) -> list[PriceSeries]:
    """The series under these keys, some at a time side by side. Refused for one that is invalid, or that
    another key signed."""
    found: list[PriceSeries] = []
    for at in range(0, len(keys), _READ_AT_ONCE):
        some = keys[at : at + _READ_AT_ONCE]
        for key, data in zip(some, await asyncio.gather(*map(bucket.get, some)), strict=True):
            found.append(PriceSeries.read_at(key, data, public_key, 1))
    return found


def in_force(series: Iterable[PriceSeries], lane: str, from_ms: int, until_ms: int) -> list[PriceInForce]:
    """The prices of a lane over [from_ms, until_ms), Unix ms, in order, gaps left out. `series` are of one
    provider and name; where they overlap the one with the highest serial has the price, which may leave parts
    of an earlier one's interval."""
    parts = sorted(
        (
            (max(one.start_ms, from_ms), min(one.end_ms, until_ms), of, one)
            for of in series
            if lane in of.lanes
            for one in of.intervals
            if one.start_ms < until_ms and one.end_ms > from_ms
        ),
        key=lambda part: part[0],
    )
    found: list[PriceInForce] = []
    over: list[tuple[int, int, int]] = []  # the highest serial first; each with the number of its part
    at, last = 0, -1
    for start, end in pairwise(sorted({edge for part in parts for edge in part[:2]})):
        while at < len(parts) and parts[at][0] == start:
            of = parts[at][2]
            heappush(over, (-of.serial, of.start_ms, at))
            at += 1
        while over and parts[over[0][2]][1] <= start:
            heappop(over)
        if not over:
            continue
        number = over[0][2]
        if number == last and found[-1].end_ms == start:
            found[-1] = replace(found[-1], end_ms=end)
        else:
            _, _, of, one = parts[number]
            price = Decimal(one.price).scaleb(-of.decimals)
            found.append(PriceInForce(start, end, price, of.currency, of.serial))
        last = number
    return found


def unpriced(prices: Sequence[PriceInForce], lane: str, from_ms: int, until_ms: int) -> list[Unpriced]:
    """The stretches of [from_ms, until_ms) that prices of a lane in order leave out."""
    edges = [from_ms, *(edge for one in prices for edge in (one.start_ms, one.end_ms)), until_ms]
    return [Unpriced(lane, a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]


def tariff_of(
    series: Sequence[PriceSeries], lanes: Sequence[str], zone: str, from_ms: int, until_ms: int
) -> Tariff:
    """The one tariff that follows from these series, of one provider and name, for the billing period
    [from_ms, until_ms), Unix ms: the prices in force of `lanes`, listed in the longest steps in which none
    changes, with as many decimals as the finest of these series has; `zone` is the period's. UsageError where
    a lane has no price at some moment, where currencies differ, and for prices that change too often."""
    prices = {lane: in_force(series, lane, from_ms, until_ms) for lane in lanes}
    for lane, found in prices.items():
        for gap in unpriced(found, lane, from_ms, until_ms):
            start, end = (spell(ms, 1, zone) for ms in (gap.start_ms, gap.end_ms))
            raise UsageError(f"there is no price of {lane} from {start} until {end}")
    everything = [one for found in prices.values() for one in found]
    currencies = sorted({one.currency for one in everything})
    if len(currencies) != 1:
        raise UsageError(f"the prices are in {' and in '.join(currencies)}: a bill has one currency")
    step = gcd(DAY_MS, from_ms, until_ms, *(one.start_ms for one in everything))
    if (until_ms - from_ms) // step > MAX_PRICES:
        raise UsageError(
            f"the prices change within steps of {step} ms, more than {MAX_PRICES} steps in the period: use "
            "intervals that begin on whole minutes"
        )
    scale = max(_decimals(one.price) for one in everything)
    return Tariff(
        currencies[0],
        scale,
        zone,
        step,
        {
            lane: Dynamic(
                from_ms,
                tuple(
                    int(one.price.scaleb(scale))
                    for one in found
                    for _ in range((one.end_ms - one.start_ms) // step)
                ),
            )
            for lane, found in prices.items()
        },
    )


def _decimals(price: Decimal) -> int:
    exponent = price.as_tuple().exponent
    assert isinstance(exponent, int)  # finite
    return -exponent
