"""`gateway meters`: which meters can be read, which are there, and what one shows."""

from __future__ import annotations

import click

from gateway.cli.lazy import LazyGroup
from gateway.cli.output import examples

_COMMANDS = {
    "list": ("gateway.cli.meters.list", "The meters that can be read: a profile each."),
    "show": ("gateway.cli.meters.show", "All of one profile: products, registers, caveats, sources."),
    "scan": ("gateway.cli.meters.scan", "Find meters on a line or behind an address."),
    "read": ("gateway.cli.meters.read", "Show what a meter says, live."),
    "capture": ("gateway.cli.meters.capture", "Write what a meter says to a file that becomes a test."),
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
    """Which meters can be read, which are there, and what they say."""
