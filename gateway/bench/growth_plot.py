"""The paper's Figures 4 and 5 drawn: delay and throughput by number of meters.

What ran is drawn as filled markers, what is modelled as hollow ones on dashed lines.
"""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Literal

from gateway.bench.growth import HOMES_A_REGION, STAGES, WINDOW_MS, Kind, Point, Stage
from gateway.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Picture = Literal["png", "svg"]
Number = Literal[4, 5]
FIGURES: Mapping[Number, str] = {4: "End-to-end delay", 5: "Throughput"}
_LABELS: Mapping[Stage, str] = {
    "authentication": "authentication at the registrar",
    "publication": "publication into the store",
    "verification": "verification by the centre",
    "words": "words of the summing service",
    "load": "load: the centre's sum",
    "end to end": "end to end, without authentication",
}
_MARKERS: Mapping[Kind, str] = {"store": "o", "parquet": "D", "model": "o"}
_KINDS: Mapping[Kind, str] = {
    "store": "ran, through the store",
    "parquet": "ran, on Parquet",
    "model": "modelled",
}
_SIZE, _DPI = (9.0, 6.8), 120  # inches
_LINE = 160  # characters of the caption


def caption(points: Sequence[Point], machine: Mapping[str, str]) -> str:
    """What the figures show, what of it ran, and what is modelled."""
    store = _sizes(one.meters for one in points if one.kind == "store")
    parquet = _sizes(one.meters for one in points if one.kind == "parquet")
    most = max(one.meters for one in points if one.kind == "store")
    here = ", ".join(f"{name} {value}" for name, value in machine.items())
    return (
        f"One window of {WINDOW_MS // 60_000} minutes that all meters end at the same moment, in regions of"
        f" {HOMES_A_REGION} homes at most; the stages follow one another. Filled circles ran: simulated homes"
        f" with units of 1 s and real objects ({store} of them), put into a SeaweedFS server on loopback and"
        f" read from it, each load equal to the truth; for authentication, logins at a registrar over HTTP."
        f" All of it ran on one machine ({here}). Diamonds ran on Parquet made for {parquet} homes, without"
        f" the store and the service. Hollow circles did not run: they take as long a meter as the largest"
        f" size that ran, which is {most} through the store."
    )


def table(points: Sequence[Point]) -> str:
    """The points as CSV: meters, stage, kind, and the delay in s and the throughput in meters a second."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["meters", "stage", "kind", "delay_s", "meters_per_s"])
    for one in points:
        writer.writerow([one.meters, one.stage, one.kind, f"{one.seconds:.4g}", f"{one.rate:.4g}"])
    return out.getvalue()


def drawn(number: Number, points: Sequence[Point], text: str, picture: Picture) -> bytes:
    """Figure 4 or 5 with `text` as its caption. UsageError where matplotlib is not installed."""
    try:
        from matplotlib import rc_context  # noqa: PLC0415
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise UsageError("the figures need matplotlib: run ./provisioning/venv.sh centre") from None
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for colour, stage in enumerate(STAGES):
        _draw(axes, number, [one for one in points if one.stage == stage], f"C{colour}")
    limit = WINDOW_MS / 1000 if number == 4 else 1e6 / (WINDOW_MS / 1000)
    axes.axhline(limit, color="0.4", linewidth=0.9, linestyle=":")
    said = "the next window ends" if number == 4 else "what 10$^6$ meters need"
    at, side = (0.01, "left") if number == 4 else (1, "right")
    where = ("axes fraction", "data")
    axes.annotate(said, (at, limit), xycoords=where, fontsize="small", va="bottom", ha=side)
    axes.set(xscale="log", yscale="log", xlabel="meters")
    axes.set_ylabel("delay (s)" if number == 4 else "throughput (meters a second)")
    axes.set_title(f"Figure {number}: {FIGURES[number].lower()} by number of meters")
    axes.grid(which="major", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    for kind, label in _KINDS.items():
        face = "white" if kind == "model" else "0.3"
        axes.plot([], [], _MARKERS[kind], color="0.3", markerfacecolor=face, label=label)
    figure.legend(loc="outside upper center", ncols=3, fontsize="small", frameon=False)
    figure.supxlabel(textwrap.fill(text, _LINE), fontsize="x-small", ha="left", x=0.02)
    file = BytesIO()
    with rc_context({"svg.hashsalt": "gateway"}):
        figure.savefig(file, format=picture, metadata={"Date": None} if picture == "svg" else None)
    return file.getvalue()


def _draw(axes: Axes, number: Number, points: Sequence[Point], colour: str) -> None:
    """The curve of a stage: full between what ran, dashed to what did not."""
    width = 2.2 if points[0].stage == "end to end" else 1.4
    x = [one.meters for one in points]
    y = [one.seconds if number == 4 else one.rate for one in points]
    ran = sum(one.kind != "model" for one in points)
    axes.plot(x[:ran], y[:ran], color=colour, linewidth=width, label=_LABELS[points[0].stage])
    axes.plot(x[ran - 1 :], y[ran - 1 :], color=colour, linewidth=width, linestyle="--")
    for one, a, b in zip(points, x, y, strict=True):
        face = "white" if one.kind == "model" else colour
        axes.plot([a], [b], _MARKERS[one.kind], color=colour, markerfacecolor=face, zorder=3)


def _sizes(meters: Iterable[int]) -> str:
    """Sizes in words: "100, 300 and 1000"."""
    found = sorted(set(meters))
    return " and ".join(filter(None, (", ".join(map(str, found[:-1])), str(found[-1]))))
