"""Price series: made from CSV, from a tariff or from an OpenADR event, signed and published.

CSV has a line for each interval, in any order, with prices in the currency for a kWh; times without an offset
are those that the clocks of the series' zone show:

    from,until,price
    2026-03-29T00:00:00+01:00,2026-03-29T00:15:00+01:00,0.1032
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from itertools import pairwise

from gateway.chain.layout import DAY_MS, ENERGY
from gateway.chain.prices import Dynamic
from gateway.chain.tariff import MAX_DECIMALS, Tariff
from gateway.chain.window import zone_of
from gateway.errors import UsageError
from gateway.provider.identity import Identity
from gateway.store.bucket import Bucket
from gateway.stream.prices import near, read_all
from gateway.stream.times import spell, unix_ms
from gateway.wire import cose, es256, names
from gateway.wire.form import integer, tstr
from gateway.wire.prices import MAX_INTERVALS, MAX_SPAN_MS, PriceInterval, PriceSeries

_COLUMNS = ["from", "until", "price"]
_EXACT = Context(prec=1000)
_MOST_DIGITS = 9  # before the decimal point: a price of billions is a mistake


@dataclass(frozen=True, slots=True)
class Price:
    """A price of the currency for a kWh over [start_ms, end_ms), Unix ms."""

    start_ms: int
    end_ms: int
    price: Decimal


@dataclass(frozen=True, slots=True)
class SeriesTerms:
    """What a series says of all its intervals: its name, lanes, currency and the time zone of its market."""

    name: str
    lanes: tuple[str, ...]
    currency: str
    zone: str


def read_csv(text: str, what: str, zone: str) -> list[Price]:
    """The prices in a CSV file, which `what` names. UsageError names the line, and what is wrong in it."""
    rows = csv.reader(io.StringIO(text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")))
    try:
        header = next(rows, [])
        if [name.strip() for name in header] != _COLUMNS:
            raise UsageError(f"{what}: its first line must be {','.join(_COLUMNS)}")
        return [_csv_price(row, f"{what}, line {rows.line_num}", zone) for row in rows if any(row)]
    except csv.Error as error:
        raise UsageError(f"{what}, line {rows.line_num}: this is not CSV: {error}") from None


def _csv_price(row: Sequence[str], what: str, zone: str) -> Price:
    if len(row) != len(_COLUMNS):
        raise UsageError(f"{what}: it has {len(row)} columns; it must have {','.join(_COLUMNS)}")
    start, end = (_local(text.strip(), what, zone) for text in row[:2])
    try:
        price = Decimal(row[2].strip())
    except InvalidOperation:
        raise UsageError(f"{what}: {row[2]!r} is not a price: use a number such as 0.1032") from None
    return Price(start, end, price)


def _local(text: str, what: str, zone: str) -> int:
    """A moment as Unix ms; one without an offset is by the zone's clocks."""
    try:
        when = datetime.fromisoformat(text)
        if when.tzinfo is None:
            when = when.replace(tzinfo=zone_of(zone))
            if when.utcoffset() != when.replace(fold=1).utcoffset():
                raise UsageError(
                    f"{what}: clocks in {zone} change at {text}, so that time does not exist, or exists"
                    f" twice: write its offset, such as {text}+01:00"
                )
        return unix_ms(when.astimezone(UTC))
    except (ValueError, OverflowError):
        raise UsageError(
            f"{what}: {text!r} is not a time: use 2026-03-29T00:15:00+01:00, or 2026-03-29T00:15"
        ) from None


def from_tariff(
    tariff: Tariff, lanes: Sequence[str], from_ms: int | None, until_ms: int | None
) -> list[Price]:
    """A tariff's prices of `lanes` from `from_ms` until `until_ms`, neighbouring steps of one price as one
    interval; None is where the listed prices of the lanes begin, or end. UsageError where the tariff has no
    price, where its prices are not listed and a bound is None, and where the lanes differ."""
    listed = [one for lane in lanes if isinstance(one := tariff.prices.get(lane), Dynamic)]
    if from_ms is None and listed:
        from_ms = max(one.start_ms for one in listed)
    if until_ms is None and listed:
        until_ms = tariff.end_ms(lanes)
    if from_ms is None or until_ms is None:
        raise UsageError(
            "the tariff's prices are not listed but go by the clock: name the time, --from and --until"
        )
    if from_ms >= until_ms:
        raise UsageError("the prices must end after they begin: --until must be later than --from")
    if until_ms - from_ms > MAX_SPAN_MS:
        raise UsageError(
            f"a price series spans at most {MAX_SPAN_MS // DAY_MS} days: name less with --from and --until"
        )
    weights = tariff.weights(lanes, 1, from_ms, until_ms)
    (first, *others) = weights.values()
    if any(other != first for other in others):
        raise UsageError(
            "the tariff's prices of import and export differ: make a series of each, with --lanes"
        )
    return [Price(one.first, one.end, Decimal(one.price).scaleb(-tariff.scale)) for one in first]


