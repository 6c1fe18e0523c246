"""The forms in which sums are shown: on stdout or in a file, as text or for machines, and as a picture."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from datetime import tzinfo
from functools import partial, wraps
from pathlib import Path
from typing import Literal, TypeVar

import click
import numpy as np

from gateway.cli.output import print_table
from gateway.cli.provider import rows as provider_rows
from gateway.errors import UsageError
from gateway.host.files import write_durably
from gateway.provider import formats
from gateway.provider.formats import Section
from gateway.provider.lanes import MEANS
from gateway.provider.sums import Rows
from gateway.provider.table import TOTAL, Table
from gateway.stream.times import named_zone

Result = TypeVar("Result")

TEXT, BINARY = ("table", "csv", "jsonl"), ("parquet", "arrow")
_PICTURES = ("png", "svg")


@dataclass(frozen=True, slots=True)
class Form:
    """How sums are shown: the format ("json" is one whole document), with totals, where, and drawn where.
    `zone` is that of local times; None for that of the rows' days, or this machine's."""

    format: str
    total: bool
    output: Path | None
    plot: Path | None
    zone: str | None = None

    @property
    def whole(self) -> bool:
        """Whether the answer is shown whole or not at all, so that rows before an error are left out."""
        return self.format not in ("table", "csv") or self.total or bool(self.output or self.plot)


def form_options(command: Callable[..., Result]) -> Callable[..., Result]:
    """`--format`, `--csv`, `--json`, `--total`, `--output` and `--plot` for a command that takes `form`."""

    @click.option(
        "--format",
        "named",
        type=click.Choice((*TEXT, *BINARY)),
        help="table, or csv in kWh; jsonl, parquet, arrow in mWh.",
    )
    @click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with times in UTC.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @click.option("--total", is_flag=True, help="Add totals: of each home, and over all homes.")
    @click.option(
        "--output",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Write to this file (mode 0600), whole or not at all.",
    )
    @click.option(
        "--plot",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Also draw the load curve into this .png or .svg.",
    )
    @wraps(command)
    def with_form(
        named: str | None,
        as_csv: bool,
        as_json: bool,
        total: bool,
        output: Path | None,
        plot: Path | None,
        **others: object,
    ) -> Result:
        if as_json and (as_csv or named):
            raise UsageError("--json prints one whole document: use it without --csv and --format")
        if as_csv and named not in (None, "csv"):
            raise UsageError(f"--csv is short for --format csv: use it without --format {named}")
        chosen = "json" if as_json else "csv" if as_csv else named or "table"
        if chosen in BINARY and output is None and sys.stdout.isatty():
            raise UsageError(f"--format {chosen} is not for a terminal: name a file with --output")
        if plot is not None and plot.suffix.lower().removeprefix(".") not in _PICTURES:
            raise UsageError(f"--plot {plot}: the name must end with .png or .svg")
        for path in (output, plot):
            if path is not None and not path.absolute().parent.is_dir():
                raise UsageError(f"{path} cannot be written: there is no folder {path.parent}")
        return command(form=Form(chosen, total, output, plot), **others)

    return with_form


@contextmanager
def destination(output: Path | None) -> Iterator[None]:
    """What is printed within goes to `output`, once all of it is there; to stdout where that is None."""
    if output is None:
        yield
        return
    data = io.BytesIO()
    with redirect_stdout(io.TextIOWrapper(data, "utf-8", newline="", write_through=True)) as file:
        yield
        file.flush()
        _write(output, data.getvalue())


@contextmanager
def drawing(form: Form, table: Table, title: str | None = None) -> Iterator[None]:
    """Draw a table's load curve before what is done within, and write it to the form's `plot` after that, so
    that where there is nothing to draw nothing else is shown. Nothing where `plot` is None."""
    plot = form.plot
    if plot is None:
        yield
        return
    from gateway.provider.plot import load_curve  # noqa: PLC0415 - matplotlib, for those who draw

    kind: Literal["svg", "png"] = "svg" if plot.suffix.lower() == ".svg" else "png"
    picture = load_curve(table, kind, _zone(table, form.zone), title)
    yield
    _write(plot, picture)


def print_sections(parts: Sequence[Section], form: Form, several: bool) -> None:
    """Print rows in the form's format; of several homes each row begins with its stream."""
    match form.format:
        case "table":
            _print_table(parts, several, form.zone)
        case "csv":
            _print_csv(parts, several)
        case "jsonl":
            for line in formats.json_lines(parts):
                click.echo(line)
        case "parquet":
            click.echo(formats.parquet(parts), nl=False)
        case "arrow":
            click.echo(formats.arrow(parts), nl=False)


def _print_table(parts: Sequence[Section], several: bool, zone: str | None) -> None:
    headings = provider_rows.columns(parts[0].table.lanes)
    cells = []
    for part in parts:
        lanes, zones = (
            part.table.lanes,
            [zone or _zone_name(part.table, i) for i in range(len(part.table.streams))],
        )
        for i, row in zip(part.table.of.tolist(), _shown(part.table), strict=True):
            line = provider_rows.cells(row, lanes, partial(provider_rows.local, zone=zones[i]), "-")
            begin = line[0] if part.kind == "window" else "total"
            cells.append([*([part.table.streams[i]] if several else []), begin, *line[1:]])
    numbers = set(headings) - {provider_rows.FROM}
    print_table(["stream", *headings] if several else headings, cells, numbers=numbers)


def _print_csv(parts: Sequence[Section], several: bool) -> None:
    begin, *others = provider_rows.columns(parts[0].table.lanes)
    kinds = len(parts) > 1
    click.echo(",".join([*["row"] * kinds, *["stream"] * several, begin, "until", *others]))
    for part in parts:
        kind = f"{part.kind}," if kinds else ""
        leads = [f"{kind}{stream}," if several else kind for stream in part.table.streams]
        lines = provider_rows.csv_text(_shown(part.table), part.table.lanes)
        text = "".join(f"{leads[i]}{line}\n" for i, line in zip(part.table.of.tolist(), lines, strict=True))
        click.echo(text, nl=False)


def _shown(table: Table) -> Rows:
    """The rows for people. Power over count is the mean of one home; over all homes it would be that of an
    average home, and is left out, as other means are."""
    means = MEANS.keys() & set(table.lanes)
    if table.streams != (TOTAL,) or not means or "count" not in table.lanes:
        return table.rows
    closed = np.zeros(len(table), dtype=np.bool_)
    return replace(table.rows, opened={**table.rows.opened, **dict.fromkeys(means, closed)})


def _zone_name(table: Table, i: int) -> str | None:
    """The zone of the days or months of a home's rows."""
    granularity = table.granularities[min(i, len(table.granularities) - 1)]
    return None if isinstance(granularity.size, int) else granularity.zone


def _zone(table: Table, chosen: str | None) -> tzinfo | None:
    name = chosen or (_zone_name(table, 0) if table.granularities else None)
    return None if name is None else named_zone(name)


def _write(path: Path, data: bytes) -> None:
    try:
        write_durably(path, data)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
