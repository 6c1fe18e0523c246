"""`gateway meters`: the meters that can be read, those that are there, and what one shows."""

from __future__ import annotations

import click

from gateway.cli.lazy import LazyGroup
from gateway.cli.output import examples

_COMMANDS = {
    "list": ("gateway.cli.meters.list", "List the meters that can be read, a profile each."),
    "show": ("gateway.cli.meters.show", "Show a profile: products, registers, caveats, sources."),
    "scan": ("gateway.cli.meters.scan", "Find meters on a line or behind an address."),
    "read": ("gateway.cli.meters.read", "Show a meter's readings, live."),
    "accept": ("gateway.cli.meters.accept", "Decide on readings that are held."),
    "capture": ("gateway.cli.meters.capture", "Record a meter in a file that becomes a test."),
}


@click.group(
    cls=LazyGroup,
    lazy=_COMMANDS,
    epilog=examples(
        "gateway meters list",
        "gateway meters scan --serial /dev/ttyUSB0",
        "gateway meters read --profile eastron-sdm630 --tcp 192.168.1.50",
    ),
)
def command() -> None:
    """Find meters, read them, and list the models that can be read."""
