"""`gateway simulate text`."""

from __future__ import annotations

from collections.abc import Callable

import click

from gateway.cli.output import examples
from gateway.cli.simulate.options import Stand, home_options, run_until_ended, serial_option
from gateway.errors import UsageError
from gateway.meters.iec62056.model import TextModel, TextPushModel
from gateway.meters.profile import load_profile
from gateway.simulate.text import serve


@click.command(
    epilog=examples(
        "gateway simulate text",
        "gateway simulate text --profile iskra-mt174 --truth truth.jsonl",
        "gateway simulate text --serial /dev/ttyUSB0",
    )
)
@click.option("--profile", "profile_id", default="logarex-lk13be", show_default=True, help="The meter model.")
@serial_option
@home_options(port=5070)
def command(stand: Stand, profile_id: str, serial: str | None) -> None:
    """Send a simulated home's registers as text after IEC 62056-21, by itself or on request, as the model
    does, until Ctrl-C."""
    profile = load_profile(profile_id)
    model = profile.model
    if not isinstance(model, TextModel | TextPushModel):
        raise UsageError(f"{profile_id} does not speak text; `gateway simulate --help` lists the other kinds")
    if serial is not None and isinstance(model, TextModel):
        raise UsageError("--serial is for a meter that pushes: one that is asked is simulated on the network")
    endpoint, where = stand.outlet(serial, profile)

    async def serving(listening: Callable[[int], None]) -> None:
        await serve(stand.home, model, endpoint, stand.clock, stand.truth, listening)

    when = f"every {model.interval_s} s" if isinstance(model, TextPushModel) else "on request"
    run_until_ended(stand, serving, f"{profile_id} on {where}, {when}")
