"""A tariff file: TOML with prices per kWh, read into gateway.chain.tariff.

    currency = "EUR"
    zone = "Europe/Berlin"
    step = "15min"

    [[import]]                  # time of use: the first rule that fits
    price = "0.3215"
    days = ["mon-fri"]          # gateway.config.rules has what else a rule may say
    from = "06:00"
    until = "22:00"
    [[import]]
    price = "0.2450"

    [export]                    # dynamic: a price for each step from `start` on
    start = 2026-11-01T00:00:00+01:00
    prices = ["-0.0810", "-0.0790"]

    [bill]                      # the bill's other lines, no part of the tariff: see gateway.provider.invoice

Prices are text, so that no decimal is lost; all prices of a file get as many decimals as the finest. A price
that the household is paid is negative. Days are Monday to Sunday, and times of day are those of the zone.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from gateway.chain.prices import Dynamic, TimeOfUse
from gateway.chain.tariff import MAX_DECIMALS, Tariff
from gateway.chain.window import Granularity
from gateway.config.rules import RULE_KEYS, Names, known_keys
from gateway.errors import UsageError

_KEYS = {
    *(
        "currency",
        "zone",
        "step",
        "since",
        "before",
        "import",
        "export",
        "holidays",
        "seasons",
        "days",
        "bill",
    ),
}
_MOST_DIGITS = 9  # before the decimal point: a price of billions is a mistake


def load_tariff(path: Path) -> Tariff:
    """The tariff in a file. UsageError names the file, what is wrong in it, and what it must be."""
    raw = read_toml(path)
    try:
        return _tariff(raw)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def read_tariff(text: str, what: str) -> Tariff:
    """The tariff in a file's text. UsageError says of `what` what is wrong in it."""
    try:
        return _tariff(_parsed(text))
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """All that the file of a tariff says. UsageError where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: the file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: this is not valid TOML, which is text in UTF-8") from None
    try:
        return _parsed(text)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"this is not valid TOML: {error}") from None
    except (ValueError, RecursionError):
        raise UsageError(
            "this is not a tariff's TOML: it has a huge number, or is nested too deeply"
        ) from None


def _tariff(raw: Mapping[str, Any]) -> Tariff:
    known_keys(raw, _KEYS, "a tariff")
    lanes = {lane: raw[lane] for lane in ("import", "export") if lane in raw}
    for lane, prices in lanes.items():
        for n, rule in enumerate(prices if isinstance(prices, list) else ()):
            if isinstance(rule, dict):
                known_keys(rule, RULE_KEYS, _place(lane, n))
    scale = max(
        (_decimals(place, price) for lane in lanes for place, price in _texts(lane, raw[lane])), default=0
    )
    currency = raw.get("currency")
    if not isinstance(currency, str):
        raise UsageError('currency is missing; it must be text such as "EUR"')
    step = Granularity.parse(str(raw.get("step", "15min")), 1).size
    if not isinstance(step, int):
        raise UsageError(f'step is "{step}"; it must be a length such as "15min" or "1h"')
    names = Names.read(raw)
    prices = {lane: _prices(lane, given, scale, names) for lane, given in lanes.items()}
    if "zone" not in raw and any(isinstance(one, TimeOfUse) for one in prices.values()):
        raise UsageError('zone is missing: prices go by its clocks; it must be one like "Europe/Berlin"')
    return Tariff(currency, scale, str(raw.get("zone", "UTC")), step, prices, names.calendar)


def _prices(lane: str, raw: Any, scale: int, names: Names) -> TimeOfUse | Dynamic:
    if isinstance(raw, list):
        return TimeOfUse(
            tuple(
                one
                for n, rule in enumerate(raw)
                for one in names.rules(_place(lane, n), rule, _whole(rule["price"], scale))
            )
        )
    known_keys(raw, {"start", "prices"}, lane)
    start = raw.get("start")
    if not isinstance(start, datetime) or start.tzinfo is None:
        raise UsageError(
            f"{lane}: start is missing, or has no offset; it must be like 2026-11-01T00:00:00+01:00"
        )
    start_ms = (start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return Dynamic(start_ms, tuple(_whole(price, scale) for price in raw["prices"]))


def _place(lane: str, n: int) -> str:
    return f"rule {n + 1} of {lane}"


def _texts(lane: str, raw: Any) -> list[tuple[str, Any]]:
    """All prices of a lane, not checked yet, each with its place in the file."""
    if isinstance(raw, dict) and isinstance(raw.get("prices"), list):
        return [(f"number {n + 1} of {lane}", price) for n, price in enumerate(raw["prices"])]
    if isinstance(raw, list) and all(isinstance(rule, dict) and "price" in rule for rule in raw) and raw:
        return [(_place(lane, n), rule["price"]) for n, rule in enumerate(raw)]
    raise UsageError('a lane must have rules, each with a price, or a start and prices = ["0.1032", ...]')


def _decimal(place: str, price: Any) -> Decimal:
    try:
        if not isinstance(price, str):
            raise InvalidOperation
        value = Decimal(price)
        if not value.is_finite() or value.adjusted() > _MOST_DIGITS:
            raise InvalidOperation
    except InvalidOperation:
        raise UsageError(
            f'{place}: price {price!r}: it must be a number per kWh as text, such as "0.3215"'
        ) from None
    return value


def _decimals(place: str, price: Any) -> int:
    exponent = _decimal(place, price).as_tuple().exponent
    assert isinstance(exponent, int)  # finite
    if -exponent > MAX_DECIMALS:
        raise UsageError(f"{place}: price {price!r}: it may have at most {MAX_DECIMALS} decimals")
    return max(0, -exponent)


def _whole(price: str, scale: int) -> int:
    return int(Decimal(price).scaleb(scale))