def draft(terms: SeriesTerms, prices: Iterable[Price]) -> PriceSeries:
    """The series of these prices, in order of time; its provider, serial and time of issue are still empty.
    All prices have as many decimals as the finest needs. UsageError says what a series cannot hold."""
    _check(terms)
    ordered = sorted(prices, key=lambda one: one.start_ms)
    if not ordered:
        raise UsageError("there are no prices to publish")
    if len(ordered) > MAX_INTERVALS:
        raise UsageError(f"a price series has at most {MAX_INTERVALS} intervals, not {len(ordered)}")
    decimals = max(_decimals(one) for one in ordered)
    intervals = tuple(
        PriceInterval(one.start_ms, one.end_ms - one.start_ms, int(one.price.scaleb(decimals)))
        for one in ordered
    )
    for interval, price in zip(intervals, ordered, strict=True):
        if interval.duration_ms < 1:
            raise UsageError(
                f"the price from {spell(price.start_ms, 1)} on ends before it begins, or at once"
            )
        if interval.start_ms < 0:
            raise UsageError(f"the price from {spell(price.start_ms, 1)} on begins before 1970")
        if not integer().fits(interval.price):
            raise UsageError(
                f"the price from {spell(price.start_ms, 1)} on, {price.price}, has too many digits"
            )
    for one, other in pairwise(ordered):
        if other.start_ms < one.end_ms:
            raise UsageError(
                f"two prices overlap: one ends at {spell(one.end_ms, 1)}, the next begins at"
                f" {spell(other.start_ms, 1)}"
            )
    series = PriceSeries(
        bytes(cose.KID_BYTES), 0, terms.name, terms.lanes, terms.currency, decimals, terms.zone, intervals, 0
    )
    fault = series.fault()
    if fault is not None:
        raise UsageError(f"the price series cannot be published: {fault}")
    return series


def _check(terms: SeriesTerms) -> None:
    if not terms.name.strip() or not tstr(80).fits(terms.name):
        raise UsageError(
            "the series' name is invalid: expected 1 to 80 printable characters (bytes, in UTF-8)"
        )
    if not terms.currency or not tstr(8).fits(terms.currency):
        raise UsageError('the currency must be 1 to 8 printable bytes, such as "EUR"')
    if not terms.lanes or not set(terms.lanes) <= set(ENERGY):
        raise UsageError("prices are of import, of export, or of both: --lanes import,export")
    zone_of(terms.zone)


def _decimals(one: Price) -> int:
    exponent = _EXACT.normalize(one.price).as_tuple().exponent
    if not isinstance(exponent, int) or one.price.adjusted() > _MOST_DIGITS or -exponent > MAX_DECIMALS:
        raise UsageError(
            f"the price from {spell(one.start_ms, 1)} on, {one.price}, is not one: expected a number of the"
            f" currency for a kWh, with at most {MAX_DECIMALS} decimals"
        )
    return max(0, -exponent)


def sign(identity: Identity, series: PriceSeries, serial: int, now_ms: int) -> tuple[PriceSeries, bytes]:
    """The series as this provider issues it at `now_ms`, and its signed bytes."""
    issued = replace(series, provider=identity.kid, serial=serial, issued_ms=now_ms)
    payload = issued.payload()
    message = cose.to_be_signed(issued.TYPE, identity.kid, payload)
    return issued, cose.assemble(identity.kid, payload, es256.sign(identity.signing_key, message))


async def publish(
    bucket: Bucket, identity: Identity, series: PriceSeries, now_ms: int, *, correct: bool = False
) -> PriceSeries:
    """Sign the series under the next serial and put it into the store; what is published, which is an earlier
    series where that has the same content and nothing later replaced it.

    UsageError where an earlier series of the same name and a lane has prices of the same time, unless
    `correct`. Refused where the store holds what this provider did not sign. One process at a time may
    publish for a provider: two would take the same serial.
    """
    public_key = es256.spki(identity.signing_key.public_key())
    keys = [key async for key in bucket.list(names.prices(identity.kid))]
    last = max((names.number_in(key) for key in keys), default=0)
    close = await read_all(bucket, public_key, near(keys, series.start_ms, series.end_ms))
    rivals = [one for one in close if _rivals(one, series)]
    if rivals:
        newest = max(rivals, key=lambda one: one.serial)
        if _content(newest) == _content(series):
            return newest
        if not correct:
            serials = ", ".join(str(one.serial) for one in sorted(rivals, key=lambda one: one.serial))
            raise UsageError(
                f"series {serials} of the name {newest.name!r} already has prices of that time: publish a"
                " correction with --correct, or use another --name"
            )
    issued, data = sign(identity, series, last + 1, now_ms)
    await bucket.put(names.price_series(issued.provider, issued.start_ms, issued.serial), data)
    return issued


def _rivals(one: PriceSeries, other: PriceSeries) -> bool:
    """Whether both have a price of one name and lane for one moment."""
    if one.name != other.name or not set(one.lanes) & set(other.lanes):
        return False
    mine, theirs = iter(one.intervals), iter(other.intervals)
    a, b = next(mine, None), next(theirs, None)
    while a is not None and b is not None:
        if a.start_ms < b.end_ms and b.start_ms < a.end_ms:
            return True
        if a.end_ms <= b.end_ms:
            a = next(mine, None)
        else:
            b = next(theirs, None)
    return False


def _content(series: PriceSeries) -> PriceSeries:
    """The series without what differs each time that it is issued."""
    return replace(series, provider=b"", serial=0, issued_ms=0)


def spell_price(series: PriceSeries, interval: PriceInterval) -> str:
    """A price in the currency for a kWh, exact: "0.1032"."""
    return f"{Decimal(interval.price).scaleb(-series.decimals):f}"


def write_csv(series: PriceSeries) -> str:
    """The series as `read_csv` reads it, with times in UTC."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for one in series.intervals:
        writer.writerow([spell(one.start_ms, 1), spell(one.end_ms, 1), spell_price(series, one)])
    return out.getvalue()
