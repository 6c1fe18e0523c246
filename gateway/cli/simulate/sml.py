"""`gateway simulate sml`."""

from __future__ import annotations

from collections.abc import Callable

import click

from gateway.cli.output import examples
from gateway.cli.simulate.options import Stand, home_options, run_until_ended, serial_option
from gateway.meters.profile import load_profile
from gateway.simulate.sml import serve

_PROFILE = "sml-generic"


@click.command(
    epilog=examples(
        "gateway simulate sml",
        "gateway simulate sml --seed 7 --truth truth.jsonl",
        "gateway simulate sml --serial /dev/ttyUSB0",
    )
)
@serial_option
@home_options(port=5050)
def command(stand: Stand, serial: str | None) -> None:
    """Send a simulated home's SML list each second, as its optical head does, until Ctrl-C."""
    endpoint, where = stand.outlet(serial, load_profile(_PROFILE))

    async def serving(listening: Callable[[int], None]) -> None:
        await serve(stand.home, endpoint, stand.clock, stand.truth, listening)

    run_until_ended(stand, serving, f"{_PROFILE} on {where}")
