"""`gateway metrics`: the running gateway's metrics, for a monitoring system."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from gateway.cli.config import config_option
from gateway.cli.output import examples
from gateway.config import Config
from gateway.control.client import ControlClient
from gateway.control.documents import Status
from gateway.control.metrics import render
from gateway.errors import GatewayError, Unavailable, UsageError
from gateway.host.files import write_whole

_ANSWER_S = 30.0
"""Below the minute in which the timer's service runs it again."""
_DEBIANS = "/var/lib/prometheus/node-exporter/gateway.prom"


@click.command(epilog=examples("gateway metrics", f"gateway metrics --textfile {_DEBIANS}"))
@config_option
@click.option(
    "--textfile",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write them to FILE, all at once, for node-exporter's textfile collector.",
)
def command(config: Config, textfile: Path | None) -> None:
    """Print the running gateway's metrics in Prometheus' text format. Exit 4 if no gateway runs.

    They say how the gateway fares, and nothing of what the meters show. A FILE says too that no gateway runs.
    """
    if textfile is not None and textfile.suffix != ".prom":
        raise UsageError(f"{textfile}: node-exporter reads only files whose names end in .prom")
    try:
        status = asyncio.run(_status(config.gateway.socket))
    except GatewayError:
        if textfile is not None:
            _write(textfile, render(None))
        raise
    if textfile is None:
        click.echo(render(status), nl=False)
    else:
        _write(textfile, render(status))


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
