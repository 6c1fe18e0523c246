"""Prices as an OpenADR 3.1 event in JSON, read and written.

`PRICE` is the price of imported energy and `EXPORT_PRICE` that of exported (OpenADR 3.1.0 Definition,
"Enumerations": event payload types), both in the currency for a kWh. OpenADR lets an event leave much open:
when an interval begins, how long it lasts, in which zone. What is written leaves nothing open, since readers
differ there: each interval has its own `intervalPeriod` with a start in UTC and a duration in hours, minutes
and seconds. toadr3 0.29 refuses durations of months and years, and openadr3-client 2.4 makes a month 30 days.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from gateway.errors import UsageError
from gateway.provider.prices import Price
from gateway.stream.times import spell, unix_ms
from gateway.wire.prices import PriceSeries

PAYLOADS = {"import": "PRICE", "export": "EXPORT_PRICE"}
_UNITS = "KWH"
_PROGRAM = re.compile(r"[A-Za-z0-9_-]{1,128}")
_DURATION = re.compile(
    r"P(?=.)(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?=.)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d{1,3})?)S)?)?",
    re.ASCII,
)
_MS = {"weeks": 604_800_000, "days": 86_400_000, "hours": 3_600_000, "minutes": 60_000, "seconds": 1000}


def write_event(series: PriceSeries, program: str) -> str:
    """The series as the event that is sent to a VTN, of the program with this id. UsageError for an id or a
    currency that OpenADR does not have, and for a price with more digits than a JSON number keeps."""
    if not _PROGRAM.fullmatch(program):
        raise UsageError(
            f"the program's id {program!r} is invalid: OpenADR has 1 to 128 letters, digits, '-' and '_'"
        )
    if not re.fullmatch("[A-Z]{3}", series.currency):
        raise UsageError(
            f"OpenADR names a currency by its ISO 4217 code, such as EUR: {series.currency!r} is not one"
        )
    event = {
        "objectType": "EVENT",
        "programID": program,
        "eventName": series.name,
        "payloadDescriptors": [
            {
                "objectType": "EVENT_PAYLOAD_DESCRIPTOR",
                "payloadType": PAYLOADS[lane],
                "units": _UNITS,
                "currency": series.currency,
            }
            for lane in series.lanes
        ],
        "intervalPeriod": _period(series.start_ms, series.end_ms - series.start_ms),
        "intervals": [
            {
                "id": number,
                "intervalPeriod": _period(one.start_ms, one.duration_ms),
                "payloads": [
                    {"type": PAYLOADS[lane], "values": [_number(one.price, series.decimals)]}
                    for lane in series.lanes
                ],
            }
            for number, one in enumerate(series.intervals)
        ],
    }
    return json.dumps(event, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _period(start_ms: int, duration_ms: int) -> dict[str, str]:
    return {"start": spell(start_ms, 1), "duration": _spell_duration(duration_ms)}


def _spell_duration(ms: int) -> str:
    """In hours, minutes and seconds: a day of a time zone may have 23 or 25 hours, so none is said."""
    hours, rest = divmod(ms, _MS["hours"])
    minutes, rest = divmod(rest, _MS["minutes"])
    seconds = f"{Decimal(rest).scaleb(-3).normalize():f}"
    parts = (f"{hours}H" if hours else "", f"{minutes}M" if minutes else "", f"{seconds}S" if rest else "")
    return "PT" + "".join(parts)


def _number(price: int, decimals: int) -> float:
    """The price as the float whose shortest decimal form, which JSON shows, is just that price."""
    exact = Decimal(price).scaleb(-decimals)
    if Decimal(repr(float(exact))) != exact:
        raise UsageError(f"the price {exact} has more digits than a JSON number keeps: use fewer decimals")
    return float(exact)


def read_event(
    text: str, what: str, lanes: Sequence[str] | None
) -> tuple[list[Price], tuple[str, ...], str | None]:
    """The prices of an event, which `what` names; the lanes that they are of, those of `lanes` or else all
    for which it has prices; and its currency, None where it names none. UsageError says what is wrong with
    it, also where the prices of the lanes differ.

    An interval without a start begins where the one before it ends, the first with the event; one without a
    duration has the event's.
    """
    event = _object(_json(text, what), what)
    if event.get("objectType", "EVENT") != "EVENT":
        raise UsageError(f"{what}: objectType is {event['objectType']!r}; it must be EVENT")
    if event.get("duration") is not None:
        raise UsageError(
            f"{what}: the event has a duration, which repeats or cuts its intervals: leave it out"
        )
    listed = _list(event.get("intervals"), f"{what}: intervals")
    intervals = [_Interval.read(one, f"{what}, interval {n}") for n, one in enumerate(listed)]
    if lanes is None:
        kinds = [payload.get("type") for one in intervals for payload in one.payloads]
        lanes = tuple(lane for lane, kind in PAYLOADS.items() if kind in kinds)
    if not lanes:
        raise UsageError(f"{what}: it has no prices: no payload is of type {' or '.join(PAYLOADS.values())}")
    currency = _currency(event, what, lanes)
    prices: list[Price] = []
    default = _object(event.get("intervalPeriod") or {}, f"{what}: intervalPeriod")
    at = None if default.get("start") is None else _start(default["start"], f"{what}: intervalPeriod")
    for one in intervals:
        if one.period.get("start") is not None:
            at = _start(one.period["start"], one.where)
        if at is None:
            raise UsageError(f"{one.where}: neither it nor the event has a start")
        spelled = one.period.get("duration") or default.get("duration")
        if spelled is None:
            raise UsageError(f"{one.where}: neither it nor the event has a duration")
        end = at + _duration(spelled, one.where)
        (price, *others) = (one.price(PAYLOADS[lane]) for lane in lanes)
        if any(other != price for other in others):
            raise UsageError(
                f"{one.where}: its prices of import and export differ: make a series of each, with --lanes"
            )
        prices.append(Price(at, end, price))
        at = end
    return prices, tuple(lanes), currency


@dataclass(frozen=True, slots=True)
class _Interval:
    """An interval of an event, checked as far as that it has payloads; `where` names it."""

    where: str
    period: Mapping[str, Any]
    payloads: list[Mapping[str, Any]]

    @classmethod
    def read(cls, value: Any, where: str) -> _Interval:
        interval = _object(value, where)
        listed = _list(interval.get("payloads"), f"{where}: payloads")
        return cls(
            where,
            _object(interval.get("intervalPeriod") or {}, f"{where}: intervalPeriod"),
            [_object(one, f"{where}: each payload") for one in listed],
        )

    def price(self, kind: str) -> Decimal:
        """The value of the one payload of this type."""
        found = [one.get("values") for one in self.payloads if one.get("type") == kind]
        match found:
            case [[Decimal() as price]]:
                return price
        raise UsageError(
            f"{self.where}: it must have one payload of type {kind}, with one number as its value"
        )


def _json(text: str, what: str) -> Any:
    def no_constant(name: str) -> Any:
        raise ValueError(name)

    try:
        return json.loads(text, parse_float=Decimal, parse_int=Decimal, parse_constant=no_constant)
    except (ValueError, ArithmeticError, RecursionError):
        raise UsageError(f"{what} is not JSON, or is nested too deeply: expected an OpenADR event") from None


def _currency(event: Mapping[str, Any], what: str, lanes: Sequence[str]) -> str | None:
    found = set()
    for n, one in enumerate(_list(event.get("payloadDescriptors") or [], f"{what}: payloadDescriptors")):
        where = f"{what}, payload descriptor {n}"
        descriptor = _object(one, where)
        if descriptor.get("payloadType") not in [PAYLOADS[lane] for lane in lanes]:
            continue
        units, currency = descriptor.get("units"), descriptor.get("currency")
        if units not in (None, _UNITS):
            raise UsageError(f"{where}: its prices are for {units!r}; they must be for {_UNITS}")
        if currency is not None:
            found.add(str(currency))
    if len(found) > 1:
        raise UsageError(
            f"{what}: its prices are in {' and '.join(sorted(found))}: a series has one currency"
        )
    return next(iter(found), None)


def _start(text: Any, where: str) -> int:
    try:
        when = datetime.fromisoformat(text)
        if when.tzinfo is None:
            raise UsageError(f"{where}: its start, {text}, has no zone: it must end in Z or in an offset")
        return unix_ms(when)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(
            f"{where}: its start, {text!r}, is not a time such as 2026-03-01T00:00:00Z"
        ) from None


def _duration(text: Any, where: str) -> int:
    match = _DURATION.fullmatch(text) if isinstance(text, str) and len(text) <= 40 else None
    ms = (
        0
        if match is None
        else int(sum(Decimal(part) * _MS[name] for name, part in match.groupdict("0").items()))
    )
    if ms <= 0:
        raise UsageError(
            f"{where}: its duration, {text!r}, is not one of weeks, days, hours, minutes and seconds, such as"
            " PT15M; months and years have no fixed length"
        )
    return ms


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{what} must be a JSON object")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise UsageError(f"{what} must be a JSON array")
    return value
