"""`gateway registrar init`: the registrar's key and database."""

from __future__ import annotations

import click

from gateway.cli.output import examples, local_time
from gateway.cli.registrar.examples import INIT
from gateway.cli.registrar.options import CLOCK, settings_option, working
from gateway.host.clock import unix_ms
from gateway.registrar.identity import KEY_FILE, new_identity
from gateway.registrar.service import Registrar
from gateway.registrar.settings import Settings


@click.command("init", short_help="Make the registrar's key and its database.", epilog=examples(INIT))
@settings_option
def command(settings: Settings) -> None:
    """Make the registrar's key and card in its state folder, once, and the tables of its database.

    A key is never overwritten: all certificates depend on it.
    """
    card = new_identity(settings.registrar.state, settings.registrar.name, unix_ms(CLOCK)).card

    async def nothing(registrar: Registrar) -> None:
        """Opening it has made the tables."""

    working(settings, nothing)
    click.echo(f"registrar    {card.name}")
    click.echo(f"fingerprint  {card.fingerprint}")
    click.echo(f"valid until  {local_time(card.valid_until_ms)}")
    click.echo(
        f"Back up {settings.registrar.state / KEY_FILE} (`gateway registrar backup`): without it no "
        "certificate can be renewed."
    )
