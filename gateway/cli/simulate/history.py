"""`gateway simulate history`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from gateway.cli.card import read_card
from gateway.cli.output import examples, json_option, kwh, local_time, print_json
from gateway.cli.provider.place import own_store_options
from gateway.cli.simulate.store import make_folder
from gateway.cli.values import Duration
from gateway.config.tariff import load_tariff
from gateway.control.documents import NewGrant
from gateway.errors import UsageError
from gateway.meters.profile import load_profile
from gateway.simulate.history import Home, Past, fill
from gateway.simulate.seasons import PLACES, SeasonalHome
from gateway.store.location import Location
from gateway.wire.card import Card

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
_PURPOSE = "a simulated history"


@click.command(
    short_help="A believable past of homes, in a store.",
    epilog=examples(
        "gateway simulate history --days 400 --store ./store --state ./homes",
        "gateway simulate history --days 400 --store ./store --state ./homes --to utility/card.cose"
        " --granularity 15min --bill tariff.toml",
        "gateway simulate history --days 30 --homes 20 --zone Europe/Paris --zone Europe/Athens"
        " --store s3://demo --endpoint http://127.0.0.1:8333 --state ./homes",
    ),
)
@own_store_options
@click.option("--state", "folder", required=True, type=_FOLDER, help="A folder for the homes' own files.")
@click.option("--days", default=400, show_default=True, type=click.IntRange(1, 10_000), help="How many.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="The day after the last.  [default: today]")
@click.option("--homes", default=1, show_default=True, type=click.IntRange(1, 10_000), help="How many.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=1), help="Of the first home.")
@click.option(
    "--zone",
    "zones",
    multiple=True,
    default=("Europe/Berlin",),
    show_default=True,
    type=click.Choice(tuple(PLACES)),
    help="Where the homes are, one after the other.",
    metavar="ZONE",
)
@click.option("--profile", "profile_id", default="eastron-sdm630", show_default=True, help="The meter model.")
@click.option(
    "--unit", "unit_ms", type=Duration(), default="1min", show_default=True, help="The finest time step."
)
@click.option("--series", is_flag=True, help="Add a series: temperature, irradiance, occupancy.")
@click.option("--to", "card", type=_FILE, help="Grant to the holder of this card, from the first day on:")
@click.option("--granularity", "granularities", multiple=True, help="sums of these windows;")
@click.option("--bill", "tariff_file", type=_FILE, help="each month's bill under this tariff.")
@json_option
def command(
    location: Location,
    folder: Path,
    days: int,
    until: datetime | None,
    homes: int,
    seed: int,
    zones: tuple[str, ...],
    profile_id: str,
    unit_ms: int,
    series: bool,
    card: Path | None,
    granularities: tuple[str, ...],
    tariff_file: Path | None,
    as_json: bool,
) -> None:
    """Fill a store with a believable past: weather, holidays, solar roofs, heat pumps and electric cars;
    sealed, issued and sent by the real gateway, whose clock is driven.

    Home N has the seed N: the first has a roof, a heat pump and a car, others what they have. Each has a
    folder in --state with its configuration, its keys in SOFTWARE and its ledger, with which `gateway run`
    goes on. The same command continues what was interrupted.
    """
    if unit_ms % 1000 or 3_600_000 % unit_ms:
        raise UsageError("--unit must be whole seconds that divide an hour, such as 10s, 1min or 15min")
    if card is None and (granularities or tariff_file):
        raise UsageError("--granularity and --bill say what --to may open: give the provider's card too")
    if card is not None and not (granularities or tariff_file):
        raise UsageError("--to needs --granularity or --bill: what may it open?")
    holder = None if card is None else read_card(card)
    load_profile(profile_id)
    make_folder(location)
    found: list[Past] = []
    for number in range(homes):
        zone = zones[number % len(zones)]
        today = datetime.now(ZoneInfo(zone)).date()
        end = until.date() if until else today
        if end > today:
            raise UsageError(f"--until {end} lies in the future: a past ends today, {today}, or earlier")
        home = Home(
            folder / f"home-{seed + number}",
            seed + number,
            zone,
            profile_id,
            unit_ms // 1000,
            end - timedelta(days=days),
            end,
            series,
        )
        grants = [] if holder is None else _grants(holder, home, granularities, tariff_file)
        found.append(asyncio.run(fill(home, location, grants, _progress(home))))
        if not as_json:
            _show(found[-1], location)
    if as_json:
        print_json([_document(past) for past in found])


def _grants(
    card: Card, home: Home, granularities: tuple[str, ...], tariff_file: Path | None
) -> list[tuple[Card, NewGrant]]:
    from_ms = int(SeasonalHome(home.number, home.zone).seconds_of(home.first)[0]) * 1000
    sums = [NewGrant("windows", one, home.zone, None, _PURPOSE, from_ms, None) for one in granularities]
    if tariff_file is None:
        return [(card, one) for one in sums]
    tariff = load_tariff(tariff_file)
    bill = NewGrant("bill", "month", tariff.zone, None, _PURPOSE, from_ms, None, tariff)
    return [(card, one) for one in (*sums, bill)]


def _progress(home: Home) -> Callable[[date], None]:
    """On a terminal, a line on stderr that says how far it is."""

    def show(day: date) -> None:
        done, whole = (day - home.first).days + 1, (home.end - home.first).days
        last = "\n" if done == whole else ""
        click.echo(f"\rhome {home.number}: {day}, {done} of {whole} days{last}", nl=False, err=True)

    return show if sys.stderr.isatty() else lambda day: None


def _show(past: Past, location: Location) -> None:
    click.echo(
        f"home {past.home.number}, {past.home.zone}: {local_time(past.start_ms, past.home.zone)} to "
        f"{local_time(past.end_ms, past.home.zone)}, import {kwh(past.import_mwh)} kWh, export "
        f"{kwh(past.export_mwh)} kWh"
    )
    endpoint = "" if location.endpoint is None else f" --endpoint {location.endpoint}"
    click.echo(
        f"  --store {location.url}{endpoint} --stream {past.stream.hex()} --signer {past.signer.hex()}"
    )
    if past.series is not None:
        click.echo(f"  its series: --stream {past.series.hex()}")


def _document(past: Past) -> dict[str, object]:
    return {
        "home": past.home.number,
        "zone": past.home.zone,
        "folder": str(past.home.folder),
        "stream": past.stream.hex(),
        "signer": past.signer.hex(),
        "start_ms": past.start_ms,
        "end_ms": past.end_ms,
        "import_mwh": past.import_mwh,
        "export_mwh": past.export_mwh,
        "grants": [grant.hex() for grant in past.grants],
        **({} if past.series is None else {"series": past.series.hex()}),
    }
