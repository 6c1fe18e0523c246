"""`gateway centre forget`: the head of a stream that was put back."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.centre.state import State
from gateway.cli.centre.examples import FORGET
from gateway.cli.centre.options import folder_argument, packages
from gateway.cli.output import examples
from gateway.cli.values import HexId


@click.command("forget", short_help="Accept a stream that was put back.", epilog=examples(FORGET))
@folder_argument
@click.option("--stream", required=True, type=HexId(), help="The stream's id.")
def command(data: Path, stream: bytes) -> None:
    """Forget how far a stream was seen, so that the next `centre ingest` takes what the store shows, and be
    it an older state. Do that only where the household said that it put back an older copy of its bucket.

    What was taken in stays. Stop `centre ingest --follow` first.
    """
    with packages():
        state = State.open(data, make=False)
        try:
            with state.alone():
                known = state.forget(stream)
        finally:
            state.close()
    if known:
        click.echo(f"Stream {stream.hex()} is forgotten.")
    else:
        click.echo(f"There is nothing to forget: no state of stream {stream.hex()} is kept.")
