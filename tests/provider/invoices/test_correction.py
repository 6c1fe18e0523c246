"""A correction of an invoice: in full, or of what differs."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from gateway.errors import UsageError
from gateway.provider.bill import Step
from gateway.provider.invoices.correction import Way, correct
from gateway.provider.invoices.document import Invoice, Reference
from tests.provider.invoices.papers import ISSUED, STEPS, invoice, of_windows, terms

LATER = date(2026, 5, 4)
EARLIER = invoice()


def now(*steps: Step) -> Invoice:
    return invoice(of_windows(steps or (*STEPS[:2], Step("export", -810, 8_000_000))), issued=LATER)


def test_the_difference_has_the_lines_that_changed_alone() -> None:
    made = correct(EARLIER, now(), "difference", "2026-000007")
    assert [(line.name, str(line.quantity), str(line.amount)) for line in made.lines] == [
        ("Electricity fed in", "7.654321", "0.62"),
        ("Electricity fed in", "-8.000000", "-0.65"),
    ]
    assert (made.type, made.title, made.issued) == ("384", "Corrected invoice", LATER)
    assert made.corrects == Reference("2026-000001", ISSUED)
    assert made.total == now().total - EARLIER.total == Decimal("-0.04")
    assert made.notes[0] == "Corrects invoice 2026-000001 of 2026-04-02: only the difference is invoiced."


def test_the_reversal_credits_all_of_it() -> None:
    made = correct(EARLIER, now(), "reversal", "2026-000007")
    assert (made.type, made.lines, made.total) == ("381", EARLIER.lines, EARLIER.total)
    assert (made.issued, made.corrects) == (LATER, Reference("2026-000001", ISSUED))
    assert made.notes[0] == "Credits invoice 2026-000001 of 2026-04-02 in full."


@pytest.mark.parametrize("way", ["reversal", "difference"])
def test_nothing_changed_is_refused_whenever_it_is_asked(way: Way) -> None:
    with pytest.raises(UsageError, match="nothing changed since invoice 2026-000001"):
        correct(EARLIER, now(*STEPS), way, "2026-000007")


def test_a_new_address_is_a_reversal() -> None:
    moved = replace(EARLIER, number="2", buyer=replace(EARLIER.buyer, street="Rue Neuve 1"))
    with pytest.raises(UsageError, match="still hold, and only what stands around them changed"):
        correct(EARLIER, moved, "difference", "2")
    assert correct(EARLIER, moved, "reversal", "2").buyer == EARLIER.buyer


def test_self_billed_ones_stay_so() -> None:
    by = terms(feed_in={"as": "own", "category": "O", "reason": "r"})
    earlier = invoice(by=by, feed_in=True)
    later = invoice(of_windows((STEPS[0], Step("export", -810, 9))), by=by, feed_in=True)
    assert correct(earlier, later, "reversal", "2").type == "261"
    made = correct(earlier, later, "difference", "2")
    assert (made.type, made.title) == ("389", "Corrected self-billed invoice")


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (replace(EARLIER, stream="00" * 16), "its stream is 0000"),
        (replace(EARLIER, end=date(2026, 3, 30)), "its period is 2026-03-01 to 2026-03-30"),
        (replace(EARLIER, currency="GBP"), "its currency is GBP, and that of the bill is EUR"),
        (replace(EARLIER, type="389"), "its type is self-billed invoice"),
        (replace(EARLIER, number="2026-000007"), "is that of the earlier invoice"),
        (correct(EARLIER, now(), "difference", "2026-000005"), "2026-000005 is a correction itself"),
    ],
)
def test_another_invoice_is_no_earlier_one(other: Invoice, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        correct(other, now(), "difference", "2026-000007")
    assert sentence in str(error.value)
