"""How commands speak: tables, JSON, kWh, times. Made up on a terminal, plain and stable in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., object])

MWH_PER_KWH = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def examples(*lines: str) -> str:
    """An epilog for a command: whole commands that a person can copy."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def json_option(command: Command) -> Command:
    """`--json` for a command that takes `as_json`; it then prints one `print_json` and nothing else."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def print_json(document: object) -> None:
    """One JSON document. Energy goes in as integers of mWh, so that no reader rounds it."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def kwh(mwh: int) -> str:
    """Energy in kWh, exact: six decimals hold every mWh."""
    whole, rest = divmod(abs(mwh), MWH_PER_KWH)
    return f"{'-' if mwh < 0 else ''}{whole}.{rest:06d}"


def local_time(unix_ms: int) -> str:
    """A moment as ISO 8601 in the machine's zone, with its offset; milliseconds only where there are some."""
    moment = (EPOCH + timedelta(milliseconds=unix_ms)).astimezone()
    return moment.isoformat(timespec="milliseconds" if unix_ms % 1000 else "seconds")


def printable(text: str) -> str:
    """Text from elsewhere, safe to show: a control character could move the cursor or hide a line."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Collection[str] = ()
) -> None:
    """A table; the columns named in `numbers` stand to the right.

    On a terminal it is ruled and fits the width; in a pipe it is aligned by spaces and never cut.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _ruled(columns, cells, numbers)
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in [list(columns), *cells]:
        padded = [
            cell.rjust(width) if name in numbers else cell.ljust(width)
            for name, cell, width in zip(columns, row, widths, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def _ruled(columns: Sequence[str], rows: list[list[str]], numbers: Collection[str]) -> None:
    from rich import box  # noqa: PLC0415 - rich takes longer to import than most commands to run
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="none")
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
