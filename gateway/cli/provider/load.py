"""`gateway provider load`: the load monitoring centre's sums over many homes, by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from gateway.centre import load as centre
from gateway.cli.output import examples, json_option, print_json, print_table
from gateway.cli.provider import rows
from gateway.cli.provider.homes import (
    EXAMPLE_PLACE,
    EXAMPLE_TIMES,
    homes_file_option,
    homes_options,
    in_words,
    opening,
    read_text,
    windows_options,
)
from gateway.cli.provider.place import key_option
from gateway.errors import GatewayError, StoreUnavailable, Unavailable, UsageError
from gateway.host.clock import SystemClock, unix_ms
from gateway.provider.homes import Listed, read_answer, read_homes, write_homes
from gateway.provider.identity import Identity, open_identity
from gateway.provider.load import Answer, Windows, of_each
from gateway.provider.membership import open_membership, session
from gateway.provider.sums import Row
from gateway.registry.documents import LoadRequest
from gateway.store.location import Location
from gateway.stream.times import moment

_HOMES = f"gateway provider load homes --key centre {EXAMPLE_PLACE} homes.csv {EXAMPLE_TIMES} > set.csv"
_ASK = f"gateway provider load ask --key centre --homes set.csv {EXAMPLE_TIMES} > sums.csv"
_SUM = f"gateway provider load sum --key centre {EXAMPLE_PLACE} set.csv --sums sums.csv"


@click.group(epilog=examples(_HOMES, _ASK, _SUM))
def load() -> None:
    """Open the loads of a set of homes, together with the summing service, and never one home's.

    \b
    1. `load homes` lists the homes that are complete in the windows: the set.
    2. The summing service sums its shares of that set: `load ask` asks a registrar's, or its holder runs
       `gateway provider share sum`.
    3. `load sum` opens the loads with these sums.

    A home that comes late can join before the service sums, never after.
    """


@load.command(short_help="List the homes that are complete.", epilog=examples(_HOMES))
@homes_options
@windows_options
def homes(
    folder: Path,
    location: Location,
    homes_file: str,
    max_age_ms: int,
    from_ms: int,
    until_ms: int,
    granularity: str | None,
    zone: str,
    lanes: tuple[str, ...],
) -> None:
    """Print those homes of the list whose part of the load is there in all windows, and whose chain holds, as
    a list for the summing service. The others are named on stderr, with what is missing or wrong."""
    windows = Windows.between(lanes, from_ms, until_ms, granularity, zone)
    listed = read_homes(read_text(homes_file, "the list of homes"), homes_file)
    complete = asyncio.run(_complete(folder, location, max_age_ms, listed, windows))
    if not complete:
        raise Unavailable(f"none of {len(listed)} homes is complete in {in_words(windows)}")
    click.echo(write_homes(complete), nl=False)
    click.echo(f"{len(complete)} of {len(listed)} homes are complete in {in_words(windows)}", err=True)


async def _complete(
    folder: Path, location: Location, max_age_ms: int, listed: list[Listed], windows: Windows
) -> list[Listed]:
    identity, complete = open_identity(folder), []
    async with opening(location, folder, max_age_ms) as member:
        for home in listed:
            try:
                await centre.part_of(await member(home), identity, windows)
            except StoreUnavailable:
                raise
            except GatewayError as error:
                click.echo(f"stream {home.stream.hex()} is left out: {error}", err=True)
            else:
                complete.append(home)
    return complete


@load.command("ask", short_help="Ask the registrar's service for its sums.", epilog=examples(_ASK))
@key_option
@homes_file_option
@windows_options
def ask(
    folder: Path,
    homes_file: str,
    from_ms: int,
    until_ms: int,
    granularity: str | None,
    zone: str,
    lanes: tuple[str, ...],
) -> None:
    """Print the sums of the summing service of the registrar at which you are registered, for `load sum`.

    All homes of the list must be complete in all windows. From then on these homes are summed together at
    those times, or not at all.
    """
    identity, membership = open_identity(folder), open_membership(folder)
    windows = Windows.between(lanes, from_ms, until_ms, granularity, zone)
    homes = read_text(homes_file, "the list of homes")
    read_homes(homes, homes_file)

    async def asked() -> str:
        async with session(membership, identity, unix_ms(SystemClock("host"))) as client:
            wanted = LoadRequest(homes=homes, lanes=windows.lanes, times=windows.times)
            return (await client.sum_load(wanted)).sums

    click.echo(asyncio.run(asked()), nl=False)


@load.command("sum", short_help="Open the loads with the service's sums.", epilog=examples(_SUM))
@homes_options
@click.option(
    "--sums",
    "sums_file",
    required=True,
    type=click.Path(allow_dash=True),
    help="What `share sum` printed for this list.  - is stdin.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with times in UTC.")
@json_option
def sum_(
    folder: Path,
    location: Location,
    homes_file: str,
    max_age_ms: int,
    sums_file: str,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Print the load of each window of the service's sums, over all homes of the list: the very list that the
    service was given."""
    if as_csv and as_json:
        raise UsageError("--json prints one whole document: use it without --csv")
    if homes_file == sums_file == "-":
        raise UsageError("--homes and --sums cannot both be stdin: name a file for one of them")
    listed = read_homes(read_text(homes_file, "the list of homes"), homes_file)
    answer = read_answer(read_text(sums_file, "the file of sums"), sums_file)
    loads = asyncio.run(_loads(folder, location, max_age_ms, listed, answer))
    lanes = answer.windows.lanes
    found = [
        Row(moment(start_ms, 1), moment(end_ms, 1), dict(zip(lanes, sums, strict=True)))
        for (start_ms, end_ms), sums in zip(answer.windows.times, loads.tolist(), strict=True)
    ]
    if as_json:
        print_json(_document(lanes, listed, found))
    elif as_csv:
        show = rows.stream_csv(lanes)
        for row in found:
            show(row)
    else:
        names = rows.columns(lanes)
        cells = [rows.cells(row, lanes, rows.local, "-") for row in found]
        print_table(names, cells, numbers=set(names) - {rows.FROM})
        click.echo(f"the loads of {len(listed)} homes", err=True)


async def _loads(
    folder: Path, location: Location, max_age_ms: int, listed: list[Listed], answer: Answer
) -> NDArray[np.int64]:
    identity: Identity = open_identity(folder)
    async with opening(location, folder, max_age_ms) as member:
        members = await of_each(listed, lambda home: home.stream, member)
        return await centre.load(members, identity, answer)


def _document(lanes: tuple[str, ...], listed: list[Listed], found: list[Row]) -> dict[str, object]:
    return {
        "lanes": list(lanes),
        "homes": [home.stream.hex() for home in listed],
        "rows": [rows.row_document(row) for row in found],
    }
