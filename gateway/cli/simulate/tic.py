"""`gateway simulate tic`."""

from __future__ import annotations

from collections.abc import Callable

import click

from gateway.cli.output import examples
from gateway.cli.simulate.options import Stand, home_options, run_until_ended, serial_option
from gateway.errors import UsageError
from gateway.meters.profile import load_profile
from gateway.meters.tic.model import TicModel
from gateway.simulate.tic import serve


@click.command(
    epilog=examples(
        "gateway simulate tic",
        "gateway simulate tic --profile linky-historique --truth truth.jsonl",
        "gateway simulate tic --serial /dev/ttyUSB0",
    )
)
@click.option("--profile", "profile_id", default="linky-standard", show_default=True, help="The meter model.")
@serial_option
@home_options(port=5080)
def command(stand: Stand, profile_id: str, serial: str | None) -> None:
    """Send a simulated home's TIC frame each second, as a Linky does, until Ctrl-C."""
    profile = load_profile(profile_id)
    model = profile.model
    if not isinstance(model, TicModel):
        raise UsageError(f"{profile_id} does not send TIC; `gateway simulate --help` lists the other kinds")
    endpoint, where = stand.outlet(serial, profile)

    async def serving(listening: Callable[[int], None]) -> None:
        await serve(stand.home, model.mode, endpoint, stand.clock, stand.truth, listening)

    run_until_ended(stand, serving, f"{profile_id} on {where}")
