"""The PDF as poppler reads it: all text is there, on pages with numbers, in an embedded font."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import UsageError
from gateway.provider.bill import Step
from gateway.provider.invoices.document import Invoice
from gateway.provider.invoices.pdf import write_pdf
from tests.provider.invoices.papers import TABLE, invoice, of_windows, raw_terms, table, terms

pytestmark = pytest.mark.slow

LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2


def pages(made: Invoice, folder: Path) -> list[str]:
    """The text of each page, as it is laid out."""
    path = folder / "it.pdf"
    path.write_bytes(write_pdf(made))
    text = subprocess.run(
        ["pdftotext", "-layout", path, "-"], capture_output=True, text=True, check=True
    ).stdout
    return text.split("\f")[:-1]


def test_a_page_says_what_a_person_needs(tmp_path: Path) -> None:
    [page] = pages(invoice(), tmp_path)
    wanted = ["Invoice 2026-000001", "ACME Énergie SA", "Renée Dupont", "VAT FR40303265045", "31 d", "11.52"]
    wanted += ["69.11 EUR", "09876543210987", "IBAN FR1420041010050500013M02606", "page 1 of 1"]
    for text in wanted:
        assert text in page
    fonts = subprocess.run(
        ["pdffonts", tmp_path / "it.pdf"], capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[-5] for line in fonts.splitlines()[2:]} == {"yes"}  # embedded
    assert write_pdf(invoice()) == (tmp_path / "it.pdf").read_bytes()


def test_long_invoices_go_on_and_nothing_leaves_the_page(tmp_path: Path) -> None:
    raw = raw_terms()
    by = terms(
        seller={**raw["seller"], "name": f"ΔΕΗ Ηλεκτρισμός {LONG}", "street": LONG}, notes=[LONG, "Ы" * 900]
    )
    steps = [Step("import", 2000 + i, (i + 1) * 10**13) for i in range(90)]
    made = invoice(of_windows(steps), by=by, lines=table(TABLE.replace("Abonnement", LONG)))
    found = pages(made, tmp_path)
    assert len(found) > 3
    for number, page in enumerate(found, 1):
        assert f"page {number} of {len(found)}" in page
        assert page.count("Quantity") == (1 if "kWh" in page else 0)
    boxes = subprocess.run(
        ["pdftotext", "-bbox", tmp_path / "it.pdf", "-"], capture_output=True, text=True, check=True
    ).stdout
    words = re.findall(r'<word xMin="([\d.-]+)" yMin="([\d.-]+)" xMax="([\d.-]+)" yMax="([\d.-]+)"', boxes)
    assert len(words) > 500
    for x, y, right, bottom in (map(float, word) for word in words):
        assert 50 <= x < right <= 595.27 - 50
        assert 50 <= y < bottom <= 841.89 - 45


def test_a_name_that_is_longer_than_a_page_is_refused() -> None:
    lines = table(TABLE.replace("Abonnement", "much too long " * 500))
    with pytest.raises(
        UsageError, match="invoice 2026-000001 has a name or address that is longer than a page"
    ):
        write_pdf(invoice(lines=lines))


def test_without_reportlab_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reportlab.platypus", None)
    with pytest.raises(UsageError, match=r"PDF needs reportlab: install gateway\[provider\]"):
        write_pdf(invoice())


def test_a_letter_that_the_font_lacks_is_named() -> None:
    raw = raw_terms()
    with pytest.raises(
        UsageError, match="has the character '電', which the PDF's font DejaVu Sans does not have"
    ):
        write_pdf(invoice(by=terms(seller={**raw["seller"], "name": "電力"})))
