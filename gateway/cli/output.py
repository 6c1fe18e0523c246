"""The output of commands: tables, JSON, kWh, times. Formatted on a terminal, plain and stable in a pipe."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import click

from gateway.provider.lanes import COLUMNS
from gateway.stream.times import named_zone

if TYPE_CHECKING:
    from rich.table import Table

Command = TypeVar("Command", bound=Callable[..., object])

MWH_PER_KWH = 1_000_000
JSON_KEYS = COLUMNS
"""What a lane's values are called in JSON: each in the lane's own integers, whose unit the name has."""
_ID = re.compile("[0-9a-f]{32}")
_NARROW = 10
"""Characters that a column of anything but ids keeps on a terminal, before ids are broken."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def examples(*lines: str) -> str:
    """An epilog for a command: whole commands to copy."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def json_option(command: Command) -> Command:
    """`--json` for a command that takes `as_json`; with it the command prints one JSON document only."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def print_json(document: object) -> None:
    """Print one JSON document. Energy in it is in integers of mWh, so that no reader rounds it."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def kwh(mwh: int) -> str:
    """Energy in kWh, exact: six decimals hold every mWh."""
    whole, rest = divmod(abs(mwh), MWH_PER_KWH)
    return f"{'-' if mwh < 0 else ''}{whole}.{rest:06d}"


def local_time(unix_ms: int, zone: str | None = None) -> str:
    """A moment as ISO 8601 in `zone`, or else the machine's, with its offset; milliseconds only where there
    are some. In a zone that this machine does not know, in its own."""
    try:
        moment = (EPOCH + timedelta(milliseconds=unix_ms)).astimezone(
            None if zone is None else named_zone(zone)
        )
    except OverflowError:  # a signed object's times go up to 2^64
        return f"{unix_ms} ms after 1970"
    return moment.isoformat(timespec="milliseconds" if unix_ms % 1000 else "seconds")


def recent_time(unix_ms: int) -> str:
    """On a terminal a moment's time of day, with its date unless that is today; in a pipe as `local_time`."""
    moment = (EPOCH + timedelta(milliseconds=unix_ms)).astimezone()
    if not sys.stdout.isatty():
        return local_time(unix_ms)
    today = moment.date() == datetime.now().astimezone().date()
    return f"{moment:%H:%M:%S}" if today else f"{moment:%Y-%m-%d %H:%M:%S}"


def offset(seconds: float, digits: int) -> str:
    """How far a clock is ahead (+) or behind (-); no sign where it is neither."""
    text = f"{seconds:+.{digits}f}"
    return f"{text if text.strip('+-0.') else text[1:]} s"


def echo(text: str, title: str = "") -> None:
    """Print a sentence after its title; on a terminal it is wrapped between words and indented."""
    if sys.stdout.isatty():
        text = textwrap.fill(
            text,
            shutil.get_terminal_size().columns,
            initial_indent=title,
            subsequent_indent=" " * len(title),
            break_long_words=False,
            break_on_hyphens=False,
        )
    else:
        text = title + text
    click.echo(text)


def fill(text: str, indent: str) -> str:
    """Text in lines that fit a terminal, of 80 characters in a pipe, all but the first indented."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 80
    return textwrap.fill(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def printable(text: str) -> str:
    """Text from elsewhere, safe to show: a control character could move the cursor or hide a line."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Collection[str] = ()
) -> None:
    """Print a table; the columns named in `numbers` are right-aligned.

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
    from rich.console import Console  # noqa: PLC0415 - rich takes longer to import than most commands to run

    console = Console()
    console.print(ruled_table(columns, rows, console.width, numbers=numbers))


def ruled_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, numbers: Collection[str] = ()
) -> Table:
    """A table at most `width` characters wide, of which nothing is cut off: long cells wrap."""
    from rich import box  # noqa: PLC0415
    from rich.cells import cell_len  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False, header_style="none"
    )
    whole = [list(column) for column in zip(columns, *rows, strict=True)]
    natural = [max(map(cell_len, cells)) for cells in whole]
    words = [max(cell_len(word) for cell in cells for word in cell.split() or [""]) for cells in whole]
    ids = {n for n, cells in enumerate(whole) if any(map(_ID.fullmatch, cells))}
    widths = _fitting(natural, words, ids, width - 2 * (len(columns) - 1))
    for name, fitting in zip(columns, widths, strict=True):
        table.add_column(name, justify="right" if name in numbers else "left", width=fitting, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _fitting(natural: Sequence[int], words: Sequence[int], ids: AbstractSet[int], room: int) -> list[int]:
    """Widths that fit into `room`: the widest column shrinks, while possible one whose words stay whole, then
    one that is not of ids, which a person copies."""
    widths = list(natural)
    while sum(widths) > room and max(widths) > 1:
        loose = (
            [n for n, width in enumerate(widths) if width > words[n]]
            or [n for n, width in enumerate(widths) if width > _NARROW and n not in ids]
            or range(len(widths))
        )
        widths[max(loose, key=lambda n: widths[n])] -= 1
    return widths
