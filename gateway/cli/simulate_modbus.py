"""`gateway simulate modbus`."""

from __future__ import annotations

from collections.abc import Callable

import click

from gateway.cli.output import examples
from gateway.cli.simulate import Stand, home_options, run_until_ended
from gateway.errors import UsageError
from gateway.meters.modbus.model import ModbusModel
from gateway.meters.profile import load_profile
from gateway.simulate.modbus import serve


@click.command(
    epilog=examples(
        "gateway simulate modbus",
        "gateway simulate modbus --profile eastron-sdm120 --seed 7 --truth truth.jsonl",
    )
)
@click.option("--profile", "profile_id", default="eastron-sdm630", show_default=True, help="The meter model.")
@home_options(port=5020)
def command(stand: Stand, profile_id: str) -> None:
    """Serve a simulated home's meter over Modbus TCP, until Ctrl-C."""
    model = load_profile(profile_id).model
    if not isinstance(model, ModbusModel):
        raise UsageError(f"{profile_id} is no Modbus meter; `gateway simulate --help` has the other kinds")

    async def serving(listening: Callable[[int], None]) -> None:
        await serve(stand.home, model, stand.host, stand.port, stand.clock, stand.truth, listening)

    run_until_ended(stand, serving, f"{profile_id} on {{at}}, device id 1")
