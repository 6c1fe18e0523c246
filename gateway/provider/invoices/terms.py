"""What all invoices of a provider say besides the energy: the file `invoice.toml`.

    standard = "en16931"
    due_days = 14
    [seller]
    name = "ACME Énergie SA"
    ...

`example.toml` beside this module has every key, and `gateway provider invoice --example` prints it. The lines
of standing charges and taxes stand in the tariff's file, as gateway.provider.invoice has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from typing import Any, cast, get_args

from gateway.errors import UsageError
from gateway.provider.invoices import checks
from gateway.provider.invoices.document import Category, Party, Standard, Vat

_KEYS = ("standard", "due_days", "energy", "notes", "number", "seller", "buyer", "vat", "levy", "feed_in")
PARTY_KEYS = (
    *("name", "street", "city", "postcode", "country", "id", "vat_id", "register"),
    *("contact", "phone", "email", "iban", "endpoint"),
)
_MOST_DAYS = 365
_LEAST_PERCENT = Decimal("0.5")
"""The rules of EN 16931 (BR-CO-17) take a lower rate for none, and want no VAT of it."""
_MOST_DIGITS = 12
_VAT_KEYS = ("category", "percent", "reason")


@dataclass(frozen=True, slots=True)
class Buyer:
    """A home that is invoiced: who pays, and for which metering point."""

    party: Party
    metering_point: str | None


@dataclass(frozen=True, slots=True)
class Levy:
    """`amount` of the currency for each kWh that was imported."""

    name: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Series:
    """Numbers that follow each other: the prefix, then a count of so many digits."""

    prefix: str
    digits: int
    first: int

    def number(self, count: int) -> str:
        """The number of this count."""
        return f"{self.prefix}{count:0{self.digits}d}"

    def count(self, number: str) -> int | None:
        """The count of a number; None where it is not of this series."""
        rest = number.removeprefix(self.prefix)
        plain = number.startswith(self.prefix) and rest.isascii() and rest.isdigit()
        return int(rest) if plain and self.number(int(rest)) == number else None


@dataclass(frozen=True, slots=True)
class InvoiceTerms:
    """The file, read. `buyer` is None where the file has none; `vat_line` is the tariff file's line that is
    VAT; `feed_in_vat` is None where energy that is paid for carries the VAT of the other lines."""

    standard: Standard
    due_days: int
    by_step: bool
    notes: tuple[str, ...]
    series: Series
    seller: Party
    buyer: Buyer | None
    vat: Vat
    vat_line: str | None
    other_vat: Mapping[str, Vat]
    levies: tuple[Levy, ...]
    own_feed_in: bool
    feed_in_vat: Vat | None

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> InvoiceTerms:
        """From the file's content. UsageError for what is missing or invalid in it."""
        checks.table(raw, "the file", _KEYS)
        if "seller" not in raw or "vat" not in raw:
            raise UsageError(
                "the file has no table "
                + ("[seller]" if "seller" not in raw else "[vat]")
                + "; `gateway provider invoice --example` prints a whole file"
            )
        vat = checks.table(raw["vat"], "vat", (*_VAT_KEYS, "line", "other"))
        feed_in = checks.table(raw.get("feed_in", {}), "feed_in", (*_VAT_KEYS, "as"))
        own = checks.choice(feed_in.get("as", "line"), "feed_in: as", ("line", "own")) == "own"
        terms = cls(
            cast(Standard, checks.choice(raw.get("standard", "en16931"), "standard", get_args(Standard))),
            _whole(raw.get("due_days", 14), "due_days", 0, _MOST_DAYS),
            checks.choice(raw.get("energy", "steps"), "energy", ("steps", "sum")) == "steps",
            tuple(checks.text(note, "notes") for note in _list(raw.get("notes", []), "notes")),
            _series(raw.get("number", {})),
            party(checks.table(raw["seller"], "seller", PARTY_KEYS), "seller"),
            buyer(raw["buyer"], "buyer") if "buyer" in raw else None,
            _vat(vat, "vat"),
            checks.optional(vat.get("line"), "vat: line"),
            _other(vat.get("other", [])),
            tuple(map(_levy, _list(raw.get("levy", []), "levy"))),
            own,
            _vat(feed_in, "feed_in") if "category" in feed_in else None,
        )
        if own and terms.feed_in_vat is None:
            raise UsageError(
                "feed_in: category is missing: a self-billed invoice has a VAT of its own, such as category "
                '= "O" and reason = "The producer is outside of VAT"'
            )
        return terms


