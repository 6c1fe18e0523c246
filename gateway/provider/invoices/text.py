"""An invoice as plain text, 80 characters wide, for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from decimal import Decimal

from gateway.provider.invoices.document import UNITS, Invoice, Line, Party, VatTotal

_WIDTH = 80


def write_text(invoice: Invoice) -> str:
    """The document, each line of text ended."""
    return "".join(f"{line.rstrip()}\n" for line in _lines(invoice))


def facts(invoice: Invoice) -> list[tuple[str, str]]:
    """What stands beside the parties: each with its name."""
    due = "" if invoice.credits else invoice.due.isoformat()
    earlier = invoice.corrects
    all_of_them = [
        ("Number", invoice.number),
        ("Issued", invoice.issued.isoformat()),
        ("Due", due),
        ("Period", f"{invoice.start} to {invoice.end}"),
        ("Corrects", "" if earlier is None else f"{earlier.number} of {earlier.issued}"),
        ("Metering point", invoice.metering_point or ""),
        ("Customer", (invoice.seller if invoice.self_billed else invoice.buyer).id or ""),
    ]
    return [(name, value) for name, value in all_of_them if value]


def address(party: Party) -> list[str]:
    """A party's name and address, line by line."""
    found = [party.name, party.street, f"{party.postcode} {party.city}", party.country]
    if party.vat_id is not None:
        found.append(f"VAT {party.vat_id}")
    if party.register is not None:
        found.append(f"Register {party.register}")
    return found


def quantity(line: Line) -> str:
    """The quantity with its unit."""
    return f"{line.quantity:f} {UNITS[line.unit]}".rstrip()


def rate(line: Line) -> str:
    """The line's VAT, short."""
    return line.vat.category if line.vat.percent is None else f"{_plain(line.vat.percent)} %"


def vat_line(one: VatTotal, currency: str) -> str:
    """A category's VAT, with its base and its reason."""
    percent = "" if one.vat.percent is None else f"{_plain(one.vat.percent)} % "
    reason = "" if one.vat.reason is None else f" ({one.vat.reason})"
    return f"VAT {percent}on {one.base:f} {currency}{reason}"


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"


def _lines(invoice: Invoice) -> Iterator[str]:
    yield f"{invoice.title} {invoice.number}"
    yield ""
    for what, party in (("From", invoice.seller), ("To", invoice.buyer)):
        for i, line in enumerate(address(party)):
            yield from _wrapped(f"{what if i == 0 else '':6}{line}", 6)
        yield ""
    for name, value in facts(invoice):
        yield from _wrapped(f"{name:16}{value}", 16)
    yield ""
    yield f"{'':32}{'quantity':>18} {'price':>15} {invoice.currency:>13}"
    for line in invoice.lines:
        yield from _wrapped(line.name, 2)
        if line.description is not None:
            yield from _wrapped(f"  {line.description}", 2)
        yield f"  {'VAT ' + rate(line):30}{quantity(line):>18} {line.price:>15f} {line.amount:>13f}"
    yield "-" * _WIDTH
    yield f"{'Net':66} {invoice.net:>13f}"
    for one in invoice.vat:
        text = list(_wrapped(vat_line(one, invoice.currency), 2, 64))
        yield from text[:-1]
        yield f"{text[-1]:66} {one.amount:>13f}"
    yield f"{'Credited' if invoice.credits else 'To pay':66} {invoice.total:>13f}"
    yield ""
    if invoice.seller.iban is not None and not invoice.credits:
        yield f"IBAN {invoice.seller.iban}"
    for note in invoice.notes:
        yield from _wrapped(note, 0)


def _wrapped(text: str, indent: int, width: int = _WIDTH) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=" " * indent) or [""]
