"""The bills of one home and one period, from bill grants or from windows, whichever the household granted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal

from gateway.chain.tariff import Tariff
from gateway.chain.window import zone_of
from gateway.errors import NotGranted, Unavailable, UsageError
from gateway.provider.bill import Bill, bill_grants, bills
from gateway.provider.grants import OwnGrant
from gateway.provider.identity import Identity
from gateway.provider.windows import WindowBills
from gateway.stream.reader import StreamReader
from gateway.stream.times import moment, spell, unix_ms

Source = Literal["bills", "windows"]
_NONE = "no billing period is over yet, or its tokens are not in the store"


async def period_bills(
    reader: StreamReader,
    identity: Identity,
    tariff: Tariff,
    source: Source | None = None,
    day: date | None = None,
    period: str = "month",
) -> tuple[Bill, ...]:
    """The bills of the period that holds a day of the tariff's zone, or else of the last one that is over:
    each lane in one of them. They come from bill grants where there are some, else from windows of such
    periods; `source` says which alone.

    NotGranted where nothing opens them; UsageError where the period is not over; Unavailable where its tokens
    are not in the store yet; Refused for an invalid object.
    """
    if source != "windows":
        try:
            held = await bill_grants(reader, identity, tariff)
        except NotGranted as error:
            if source == "bills":
                raise
            why = error
        else:
            return await _granted(reader, held, tariff, day)
    try:
        asked = await WindowBills.ask(reader, identity, tariff, period)
    except NotGranted as error:
        raise error if source == "windows" else NotGranted(f"{why}; and {error}") from None
    return (await _from_windows(reader, asked, tariff, day),)


async def _granted(
    reader: StreamReader, held: Sequence[OwnGrant], tariff: Tariff, day: date | None
) -> tuple[Bill, ...]:
    zone = zone_of(tariff.zone)
    found = [bill async for bill in bills(reader, held, tariff)]
    if day is not None:
        fits = [one for one in found if _first(one, tariff) <= day < one.end.astimezone(zone).date()]
        if not fits:
            granularity = held[0].grant.granularity
            if granularity.start(granularity.index(_unit(day, tariff, granularity.unit_ms)) + 1) > _head(
                reader
            ):
                raise _not_over(reader, tariff, day)
            raise NotGranted(
                f"no bill of a period that holds {day} is granted, or its token is not in the store yet: "
                + "; ".join(map(str, held))
            )
        found = fits
    if not found:
        raise Unavailable(_NONE)
    last = max(found, key=lambda bill: (bill.end, bill.end - bill.start))
    chosen: list[Bill] = []
    for bill in sorted(found, key=lambda bill: len(bill.lanes), reverse=True):
        if (bill.start, bill.end) == (last.start, last.end):
            taken = {lane for other in chosen for lane in other.lanes}
            if not taken & set(bill.lanes):
                chosen.append(bill)
    return tuple(chosen)


async def _from_windows(reader: StreamReader, asked: WindowBills, tariff: Tariff, day: date | None) -> Bill:
    period = asked.period
    limits = [one.limit for one in asked.held]
    end = min(
        _head(reader), max((x for x in limits if x is not None), default=0) if None not in limits else 2**62
    )
    if day is None:
        k = period.index(end) - 1
    else:
        k = period.index(_unit(day, tariff, period.unit_ms))
        if period.start(k + 1) > _head(reader):
            raise _not_over(reader, tariff, day)
    a, b = (unix_ms(moment(period.start(x), period.unit_ms)) for x in (k, k + 1))
    found = [bill async for bill in asked.bills(a, b)]
    if found:
        return found[0]
    if asked.missing:
        raise NotGranted(asked.missing[0])
    if asked.waiting is not None:
        raise Unavailable(asked.waiting)
    if day is None:
        raise Unavailable(_NONE)
    raise NotGranted(
        f"the windows that are granted are not of the whole {period} that holds {day}: "
        + "; ".join(map(str, asked.held))
    )


def _first(bill: Bill, tariff: Tariff) -> date:
    return bill.start.astimezone(zone_of(tariff.zone)).date()


def _unit(day: date, tariff: Tariff, unit_ms: int) -> int:
    """The unit in which noon of a day of the tariff's zone lies."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=zone_of(tariff.zone))
    return unix_ms(noon) // unit_ms


def _head(reader: StreamReader) -> int:
    """The unit up to which the stream is sealed."""
    return 0 if reader.head is None else reader.head.next_unit


def _not_over(reader: StreamReader, tariff: Tariff, day: date) -> UsageError:
    until = spell(_head(reader), reader.descriptor.layout.unit_ms, tariff.zone)
    return UsageError(f"the billing period that holds {day} is not over: the stream is sealed until {until}")