def example() -> str:
    """A whole file `invoice.toml`, each key explained."""
    return (resources.files(__package__) / "example.toml").read_text("utf-8")


def party(raw: Mapping[str, Any], what: str) -> Party:
    """A seller or a buyer. UsageError for what is missing or invalid."""
    for key in ("name", "street", "city", "postcode", "country"):
        if not raw.get(key):
            raise UsageError(f"{what}: {key} is missing")
    optional = {key: checks.optional(raw.get(key), f"{what}: {key}") for key in ("id", "register", "contact")}
    return Party(
        checks.text(raw["name"], f"{what}: name"),
        checks.text(raw["street"], f"{what}: street"),
        checks.text(raw["city"], f"{what}: city"),
        checks.text(raw["postcode"], f"{what}: postcode"),
        checks.country(raw["country"], f"{what}: country"),
        optional["id"],
        checks.vat_id(raw.get("vat_id"), f"{what}: vat_id"),
        optional["register"],
        optional["contact"],
        checks.optional(raw.get("phone"), f"{what}: phone"),
        checks.optional(raw.get("email"), f"{what}: email"),
        checks.iban(raw.get("iban"), f"{what}: iban"),
        checks.endpoint(raw.get("endpoint"), f"{what}: endpoint"),
    )


def buyer(raw: Any, what: str) -> Buyer:
    """The buyer of a home's energy. UsageError as in `party`."""
    found = checks.table(raw, what, (*PARTY_KEYS, "metering_point"))
    return Buyer(party(found, what), checks.optional(found.get("metering_point"), f"{what}: metering_point"))


def _vat(raw: Mapping[str, Any], what: str) -> Vat:
    category = cast(Category, checks.choice(raw.get("category"), f"{what}: category", get_args(Category)))
    reason = checks.optional(raw.get("reason"), f"{what}: reason")
    if category in ("S", "Z") and reason is not None:
        raise UsageError(f"{what}: VAT of category {category} has no reason; E, AE and O have one")
    if category in ("E", "AE", "O") and reason is None:
        raise UsageError(f"{what}: reason is missing: VAT of category {category} wants one, in words")
    if category != "S":
        if "percent" in raw and checks.decimal(raw["percent"], f"{what}: percent") != 0:
            raise UsageError(f"{what}: percent must be 0 or left out: category {category} charges no VAT")
        return Vat(category, None if category == "O" else Decimal(0), reason)
    percent = checks.decimal(raw.get("percent"), f"{what}: percent")
    if not _LEAST_PERCENT <= percent <= 100:
        raise UsageError(
            f"{what}: percent is {percent:f}; it must be {_LEAST_PERCENT} to 100; category Z is the zero rate"
        )
    return Vat(category, percent)


def _other(raw: Any) -> dict[str, Vat]:
    found: dict[str, Vat] = {}
    for one in _list(raw, "vat.other"):
        table = checks.table(one, "vat.other", (*_VAT_KEYS, "lines"))
        names = [
            checks.text(name, "vat.other: lines") for name in _list(table.get("lines"), "vat.other: lines")
        ]
        for name in names:
            if name in found:
                raise UsageError(f"vat.other: the line {name!r} stands in two tables; it carries one VAT")
            found[name] = _vat(table, "vat.other")
    return found


def _levy(raw: Any) -> Levy:
    found = checks.table(raw, "levy", ("name", "amount"))
    name = checks.text(found.get("name"), "levy: name")
    amount = checks.decimal(found.get("amount"), f"levy: {name}: amount")
    if amount <= 0:
        raise UsageError(f"levy: {name}: amount is {amount:f}; it must be more than 0")
    return Levy(name, amount)


def _series(raw: Any) -> Series:
    found = checks.table(raw, "number", ("prefix", "digits", "first"))
    prefix = found.get("prefix", "")
    series = Series(
        prefix if isinstance(prefix, str) else "?",
        _whole(found.get("digits", 6), "number: digits", 1, _MOST_DIGITS),
        _whole(found.get("first", 1), "number: first", 0, 10**_MOST_DIGITS - 1),
    )
    checks.number(series.number(series.first), "number: with prefix and digits,")
    return series


def _whole(value: Any, what: str, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UsageError(f"{what} is {value!r}; it must be a whole number from {least} to {most}")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > 100:
        raise UsageError(f"{what} must be a list, of 100 at most")
    return value
