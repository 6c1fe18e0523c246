"""Labels for the devices of a fleet, as PDF: A4 sheets of 14 labels of 99.1 x 38.1 mm (such as Avery L7163).

A label has what the home needs to begin: the address of the page, as text and as a QR code, the setup code,
and the serial number. The setup code is in the QR code too, behind `#`, which a browser sends to nobody.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.errors import UsageError

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

MM = 72 / 25.4
"""Points; PDF measures in them, from the sheet's lower left corner."""
_SHEET = (210 * MM, 297 * MM)
_LABEL = (99.1 * MM, 38.1 * MM)
_MARGIN = (4.65 * MM, 15.15 * MM)
_ACROSS, _DOWN = 2, 7
_PITCH = 101.6 * MM
_SANS, _BOLD = "Vera", "VeraBd"  # Bitstream Vera, which comes with reportlab, is embedded


@dataclass(frozen=True, slots=True)
class Label:
    """What is on a label. All of it is ASCII."""

    serial: str
    home: str
    hostname: str
    setup_code: str = field(repr=False)

    @property
    def address(self) -> str:
        """Where the home's page is."""
        return f"https://{self.hostname}.local:8443"

    @property
    def link(self) -> str:
        """What the QR code says."""
        return f"{self.address}/welcome#{self.setup_code}"


def write_labels(labels: Sequence[Label]) -> bytes:
    """The sheets. The same labels give the same bytes. UsageError where reportlab or segno is missing."""
    try:
        from reportlab.pdfbase.pdfmetrics import registerFont  # noqa: PLC0415
        from reportlab.pdfbase.ttfonts import TTFont  # noqa: PLC0415
        from reportlab.pdfgen.canvas import Canvas  # noqa: PLC0415
        from segno import make_qr  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(f"labels need {error.name}: install gateway[fleet]") from None
    for font in (_SANS, _BOLD):
        registerFont(TTFont(font, f"{font}.ttf"))
    file = io.BytesIO()
    sheet = Canvas(file, pagesize=_SHEET, invariant=1)
    sheet.setTitle("Labels of privacy gateways")
    for number, label in enumerate(labels):
        row, column = divmod(number % (_ACROSS * _DOWN), _ACROSS)
        if number and row == column == 0:
            sheet.showPage()
        sheet.saveState()
        sheet.translate(_MARGIN[0] + column * _PITCH, _SHEET[1] - _MARGIN[1] - (row + 1) * _LABEL[1])
        _draw(sheet, label, make_qr(label.link, error="m"))
        sheet.restoreState()
    sheet.save()
    return file.getvalue()


def _draw(sheet: Canvas, label: Label, code: Any) -> None:
    """A label, from its lower left corner."""
    side = 29 * MM
    left = 4 * MM
    _modules(sheet, code, left, (_LABEL[1] - side) / 2, side)
    left += side + 4 * MM
    _text(sheet, left, 30.4, _BOLD, 9.5, "Privacy gateway for home energy")
    _text(sheet, left, 25.4, _SANS, 6.5, "Its page, in this home's network:")
    _text(sheet, left, 21.2, _BOLD, 10, label.address)
    _text(sheet, left, 16.2, _SANS, 6.5, "Setup code, for choosing its password:")
    _text(sheet, left, 10.4, _BOLD, 16, label.setup_code)
    serial, home = f"Serial number {label.serial}", label.home[:20]
    _text(sheet, left, 4.8, _SANS, 6.5, serial)
    right = _LABEL[0] - 4 * MM
    room = right - left - sheet.stringWidth(serial, _SANS, 6.5) - 3 * MM
    sheet.setFont(_SANS, _fitting(sheet, room, _SANS, 6.5, home))
    sheet.drawRightString(right, 4.8 * MM, home)


def _text(sheet: Canvas, left: float, up_mm: float, font: str, size: float, text: str) -> None:
    """A line of text, up to the label's right margin."""
    sheet.setFont(font, _fitting(sheet, _LABEL[0] - 4 * MM - left, font, size, text))
    sheet.drawString(left, up_mm * MM, text)


def _fitting(sheet: Canvas, room: float, font: str, size: float, text: str) -> float:
    """The size, or a smaller one at which the text has room."""
    return size * min(1.0, room / float(sheet.stringWidth(text, font, size)))


def _modules(sheet: Canvas, code: Any, left: float, bottom: float, side: float) -> None:
    """A QR code's dark modules, a rectangle for each run in a row, so that no reader sees gaps in one."""
    rows = [bytes(row) for row in code.matrix]
    step = side / len(rows)
    for number, row in enumerate(rows):
        start = 0
        while start < len(row):
            end = start
            while end < len(row) and row[end]:
                end += 1
            if end > start:
                bottom_of_row = bottom + side - (number + 1) * step
                sheet.rect(left + start * step, bottom_of_row, (end - start) * step, step, stroke=0, fill=1)
            start = end + 1
