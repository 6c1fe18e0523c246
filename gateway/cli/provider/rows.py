"""Opened sums as a table, as CSV and as JSON; people see the same columns everywhere."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Sequence
from datetime import datetime

import click

from gateway.chain.layout import ENERGY, LANES
from gateway.cli.output import kwh, local_time
from gateway.provider.sums import Missing, Row, Sums
from gateway.stream.times import unix_ms

FROM = "from"
_TIME_CHARS, _NUMBER_CHARS = 25, 12  # of rows that are printed before the next ones are known


def columns(lanes: Sequence[str]) -> list[str]:
    """The headings above the cells of a row."""
    return [
        FROM,
        *(f"{lane} kWh" for lane in ENERGY if lane in lanes),
        *(["mean W"] if "power" in lanes and "count" in lanes else []),
        *(["power W, summed"] if "power" in lanes and "count" not in lanes else []),
        *(["readings"] if "count" in lanes else []),
    ]


def cells(row: Row, lanes: Sequence[str], when: Callable[[datetime], str], absent: str) -> list[str]:
    """A row's cells, with `absent` for a lane that is not granted in this window."""
    sums = row.sums
    found = [when(row.start)]
    found += [kwh(sums[lane]) if lane in sums else absent for lane in ENERGY if lane in lanes]
    if "power" in lanes and "count" in lanes:
        mean = sums.get("count") and "power" in sums
        found.append(f"{sums['power'] / sums['count']:.1f}" if mean else absent)
    elif "power" in lanes:
        found.append(str(sums.get("power", absent)))
    if "count" in lanes:
        found.append(str(sums.get("count", absent)))
    return found


def local(when: datetime) -> str:
    """A moment in this machine's zone."""
    return local_time(unix_ms(when))


def utc(when: datetime) -> str:
    """A moment as machines exchange it: 2026-03-01T10:00:00Z."""
    return when.isoformat().removesuffix("+00:00") + "Z"


def stream_table(lanes: Sequence[str]) -> Callable[[Row], None]:
    """Print the head of a table now; the function that prints each row as it comes."""
    names = columns(lanes)
    widths = [max(len(name), _TIME_CHARS if name == FROM else _NUMBER_CHARS) for name in names]

    def line(texts: Sequence[str]) -> None:
        padded = [
            text.ljust(width) if name == FROM else text.rjust(width)
            for name, text, width in zip(names, texts, widths, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())
        sys.stdout.flush()

    line(names)
    return lambda row: line(cells(row, lanes, local, "-"))


def stream_csv(lanes: Sequence[str]) -> Callable[[Row], None]:
    """Print the head of a CSV now; the function that prints each row as it comes, with times in UTC."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    begin, *others = columns(lanes)
    writer.writerow([begin, "until", *others])

    def line(row: Row) -> None:
        begin, *others = cells(row, lanes, utc, "")
        writer.writerow([begin, utc(row.end), *others])
        sys.stdout.flush()

    return line


def document(sums: Sums, rows: Sequence[Row]) -> dict[str, object]:
    """A whole answer for print_json: sums are integers in the lanes' own units."""
    lanes = [LANES[name] for name in sums.resolved.lanes]
    return {
        "granularity": str(sums.resolved.granularity),
        "lanes": {lane.name: {"unit": lane.unit, "scale": lane.scale} for lane in lanes},
        "grants": sums.sources,
        "notes": sums.notes,
        "rows": [{"from": utc(row.start), "until": utc(row.end), "sums": dict(row.sums)} for row in rows],
        "missing": [
            {
                "from": utc(gap.start),
                "until": utc(gap.end),
                "lanes": list(gap.lanes),
                "reason": gap.reason,
            }
            for gap in _gaps(sums)
        ],
    }


def nothing(sums: Sums, rows: bool) -> list[str]:
    """A sentence when an answer has neither rows nor anything left out."""
    if rows or _gaps(sums):
        return []
    return ["no window that was asked for has closed yet, as far as the store knows"]


def notes(sums: Sums) -> list[str]:
    """Sentences about the rows for a person: the grants they come from, and what is left out."""
    left_out = [
        f"{local(gap.start)} to {local(gap.end)}, no {', '.join(gap.lanes)}: {gap.reason}"
        for gap in _gaps(sums)
    ]
    return sums.sources + sums.notes + left_out


def _gaps(sums: Sums) -> list[Missing]:
    return [*sums.missing, *([sums.tail] if sums.tail is not None else [])]
