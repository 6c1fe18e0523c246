"""What an earlier invoice is corrected with, once its bill was computed again and came out otherwise.

Either a reversal, which credits all of the earlier invoice, so that a new one takes its place; or a corrected
invoice of the difference alone: earlier lines that no longer hold with the sign turned, and new lines.
Earlier invoice and difference together come to what the new invoice would have come to, to the last cent.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Literal

from gateway.errors import UsageError
from gateway.provider.invoices.document import Invoice, Line, Reference, Type, Vat, VatTotal

Way = Literal["reversal", "difference"]
_MOST_OFF = 1
"""How much VAT may differ from its percent of the base, by EN 16931's rule BR-CO-17; less than this."""
_REVERSALS: Mapping[Type, Type] = {"380": "381", "389": "261"}


def correct(earlier: Invoice, now: Invoice, way: Way, number: str) -> Invoice:
    """The correction of `earlier` by the invoice as it would be made `now`, issued when that is.

    UsageError where nothing changed, or `earlier` is of another home or period, or is a correction itself.
    """
    if earlier.corrects is not None:
        raise UsageError(
            f"{earlier.title.lower()} {earlier.number} is a correction itself: name the invoice that it "
            "corrects"
        )
    for what, ours, theirs in (
        ("stream", now.stream, earlier.stream),
        ("type", now.title.lower(), earlier.title.lower()),
        ("currency", now.currency, earlier.currency),
        ("period", f"{now.start} to {now.end}", f"{earlier.start} to {earlier.end}"),
    ):
        if ours != theirs:
            raise UsageError(
                f"invoice {earlier.number} is not an earlier one of this bill: its {what} is {theirs}, and "
                f"that of the bill is {ours}"
            )
    if number == earlier.number:
        raise UsageError(f"number {number} is that of the earlier invoice: a correction has one of its own")
    if same(earlier, replace(now, number=earlier.number, issued=earlier.issued, due=earlier.due)):
        raise UsageError(f"nothing changed since invoice {earlier.number}, so there is nothing to correct")
    reference = Reference(earlier.number, earlier.issued)
    if way == "reversal":
        note = f"Credits invoice {earlier.number} of {earlier.issued} in full."
        return replace(
            earlier,
            type=_REVERSALS[earlier.type],
            number=number,
            issued=now.issued,
            due=now.due,
            notes=(note, *earlier.notes),
            corrects=reference,
        )
    lines = _difference(earlier, now)
    if not lines:
        raise UsageError(
            f"the lines of invoice {earlier.number} still hold, and only what stands around them changed: "
            "correct it by a reversal"
        )
    note = f"Corrects invoice {earlier.number} of {earlier.issued}: only the difference is invoiced."
    return replace(
        now,
        type=_type_of_difference(now),
        number=number,
        lines=lines,
        vat=_vat_difference(earlier, now, lines),
        notes=(note, *now.notes),
        corrects=reference,
    )


def _type_of_difference(now: Invoice) -> Type:
    """A corrected invoice, which Peppol knows between parties in Germany alone (rule P0112); elsewhere, and
    where the buyer makes it, an invoice that refers to the earlier one."""
    german = now.seller.country == now.buyer.country == "DE"
    return "384" if now.type == "380" and (now.standard == "en16931" or german) else now.type


def same(one: Invoice, other: Invoice) -> bool:
    """Whether two invoices say the same, but for the notes."""
    return replace(one, notes=()) == replace(other, notes=())


def _difference(earlier: Invoice, now: Invoice) -> tuple[Line, ...]:
    gone = Counter(earlier.lines) - Counter(now.lines)
    come = Counter(now.lines) - Counter(earlier.lines)
    return (
        *(line.negated() for line in _in_order(earlier.lines, gone)),
        *_in_order(now.lines, come),
    )


def _in_order(lines: tuple[Line, ...], wanted: Counter[Line]) -> list[Line]:
    found, left = [], Counter(wanted)
    for line in lines:
        if left[line] > 0:
            left[line] -= 1
            found.append(line)
    return found


def _vat_difference(earlier: Invoice, now: Invoice, lines: tuple[Line, ...]) -> tuple[VatTotal, ...]:
    """Of each VAT that a line carries, the base and the amount that differ."""
    bases: dict[Vat, Decimal] = defaultdict(Decimal)
    amounts: dict[Vat, Decimal] = defaultdict(Decimal)
    for line in lines:
        bases[line.vat] += line.amount
    for one in now.vat:
        amounts[one.vat] += one.amount
    for one in earlier.vat:
        amounts[one.vat] -= one.amount
    for vat, base in bases.items():
        if abs(amounts[vat] - base * (vat.percent or 0) / 100) >= _MOST_OFF:
            raise UsageError(
                f"VAT is rounded so coarsely that its difference is {amounts[vat]:f} on {base:f}, which the "
                "rules of EN 16931 refuse (BR-CO-17): correct it by a reversal"
            )
    return tuple(VatTotal(vat, base, amounts[vat]) for vat, base in bases.items())
