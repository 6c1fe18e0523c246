"""`gateway simulate`: a simulated home's meter on this machine's network."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from gateway.cli.output import MWH_PER_KWH, examples, kwh, local_time
from gateway.clock import Clock, SystemClock
from gateway.meters.profile import Profile, load_profile
from gateway.simulate.household import Home
from gateway.simulate.modbus import serve


@click.group(epilog=examples("gateway simulate modbus --port 5020"))
def command() -> None:
    """Simulated meters, to try it without hardware."""


@command.command(
    epilog=examples(
        "gateway simulate modbus",
        "gateway simulate modbus --profile eastron-sdm120 --seed 7 --truth truth.jsonl",
    )
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    default=5020,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The TCP port; for 0 the system chooses one.",
)
@click.option("--profile", default="eastron-sdm630", show_default=True, help="The meter model.")
@click.option("--seed", default=1, show_default=True, help="The same seed is the same home.")
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
    help="Append what the meter shows to this file, a line of JSON each second.",
)
def modbus(host: str, port: int, profile: str, seed: int, start_import_kwh: int, truth: Path | None) -> None:
    """Serve a simulated home's meter over Modbus TCP, until Ctrl-C."""
    clock = SystemClock("host")
    home = Home(seed, start_s=clock.wall() // 1_000_000_000, import_mwh=start_import_kwh * MWH_PER_KWH)
    asyncio.run(_serve(home, load_profile(profile), host, port, clock, truth))


async def _serve(
    home: Home, profile: Profile, host: str, port: int, clock: Clock, truth: Path | None
) -> None:
    def listening(chosen: int) -> None:
        click.echo(f"{profile.id} on {host}:{chosen}, device id 1. Ctrl-C ends it.")

    serving = asyncio.create_task(serve(home, profile, host, port, clock, truth, listening))
    showing = asyncio.create_task(_show_each_minute(home, clock))
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
        await clock.sleep(60 - clock.wall() / 1_000_000_000 % 60)
        click.echo(
            f"{local_time(clock.wall() // 1_000_000_000 * 1000)}  power {home.power} W"
            f"  import {kwh(home.import_mwh)} kWh  export {kwh(home.export_mwh)} kWh"
        )
