"""The body of a tariff, whose H is in the grant body of a bill."""

from __future__ import annotations

from typing import Any

from gateway.chain.layout import DAY_MS, ENERGY
from gateway.chain.tariff import Dynamic, Rule, Tariff, TimeOfUse
from gateway.errors import Refused, UsageError
from gateway.wire import cose
from gateway.wire.form import Field, between, either, integer, list_of, read, tstr, tuple_of, uint, write

_RULES = list_of(
    tuple_of(integer(), list_of(between(0, 6), most=7), between(0, 1440), between(0, 1440)), most=256
)
_PRICES = either(_RULES, tuple_of(uint(), list_of(integer(), most=2**19)))
_TARIFF_FIELDS = (
    Field(1, "currency", tstr(8)),
    Field(2, "scale", between(0, 12)),
    Field(3, "zone", tstr()),
    Field(4, "step_ms", between(1, DAY_MS)),
    Field(5, "import", _PRICES, optional=True),
    Field(6, "export", _PRICES, optional=True),
)


def tariff_body(tariff: Tariff) -> bytes:
    """The bytes of a tariff's body."""
    values: dict[str, Any] = {field.name: getattr(tariff, field.name, None) for field in _TARIFF_FIELDS[:4]}
    for lane in ENERGY:
        prices = tariff.prices.get(lane)
        if isinstance(prices, TimeOfUse):
            values[lane] = [(rule.price, rule.days, rule.begin, rule.end) for rule in prices.rules]
        else:
            values[lane] = None if prices is None else (prices.start_ms, prices.prices)
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
                prices[lane] = TimeOfUse(tuple(Rule(*rule) for rule in given)) if rules else Dynamic(*given)
        return Tariff(prices=prices, **values)
    except UsageError as error:
        raise Refused(f"{what}: {error}") from None
