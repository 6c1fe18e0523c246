"""The picture of where power flows: circles for the grid, the house and the other meters, lines between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.household.flow import Flow, Part
from gateway.household.i18n import gettext

WIDTH = 360
_RADIUS = 44
_LEFT, _RIGHT = 60, WIDTH - 60
_ROW = 150
_TOP = 50
_MOST = 3  # of the other meters in a row
Kind = Literal["import", "export", "own"]


@dataclass(frozen=True, slots=True)
class Circle:
    """A circle about (x, y), with its label below; `watts` is None where the power is not known."""

    x: int
    y: int
    icon: Literal["grid", "house", "sun", "plug"]
    kind: Kind
    watts: int | None
    label: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line on which power flows from its begin to its end; `path` is SVG's."""

    path: str
    kind: Kind
    flows: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing of WIDTH times `height`."""

    height: int
    circles: tuple[Circle, ...]
    lines: tuple[Line, ...]
    width: int = WIDTH
    radius: int = _RADIUS

    @classmethod
    def of(cls, flow: Flow) -> Picture:
        """What gives lies above grid and house, what takes below; the most powerful ones of many."""
        gives = _most([part for part in flow.parts if part.gives])
        takes = _most([part for part in flow.parts if not part.gives])
        middle = _TOP + (_ROW if gives else 0)
        grid: Kind = "export" if flow.grid < 0 else "import"
        circles = [
            Circle(_LEFT, middle, "grid", grid, abs(flow.grid), gettext("Grid")),
            Circle(_RIGHT, middle, "house", "own", flow.house, gettext("House")),
        ]
        a, b = _LEFT + _RADIUS, _RIGHT - _RADIUS
        straight = f"M{b} {middle}H{a}" if flow.grid < 0 else f"M{a} {middle}H{b}"
        lines = [Line(straight, grid, flow.grid != 0)]
        for x, part in _row(gives):
            circles.append(Circle(x, _TOP, "sun", "export", part.watts, part.name))
            begin = x + _RADIUS if x < _RIGHT else x
            bend = (
                f"M{begin} {_TOP}C{(begin + _RIGHT) // 2} {_TOP} {_RIGHT} {_TOP} {_RIGHT} {middle - _RADIUS}"
            )
            lines.append(Line(bend, "export", part.watts > 0))
        for x, part in _row(takes):
            y = middle + _ROW
            circles.append(Circle(x, y, "plug", "own", part.watts, part.name))
            start = middle + _RADIUS + 22  # below the label
            bend = f"M{_RIGHT} {start}C{_RIGHT} {y - 60} {x} {start + 10} {x} {y - _RADIUS}"
            lines.append(Line(bend, "own", part.watts > 0))
        return cls(max(one.y for one in circles) + _RADIUS + 28, tuple(circles), tuple(lines))


def _most(parts: Sequence[Part]) -> list[Part]:
    chosen = sorted(parts, key=lambda part: -part.watts)[:_MOST]
    return [part for part in parts if part in chosen]


def _row(parts: Sequence[Part]) -> Iterator[tuple[int, Part]]:
    for n, part in enumerate(parts):
        yield WIDTH * (2 * n + 1) // (2 * len(parts)), part
