"""`gateway run`: the daemon, in the foreground."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading

import click

from gateway.cli.config import config_option
from gateway.cli.output import examples
from gateway.config import Config
from gateway.daemon.service import Daemon
from gateway.host.clock import SystemClock

_MOST_S = 9.0  # to stop: a person, and systemd's TimeoutStopSec, wait longer


@click.command(epilog=examples("gateway run", "gateway run --config ./gateway.toml"))
@config_option
def command(config: Config) -> None:
    """Read the meters, seal and publish, until stopped."""
    # systemd stamps each line itself.
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=f"{stamp}%(levelname)s %(message)s")
    asyncio.run(_run(config))


async def _run(config: Config) -> None:
    daemon = Daemon(config, SystemClock(config.clock.source))

    def stop() -> None:
        daemon.stop()
        # The last resort, where a call of the system hangs for good: as harmless as a power cut.
        last = threading.Timer(_MOST_S, os._exit, [os.EX_OK])
        last.daemon = True
        last.start()

    for ending in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(ending, stop)
    await daemon.run()
