"""`gateway bench`: the speed of the chain on this machine, against rivals measured in the same run."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from gateway.bench.chain import figures as chain_figures
from gateway.bench.figure import machine
from gateway.bench.paper import paper_table
from gateway.cli.output import examples, json_option, print_json, print_table


@click.group(epilog=examples("gateway bench chain"))
def command() -> None:
    """Measure this machine."""


@command.command(
    short_help="Sealing, opening and sizes, against rivals and the paper.",
    epilog=examples("gateway bench chain", "gateway bench chain --json > chain.json"),
)
@json_option
def chain(as_json: bool) -> None:
    """Sealing, opening and sizes, as ratios to rivals; and the paper's Table 1 beside ours."""
    figures = []
    for figure in chain_figures():
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
    click.echo()
    table = [
        [row.phase, row.paper_ms, f"{row.here_ms:.2g}", row.paper_bytes, str(row.here_bytes)]
        for row in paper_table()
    ]
    columns = ["the paper's Table 1", "paper ms", "here ms", "paper B", "here B"]
    print_table(columns, table, numbers=columns[1:])
