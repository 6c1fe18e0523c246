"""`gateway simulate mbus`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from gateway.cli.output import examples
from gateway.cli.simulate.options import Stand, home_options, run_until_ended, serial_option
from gateway.meters.profile import load_profile
from gateway.meters.secrets import read_secrets
from gateway.simulate.mbus import serve

_PROFILE = "siemens-td3511"


@click.command(
    epilog=examples(
        "gateway simulate mbus --keys meter-keys.toml",
        "gateway simulate mbus --keys meter-keys.toml --serial /dev/ttyUSB0",
    )
)
@click.option(
    "--keys",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The meter's encryption_key, in a file like the gateway's.",
)
@serial_option
@home_options(port=5090)
def command(stand: Stand, keys: Path, serial: str | None) -> None:
    """Send a simulated home's encrypted M-Bus frame each second to whoever confirms it, as the meters of Netz
    Oberösterreich do, until Ctrl-C."""
    endpoint, where = stand.outlet(serial, load_profile(_PROFILE))
    secrets = read_secrets(keys)

    async def serving(listening: Callable[[int], None]) -> None:
        await serve(stand.home, endpoint, stand.clock, secrets, stand.truth, listening)

    run_until_ended(stand, serving, f"{_PROFILE} on {where}, encrypted")
