"""`gateway simulate p1`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from gateway.cli.output import examples
from gateway.cli.simulate.options import Stand, home_options, run_until_ended, serial_option
from gateway.errors import UsageError
from gateway.meters.p1.model import P1Model
from gateway.meters.profile import load_profile
from gateway.meters.secrets import Secrets, read_secrets
from gateway.simulate.p1 import serve


@click.command(
    epilog=examples(
        "gateway simulate p1",
        "gateway simulate p1 --profile luxembourg-smarty --keys meter-keys.toml --truth truth.jsonl",
        "gateway simulate p1 --serial /dev/ttyUSB0",
    )
)
@click.option("--profile", "profile_id", default="dsmr-5", show_default=True, help="The meter model.")
@click.option(
    "--keys",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The meter's keys, in a file like the gateway's, for a model that encrypts.",
)
@serial_option
@home_options(port=5060)
def command(stand: Stand, profile_id: str, keys: Path | None, serial: str | None) -> None:
    """Send a simulated home's P1 telegrams, until Ctrl-C."""
    profile = load_profile(profile_id)
    model = profile.model
    if not isinstance(model, P1Model):
        raise UsageError(f"{profile_id} is not a P1 meter; `gateway simulate --help` lists the other kinds")
    endpoint, where = stand.outlet(serial, profile)
    secrets = read_secrets(keys) if keys else Secrets()

    async def serving(listening: Callable[[int], None]) -> None:
        await serve(stand.home, model, endpoint, stand.clock, secrets, stand.truth, listening)

    encrypted = ", encrypted" if model.encrypted else ""
    run_until_ended(stand, serving, f"{profile_id} on {where}, every {model.interval_s} s{encrypted}")
