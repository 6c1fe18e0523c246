"""An invoice or credit note: parties, period, lines, VAT, totals. Everything in it is exact decimal.

Quantities carry the sign, and prices never do: EN 16931 refuses a negative price (rule BR-27), so energy at a
negative price is a negative quantity. The amounts of the lines are rounded, and all totals are their sums.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from gateway.errors import UsageError

Type = Literal["380", "381", "384", "389", "261"]
"""The type of the document (UNTDID 1001): an invoice, a credit note, a corrected invoice; a self-billed
invoice, which the buyer of energy that a household fed in makes for it, and a self-billed credit note."""
Standard = Literal["en16931", "peppol"]
Unit = Literal["KWH", "DAY", "MON", "C62"]
"""A quantity's unit (UN/ECE Recommendation 20): kWh, days, months; C62 where there is nothing to measure."""
Category = Literal["S", "Z", "E", "AE", "O"]
"""A VAT category (UNTDID 5305): standard or reduced rate, zero rate, exempt, reverse charge, outside of
VAT."""

TITLES: dict[Type, str] = {
    "380": "Invoice",
    "381": "Credit note",
    "384": "Corrected invoice",
    "389": "Self-billed invoice",
    "261": "Self-billed credit note",
}
UNITS: dict[Unit, str] = {"KWH": "kWh", "DAY": "d", "MON": "mo", "C62": ""}
CREDIT_NOTES: frozenset[Type] = frozenset({"381", "261"})
SELF_BILLED: frozenset[Type] = frozenset({"389", "261"})
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Party:
    """The seller or the buyer. `id` is what the other one calls it, such as a customer's number; `register`
    its number in a register of companies; `endpoint` its electronic address as `scheme:id`."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    street: str
    city: str
    postcode: str
    country: str
    id: str | None = None
    vat_id: str | None = None
    register: str | None = None
    contact: str | None = None
    phone: str | None = None
    email: str | None = None
    iban: str | None = None
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Vat:
    """What VAT a line carries: the percent, None outside of VAT, and the reason why there is none."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    category: Category
    percent: Decimal | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """`quantity` of `unit` at `price`: `amount` of the currency, rounded, without VAT."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    quantity: Decimal
    unit: Unit
    price: Decimal
    amount: Decimal
    vat: Vat
    description: str | None = None

    def negated(self) -> Line:
        """The line that takes this one back."""
        return Line(
            self.name, -self.quantity, self.unit, self.price, -self.amount, self.vat, self.description
        )


@dataclass(frozen=True, slots=True)
class VatTotal:
    """The VAT of all lines that carry the same: `amount` of the currency on `base`."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    vat: Vat
    base: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Reference:
    """The invoice that a correction is of."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    number: str
    issued: date


@dataclass(frozen=True, slots=True)
class Invoice:
    """One document. The period's first and last day are both in it. In a credit note all signs are those of
    what is credited. UsageError where the VAT's bases are not the sums of the lines."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    type: Type
    standard: Standard
    number: str
    issued: date
    due: date
    currency: str
    seller: Party
    buyer: Party
    metering_point: str | None
    stream: str
    start: date
    end: date
    lines: tuple[Line, ...]
    vat: tuple[VatTotal, ...]
    notes: tuple[str, ...]
    corrects: Reference | None = None

    def __post_init__(self) -> None:
        bases: dict[Vat, Decimal] = defaultdict(Decimal)
        for line in self.lines:
            bases[line.vat] += line.amount
        if bases != {one.vat: one.base for one in self.vat}:
            raise UsageError(f"invoice {self.number}: its VAT is not that of its lines")

    @property
    def net(self) -> Decimal:
        """The sum of the lines, without VAT."""
        return sum((line.amount for line in self.lines), Decimal())

    @property
    def tax(self) -> Decimal:
        """All VAT."""
        return sum((one.amount for one in self.vat), Decimal())

    @property
    def total(self) -> Decimal:
        """What is to be paid, or in a credit note is credited."""
        return self.net + self.tax

    @property
    def title(self) -> str:
        """What kind of document it is, in words."""
        return TITLES[self.type]

    @property
    def credits(self) -> bool:
        """Whether its amounts are credited."""
        return self.type in CREDIT_NOTES

    @property
    def self_billed(self) -> bool:
        """Whether the buyer made it."""
        return self.type in SELF_BILLED


_CODEC = TypeAdapter(Invoice)


def write_json(invoice: Invoice) -> bytes:
    """The document as JSON, with its totals; decimals are text."""
    document = _CODEC.dump_python(invoice, mode="json")
    totals = {name: f"{getattr(invoice, name):f}" for name in ("net", "tax", "total")}
    return _JSON.dump_json({**document, "totals": totals}, indent=2) + b"\n"


_JSON = TypeAdapter(dict[str, object])


def read_json(data: bytes, what: str) -> Invoice:
    """The document that `write_json` wrote. UsageError where it is not one."""
    try:
        document = _JSON.validate_json(data)
        totals = document.pop("totals", None)
        invoice = _CODEC.validate_python(document, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"{what} is not an invoice as `gateway provider invoice` writes it in JSON: "
            f"{where + ': ' if where else ''}{first['msg']}"
        ) from None
    if totals != {name: f"{getattr(invoice, name):f}" for name in ("net", "tax", "total")}:
        raise UsageError(f"{what}: its totals are not the sums of its lines")
    return invoice
