"""`gateway registrar attempts`: what was refused."""

from __future__ import annotations

from dataclasses import asdict

import click

from gateway.cli.output import examples, json_option, local_time, print_json, print_table
from gateway.cli.registrar.options import settings_option, working
from gateway.registrar.settings import Settings


@click.command("attempts", epilog=examples("gateway registrar attempts", "gateway registrar attempts --json"))
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many.")
@settings_option
@json_option
def command(limit: int, settings: Settings, as_json: bool) -> None:
    """Show the attempts that were refused, the newest first: of what kind, by whom, from where, and why."""
    found = working(settings, lambda registrar: registrar.access.all(limit))
    if as_json:
        print_json([asdict(one) for one in found])
        return
    rows = [
        [local_time(one.last_ms // 1000 * 1000), str(one.times), one.kind, one.who, one.address, one.sentence]
        for one in found
    ]
    print_table(["last", "times", "kind", "by", "from", "refused because"], rows, numbers=["times"])
