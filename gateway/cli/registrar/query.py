"""`gateway registrar query`: the catalogue, as the operator sees it."""

from __future__ import annotations

import click

from gateway.chain.layout import LANES
from gateway.cli.output import examples, json_option, local_time, print_json, print_table
from gateway.cli.registrar.options import settings_option, working
from gateway.cli.values import Moment
from gateway.registrar.catalogue import MOST, Wanted
from gateway.registrar.service import Registrar
from gateway.registrar.settings import Settings
from gateway.registry.documents import CatalogueStream


@click.command(
    epilog=examples(
        "gateway registrar query --region north",
        "gateway registrar query --lane export --covers-from 2026-01-01 --json",
        "gateway registrar query --granted",
    )
)
@settings_option
@click.option("--region", help="Only streams of this region.")
@click.option("--tariff-zone", help="Only streams of this tariff zone.")
@click.option("--lane", type=click.Choice(sorted(LANES)), help="Only streams with this lane.")
@click.option("--granted", is_flag=True, help="Only streams that granted somebody something.")
@click.option("--covers-from", "covers_from_ms", type=Moment(), help="Only streams sealed from then on.")
@click.option("--covers-until", "covers_until_ms", type=Moment(), help="Only streams sealed until then.")
@json_option
def command(
    settings: Settings,
    region: str | None,
    tariff_zone: str | None,
    lane: str | None,
    granted: bool,
    covers_from_ms: int | None,
    covers_until_ms: int | None,
    as_json: bool,
) -> None:
    """Search the catalogue: which streams there are, what they hold and since when, and who was granted what.

    It has what the server last found in the store, some minutes ago, and nothing that a reading says.
    """
    wanted = Wanted(region, tariff_zone, lane, granted, covers_from_ms, covers_until_ms)

    async def all_of(registrar: Registrar) -> list[CatalogueStream]:
        found: list[CatalogueStream] = []
        more = wanted
        while True:
            page = await registrar.catalogue.streams(None, more)
            found += page
            if len(page) < MOST:
                return found
            more = wanted.following(bytes.fromhex(page[-1].stream))

    found = working(settings, all_of)
    if as_json:
        print_json([one.model_dump(exclude={"certificate"}) for one in found])
        return
    rows = [
        [
            one.stream,
            one.assurance,
            one.region or "-",
            one.tariff_zone or "-",
            ", ".join(one.lanes),
            "-" if one.sealed_until_ms is None else local_time(one.sealed_until_ms),
            str(len(one.grants)),
        ]
        for one in found
    ]
    names = ["stream", "root", "region", "tariff zone", "lanes", "sealed until", "grants"]
    print_table(names, rows, numbers=["grants"])
