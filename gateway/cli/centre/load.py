"""`gateway centre load`: the loads of a region."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sys
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path

import click
import numpy as np
from click.core import ParameterSource

from gateway.centre.engine import Engine
from gateway.centre.noise import HOME_LIMIT_W, Noise
from gateway.centre.query import Load, check_any, load
from gateway.centre.state import State
from gateway.chain.window import Granularity
from gateway.cli.centre.examples import LOAD
from gateway.cli.centre.options import engine_of, folder_argument, packages, scheduler_option
from gateway.cli.centre.registrar import summing_service
from gateway.cli.output import JSON_KEYS, examples, local_time, print_json, print_table, printable
from gateway.cli.provider import rows
from gateway.cli.provider.forms import Form, destination, drawing
from gateway.cli.provider.homes import windows_options
from gateway.cli.provider.place import key_option
from gateway.cli.values import Finite
from gateway.errors import UsageError
from gateway.provider.identity import open_identity
from gateway.provider.load import Windows
from gateway.provider.membership import open_membership
from gateway.provider.sums import Row, Rows
from gateway.provider.table import TOTAL, Table
from gateway.stream.times import moment, spell, spelt

_SHOWN = 20  # missing homes that are named
_FORMATS = ("table", "csv", "jsonl", "json", "parquet")


@click.command(epilog=examples(LOAD))
@folder_argument
@key_option
@click.option("--region", required=True, help="The region, as the list of homes has it.")
@windows_options
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="table",
    show_default=True,
    help="table, or csv in kWh; jsonl, json, parquet in mWh.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file, whole or not at all.",
)
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), help="Also draw the load curve: .png or .svg."
)
@scheduler_option
@click.option(
    "--noise-below",
    type=click.IntRange(min=1),
    metavar="HOMES",
    help="To publish them: add noise to the numbers of sets of fewer homes,",
)
@click.option("--epsilon", type=Finite(0, min_open=True), help="so that each takes this epsilon,")
@click.option(
    "--home-limit",
    "limit_w",
    type=click.IntRange(min=1),
    metavar="W",
    default=HOME_LIMIT_W,
    show_default=True,
    help="if no home changes its set by more.",
)
def command(
    data: Path,
    folder: Path,
    region: str,
    from_ms: int,
    until_ms: int,
    granularity: str | None,
    zone: str,
    lanes: tuple[str, ...],
    form: str,
    output: Path | None,
    plot: Path | None,
    scheduler: str | None,
    noise_below: int | None,
    epsilon: float | None,
    limit_w: int,
) -> None:
    """Show the loads of a region, from what `centre ingest` has taken into DIR.

    Each window is summed over the homes that are complete in it; how many these are, and which are missing
    and why, is shown with it. The summing service of the registrar at which you are registered is asked once
    for each window: from then on its homes are summed together at that time, or not at all. Homes that come
    late are a second set of the window, once there are enough of them.

    With --noise-below the numbers of small sets are differentially private towards those who read them, not
    towards you: they get discrete Laplace noise of the scale W x window / epsilon, drawn once for a number.
    What several numbers tell of a home adds up. How many homes are in a sum is exact, and none is named then
    but to you, on stderr.
    """
    if (noise_below is None) != (epsilon is None):
        raise UsageError("--noise-below and --epsilon go together: for which sets, and how much noise")
    noise = None
    if noise_below is not None and epsilon is not None:
        noise = Noise(noise_below, epsilon, limit_w)
    if plot is not None and plot.suffix.lower() not in (".png", ".svg"):
        raise UsageError(f"--plot {plot}: the name must end with .png or .svg")
    for path in (output, plot):
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"{path} cannot be written: there is no folder {path.parent}")
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise UsageError("--format parquet is not for a terminal: name a file with --output")
    identity, membership = open_identity(folder), open_membership(folder)
    windows = Windows.between(lanes, from_ms, until_ms, granularity, zone)

    async def loaded(state: State, engine: Engine) -> Load:
        async with summing_service(membership, identity) as session:
            return await load(state, engine, region, windows, *session, noise)

    with packages():
        state = State.open(data, make=False)
        try:
            with engine_of(scheduler) as engine:
                found = asyncio.run(loaded(state, engine))
        finally:
            state.close()
        check_any(found)
        calendar = granularity is not None and granularity.startswith(("day", "month"))
        given = click.get_current_context().get_parameter_source("zone") is ParameterSource.COMMANDLINE
        shown = Form(form, False, output, plot, zone if calendar or given else None)
        size = Granularity.parse(granularity or f"{until_ms - from_ms}ms", 1, zone)
        with drawing(shown, _table(found, size), _title(found)), destination(output):
            _print(found, shown)
    for sentence in _notes(found):
        click.echo(_in_zone(sentence, shown.zone), err=True)


def _print(found: Load, form: Form) -> None:
    lanes = found.windows.lanes
    match form.format:
        case "json":
            print_json(_document(found))
        case "jsonl":
            for i in range(len(found.homes)):
                click.echo(json.dumps(_window(found, i)))
        case "parquet":
            click.echo(_parquet(found), nl=False)
        case "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            begin, *others = rows.columns(lanes)
            writer.writerow([begin, "until", *others, *_coverage_names(found)])
            for i, row in enumerate(_rows(found)):
                first, *cells = rows.cells(row, lanes, rows.utc, "")
                writer.writerow([first, rows.utc(row.end), *cells, *_coverage(found, i)])
        case _:
            names = [*rows.columns(lanes), *_coverage_names(found)]
            when = partial(rows.local, zone=form.zone)
            shown = [
                [*rows.cells(row, lanes, when, "-"), *_coverage(found, i)]
                for i, row in enumerate(_rows(found))
            ]
            print_table(names, shown, numbers=set(names) - {rows.FROM})


def _rows(found: Load) -> list[Row]:
    """The windows in order; without sums where there is none."""
    return [
        Row(
            moment(start_ms, 1),
            moment(end_ms, 1),
            dict(zip(found.windows.lanes, sums, strict=True)) if homes else {},
        )
        for (start_ms, end_ms), sums, homes in zip(
            found.windows.times, found.sums.tolist(), found.homes, strict=True
        )
    ]


def _coverage_names(found: Load) -> list[str]:
    return ["homes", "missing", *(["epsilon"] if found.noise is not None else [])]


def _coverage(found: Load, i: int) -> list[str]:
    cells = [str(found.homes[i]), str(found.absent[i])]
    if found.noise is not None:
        cells.append(f"{found.noise.epsilon:g}" if i in found.noisy else "")
    return cells


def _table(found: Load, size: Granularity) -> Table:
    """The loads as a table of the provider's desk, to draw."""
    opened = np.array(found.homes) > 0
    starts, ends = (np.array(one, dtype=np.int64)[opened] for one in zip(*found.windows.times, strict=True))
    lanes = found.windows.lanes
    sums = {lane: found.sums[opened, i] for i, lane in enumerate(lanes)}
    whole = dict.fromkeys(lanes, np.ones(len(starts), dtype=np.bool_))
    of = np.zeros(len(starts), dtype=np.int64)
    return Table(lanes, (TOTAL,), of, Rows(1, starts, ends, sums, whole), granularities=(size,))


