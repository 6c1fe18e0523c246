"""`gateway simulate speedwire`."""

from __future__ import annotations

from collections.abc import Callable

import click

from gateway.cli.output import examples
from gateway.cli.simulate.options import Stand, home_options, run_until_ended
from gateway.meters.endpoint import Multicast
from gateway.meters.speedwire.model import GROUP, SPEEDWIRE_PORT
from gateway.simulate.speedwire import serve


@click.command(
    epilog=examples(
        "gateway simulate speedwire",
        "gateway simulate speedwire --seed 7 --serial-number 3000000007 --truth truth.jsonl",
    )
)
@click.option(
    "--serial-number",
    default=3_000_000_001,
    show_default=True,
    type=click.IntRange(1, 2**32 - 1),
    help="The meter's serial number.",
)
@home_options(port=SPEEDWIRE_PORT, sends=True)
def command(stand: Stand, serial_number: int) -> None:
    """Send a simulated home's Speedwire datagram to the multicast group each second, as SMA's Energy Meters
    and Home Managers do, until Ctrl-C."""
    endpoint = Multicast(GROUP, stand.port, stand.host)

    async def serving(listening: Callable[[int], None]) -> None:
        await serve(stand.home, endpoint, stand.clock, stand.truth, serial_number, listening)

    run_until_ended(stand, serving, f"sma-energy-meter {serial_number} to {endpoint}")
