"""`gateway provider share`: the summing service of loads, by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from gateway.centre.load import check_chain
from gateway.cli.output import examples, json_option, print_json
from gateway.cli.provider.homes import (
    EXAMPLE_PLACE,
    EXAMPLE_TIMES,
    homes_options,
    opening,
    read_text,
    windows_options,
)
from gateway.cli.provider.rows import utc
from gateway.provider.homes import Listed, read_homes, write_answer
from gateway.provider.identity import open_identity
from gateway.provider.load import Answer, Member, Windows, of_each
from gateway.registrar.summing import LEAST, SummingService
from gateway.store.location import Location
from gateway.stream.times import moment

_BEGIN = "gateway provider share begin service"
_SUM = f"gateway provider share sum --key service {EXAMPLE_PLACE} set.csv {EXAMPLE_TIMES} > sums.csv"


@click.group(epilog=examples(_BEGIN, _SUM))
def share() -> None:
    """Give a load monitoring centre what is missing to sums over many homes: the summing service.

    It never gives away one home's share, and remembers for ever which homes it summed together. Whether each
    gateway is real, and another household's, it cannot know: whoever gives it the list of homes answers for
    that. The service of a registrar knows, and answers over HTTP: gateway registrar loads.
    """


@share.command(short_help="Begin the service's record, once.", epilog=examples(_BEGIN))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def begin(folder: Path) -> None:
    """Begin the record of what the service in DIR, its folder of `provider new`, has summed.

    Without the record nothing is summed, so keep copies of it: a service that begins anew, after it has given
    sums away, may give away others that reveal single homes.
    """
    open_identity(folder)
    SummingService.begin(folder)
    click.echo(f"{folder} has summed nothing yet. Keep summed.json there, and copies of it.")


@share.command("sum", short_help="Sum a set's shares of a load.", epilog=examples(_SUM))
@homes_options
@windows_options
@click.option(
    "--k-min",
    type=click.IntRange(min=LEAST),
    default=LEAST,
    show_default=True,
    help="Over how many gateways at least; a household may ask for more.",
)
@json_option
def sum_(
    folder: Path,
    location: Location,
    homes_file: str,
    max_age_ms: int,
    from_ms: int,
    until_ms: int,
    granularity: str | None,
    zone: str,
    lanes: tuple[str, ...],
    k_min: int,
    as_json: bool,
) -> None:
    """Print, for each window, the sum of the service's shares over all homes of the list, as CSV for the
    centre.

    All homes must be complete in all windows, and their chains hold: take those that are named out of the
    list. From then on these homes are summed together at those times, or not at all.
    """
    windows = Windows.between(lanes, from_ms, until_ms, granularity, zone)
    listed = read_homes(read_text(homes_file, "the list of homes"), homes_file)
    identity = open_identity(folder)
    service = SummingService.in_folder(folder, identity, k_min)

    async def answered() -> Answer:
        async with opening(location, folder, max_age_ms) as member:

            async def whole(home: Listed) -> Member:
                found = await member(home)
                await check_chain(found, identity, windows)
                return found

            homes = await of_each(listed, lambda home: home.stream, whole)
            return await service.add(homes, windows)

    answer = asyncio.run(answered())
    if as_json:
        print_json(_document(answer))
    else:
        click.echo(write_answer(answer), nl=False)


def _document(answer: Answer) -> dict[str, object]:
    windows = answer.windows
    rows = zip(windows.times, answer.sets, answer.sums.tolist(), strict=True)
    return {
        "windows": [
            {
                "from": utc(moment(start_ms, 1)),
                "until": utc(moment(end_ms, 1)),
                "set": digest,
                "sums": dict(zip(windows.lanes, sums, strict=True)),
            }
            for (start_ms, end_ms), digest, sums in rows
        ]
    }
