"""`gateway provider new`: an identity."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.output import examples, local_time
from gateway.cli.provider.examples import NEW
from gateway.host.clock import SystemClock
from gateway.provider.identity import CARD_FILE, KEY_FILE, new_identity


@click.command("new", epilog=examples(NEW))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Your name, as households see it.")
def command(folder: Path, name: str) -> None:
    """Make a provider's identity, in a new folder DIR."""
    card = new_identity(folder, name, SystemClock("host").wall() // 1_000_000_000 * 1000)
    click.echo(f"card         {folder / CARD_FILE}")
    click.echo(f"fingerprint  {card.fingerprint}")
    click.echo(f"valid until  {local_time(card.valid_until_ms)}")
    click.echo(
        f"Give {CARD_FILE} to the household, and the fingerprint by another channel: it compares the two."
    )
    click.echo(f"Keep {folder / KEY_FILE} private and back it up: it opens whatever is granted to you.")