def _title(found: Load) -> str:
    """What a picture shows, with its coverage."""
    homes = [one for one in found.homes if one]
    listed = max(one + absent for one, absent in zip(found.homes, found.absent, strict=True))
    few, many = min(homes), max(homes)
    title = f"Load of {found.region}: {few if few == many else f'{few} to {many}'} of {listed} homes"
    if found.noise is not None and found.noisy:
        title += f", with noise of epsilon {found.noise.epsilon:g}"
    return title


def _window(found: Load, i: int) -> dict[str, object]:
    start_ms, end_ms = found.windows.times[i]
    sums = found.sums[i].tolist() if found.homes[i] else [None] * len(found.windows.lanes)
    return {
        "start": spell(start_ms, 1),
        "end": spell(end_ms, 1),
        **{JSON_KEYS[lane]: value for lane, value in zip(found.windows.lanes, sums, strict=True)},
        "homes": found.homes[i],
        "missing": found.absent[i],
        **({} if found.noise is None else {"epsilon": found.noise.epsilon if i in found.noisy else None}),
    }


def _document(found: Load) -> dict[str, object]:
    windows = [_window(found, i) for i in range(len(found.homes))]
    if found.noise is not None:  # what is published names no home, and a problem may
        return {"region": found.region, "windows": windows}
    return {
        "region": found.region,
        "windows": [
            one | ({"problem": found.problems[i]} if i in found.problems else {})
            for i, one in enumerate(windows)
        ],
        "missing": [
            {"stream": one.stream.hex(), "windows": one.windows, "reason": one.reason}
            for one in found.missing
        ],
    }


def _parquet(found: Load) -> bytes:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    opened = np.array(found.homes) > 0
    at = pa.timestamp("ms", "UTC")
    columns = {
        name: pa.array(one, pa.int64()).cast(at)
        for name, one in zip(("start", "end"), zip(*found.windows.times, strict=True), strict=True)
    }
    for i, lane in enumerate(found.windows.lanes):
        columns[JSON_KEYS[lane]] = pa.array(found.sums[:, i], mask=~opened)
    columns["homes"] = pa.array(found.homes, pa.int32())
    columns["missing"] = pa.array(found.absent, pa.int32())
    if found.noise is not None:
        epsilons = [found.noise.epsilon if i in found.noisy else None for i in range(len(found.homes))]
        columns["epsilon"] = pa.array(epsilons, pa.float64())
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def _in_zone(sentence: str, zone: str | None) -> str:
    """A sentence with its times as the table has them."""
    parts = spelt(sentence)
    return "".join(text + ("" if ms is None else local_time(ms, zone)) for text, ms in parts)


def _notes(found: Load) -> Iterator[str]:
    """What is missing, for people."""
    for one in found.missing[:_SHOWN]:
        of = "" if one.windows == len(found.homes) else f" in {one.windows} of {len(found.homes)} windows"
        yield f"stream {one.stream.hex()} is missing{of}: {printable(one.reason)}"
    if len(found.missing) > _SHOWN:
        where = "--format json" if found.noise is None else "--format json without noise"
        yield f"and {len(found.missing) - _SHOWN} more homes are missing: {where} names all"
    if found.noise is not None and found.noisy:
        yield (
            f"{len(found.noisy)} windows have noise: each of their numbers takes epsilon"
            f" {found.noise.epsilon:g}, if no home changes its set by more than {found.noise.limit_w} W"
        )
    for sentence, group in groupby(
        sorted(found.problems.items(), key=lambda one: one[1]), lambda one: one[1]
    ):
        numbers = [i for i, _ in group]
        first = spell(found.windows.times[numbers[0]][0], 1)
        yield f"{len(numbers)} windows have no sum, the first from {first}: {printable(sentence)}"
