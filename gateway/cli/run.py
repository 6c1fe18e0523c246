"""`gateway run`: the daemon, in the foreground."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from pathlib import Path

import click

from gateway.cli.config import config_path
from gateway.cli.output import examples
from gateway.config import Config
from gateway.daemon.service import Daemon
from gateway.daemon.setup import Setup
from gateway.errors import GatewayError, NewerLedger
from gateway.host.clock import SystemClock
from gateway.host.systemd import Notifier

_MOST_S = 9.0  # to stop: a person, and systemd's TimeoutStopSec, wait longer
_AGAIN_S = 300.0
"""As the unit's longest wait between two starts, each of which steps the TPM's counter."""
_log = logging.getLogger(__name__)


@click.command(epilog=examples("gateway run", "gateway run --config ./gateway.toml"))
@config_path()
@click.option(
    "--setup",
    "socket",
    metavar="SOCKET",
    type=click.Path(path_type=Path),
    help="While no configuration can be used, wait at this control socket for the home's page to write one.",
)
def command(path: Path, socket: Path | None) -> None:
    """Read the meters, seal and publish, until stopped."""
    if socket is None:
        Config.load(path)  # what is wrong with it is said at once
    # systemd stamps each line itself.
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=f"{stamp}%(levelname)s %(message)s")
    asyncio.run(_run(path, socket, missing=not path.exists()))


async def _run(path: Path, socket: Path | None, *, missing: bool) -> None:
    stopping = asyncio.Event()
    setup, daemon = Setup(path), None

    def stop() -> None:
        stopping.set()
        if daemon is not None:
            daemon.stop()
        # The last resort, where a call of the system hangs for good: as harmless as a power cut.
        last = threading.Timer(_MOST_S, os._exit, [os.EX_OK])
        last.daemon = True
        last.start()

    for ending in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(ending, stop)
    if socket is not None and missing:
        _log.info(
            "%s is not there yet: the gateway waits at %s for the home's page to write it", path, socket
        )
        await _set_up(setup, socket, stopping)
    # Each configuration that the page writes ends the run under the one before.
    while not stopping.is_set():
        try:
            config = Config.load(path)
            daemon = Daemon(config, SystemClock(config.clock.source), setup)
            setup.on_change(daemon.stop)
            await daemon.run()
        except GatewayError as error:
            # No configuration helps an older gateway to a newer ledger.
            if socket is None or isinstance(error, NewerLedger):
                raise
            # Who wrote it on the page is to be able to correct it there.
            _log.error(
                "%s\nThe gateway tries again in %.0f s, or once its page changes that.", error, _AGAIN_S
            )
            await _set_up(setup, socket, stopping, why=str(error))


async def _set_up(setup: Setup, socket: Path, stopping: asyncio.Event, why: str | None = None) -> None:
    """Wait until the configuration is written, or the gateway is stopped; while there is one, with which it
    cannot run for this reason, not for long."""
    notifier = Notifier()
    notifier.notify("READY=1")
    waiting = asyncio.create_task(setup.wait(socket, why))
    beside = [asyncio.create_task(stopping.wait()), asyncio.create_task(notifier.feed_watchdog())]
    try:
        await asyncio.wait(
            [waiting, beside[0]],
            timeout=None if why is None else _AGAIN_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if waiting.done():
            waiting.result()
    finally:
        for task in (waiting, *beside):
            task.cancel()
        await asyncio.gather(waiting, *beside, return_exceptions=True)
