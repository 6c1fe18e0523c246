"""`gateway simulate push`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from gateway.cli.output import examples
from gateway.cli.simulate.options import Stand, home_options, run_until_ended, serial_option
from gateway.meters.profile import load_profile
from gateway.meters.secrets import Secrets, read_secrets
from gateway.simulate.push import serve


@click.command(
    epilog=examples(
        "gateway simulate push",
        "gateway simulate push --profile kaifa-ma309 --keys meter-keys.toml --truth truth.jsonl",
        "gateway simulate push --profile kamstrup-han --serial /dev/ttyUSB0",
    )
)
@click.option("--profile", default="kaifa-han-se", show_default=True, help="The meter model.")
@click.option(
    "--keys",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The meter's keys, in a file like the gateway's; with keys it encrypts.",
)
@serial_option
@home_options(port=5040)
def command(stand: Stand, profile: str, keys: Path | None, serial: str | None) -> None:
    """Push a simulated home's lists over DLMS, as a HAN port does, until Ctrl-C."""
    secrets = read_secrets(keys) if keys else Secrets()
    loaded = load_profile(profile)
    endpoint, where = stand.outlet(serial, loaded)

    async def serving(listening: Callable[[int], None]) -> None:
        await serve(stand.home, loaded, endpoint, stand.clock, secrets, stand.truth, listening)

    ciphered = ", encrypted" if secrets.encryption_key else ""
    run_until_ended(stand, serving, f"{profile} on {where}{ciphered}")
