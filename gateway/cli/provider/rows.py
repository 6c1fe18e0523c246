"""Opened sums as a table, as CSV and as JSON; people see the same columns everywhere."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Sequence
from datetime import datetime

import click

from gateway.chain.layout import ENERGY
from gateway.cli.output import JSON_KEYS, kwh, local_time
from gateway.cli.provider.columns import csv_lines
from gateway.provider.desk import Said
from gateway.provider.formats import json_line
from gateway.provider.lanes import MEANS
from gateway.provider.sums import Missing, Row, Rows, Sums
from gateway.stream.times import unix_ms

FROM = "from"
_STREAM_CHARS, _TIME_CHARS, _NUMBER_CHARS = (
    32,
    25,
    12,
)  # of rows that are printed before the next ones are known


def columns(lanes: Sequence[str]) -> list[str]:
    """The headings above the cells of a row."""
    return [
        FROM,
        *(f"{lane} kWh" for lane in ENERGY if lane in lanes),
        *(mean.heading if "count" in lanes else mean.summed for lane, mean in MEANS.items() if lane in lanes),
        *(["readings"] if "count" in lanes else []),
    ]


def cells(row: Row, lanes: Sequence[str], when: Callable[[datetime], str], absent: str) -> list[str]:
    """A row's cells, with `absent` for a lane that is not granted in this window."""
    sums = row.sums
    found = [when(row.start)]
    found += [kwh(sums[lane]) if lane in sums else absent for lane in ENERGY if lane in lanes]
    for lane, mean in MEANS.items():
        if lane in lanes and "count" in lanes:
            known = sums.get("count") and lane in sums
            found.append(mean.text(sums[lane], sums["count"]) if known else absent)
        elif lane in lanes:
            found.append(str(sums.get(lane, absent)))
    if "count" in lanes:
        found.append(str(sums.get("count", absent)))
    return found


def local(when: datetime, zone: str | None = None) -> str:
    """A moment in `zone`, or else this machine's."""
    return local_time(unix_ms(when), zone)


def zone(sums: Sums | Said) -> str | None:
    """The zone whose days or months the rows are; None where they need none."""
    granularity = sums.resolved.granularity
    return None if isinstance(granularity.size, int) else granularity.zone


def utc(when: datetime) -> str:
    """A moment as machines exchange it: 2026-03-01T10:00:00Z."""
    return when.isoformat().removesuffix("+00:00") + "Z"


def stream_table(lanes: Sequence[str], zone: str | None = None) -> Callable[[Row], None]:
    """Print the head of a table now; the function that prints each row as it comes, with times in `zone`."""
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
    return lambda row: line(cells(row, lanes, lambda when: local(when, zone), "-"))


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


def stream_many(format_: str, lanes: Sequence[str]) -> Callable[[str, Row, str | None], None]:
    """Print the head, if the format (table, csv or jsonl) has one; the function that prints each row as it
    comes, after its stream's id, with the times of a table in its zone."""
    if format_ == "jsonl":

        def record(stream: str, row: Row, zone: str | None) -> None:
            click.echo(json_line(stream, row, lanes))
            sys.stdout.flush()

        return record
    names = columns(lanes)
    widths = [max(len(name), _TIME_CHARS if name == FROM else _NUMBER_CHARS) for name in names]

    def line(stream: str, texts: Sequence[str]) -> None:
        if format_ == "csv":
            click.echo(",".join([stream, *texts]))
        else:
            padded = [
                text.ljust(width) if name == FROM else text.rjust(width)
                for name, text, width in zip(names, texts, widths, strict=True)
            ]
            click.echo("  ".join([stream.ljust(_STREAM_CHARS), *padded]).rstrip())
        sys.stdout.flush()

    def show(stream: str, row: Row, zone: str | None) -> None:
        if format_ == "csv":
            begin, *others = cells(row, lanes, utc, "")
            line(stream, [begin, utc(row.end), *others])
        else:
            line(stream, cells(row, lanes, lambda when: local(when, zone), "-"))

    line("stream", [names[0], "until", *names[1:]] if format_ == "csv" else names)
    return show


def csv_text(rows: Rows, lanes: Sequence[str]) -> list[str]:
    """The lines that `stream_csv` prints for `rows`, without their line ends."""
    lines = csv_lines(rows, lanes)
    if lines is not None:
        return lines.splitlines()
    found = []
    for row in rows:
        begin, *others = cells(row, lanes, utc, "")
        found.append(",".join([begin, utc(row.end), *others]))
    return found


def document(sums: Sums | Said, rows: Sequence[Row]) -> dict[str, object]:
    """A whole answer for print_json."""
    return {
        "granularity": str(sums.resolved.granularity),
        "lanes": list(sums.resolved.lanes),
        "grants": list(sums.sources),
        "notes": list(sums.notes),
        "rows": [row_document(row) for row in rows],
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


def row_document(row: Row) -> dict[str, object]:
    """A row for print_json."""
    sums = {JSON_KEYS[lane]: value for lane, value in row.sums.items()}
    return {"from": utc(row.start), "until": utc(row.end), "sums": sums}


def nothing(sums: Sums | Said, rows: bool, chosen: str | None = None) -> list[str]:
    """A sentence when an answer has neither rows nor anything left out."""
    if rows or _gaps(sums):
        return []
    first = sums.next_window
    if first is None:
        return ["no window that was asked for has closed, and none will"]
    begin, end = (local(when, chosen or zone(sums)) for when in first)
    return [
        f"no window that was asked for has closed yet, as far as the store knows: the first, from {begin}, "
        f"ends at {end}, and opens once its readings and tokens are in the store"
    ]


def notes(sums: Sums | Said, chosen: str | None = None) -> list[str]:
    """Sentences about the rows for a person: the grants they come from, and what is left out. Local times are
    in the zone that is `chosen`, or that of the rows."""
    left_out = []
    for gap in _gaps(sums):
        begin, end = (local(when, chosen or zone(sums)) for when in (gap.start, gap.end))
        left_out.append(f"{begin} to {end}, no {', '.join(gap.lanes)}: {gap.reason}")
    return [*sums.sources, *sums.notes, *left_out]


def _gaps(sums: Sums | Said) -> list[Missing]:
    return [*sums.missing, *([sums.tail] if sums.tail is not None else [])]
