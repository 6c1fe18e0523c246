"""`gateway ledger`: the owner's word on a ledger that was restored or copied."""

from __future__ import annotations

import asyncio
import sys

import click

from gateway.cli.config import config_option
from gateway.cli.output import echo, examples, json_option, print_json, printable, recent_time
from gateway.config import Config
from gateway.control.client import ControlClient
from gateway.control.documents import DoubtStatus
from gateway.errors import NotGranted

_CONSEQUENCES = (
    "Confirm it only if what the gateway sealed after this copy was made is lost for good. If the store "
    "still has that, wait: the gateway takes it over by itself once the store answers. After you confirm, "
    "providers get this ledger's sums of these units, also those that have other sums of them already; a "
    "provider that read the lost units refuses the stream until it deletes what it remembers of it"
)


@click.group(epilog=examples("gateway ledger confirm"))
def command() -> None:
    """Confirm a ledger that was restored or copied."""


@command.command(
    short_help="Vouch for this ledger after a restore.",
    epilog=examples("gateway ledger confirm", "gateway ledger confirm --yes"),
)
@config_option
@click.option("--yes", is_flag=True, help="Confirm it without being asked.")
@json_option
def confirm(config: Config, yes: bool, as_json: bool) -> None:
    """Vouch for this ledger after a restore, so that the tokens that wait are sent.

    The TPM counts the gateway's starts. Where it has counted some that the ledger does not know, the ledger
    was restored from a backup or copied, and the gateway may have sealed the same units before. Their tokens
    wait until the store shows what was sealed, or this command confirms that the ledger is the newest.
    """
    client = ControlClient(config.gateway.socket)
    doubts = asyncio.run(client.status()).doubts
    if doubts and not yes:
        for doubt in doubts:
            click.echo(printable(f"{doubt_sentence(doubt)}."), err=True)
        click.echo(f"{_CONSEQUENCES}.", err=True)
        if as_json or not sys.stdin.isatty() or not click.confirm("Is this ledger the newest?", err=True):
            raise NotGranted("nothing was confirmed; --yes confirms this ledger without being asked")
    status = asyncio.run(client.confirm_ledger())
    if as_json:
        print_json(status.model_dump(exclude_unset=True))
    elif doubts:
        echo("confirmed: the tokens that waited are sent")
    elif status.assurance == "software":
        echo(
            "nothing to confirm: a root in software counts no starts, so it cannot show that a ledger is old"
        )
    else:
        echo("nothing to confirm: the TPM has counted no start that this ledger does not know")


def doubt_sentence(doubt: DoubtStatus) -> str:
    """What is in doubt, and how many windows wait."""
    until = "until the clock is right" if doubt.until_ms is None else f"to {recent_time(doubt.until_ms)}"
    return (
        f"meter {doubt.meter}: the ledger was restored or copied, which the TPM's counter showed at "
        f"{recent_time(doubt.noticed_ms)}; the units from {recent_time(doubt.from_ms)} {until} may have been "
        f"sealed before, and {doubt.windows_waiting} windows wait for them"
    )
