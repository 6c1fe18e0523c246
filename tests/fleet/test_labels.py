"""Labels: everything is on them, inside them, and the QR code is the link's."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import segno
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.pdfbase.pdfmetrics import stringWidth

from gateway.errors import UsageError
from gateway.fleet import labels as module
from gateway.fleet.labels import MM, Label, write_labels

LABEL = Label("gw-abcd-efgh", "muller", "gateway", "abcde-fghjk")


@dataclass
class Paper:
    """A canvas that notes what is drawn on it, in points."""

    font: tuple[str, float] = ("", 0)
    texts: list[tuple[float, float, str]] = field(default_factory=list)
    """Left and right ends, and the text."""
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    heights: list[float] = field(default_factory=list)

    def setFont(self, name: str, size: float) -> None:
        self.font = name, size

    def stringWidth(self, text: str, name: str, size: float) -> float:
        return float(stringWidth(text, name, size))

    def drawString(self, x: float, y: float, text: str) -> None:
        self.texts.append((x, x + self.stringWidth(text, *self.font), text))
        self.heights.append(y)

    def drawRightString(self, x: float, y: float, text: str) -> None:
        self.texts.append((x - self.stringWidth(text, *self.font), x, text))
        self.heights.append(y)

    def rect(self, x: float, y: float, width: float, height: float, stroke: int, fill: int) -> None:
        assert (stroke, fill) == (0, 1)
        self.boxes.append((x, y, width, height))


def drawn(label: Label) -> tuple[Paper, Any]:
    write_labels([label])  # which makes the fonts known
    paper, code = Paper(), segno.make_qr(label.link, error="m")
    module._draw(cast("Any", paper), label, code)
    return paper, code


@settings(max_examples=30)
@given(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True))
def test_everything_is_on_the_label(hostname: str) -> None:
    paper, _ = drawn(Label("gw-abcd-efgh", hostname, hostname, "abcde-fghjk"))
    shown = " ".join(text for *_, text in paper.texts)
    for what in (f"https://{hostname}.local:8443", "abcde-fghjk", "gw-abcd-efgh", hostname[:20]):
        assert what in shown
    assert all(37 * MM <= left < right <= 95.2 * MM for left, right, _ in paper.texts)
    assert all(3 * MM < height < 34 * MM for height in paper.heights)
    *_, (_, serial, _), (home, _, _) = paper.texts
    assert serial < home


def test_the_code_is_the_links_with_its_quiet_zone() -> None:
    assert LABEL.link == "https://gateway.local:8443/welcome#abcde-fghjk"
    paper, code = drawn(LABEL)
    size = len(code.matrix)
    step = 29 * MM / size
    left, bottom = 4 * MM, (38.1 * MM - 29 * MM) / 2
    found = [[0] * size for _ in range(size)]
    for x, y, width, height in paper.boxes:
        assert height == pytest.approx(step)
        row, column = size - 1 - round((y - bottom) / step), round((x - left) / step)
        for n in range(round(width / step)):
            found[row][column + n] += 1
    assert found == [list(row) for row in code.matrix]
    assert min(x for x, *_ in paper.texts) - (left + 29 * MM) >= 4 * step - 0.1  # ISO/IEC 18004: 4 modules


@pytest.mark.parametrize(("count", "pages"), [(1, 1), (14, 1), (15, 2), (29, 3)])
def test_fourteen_on_a_sheet_and_the_same_bytes(count: int, pages: int) -> None:
    data = write_labels([LABEL] * count)
    assert data.startswith(b"%PDF-")
    assert f"/Count {pages} ".encode() in data
    assert data == write_labels([LABEL] * count)


def test_without_reportlab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    with pytest.raises(UsageError, match=r"labels need segno: install gateway\[fleet\]"):
        write_labels([LABEL])


def test_the_code_stays_out_of_sight() -> None:
    assert "abcde" not in repr(LABEL)
