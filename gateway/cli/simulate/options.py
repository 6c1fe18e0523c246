"""The options that all simulated meters share, and a function that runs one until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TypeVar

import click
from click.core import ParameterSource

from gateway.cli.output import MWH_PER_KWH, kwh, local_time
from gateway.errors import UsageError
from gateway.host.clock import Clock, SystemClock
from gateway.meters.endpoint import Line, Tcp
from gateway.meters.profile import Profile
from gateway.simulate.home import Home

Result = TypeVar("Result")

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Stand:
    """What every simulated meter needs: the home that it shows, the clock, and where it listens."""

    home: Home
    clock: Clock
    host: str
    port: int
    truth: Path | None
    neighbour: Callable[[int], Home]  # another home, whose seed is this much higher

    def outlet(self, serial: str | None, profile: Profile) -> tuple[Tcp | Line, str]:
        """Where a meter of `profile` sends: on the serial port `serial`, or to whoever connects; and the
        words for that, for `run_until_ended`."""
        if serial is None:
            return Tcp(self.host, self.port), "{at}"
        assert profile.serial is not None  # each model that pushes has a serial line
        where = f"{serial}, {profile.serial}"
        return Line(serial, profile.serial), where.replace("{", "{{").replace("}", "}}")


def home_options(
    port: int, *, sends: bool = False
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """`--host`, `--port`, `--seed`, `--start-import-kwh` and `--truth` for a command that takes `stand`.
    A meter that `sends` datagrams has no port to listen on: both say where it sends."""

    def with_options(command: Callable[..., Result]) -> Callable[..., Result]:
        @click.option(
            "--host",
            default="127.0.0.1",
            show_default=True,
            help="The address of the interface to send from." if sends else "The address to listen on.",
        )
        @click.option(
            "--port",
            default=port,
            show_default=True,
            type=click.IntRange(1 if sends else 0, 65535),
            help="The UDP port to send to." if sends else "The TCP port; 0 lets the system choose one.",
        )
        @click.option("--seed", default=1, show_default=True, help="The same seed gives the same home.")
        @click.option(
            "--start-import-kwh",
            default=1500,
            show_default=True,
            type=click.IntRange(min=0),
            help="What the import register shows at the start.",
        )
        @click.option(
            "--truth",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Append what the meter shows to this file, as a line of JSON each second.",
        )
        @wraps(command)
        def with_stand(
            host: str, port: int, seed: int, start_import_kwh: int, truth: Path | None, **others: object
        ) -> Result:
            given = click.get_current_context().get_parameter_source
            if others.get("serial") and {given("host"), given("port")} != {ParameterSource.DEFAULT}:
                raise UsageError("--host and --port are for the network: leave out either them or --serial")
            clock = SystemClock("host")

            def home(number: int) -> Home:
                start_s, import_mwh = clock.wall() // _NS, start_import_kwh * MWH_PER_KWH
                return Home(seed + number, start_s=start_s, import_mwh=import_mwh)

            return command(stand=Stand(home(0), clock, host, port, truth, home), **others)

        return with_stand

    return with_options


def serial_option(command: Callable[..., Result]) -> Callable[..., Result]:
    """`--serial` for a command that takes `serial`."""
    return click.option(
        "--serial", metavar="DEVICE", help="Send on this serial port instead of the network."
    )(command)


def run_until_ended(
    stand: Stand, serve: Callable[[Callable[[int], None]], Coroutine[None, None, None]], what: str
) -> None:
    """Run `serve`, which gets a function to call with its port, until Ctrl-C; print `what` it is, and each
    minute what the home does."""

    def listening(port: int) -> None:
        click.echo(f"{what.format(at=f'{stand.host}:{port}')}. Ctrl-C ends it.")

    asyncio.run(_run(stand, serve(listening)))


async def _run(stand: Stand, serving_until_cancelled: Coroutine[None, None, None]) -> None:
    serving = asyncio.create_task(serving_until_cancelled)
    showing = asyncio.create_task(_show_each_minute(stand.home, stand.clock))
    for ending in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(ending, serving.cancel)
    await asyncio.wait((serving, showing), return_when=asyncio.FIRST_COMPLETED)
    serving.cancel()
    showing.cancel()
    for outcome in await asyncio.gather(serving, showing, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


async def _show_each_minute(home: Home, clock: Clock) -> None:
    while True:
        await clock.sleep(60 - clock.wall() / _NS % 60)
        click.echo(
            f"{local_time(clock.wall() // _NS * 1000)}  power {home.power} W"
            f"  import {kwh(home.import_mwh)} kWh  export {kwh(home.export_mwh)} kWh"
        )
