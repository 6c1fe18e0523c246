"""`gateway meters accept`: the owner's decision on readings that are held."""

from __future__ import annotations

import asyncio
import sys
from typing import get_args

import click

from gateway.cli.config import config_option
from gateway.cli.output import (
    echo,
    examples,
    json_option,
    kwh,
    print_json,
    print_table,
    printable,
    recent_time,
)
from gateway.config import Config
from gateway.control.client import ControlClient
from gateway.control.documents import (
    AcceptRequest,
    HeldRegisterStatus,
    HoldChoice,
    HoldStatus,
    MeterStatus,
)
from gateway.errors import NotGranted, UsageError

_MEANING: dict[HoldChoice, str] = {
    "exchange": "another meter, or a register that was reset. It counts on from the first held register; "
    "what was used before that, since the last believed one, is not known and counts 0",
    "correction": "the same meter, and its register is right as it is now. The difference is counted; a "
    "register that is lower now counts 0 until it has caught up",
    "before": "the held readings were false. They are dropped, and it counts on from the last believed "
    "register; readings that do not fit are held anew",
}


@click.command(
    epilog=examples(
        "gateway meters accept main",
        "gateway meters accept main --as exchange",
        "gateway meters accept main --as correction --yes",
    )
)
@click.argument("name")
@config_option
@click.option("--as", "choice", type=click.Choice(get_args(HoldChoice)), help="What happened.")
@click.option("--yes", is_flag=True, help="Decide without being asked.")
@json_option
def command(config: Config, name: str, choice: HoldChoice | None, yes: bool, as_json: bool) -> None:
    """Show the held registers of meter NAME and what each choice means in kWh, or decide with --as.

    A reading that a home's register cannot have given is held, and nothing is sealed until a later one fits
    or you decide. Without --as nothing changes.

    \b
    --as exchange    another meter, or a register that was reset: it counts
                     on from the first held register
    --as correction  the same meter, whose register is right as it is now:
                     the difference is counted
    --as before      the held readings were false: they are dropped
    """
    client = ControlClient(config.gateway.socket)
    meter = _meter(asyncio.run(client.status()).meters, name)
    if choice is None:
        if as_json:
            print_json(meter.model_dump(exclude_unset=True, include={"meter", "held", "hold"}))
        else:
            _show(meter)
        return
    if meter.hold is None:
        raise UsageError(f"meter {name}: no reading is held, so there is nothing to accept")
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise NotGranted("nothing was accepted; --yes decides without being asked")
        echo(printable(consequence(meter.hold, choice)))
        if not click.confirm("Is this what happened?", err=True):
            raise NotGranted("nothing was accepted")
    seen = {one.lane: one.first_mwh for one in meter.hold.registers if one.first_mwh is not None}
    answer = asyncio.run(client.accept(name, AcceptRequest(choice=choice, seen_mwh=seen)))
    if as_json:
        print_json(answer.model_dump(exclude_unset=True))
    else:
        echo(printable(answer.decision))


def _meter(meters: tuple[MeterStatus, ...], name: str) -> MeterStatus:
    for meter in meters:
        if meter.meter == name:
            return meter
    names = ", ".join(meter.meter for meter in meters)
    raise UsageError(f"the gateway has no meter {name!r}; its meters are {names}")


def _show(meter: MeterStatus) -> None:
    if meter.hold is None:
        echo(printable(f"meter {meter.meter}: no reading is held"))
        return
    echo(printable(str(meter.held)))
    columns = ("lane", "last believed kWh", "at", "first held kWh", "at", "latest held kWh", "at")
    print_table(columns, [_row(one) for one in meter.hold.registers], numbers=columns[1::2])
    for choice in get_args(HoldChoice):
        echo(consequence(meter.hold, choice), f"{f'--as {choice}':<17}")
    echo(f"Nothing was changed. {meter.hold.command} --as exchange, correction or before decides.")


def _row(one: HeldRegisterStatus) -> list[str]:
    row = [one.lane]
    for mwh, ms in (
        (one.believed_mwh, one.believed_ms),
        (one.first_mwh, one.first_ms),
        (one.latest_mwh, one.latest_ms),
    ):
        row += ["-" if mwh is None else kwh(mwh), "-" if ms is None else recent_time(ms // 1000 * 1000)]
    return row


def consequence(hold: HoldStatus, choice: HoldChoice) -> str:
    """What a choice means, and what it counts in kWh from the last believed reading to the latest one."""
    counts = [
        f"{one.lane} +{kwh(one.counts_mwh[choice])} kWh" for one in hold.registers if choice in one.counts_mwh
    ]
    return f"{_MEANING[choice]}. Up to now: {', '.join(counts) if counts else 'not known yet'}."
