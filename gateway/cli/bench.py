"""`gateway bench`: the speed of this machine, against rivals measured in the same run."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from itertools import chain as chain_of

import click

from gateway.bench.figure import Figure, machine
from gateway.cli.output import examples, json_option, print_json, print_table


@click.group(epilog=examples("gateway bench chain", "gateway bench provider", "gateway bench centre"))
def command() -> None:
    """Measure this machine."""


@command.command(
    short_help="Sealing, opening and sizes, against rivals and the paper.",
    epilog=examples("gateway bench chain", "gateway bench chain --json > chain.json"),
)
@json_option
def chain(as_json: bool) -> None:
    """Sealing, opening and sizes, as ratios to rivals; and the paper's Table 1 beside ours."""
    from gateway.bench.chain import figures  # noqa: PLC0415
    from gateway.bench.paper import paper_table  # noqa: PLC0415

    _print(figures(), as_json)
    if as_json:
        return
    click.echo()
    table = [
        [row.phase, row.paper_ms, f"{row.here_ms:.2g}", row.paper_bytes, str(row.here_bytes)]
        for row in paper_table()
    ]
    columns = ["the paper's Table 1", "paper ms", "here ms", "paper B", "here B"]
    print_table(columns, table, numbers=columns[1:])


@command.command(
    short_help="A year and many homes' days read from an S3 server, against plaintext.",
    epilog=examples("gateway bench provider", "gateway bench provider --homes 10000 --json"),
)
@click.option(
    "--homes",
    default=200,
    show_default=True,
    metavar="N",
    type=click.IntRange(min=1),
    help="Of how many homes to read yesterday; 10000 take ten minutes.",
)
@json_option
def provider(homes: int, as_json: bool) -> None:
    """A year of quarter hours of one home, and yesterday's of many homes: read from a local S3 server,
    verified and opened. Beside them are bare GETs of the same objects, and DuckDB, which reads the same in
    plaintext Parquet from the same server."""
    from gateway.bench import homes as many  # noqa: PLC0415
    from gateway.bench import provider as one  # noqa: PLC0415

    _print(chain_of(one.figures(), many.figures(homes)), as_json)


@command.command(
    short_help="Registration and authentication at a registrar, beside the paper.",
    epilog=examples("gateway bench registrar", "gateway bench registrar --json > registrar.json"),
)
@json_option
def registrar(as_json: bool) -> None:
    """Registration, authentication and nonces at a registrar on this machine, over HTTP, beside the paper's
    figures; and one password's digest, which is slow on purpose."""
    from gateway.bench.registrar import figures  # noqa: PLC0415

    _print(figures(), as_json)


@command.command(
    short_help="A load monitoring centre's ingest and sums, against plaintext.",
    epilog=examples("gateway bench centre", "gateway bench centre --homes 1000000 --json"),
)
@click.option(
    "--homes",
    default=100_000,
    show_default=True,
    metavar="N",
    type=click.IntRange(min=1),
    help="Of how many homes to add a day up; 1000000 take ten minutes.",
)
@json_option
def centre(homes: int, as_json: bool) -> None:
    """The load monitoring centre of many simulated homes: taking their objects in from memory, beside the
    bare verification of as many signatures; a day's blind sums by region, beside DuckDB's plaintext sums of
    the same table; its words and the summing service's; and sums by one worker of Dask and by four."""
    from gateway.bench.centre import figures  # noqa: PLC0415

    _print(figures(homes), as_json)


def _print(measured: Iterable[Figure], as_json: bool) -> None:
    figures = []
    for figure in measured:
        figures.append(figure)
        if not as_json and sys.stderr.isatty():
            click.echo(f"measured {figure.name}", err=True)
    if as_json:
        print_json([asdict(figure) | {"ratio": figure.ratio} for figure in figures])
        return
    for name, value in machine().items():
        click.echo(f"{name}: {value}")
    rows = [
        [f.name, f"{f.ours:.4g}", f"{f.rival:.4g}", f.unit, f"{f.ratio:.3g}", f.limit, f.against]
        for f in figures
    ]
    columns = ["figure", "ours", "rival", "unit", "ratio", "wanted", "rival is"]
    print_table(columns, rows, numbers=["ours", "rival", "ratio"])
