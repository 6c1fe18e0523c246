"""`gateway centre serve`: the operator's pages, in the foreground."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack, suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.centre.alarms import Alarms, read_limits
from gateway.centre.state import State
from gateway.centre.watch import Watch, check_granularity
from gateway.chain.window import Granularity
from gateway.cli.card import read_card
from gateway.cli.centre.examples import SERVE
from gateway.cli.centre.options import engine_of, folder_argument, packages, scheduler_option
from gateway.cli.centre.registrar import summing_service
from gateway.cli.output import examples
from gateway.cli.provider.homes import read_text
from gateway.cli.provider.place import key_option
from gateway.cli.values import Duration
from gateway.errors import UsageError
from gateway.host.clock import SystemClock
from gateway.host.systemd import Notifier
from gateway.provider.identity import CARD_FILE, open_identity
from gateway.provider.membership import open_membership

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.centre.page.server import Place

_FILE = click.Path(path_type=Path, dir_okay=False)
_LOG = logging.getLogger(__name__)


@click.command(epilog=examples(SERVE))
@folder_argument
@key_option
@click.option(
    "--granularity", default="15min", show_default=True, help="Of the load curves: at most 1h; 1min, 30s."
)
@click.option(
    "--wait",
    "wait_ms",
    type=Duration(),
    default="20min",
    show_default=True,
    help="How long after a window's end its homes are waited for.",
)
@click.option("--limits", type=_FILE, help="CSV headed region,limit_kw: above its limit a load is an alarm.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address at which the pages are.")
@click.option("--port", type=click.IntRange(0, 65535), default=8460, show_default=True, help="Its port.")
@click.option("--password", type=_FILE, help="A file of mode 0600 with the password that the pages ask for.")
@click.option("--tls-certificate", type=_FILE, help="PEM; with it and its key the pages are at https.")
@click.option("--tls-key", type=_FILE, help="PEM.")
@scheduler_option
def command(
    data: Path,
    folder: Path,
    granularity: str,
    wait_ms: int,
    limits: Path | None,
    host: str,
    port: int,
    password: Path | None,
    tls_certificate: Path | None,
    tls_key: Path | None,
    scheduler: str | None,
) -> None:
    """Serve the operator's pages of what `centre ingest --follow` takes into DIR, until stopped.

    They show the load curve of each region as it comes, how many of its homes are in each sum, which are
    missing and why, and alarms. /healthz says whether the loads are up to date, and each region has new ones.

    The summing service is asked for each window once, --wait after its end, as `centre load` does. A home
    that comes later is missing from that window: wait for as long as your homes' chunks are, and a few
    minutes. The default suits chunks of 15 minutes.

    The pages listen on this machine alone. To be reached from elsewhere they need --host, the files of TLS
    and a password. Each alarm is a line of JSON on stdout: when it begins, when its text changes, and when
    it is over.
    """
    from gateway.centre.page.entrance import Entrance, read_password  # noqa: PLC0415 - aiohttp.web
    from gateway.centre.page.server import Place  # noqa: PLC0415

    if (tls_certificate is None) != (tls_key is None):
        raise UsageError("TLS needs both --tls-certificate and --tls-key, or neither")
    tls = None if tls_certificate is None or tls_key is None else (tls_certificate, tls_key)
    window_ms = check_granularity(Granularity.parse(granularity, 1))
    known = {} if limits is None else read_limits(read_text(str(limits), "the list of limits"), str(limits))
    secret = None if password is None else read_password(password)
    place = Place(host, port, tls)
    place.check(secret)
    identity, membership, clock = open_identity(folder), open_membership(folder), SystemClock("host")
    name = read_card(folder / CARD_FILE).name
    _begin_log()
    with packages():
        from gateway.centre.page.pages import build_app  # noqa: PLC0415
        from gateway.household.files import content  # noqa: PLC0415

        state = State.open(data, make=False)
        try:
            _name_unknown(known, state)
            with engine_of(scheduler) as engine:
                watch = Watch(
                    state,
                    engine,
                    lambda: summing_service(membership, identity),
                    clock,
                    Alarms(clock, click.echo),
                    window_ms=window_ms,
                    wait_ms=wait_ms,
                    limits=known,
                    notify=_LOG.warning,
                )
                app = build_app(watch, Entrance(clock, secret), clock, name, content)
                asyncio.run(_serve(watch, app, place))
        finally:
            state.close()


async def _serve(watch: Watch, app: web.Application, place: Place) -> None:
    from gateway.centre.page.server import serving  # noqa: PLC0415

    stopped = asyncio.Event()
    for ending in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(ending, stopped.set)
    notifier = Notifier()
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(app, place))
        _LOG.info("the pages are at %s", url)
        notifier.notify("READY=1")
        watching = asyncio.create_task(watch.run())
        ended = asyncio.create_task(stopped.wait())
        try:
            await asyncio.wait((watching, ended), return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()  # a mistake in here, which must be seen
        finally:
            notifier.notify("STOPPING=1")
            for task in (watching, ended):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


def _begin_log() -> None:
    # systemd stamps each line itself.
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=f"{stamp}%(levelname)s %(message)s")


def _name_unknown(limits: dict[str, Decimal], state: State) -> None:
    for region in sorted(limits.keys() - set(state.regions())):
        _LOG.warning("a limit names region %r, which has no home", region)
