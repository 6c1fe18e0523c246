"""`gateway simulate modbus`."""

from __future__ import annotations

from collections.abc import Callable

import click

from gateway.cli.output import examples
from gateway.cli.simulate.options import Stand, home_options, run_until_ended
from gateway.errors import UsageError
from gateway.meters.modbus.model import ModbusModel
from gateway.meters.modbus.sunspec_model import SunSpecModel
from gateway.meters.profile import load_profile
from gateway.simulate.modbus import serve


@click.command(
    epilog=examples(
        "gateway simulate modbus",
        "gateway simulate modbus --profile eastron-sdm120 --seed 7 --truth truth.jsonl",
        "gateway simulate modbus --devices 32",
    )
)
@click.option("--profile", "profile_id", default="eastron-sdm630", show_default=True, help="The meter model.")
@click.option(
    "--devices",
    default=1,
    show_default=True,
    type=click.IntRange(1, 247),
    help="How many meters answer, with ids from 1 on; each shows another home.",
)
@click.option(
    "--limit",
    type=click.IntRange(0, 65534),
    metavar="ADDRESS",
    help="Two holding registers that can be written, for meter.limit and meter.switch.",
)
@home_options(port=5020)
def command(stand: Stand, profile_id: str, devices: int, limit: int | None) -> None:
    """Serve a simulated home's meter over Modbus TCP, until Ctrl-C. Its coils 0 to 15 can be written."""
    model = load_profile(profile_id).model
    if not isinstance(model, ModbusModel | SunSpecModel):
        raise UsageError(
            f"{profile_id} is not a Modbus meter; `gateway simulate --help` lists the other kinds"
        )

    async def serving(listening: Callable[[int], None]) -> None:
        await serve(
            stand.home,
            model,
            stand.host,
            stand.port,
            stand.clock,
            stand.truth,
            listening,
            [stand.neighbour(number) for number in range(1, devices)],
            profile_id,
            limit,
        )

    ids = "device id 1" if devices == 1 else f"device ids 1 to {devices}"
    run_until_ended(stand, serving, f"{profile_id} on {{at}}, {ids}")
