"""`gateway registrar loads`: the memory of the summing service."""

from __future__ import annotations

import click

from gateway.cli.output import examples
from gateway.cli.registrar.options import settings_option, working
from gateway.registrar.loads import LoadMemory
from gateway.registrar.settings import Settings

_BEGIN = "gateway registrar loads begin --config registrar.toml"


@click.group(epilog=examples(_BEGIN))
def loads() -> None:
    """The summing service of loads, which answers load monitoring centres where [loads] is set."""


@loads.command(epilog=examples(_BEGIN))
@settings_option
def begin(settings: Settings) -> None:
    """Begin the memory of what the service has summed, once.

    Without it nothing is summed. It lies in the registrar's database and is part of its backups: a service
    that begins anew, after it has given sums away, may give away others that reveal single homes.
    """
    working(settings, lambda registrar: LoadMemory(registrar.database).begin())
    click.echo("The summing service has summed nothing yet, and remembers from now on.")
