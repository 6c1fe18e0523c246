"""`gateway provider forget`: the head of a stream that was put back."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.output import examples
from gateway.cli.provider.examples import FORGET
from gateway.cli.provider.place import key_option
from gateway.cli.values import HexId
from gateway.provider.identity import open_identity
from gateway.stream.seen import forget


@click.command("forget", short_help="Accept a stream that was put back.", epilog=examples(FORGET))
@key_option
@click.option("--stream", required=True, type=HexId(), help="The stream's id.")
def command(folder: Path, stream: bytes) -> None:
    """Forget how far a stream was seen, so that the next read takes what the store shows, and be it an older
    state. Do that only where the household said that it put back an older copy of its bucket.

    A load monitoring centre has a memory of its own: `gateway centre forget`.
    """
    open_identity(folder)
    known = forget(folder, stream)
    click.echo(f"Stream {stream.hex()} {'is forgotten' if known else 'was never seen'}.")
