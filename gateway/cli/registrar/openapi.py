"""`gateway registrar openapi`: the description of the HTTP API."""

from __future__ import annotations

import click

from gateway.cli.output import examples, print_json
from gateway.registrar.api import ROUTES
from gateway.registrar.openapi import describe


@click.command("openapi", epilog=examples("gateway registrar openapi > openapi.json"))
def command() -> None:
    """Print the OpenAPI 3.1 description of the HTTP API."""
    print_json(describe(ROUTES))
