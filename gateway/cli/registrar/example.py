"""`gateway registrar example`: a configuration to start from."""

from __future__ import annotations

import click

from gateway.cli.output import examples
from gateway.cli.registrar.examples import EXAMPLE
from gateway.registrar.settings import example


@click.command("example", epilog=examples(EXAMPLE))
def command() -> None:
    """Print a commented configuration to start from."""
    click.echo(example(), nl=False)
