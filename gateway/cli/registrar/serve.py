"""`gateway registrar serve`: the registrar's HTTP server, in the foreground."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import sys

import click

from gateway.cli.output import examples
from gateway.cli.registrar.examples import SERVE
from gateway.cli.registrar.options import CLOCK, settings_option
from gateway.host.systemd import Notifier
from gateway.registrar.server import serving
from gateway.registrar.service import open_registrar
from gateway.registrar.settings import Settings


@click.command("serve", epilog=examples(SERVE))
@settings_option
def command(settings: Settings) -> None:
    """Answer gateways and providers, until stopped."""
    # systemd stamps each line itself.
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=f"{stamp}%(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # A connection is a file: by default a thousand of them are all that there are.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stopped = asyncio.Event()
    for ending in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(ending, stopped.set)
    notifier = Notifier()
    async with open_registrar(settings, CLOCK) as registrar, serving(registrar) as url:
        logging.getLogger(__name__).info("%s answers at %s", settings.registrar.name, url)
        notifier.notify("READY=1")
        await stopped.wait()
        notifier.notify("STOPPING=1")
