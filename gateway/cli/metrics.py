"""`gateway metrics`: the running gateway's metrics, for a monitoring system."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from gateway.cli.config import config_path
from gateway.cli.output import examples
from gateway.config import Config
from gateway.config.model import GatewaySection
from gateway.control.client import ControlClient
from gateway.control.documents import Status
from gateway.control.metrics import render
from gateway.errors import GatewayError, Unavailable, UsageError
from gateway.host.files import write_whole

_ANSWER_S = 30.0
"""Below the minute in which the timer's service runs it again."""
_DEBIANS = "/var/lib/prometheus/node-exporter/gateway.prom"


@click.command(epilog=examples("gateway metrics", f"gateway metrics --textfile {_DEBIANS}"))
@config_path()
@click.option(
    "--textfile",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write them to FILE, all at once, for node-exporter's textfile collector.",
)
def command(path: Path, textfile: Path | None) -> None:
    """Print the running gateway's metrics in Prometheus' text format. Exit 4 if no gateway runs.

    They say how the gateway fares, and nothing of what the meters show. With --textfile, a gateway that does
    not run is gateway_up 0 in FILE, even where the configuration has a mistake.
    """
    if textfile is not None and textfile.suffix != ".prom":
        raise UsageError(f"{textfile}: node-exporter reads only files whose names end in .prom")
    wrong: GatewayError | None = None
    try:
        socket = Config.load(path).gateway.socket
    except UsageError as error:
        if textfile is None:
            raise
        # A gateway that began before the mistake runs on; one that begins now does not come up.
        wrong, socket = error, GatewaySection().socket
    text = None
    try:
        text = render(asyncio.run(_status(socket)))
    except GatewayError as error:
        wrong = wrong or error
    if textfile is not None:
        _write(textfile, text or render(None))
    elif text is not None:
        click.echo(text, nl=False)
    if wrong is not None:
        raise wrong


async def _status(socket: Path) -> Status:
    try:
        async with asyncio.timeout(_ANSWER_S):
            return await ControlClient(socket).status()
    except TimeoutError:
        raise Unavailable(f"the gateway at {socket} does not answer: see `journalctl -u gateway`") from None


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text.encode(), mode=0o644)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
