"""The body of a tariff, whose H is in the grant body of a bill."""

from __future__ import annotations

from typing import Any

from gateway.chain.layout import DAY_MS, ENERGY
from gateway.chain.prices import (
    HOLIDAY,
    LAST_DATE,
    MAX_DATES,
    MAX_PRICES,
    MAX_RULES,
    Calendar,
    Dynamic,
    Rule,
    TimeOfUse,
)
from gateway.chain.tariff import Tariff
from gateway.errors import Refused, UsageError
from gateway.wire import cose
from gateway.wire.form import (
    Field,
    between,
    either,
    integer,
    list_of,
    map_of,
    read,
    tstr,
    tuple_of,
    uint,
    write,
)

_DATE = between(0, LAST_DATE)
_DATES = list_of(_DATE, most=MAX_DATES)
_RULE = (integer(), list_of(between(0, HOLIDAY), most=HOLIDAY + 1), between(0, 1440), between(0, 1440))
_WHEN = (
    Field(1, "months", list_of(between(1, 12), most=12)),
    Field(2, "since", _DATE),
    Field(3, "before", _DATE),
    Field(4, "dates", _DATES),
)
_RULES = list_of(either(tuple_of(*_RULE), tuple_of(*_RULE, map_of(*_WHEN))), most=MAX_RULES)
_PRICES = either(_RULES, tuple_of(uint(), list_of(integer(), most=MAX_PRICES)))
_TARIFF_FIELDS = (
    Field(1, "currency", tstr(8)),
    Field(2, "scale", between(0, 12)),
    Field(3, "zone", tstr()),
    Field(4, "step_ms", between(1, DAY_MS)),
    Field(5, "import", _PRICES, optional=True),
    Field(6, "export", _PRICES, optional=True),
    Field(7, "since", _DATE, optional=True),
    Field(8, "before", _DATE, optional=True),
    Field(9, "holidays", _DATES, optional=True),
)


def tariff_body(tariff: Tariff) -> bytes:
    """The bytes of a tariff's body."""
    values: dict[str, Any] = {field.name: getattr(tariff, field.name, None) for field in _TARIFF_FIELDS[:4]}
    for lane in ENERGY:
        prices = tariff.prices.get(lane)
        if isinstance(prices, TimeOfUse):
            values[lane] = [_write_rule(rule) for rule in prices.rules]
        else:
            values[lane] = None if prices is None else (prices.start_ms, prices.prices)
    calendar = tariff.calendar
    values |= {"since": calendar.since, "before": calendar.before, "holidays": calendar.holidays or None}
    return cose.encode(write(_TARIFF_FIELDS, values, "tariff"))


def read_tariff_body(body: bytes, what: str) -> Tariff:
    """The tariff in the bytes of a body."""
    values = read(_TARIFF_FIELDS, cose.decode(body, what), what)
    prices: dict[str, TimeOfUse | Dynamic] = {}
    try:
        for lane in ENERGY:
            given = values.pop(lane)
            if given is not None:
                rules = isinstance(given[0], tuple)
                prices[lane] = TimeOfUse(tuple(map(_read_rule, given))) if rules else Dynamic(*given)
        calendar = Calendar(values.pop("since"), values.pop("before"), values.pop("holidays") or ())
        return Tariff(prices=prices, calendar=calendar, **values)
    except UsageError as error:
        raise Refused(f"{what}: {error}") from None


def _write_rule(rule: Rule) -> tuple[Any, ...]:
    always = (rule.price, rule.days, rule.begin, rule.end)
    when = {key: value for key, name, *_ in _WHEN if (value := getattr(rule, name)) not in (None, ())}
    return (*always, when) if when else always


def _read_rule(given: tuple[Any, ...]) -> Rule:
    price, days, begin, end, *when = given
    names = {key: name for key, name, *_ in _WHEN}
    return Rule(
        price, days, begin, end, **{names[key]: value for key, value in (when[0] if when else {}).items()}
    )
