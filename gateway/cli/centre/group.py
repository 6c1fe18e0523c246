"""`gateway centre`, for the operator of a load monitoring centre."""

from __future__ import annotations

import click

from gateway.cli.centre.examples import INGEST, LOAD, SERVE
from gateway.cli.lazy import LazyGroup
from gateway.cli.output import examples

_COMMANDS = {
    "ingest": ("gateway.cli.centre.ingest", "Take in the homes' new windows."),
    "load": ("gateway.cli.centre.load", "Show the loads of a region."),
    "serve": ("gateway.cli.centre.serve", "Serve the operator's pages: load curves and alarms."),
    "forget": ("gateway.cli.centre.forget", "Accept a stream that was put back."),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS, epilog=examples(INGEST, LOAD, SERVE))
def command() -> None:
    """The load monitoring centre: the loads of a region's homes, of which none can be seen alone.

    \b
    1. Homes grant a load to the centre's card, and its other half to a registrar's summing service.
    2. `centre ingest` takes in what they publish, home by home: nothing of it can be read.
    3. `centre load` adds up a region and asks the summing service for what is missing to the sum.
    4. `centre serve` does so for every region as time goes by, and shows it in a browser.
    """
