"""A table of sums drawn as a load curve, with matplotlib.

Windows shorter than a day are drawn as mean power in kW, days and months as energy in kWh. A window without a
sum is a hole in the curve.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from gateway.chain.layout import DAY_MS, ENERGY
from gateway.errors import UsageError
from gateway.provider.query import length_ms
from gateway.provider.table import TOTAL, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Picture = Literal["png", "svg"]
MOST_HOMES = 8
"""Homes that are drawn beside their total; the colours of more could not be told apart."""
_MWH_PER_KWH, _HOUR_MS = 1e6, 3_600_000
_SIZE, _DPI = (10.0, 4.5), 120  # inches


def load_curve(table: Table, picture: Picture, zone: tzinfo | None = None, title: str | None = None) -> bytes:
    """The picture of a table: the curve of its one home, or the total of its homes and, where they are no
    more than MOST_HOMES, each. Times are in `zone`, or in this machine's. `title` says what is drawn, if not
    the table's stream. Drawn are import and export, or,
    of one home without these, the mean power of the readings. UsageError where there is nothing to draw, or
    the homes' windows differ in length."""
    several = len(table.streams) > 1
    lanes = [lane for lane in ENERGY if lane in table.lanes]
    if not lanes and not several and {"power", "count"} <= set(table.lanes):
        lanes = ["power"]
    if not lanes:
        raise UsageError(
            "there is nothing to draw: a load curve needs import or export, or of one home power and count"
        )
    if not len(table):
        raise UsageError("there is nothing to draw: no window has opened")
    try:
        from matplotlib import rc_context  # noqa: PLC0415 - a second on a Pi
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise UsageError("a plot needs matplotlib: run ./provisioning/venv.sh provider") from None
    as_power = length_ms(table.granularities[0]) < DAY_MS or lanes == ["power"]
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if several and len(table.streams) <= MOST_HOMES:
        for i in range(len(table.streams)):
            _draw(axes, table.home(i), lanes, as_power, f"C{i + 2}", 0.9, _name(table, i))
    whole = table.over_homes() if several else table
    for n, lane in enumerate(lanes):
        label = f"{lane}, total of {len(table.streams)} homes" if several else lane
        _draw(axes, whole, [lane], as_power, f"C{n}", 1.8, label)
    _label(axes, whole, as_power, zone, title)
    figure.legend(loc="outside lower center", ncols=5, fontsize="small", frameon=False)
    file = BytesIO()
    # Neither the date nor chance in the file: the same sums give the same picture.
    with rc_context({"svg.hashsalt": "gateway"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name; it is drawn as a box
        figure.savefig(file, format=picture, metadata={"Date": None} if picture == "svg" else None)
    return file.getvalue()


def _name(table: Table, i: int) -> str:
    """A home's name, short enough for a legend, or the beginning of its stream's id."""
    name = _plain(table.homes[i].name)
    return (name if len(name) <= 24 else f"{name[:21]}...") or f"{table.streams[i][:8]}..."


def _plain(text: str) -> str:
    """Text that matplotlib shows as it is: no formula, and no label that begins with what hides it."""
    shown = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
    return (" " if shown.startswith("_") else "") + shown.replace("$", r"\$")


def _title(table: Table) -> str:
    name = _plain(table.homes[0].name)
    return f"{name}, stream {table.streams[0]}" if name else f"Stream {table.streams[0]}"


def _draw(
    axes: Axes, table: Table, lanes: Sequence[str], as_power: bool, color: str, width: float, label: str
) -> None:
    """Draw lanes of a table with one stream, import as a full line and export as a dashed one."""
    starts, ends = table.rows.starts, table.rows.ends
    holes = np.flatnonzero(ends[:-1] != starts[1:]) + 1
    edges = np.append(np.insert(starts, holes, ends[holes - 1]), ends[-1:])
    for lane in lanes:
        heights = np.insert(_values(table, lane, as_power), holes, np.nan)
        axes.stairs(
            heights,
            edges / DAY_MS,
            baseline=None,
            color=color,
            linewidth=width,
            linestyle="--" if lane == "export" and len(lanes) > 1 else "-",
            label=label if lane == lanes[0] else None,
        )


def _values(table: Table, lane: str, as_power: bool) -> NDArray[np.float64]:
    """The heights of the curve, in kW or kWh; NaN where the sum is null."""
    rows = table.rows
    if lane == "power":
        count = np.where(rows.opened["count"], rows.sums["count"], 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.where(count > 0, rows.sums["power"] / count, np.nan) / 1000
    else:
        values = rows.sums[lane] / _MWH_PER_KWH
        if as_power:
            values = values * _HOUR_MS / (rows.ends - rows.starts)
    return np.where(rows.opened[lane], values, np.nan)


def _label(axes: Axes, table: Table, as_power: bool, zone: tzinfo | None, title: str | None) -> None:
    from dateutil.tz import tzlocal  # noqa: PLC0415 - matplotlib's own
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415

    where = zone or tzlocal()
    axes.xaxis_date(where)
    locator = AutoDateLocator(where)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, where, show_offset=False)  # type: ignore[no-untyped-call]
    formatter.zero_formats[3] = "%d %b"  # midnight, between hours
    axes.xaxis.set_major_formatter(formatter)
    begin, end, last = (
        datetime.fromtimestamp(int(ms) / 1000, UTC).astimezone(where)
        for ms in (table.rows.starts[0], table.rows.ends[-1], table.rows.ends[-1] - 1)
    )
    days = " to ".join(dict.fromkeys(f"{one:%Y-%m-%d}" for one in (begin, last)))
    zones = " and ".join(dict.fromkeys(filter(None, (begin.tzname(), end.tzname()))))
    axes.set_xlabel(f"{days} ({zones})")
    axes.set_ylabel("mean power in kW" if as_power else "energy in kWh")
    total = table.streams == (TOTAL,)
    what = "Load of all homes; of each, export is dashed" if total else _title(table)
    if title is not None:
        what = _plain(title)
    axes.set_title(f"{what}; windows: {table.granularities[0]}", fontsize="medium")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    low, high = min(0.0, axes.get_ylim()[0]), axes.dataLim.y1
    axes.set_ylim(low, high + 0.05 * (high - low) if high > low else None)
