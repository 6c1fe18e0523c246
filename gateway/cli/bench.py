"""`gateway bench`: the speed of this machine, against rivals measured in the same run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from itertools import chain as chain_of
from pathlib import Path

import click

from gateway.bench.figure import Figure, machine
from gateway.chain.window import spell_ms
from gateway.cli.output import examples, json_option, print_json, print_table
from gateway.cli.values import Duration
from gateway.errors import UsageError


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
    "paper-figures",
    short_help="The paper's Figures 4 and 5: delay and throughput by number of meters.",
    epilog=examples("gateway bench paper-figures figures", "gateway bench paper-figures figures --full"),
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--full", is_flag=True, help="Ten times as many meters, which takes half an hour.")
def paper_figures(folder: Path, full: bool) -> None:
    """Draw the end-to-end delay and the throughput by number of meters, 100 to 1 000 000, into DIR: figure4
    and figure5, each as PNG and SVG, and figures.csv.

    Up to 1000 meters run through a local S3 server, and up to 100 000 are added up from Parquet; what does
    not run is modelled, and marked so.
    """
    from gateway.host.files import write_durably  # noqa: PLC0415

    with _packages():
        from gateway.bench import growth, growth_plot  # noqa: PLC0415

    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not os.access(there, os.W_OK | os.X_OK) or not there.is_dir():
        raise UsageError(f"{folder} cannot be written: {there} is no folder in which you may write")
    points = growth.completed(growth.measured(full, lambda what: click.echo(f"measuring {what}", err=True)))
    try:
        text = growth_plot.caption(points, machine())
        files = {"figures.csv": growth_plot.table(points).encode()}
        for number in growth_plot.FIGURES:
            for picture in ("png", "svg"):
                files[f"figure{number}.{picture}"] = growth_plot.drawn(number, points, text, picture)
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_durably(folder / name, data, 0o644)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}") from None
    rows = [[str(one.meters), one.stage, one.kind, f"{one.seconds:.3g}", f"{one.rate:.3g}"] for one in points]
    columns = ["meters", "stage", "kind", "delay s", "meters/s"]
    print_table(columns, rows, numbers=["meters", "delay s", "meters/s"])
    click.echo()
    click.echo(text)


@command.command(
    short_help="What a load monitoring centre of a million homes costs, on paper.",
    epilog=examples("gateway bench cost", "gateway bench cost --homes 50000 --within 15min"),
)
@click.option(
    "--homes",
    "sizes",
    multiple=True,
    default=(10**6, 10**8),
    show_default=True,
    metavar="N",
    type=click.IntRange(min=1),
    help="Of how many homes.",
)
@click.option(
    "--within",
    "within_ms",
    default="5min",
    show_default=True,
    type=Duration(),
    help="How soon after its window a load is wanted.",
)
@json_option
def cost(sizes: tuple[int, ...], within_ms: int, as_json: bool) -> None:
    """Requests, bytes, cores and machines for loads of each granularity, by the length of the gateways'
    chunks; the length that is wanted is marked with *.

    Objects are counted, requests and processor time measured on a hundred homes and a local S3 server, and
    multiplied. Prices are yours: a price list names them by the request and the byte.
    """
    with _packages():
        from gateway.bench import cost as paper  # noqa: PLC0415

    requests = paper.requests()
    days = {pair: paper.measured(*pair, paper.HOMES) for pair in paper.pairs()}
    if as_json:
        print_json(
            [
                {"homes": homes, "granularity": spell_ms(granularity_ms), "chunk": spell_ms(chunk_ms)}
                | {"wanted": chunk_ms == paper.wanted(granularity_ms, within_ms)}
                | {"home_day": asdict(day), "fleet": asdict(paper.fleet(day, requests, homes))}
                for homes in sizes
                for (granularity_ms, chunk_ms), day in days.items()
            ]
        )
        return
    for homes in sizes:
        click.echo(f"{homes} homes")
        rows = []
        for (granularity_ms, chunk_ms), day in days.items():
            mark = "*" * (chunk_ms == paper.wanted(granularity_ms, within_ms))
            one = paper.fleet(day, requests, homes)
            numbers = [one.puts, one.gets, one.lists, one.put / 1e6, one.got / 1e6, one.kept_a_day / 1e12]
            cores = [f"{cores:.1f}" for cores in (one.store, one.centre, one.service)]
            shown = [f"{number:.3g}" if number < 1000 else f"{number:.0f}" for number in numbers]
            machines = "+".join(map(str, one.machines))
            rows.append([spell_ms(granularity_ms), spell_ms(chunk_ms) + mark, *shown, *cores, machines])
        columns = ["load", "chunk", "PUT/s", "GET/s", "LIST/s", "MB/s put", "MB/s got", "TB a day"]
        columns += ["store", "centre", "service", "machines"]
        print_table(columns, rows, numbers=columns[2:])
        click.echo()
    each = {"PUT": requests.put, "GET": requests.get, "LIST": requests.list}
    spent = ", ".join(
        f"{name} {server_s * 1e3:.2g} + {client_s * 1e3:.2g} ms"
        for name, (server_s, client_s) in each.items()
    )
    click.echo(
        f"store, centre and service are cores at work; machines for these three have {paper.CORES} cores, of"
        f" which {paper.BUSY:.0%} are at work. A request costs the server and its client {spent}."
    )


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


@contextmanager
def _packages() -> Iterator[None]:
    """UsageError where a package of the centre or the registrar is not installed."""
    try:
        for name in ("duckdb", "pyarrow", "matplotlib"):  # which are loaded late
            import_module(name)
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"the package {error.name} is missing: install gateway[centre,registrar]") from None


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
