"""Checks of what stands in an invoice: each value, or a UsageError that says what it must be.

The countries are those of ISO 3166-1 as the time zone data list them; the currencies those of ISO 4217,
without those for funds, metals and tests, and without STN, which the rules
of EN 16931 (release 1.3.16) do not know: they have STD, its forerunner until 2018.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import resources
from typing import Any

from gateway.errors import UsageError

_CODES = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF "
    "CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD "
    "HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL "
    "LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP "
    "PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP SVC SYP SZL THB TJS TMT "
    "TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW"
)
CURRENCIES = frozenset(_CODES.split())
_OTHER_PREFIXES = {"EL", "XI"}  # Greece and Northern Ireland, in VAT identifiers only
_MOST_TEXT = 1000
_MOST_DIGITS = 12
_NUMBER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


@cache
def countries() -> frozenset[str]:
    """The two-letter codes of ISO 3166-1."""
    table = (resources.files("tzdata.zoneinfo") / "iso3166.tab").read_text("utf-8")
    return frozenset(line[:2] for line in table.splitlines() if not line.startswith("#"))


def table(raw: Any, what: str, known: Collection[str]) -> Mapping[str, Any]:
    """A table with no other keys than these."""
    if not isinstance(raw, Mapping):
        raise UsageError(f"{what} must be a table")
    if unknown := sorted(raw.keys() - set(known)):
        raise UsageError(
            f"{what}: {', '.join(unknown)} is not a known key; known are {', '.join(sorted(known))}"
        )
    return raw


def text(value: Any, what: str) -> str:
    """Printable text of one line."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > _MOST_TEXT:
        raise UsageError(
            f"{what} is {value!r}; it must be one line of text, of {_MOST_TEXT} characters at most"
        )
    return value.strip()


def optional(value: Any, what: str) -> str | None:
    """The same, or None where there is none."""
    return None if value is None or value == "" else text(value, what)


def number(value: Any, what: str) -> str:
    """An invoice's number, which is the name of its files too."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise UsageError(
            f"{what} {value!r} is not an invoice's number: it must be 1 to 40 letters, digits, dots, "
            "hyphens and "
            'underscores, such as "2026-000123"'
        )
    return value


def country(value: Any, what: str) -> str:
    """A country's code."""
    if not isinstance(value, str) or value not in countries():
        raise UsageError(
            f'{what} is {value!r}; it must be two capital letters of ISO 3166-1, such as "FR", and "GB" for '
            "the United Kingdom"
        )
    return value


def currency(value: str) -> str:
    """A currency's code."""
    if value not in CURRENCIES:
        raise UsageError(
            f"the tariff's currency is {value!r}, and an invoice needs one of ISO 4217, such as EUR or GBP: "
            "quote prices in it, not in its hundredths"
        )
    return value


def vat_id(value: Any, what: str) -> str | None:
    """A VAT identifier with its country's prefix (rule BR-CO-09), or None where there is none."""
    if value is None or value == "":
        return None
    found = value.replace(" ", "") if isinstance(value, str) else ""
    prefix = found[:2]
    if not re.fullmatch(r"[A-Z]{2}[0-9A-Z+*.]{2,18}", found) or prefix not in countries() | _OTHER_PREFIXES:
        raise UsageError(
            f"{what} is {value!r}; a VAT identifier begins with its country's two letters, such as "
            '"FR40303265045"; Greece has "EL"'
        )
    return found


def iban(value: Any, what: str) -> str | None:
    """An IBAN with the right check digits (ISO 13616, ISO 7064 MOD 97-10), or None where there is none."""
    if value is None or value == "":
        return None
    found = value.replace(" ", "") if isinstance(value, str) else ""
    if re.fullmatch(r"[A-Z]{2}[0-9]{2}[0-9A-Z]{8,30}", found):
        digits = "".join(str(int(character, 36)) for character in found[4:] + found[:4])
        if int(digits) % 97 == 1:
            return found
    raise UsageError(f"{what} is {value!r}, which is not an IBAN: its check digits do not fit")


def endpoint(value: Any, what: str) -> str | None:
    """An electronic address as `scheme:id`, or None where there is none."""
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[0-9A-Z]{2,4}:[\x21-\x7e]{1,100}", value):
        raise UsageError(
            f"{what} is {value!r}; it must be the code of a scheme (EAS) and the address in it, such as "
            '"0088:7300010000001"'
        )
    return value


def decimal(value: Any, what: str) -> Decimal:
    """A number as text, so that no decimal is lost."""
    try:
        found = Decimal(value) if isinstance(value, str) else Decimal("NaN")
    except InvalidOperation:
        found = Decimal("NaN")
    if found.is_finite() and abs(found.adjusted()) < _MOST_DIGITS:
        exponent = found.as_tuple().exponent
        if isinstance(exponent, int) and -exponent <= _MOST_DIGITS:
            return found
    raise UsageError(f'{what} is {value!r}; it must be a number as text, such as "0.0205"')


def choice(value: Any, what: str, known: Collection[str]) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in known:
        raise UsageError(f"{what} is {value!r}; it must be one of {', '.join(known)}")
    return value
