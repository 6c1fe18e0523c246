"""An invoice's lines, VAT and notes: what the terms, the tariff's lines and the bills come to together."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UsageError
from gateway.provider.bill import Bill, Step
from gateway.provider.invoices.document import Line, read_json, write_json
from gateway.provider.invoices.text import write_text
from tests.provider.invoices.papers import (
    MARCH,
    TARIFF,
    invoice,
    of_grant,
    of_windows,
    raw_terms,
    table,
    terms,
)

OWN = {"as": "own", "category": "O", "reason": "The producer is outside of VAT"}


def shown(lines: tuple[Line, ...]) -> list[tuple[str, str, str, str, str]]:
    return [(one.name, f"{one.quantity:f}", one.unit, f"{one.price:f}", f"{one.amount:f}") for one in lines]


def test_windows_give_a_line_for_each_price() -> None:
    made = invoice()
    assert shown(made.lines) == [
        ("Electricity", "123.456789", "KWH", "0.2081", "25.69"),
        ("Electricity", "99.000001", "KWH", "0.1635", "16.19"),
        ("Electricity fed in", "-7.654321", "KWH", "0.0810", "-0.62"),
        ("Abonnement", "31", "DAY", "0.5267", "16.33"),
    ]
    assert (made.net, made.tax, made.total) == (Decimal("57.59"), Decimal("11.52"), Decimal("69.11"))
    assert (made.start.isoformat(), made.end.isoformat()) == ("2026-03-01", "2026-03-31")
    assert (made.issued.isoformat(), made.due.isoformat()) == ("2026-04-02", "2026-04-16")


def test_a_bill_grant_gives_its_amount_and_says_so() -> None:
    made = invoice(of_grant(12_340_000_000_0, 10**8))
    assert shown(made.lines)[0] == ("Electricity", "1", "C62", "12.34", "12.34")
    assert made.lines[0].description == "rounded to 0.01 by the household's gateway"
    assert "Amount rounded to 0.01 EUR by the household's gateway" in made.notes[1]
    assert "signed by 101112131415161718191a1b1c1d1e1f, opened by grant 2021222324" in made.notes[0]
    both = invoice(of_grant(-5 * 10**10, 10**8, ("import", "export")))
    assert shown(both.lines)[0] == ("Electricity, less what was fed in", "-1", "C62", "5.00", "-5.00")


@given(
    price=st.integers(-(10**4), 10**4),
    energy=st.integers(0, 10**10),
    unit=st.sampled_from(["0.01", "0.05", "1"]),
    percent=st.decimals("0.5", "30", places=2),
)
def test_one_line_of_energy_totals_as_the_tables_do(
    price: int, energy: int, unit: str, percent: Decimal
) -> None:
    """The invoice of one energy line is the paper of `provider bill`, to the last cent."""
    lines = table(
        f'[bill]\nround = "{unit}"\n[[bill.line]]\nname = "A"\namount = "0.4786"\nper = "day"\n'
        '[[bill.line]]\nname = "Duty"\npercent = "5.11269632"\n'
        f'[[bill.line]]\nname = "TVA"\npercent = "{percent:f}"\n'
    )
    bill = of_windows([Step("import", price, energy)])
    vat = {"category": "S", "percent": f"{percent:f}", "line": "TVA"}
    made = invoice(bill, by=terms(energy="sum", vat=vat), lines=lines)
    paper = lines.invoice(bill.amount, *MARCH, TARIFF.zone)
    assert [line.amount for line in made.lines] == [line.amount for line in paper[:-2]]
    assert (made.tax, made.total) == (paper[-2].amount, paper[-1].amount)


@pytest.mark.parametrize(("amount", "rounded"), [("0.125", "0.13"), ("-0.125", "-0.13"), ("0.1249", "0.12")])
def test_halves_go_away_from_zero(amount: str, rounded: str) -> None:
    lines = table(f'[[bill.line]]\nname = "A"\namount = "{amount}"\nper = "period"')
    made = invoice(lines=lines, by=terms(vat={"category": "S", "percent": "20"}))
    assert f"{made.lines[-1].amount:f}" == rounded


def test_levies_other_vat_and_lines_after_it() -> None:
    lines = table(
        '[[bill.line]]\nname = "TVA"\npercent = "20"\n[[bill.line]]\nname = "Bonus"\namount = "-5"\nper = '
        '"period"'
    )
    with pytest.raises(UsageError, match="'Bonus' comes after the VAT in the tariff's"):
        invoice(lines=lines)
    vat = {**raw_terms()["vat"], "other": [{"lines": ["Bonus"], "category": "E", "reason": "A gift"}]}
    levy = [{"name": "Accise", "amount": "0.0309"}]
    made = invoice(lines=lines, by=terms(vat=vat, levy=levy))
    assert shown(made.lines)[3:] == [
        ("Accise", "222.456790", "KWH", "0.0309", "6.87"),
        ("Bonus", "-1", "C62", "5", "-5.00"),
    ]
    assert [(one.vat.category, one.base, one.amount) for one in made.vat] == [
        ("S", Decimal("48.13"), Decimal("9.63")),
        ("E", Decimal("-5.00"), Decimal("0.00")),
    ]


def test_feed_in_has_an_invoice_of_its_own() -> None:
    by = terms(feed_in=OWN)
    assert [line.name for line in invoice(by=by).lines] == ["Electricity", "Electricity", "Abonnement"]
    own = invoice(by=by, feed_in=True)
    assert shown(own.lines) == [("Electricity fed in", "7.654321", "KWH", "0.0810", "0.62")]
    assert own.seller.name == "Renée Dupont"
    assert own.tax == 0
    paid = invoice(of_windows([Step("import", 1, 1), Step("export", 500, 10**6)]), by=by, feed_in=True)
    assert shown(paid.lines) == [("Electricity fed in", "-1.000000", "KWH", "0.0500", "-0.05")]
    apart = (of_grant(10**10, 10**8), of_grant(-2 * 10**10, 10**8, ("export",)))
    assert shown(invoice(*apart, by=by, feed_in=True).lines) == [
        ("Electricity fed in", "1", "C62", "2.00", "2.00")
    ]


@pytest.mark.parametrize(
    ("bill", "changes", "feed_in", "sentence"),
    [
        (
            of_grant(1, 1, ("import", "export")),
            {"feed_in": OWN},
            True,
            "one bill is of import and export together",
        ),
        (of_grant(1, 1), {"feed_in": OWN}, True, "no bill of export is granted for this period"),
        (of_windows([Step("export", 1, 1)]), {"feed_in": OWN}, False, "no bill of import is granted"),
        (
            of_grant(1, 1),
            {"levy": [{"name": "L", "amount": "1"}]},
            False,
            "levy: L is charged for each kWh, and",
        ),
        (of_windows(), {"feed_in": {**OWN, "as": "line"}}, False, "which EN 16931 refuses"),
        (
            of_windows(),
            {"vat": {"category": "AE", "reason": "r", "line": "TVA"}},
            False,
            "TVA, is 20 %, and that of",
        ),
        (
            of_windows(tariff=replace(TARIFF, currency="ct")),
            {},
            False,
            "the tariff's currency is 'ct', and an invoice needs one of ISO 4217",
        ),
        (
            of_windows(),
            {"vat": {**raw_terms()["vat"], "other": [{"lines": ["Bonus"], "category": "Z"}]}},
            False,
            "vat.other: the invoice has no line 'Bonus'; its lines are Abonnement, Electricity",
        ),
        (of_windows(), {"standard": "peppol"}, False, "seller: endpoint is missing: Peppol wants"),
    ],
)
def test_what_does_not_fit_is_said(bill: Bill, changes: dict[str, Any], feed_in: bool, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        invoice(bill, by=terms(**changes), feed_in=feed_in)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("seller", {}, "seller: name is missing"),
        ("seller", None, r"the file has no table [seller]"),
        ("standard", "ubl", "standard is 'ubl'; it must be one of en16931, peppol"),
        ("due_days", "14", "due_days is '14'; it must be a whole number from 0 to 365"),
        ("energy", "all", "energy is 'all'; it must be one of steps, sum"),
        ("number", {"prefix": "2026/"}, "'2026/000001' is not an invoice's number"),
        ("vat", {"category": "S"}, "vat: percent is None; it must be a number as text"),
        ("vat", {"category": "S", "percent": "0"}, "vat: percent is 0; it must be 0.5 to 100"),
        ("vat", {"category": "E"}, "vat: reason is missing"),
        ("vat", {"category": "Z", "percent": "5"}, "vat: percent must be 0 or left out"),
        ("vat", {"category": "S", "percent": "5", "reason": "x"}, "VAT of category S has no reason"),
        ("levy", [{"name": "L", "amount": "0"}], "levy: L: amount is 0; it must be more than 0"),
        ("levy", [{"name": "L", "amount": "1", "unit": "MWh"}], "levy: unit is not a known key"),
        ("feed_in", {"as": "own"}, "feed_in: category is missing"),
        ("notes", ["a\nb"], "notes is 'a\\nb'; it must be one line of text"),
        ("buyer", {"name": "x"}, "buyer: street is missing"),
    ],
)
def test_a_file_that_is_wrong_is_told_where(key: str, value: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        terms(**{key: value})
    assert sentence in str(error.value)


def test_json_that_is_not_an_invoice_is_refused() -> None:
    data = write_json(invoice())
    for old, new, sentence in (
        (b'"number": "2026-000001"', b'"number": 7', "number: Input should be a valid string"),
        (b'"stream"', b'"steam"', "stream: Field required"),
        (b'"stream"', b'"more": 1, "stream"', "more: Unexpected keyword argument"),
        (b'"iban"', b'"more": 1, "iban"', "more: Unexpected keyword argument"),
        (b'"25.69"', b'"25.70"', "its VAT is not that of its lines"),
        (b'"net": "57.59"', b'"net": "57.58"', "its totals are not the sums of its lines"),
        (b"{", b"[", "is not an invoice as `gateway provider invoice` writes it"),
    ):
        assert old in data
        with pytest.raises(UsageError, match=r"it") as error:
            read_json(data.replace(old, new, 1), "it")
        assert sentence in str(error.value)


def test_text_is_what_a_person_reads() -> None:
    text = write_text(invoice())
    assert text.startswith("Invoice 2026-000001\n\nFrom  ACME Énergie SA\n      12 rue de la Paix\n")
    assert "\nTo pay" in text
    assert "  VAT 20 %                          123.456789 kWh          0.2081         25.69\n" in text
    assert "69.11\n" in text
