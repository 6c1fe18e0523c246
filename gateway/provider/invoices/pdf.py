"""An invoice on paper: PDF on A4, by reportlab, which is part of `gateway[provider]`.

Its font is DejaVu Sans, which comes with matplotlib and has Latin, Greek and Cyrillic letters; it is
embedded. The same invoice gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from gateway.errors import UsageError
from gateway.provider.invoices.document import Invoice, Party
from gateway.provider.invoices.text import address, facts, last, quantity, rate, vat_line

_REGULAR, _BOLD = "DejaVuSans", "DejaVuSans-Bold"
_MARGIN = 50.0  # points, as all lengths here
_SIZE = 8.5
_COLUMNS = (177.0, 101.0, 75.0, 55.0, 75.0)


def write_pdf(invoice: Invoice) -> bytes:
    """The document as PDF. UsageError where reportlab or its font is missing, the font has no such letter, or
    a name does not fit on a page."""
    try:
        from reportlab.platypus import SimpleDocTemplate  # noqa: PLC0415
        from reportlab.platypus.doctemplate import LayoutError  # noqa: PLC0415
    except ImportError:
        raise UsageError("PDF needs reportlab: install gateway[provider]") from None
    _register_fonts()
    _check_letters(invoice)
    file = io.BytesIO()
    document = SimpleDocTemplate(
        file,
        pagesize=(595.27, 841.89),
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN + 25,
        title=f"{invoice.title} {invoice.number}",
        author=invoice.seller.name,
        invariant=1,
        initialFontName=_REGULAR,
    )
    try:
        document.build(_story(invoice), canvasmaker=_numbered(invoice))
    except LayoutError:
        raise UsageError(
            f"invoice {invoice.number} has a name or address that is longer than a page: shorten it, or make "
            "text or XML"
        ) from None
    return file.getvalue()


@cache
def _register_fonts() -> dict[int, int]:
    """Make the font known; the letters that it has."""
    from reportlab.pdfbase import pdfmetrics  # noqa: PLC0415
    from reportlab.pdfbase.ttfonts import TTFont  # noqa: PLC0415

    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise UsageError("PDF needs the font that comes with matplotlib: install gateway[provider]")
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    for name in (_REGULAR, _BOLD):
        font = TTFont(name, str(folder / f"{name}.ttf"))
        pdfmetrics.registerFont(font)
    letters: dict[int, int] = font.face.charToGlyph
    return letters


def _check_letters(invoice: Invoice) -> None:
    letters = _register_fonts()
    for text in (
        *(value for party in (invoice.seller, invoice.buyer) for value in _texts(party)),
        *(text for line in invoice.lines for text in (line.name, line.description or "")),
        *(one.vat.reason or "" for one in invoice.vat),
        *invoice.notes,
        invoice.metering_point or "",
    ):
        missing = next((letter for letter in text if ord(letter) not in letters), None)
        if missing is not None:
            raise UsageError(
                f"{text!r} has the character {missing!r}, which the PDF's font DejaVu Sans does not have: "
                "write it in Latin, Greek or Cyrillic letters, or make text or XML"
            )


def _texts(party: Party) -> list[str]:
    return [party.contact or "", party.email or "", party.id or "", *address(party)]


def _story(invoice: Invoice) -> list[Any]:
    from reportlab.platypus import KeepTogether, Spacer, Table  # noqa: PLC0415

    title = _paragraph(f"{invoice.title} {invoice.number}", bold=True, size=15)
    parties = Table(
        [
            [_paragraph("From", grey=True), _paragraph("To", grey=True), ""],
            [
                _lines(address(invoice.seller)),
                _lines(address(invoice.buyer)),
                [
                    Table(
                        [[_paragraph(name, grey=True), _paragraph(value)] for name, value in facts(invoice)],
                        colWidths=(75, 118),
                        style=[*_TOP, *_TIGHT],
                    )
                ],
            ],
        ],
        colWidths=(145, 145, 193),
        style=[*_TOP, *_TIGHT],
    )
    return [title, Spacer(1, 14), parties, Spacer(1, 18), _table(invoice), Spacer(1, 6),
            KeepTogether(_totals(invoice)), Spacer(1, 14), *_notes(invoice)]  # fmt: skip


_TOP = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("FONTNAME", (0, 0), (-1, -1), _REGULAR)]
_TIGHT = [
    ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ("RIGHTPADDING", (0, 0), (-1, -1), 6),
    ("TOPPADDING", (0, 0), (-1, -1), 1.5),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
]
_RULE = 0.5


def _table(invoice: Invoice) -> Any:
    from reportlab.lib.colors import black, lightgrey  # noqa: PLC0415
    from reportlab.platypus import Table  # noqa: PLC0415

    head = [_paragraph(name, right=i > 0, bold=True) for i, name in enumerate(
        ("Item", "Quantity", f"Price, {invoice.currency}", "VAT", f"Net, {invoice.currency}")
    )]  # fmt: skip
    rows = [
        [
            [_paragraph(line.name), *([_paragraph(line.description, grey=True)] if line.description else [])],
            _paragraph(quantity(line), right=True),
            _paragraph(f"{line.price:f}", right=True),
            _paragraph(rate(line), right=True),
            _paragraph(f"{line.amount:f}", right=True),
        ]
        for line in invoice.lines
    ]
    style = [
        *_TOP,
        *_TIGHT,
        ("LINEBELOW", (0, 0), (-1, 0), _RULE, black),
        ("LINEBELOW", (0, 1), (-1, -1), _RULE / 2, lightgrey),
        ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
    ]
    return Table([head, *rows], colWidths=_COLUMNS, repeatRows=1, style=style)


def _totals(invoice: Invoice) -> list[Any]:
    from reportlab.lib.colors import black  # noqa: PLC0415
    from reportlab.platypus import Table  # noqa: PLC0415

    rows = [("Net", invoice.net), *((vat_line(one, invoice.currency), one.amount) for one in invoice.vat)]
    cells = [[_paragraph(name), _paragraph(f"{amount:f}", right=True)] for name, amount in rows]
    total = _paragraph(f"{abs(invoice.total):f} {invoice.currency}", right=True, bold=True)
    style = [
        *_TOP,
        *_TIGHT,
        ("LINEABOVE", (0, -1), (-1, -1), _RULE, black),
        ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
    ]
    rows_ = [*cells, [_paragraph(last(invoice), bold=True), total]]
    return [Table(rows_, colWidths=(196, 110), hAlign="RIGHT", style=style)]


def _notes(invoice: Invoice) -> list[Any]:
    from reportlab.platypus import Spacer  # noqa: PLC0415

    seller = invoice.seller
    found: list[Any] = []
    if seller.iban is not None and not invoice.credits and invoice.total > 0:
        how = f"Please pay by {invoice.due} to IBAN {seller.iban}, with the number {invoice.number}."
        found += [_paragraph(how), Spacer(1, 6)]
    contact = ", ".join(text for text in (seller.contact, seller.phone, seller.email) if text)
    for note in (*([f"Contact: {contact}."] if contact else []), *invoice.notes):
        found += [_paragraph(note, grey=True), Spacer(1, 3)]
    return found


def _lines(texts: Sequence[str]) -> list[Any]:
    return [_paragraph(text) for text in texts]


def _paragraph(
    text: str, *, bold: bool = False, right: bool = False, grey: bool = False, size: float = _SIZE
) -> Any:
    """Text that wraps, within long words too."""
    from reportlab.platypus import Paragraph  # noqa: PLC0415

    return Paragraph(escape(text), _style(bold, right, grey, size))


@cache
def _style(bold: bool, right: bool, grey: bool, size: float) -> Any:
    from reportlab.lib.styles import ParagraphStyle  # noqa: PLC0415

    return ParagraphStyle(
        "",
        fontName=_BOLD if bold else _REGULAR,
        fontSize=size,
        leading=size * 1.35,
        alignment=2 if right else 0,
        textColor="#555555" if grey else "#000000",
        splitLongWords=1,
    )


def _numbered(invoice: Invoice) -> Any:
    """A canvas that writes at the foot of each page what it is and how many there are."""
    from reportlab.pdfgen.canvas import Canvas  # noqa: PLC0415

    class Numbered(Canvas):  # type: ignore[misc]
        def __init__(self, *args: Any, **others: Any) -> None:
            super().__init__(*args, **others)
            self._pages: list[dict[str, Any]] = []

        def showPage(self) -> None:
            self._pages.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for page in self._pages:
                self.__dict__.update(page)
                self.setFont(_REGULAR, 7)
                self.setFillGray(0.35)
                width = self._pagesize[0]
                self.drawString(_MARGIN + 6, _MARGIN, f"{invoice.title} {invoice.number}")
                self.drawRightString(
                    width - _MARGIN - 6, _MARGIN, f"page {self._pageNumber} of {len(self._pages)}"
                )
                super().showPage()
            super().save()

    return Numbered
