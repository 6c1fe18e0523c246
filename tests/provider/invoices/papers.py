"""Bills and terms for invoices, without a stream: what a test needs to make one."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from gateway.chain.prices import Rule, TimeOfUse
from gateway.chain.tariff import Tariff
from gateway.provider.bill import Bill, Step
from gateway.provider.invoice import Terms
from gateway.provider.invoices.document import Invoice
from gateway.provider.invoices.making import Billed, make
from gateway.provider.invoices.terms import Buyer, InvoiceTerms, example

STREAM, SIGNER, GRANT = bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 48))
ISSUED = date(2026, 4, 2)
PRICES = {"import": TimeOfUse((Rule(2081),)), "export": TimeOfUse((Rule(-810),))}
TARIFF = Tariff("EUR", 4, "Europe/Paris", 900_000, PRICES)
PARIS = ZoneInfo("Europe/Paris")
MARCH = (
    datetime(2026, 3, 1, tzinfo=PARIS).astimezone(UTC),
    datetime(2026, 4, 1, tzinfo=PARIS).astimezone(UTC),
)
STEPS = (Step("import", 2081, 123_456_789), Step("import", 1635, 99_000_001), Step("export", -810, 7_654_321))
TABLE = """
[[bill.line]]
name = "Abonnement"
amount = "0.5267"
per = "day"
[[bill.line]]
name = "TVA"
percent = "20"
"""


def of_windows(steps: Sequence[Step] = STEPS, tariff: Tariff = TARIFF) -> Bill:
    """A bill of March 2026 from windows."""
    lanes = tuple(dict.fromkeys(step.lane for step in steps))
    value = sum(step.price * step.energy for step in steps)
    return Bill(*MARCH, lanes, value, 1, tariff, tariff.zone, tuple(steps), (GRANT,))


def of_grant(value: int, quantum: int, lanes: tuple[str, ...] = ("import",), tariff: Tariff = TARIFF) -> Bill:
    """A bill of March 2026 whose amount alone is known."""
    return Bill(*MARCH, lanes, value, quantum, tariff, tariff.zone, None, (GRANT,))


def raw_terms(**changes: Any) -> dict[str, Any]:
    """The example's file, with some tables or keys replaced; None removes one."""
    raw = {**tomllib.loads(example()), **changes}
    return {key: value for key, value in raw.items() if value is not None}


def terms(**changes: Any) -> InvoiceTerms:
    """The same, read."""
    return InvoiceTerms.read(raw_terms(**changes))


def table(text: str = TABLE) -> Terms:
    """The table [bill] of a tariff's file."""
    return Terms.read(tomllib.loads(text)["bill"])


def invoice(
    *bills: Bill,
    by: InvoiceTerms | None = None,
    lines: Terms | None = None,
    number: str = "2026-000001",
    issued: date = ISSUED,
    feed_in: bool = False,
    buyer: Buyer | None = None,
) -> Invoice:
    """An invoice by the example's terms and the table above unless others are given."""
    by = by or terms()
    payer = buyer or by.buyer
    assert payer is not None
    billed = Billed(STREAM, SIGNER, bills or (of_windows(),))
    return make(billed, by, lines or table(), payer, number, issued, feed_in=feed_in)
