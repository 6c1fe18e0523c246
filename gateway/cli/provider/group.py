"""`gateway provider`, for a utility's engineer: make an identity, read, verify."""

from __future__ import annotations

import click

from gateway.cli.lazy import LazyGroup
from gateway.cli.output import examples
from gateway.cli.provider.examples import BILL, EVIDENCE, NEW, RAW, READ, VERIFY

_COMMANDS = {
    "bill": ("gateway.cli.provider.bill:bill", "Make the bills that were granted to you."),
    "evidence": ("gateway.cli.provider.evidence:evidence", "Prove to a third party what you opened."),
    "load": ("gateway.cli.provider.load:load", "Open the loads of a set of homes."),
    "new": ("gateway.cli.provider.new", "Make a provider's identity, in a new folder DIR."),
    "raw": ("gateway.cli.provider.bill:raw", "Open every unit that was granted to you."),
    "read": ("gateway.cli.provider.read", "Open the sums that were granted to you."),
    "share": ("gateway.cli.provider.share:share", "Sum the shares of a load, for the centre."),
    "verify": ("gateway.cli.provider.verify", "Check all of a stream."),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS, epilog=examples(NEW, READ, BILL, RAW, EVIDENCE, VERIFY))
def command() -> None:
    """The utility's side: read what households granted, alone or as a load, and verify what a store holds."""
