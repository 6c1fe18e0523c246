"""`gateway provider`, for a utility's engineer: make an identity, read, verify."""

from __future__ import annotations

import click

from gateway.cli.lazy import LazyGroup
from gateway.cli.output import examples
from gateway.cli.provider.examples import BILL, EVIDENCE, INVOICE, NEW, READ, STREAMS, VERIFY

_COMMANDS = {
    "bill": ("gateway.cli.provider.bill:bill", "Make the bills that were granted to you."),
    "command": ("gateway.cli.provider.command:command", "Command a gateway, and check its receipts."),
    "evidence": ("gateway.cli.provider.evidence:evidence", "Prove to a third party what you opened."),
    "export": ("gateway.cli.provider.export:export", "Write opened sums in a format of markets."),
    "forget": ("gateway.cli.provider.forget", "Accept a stream that was put back."),
    "grants": ("gateway.cli.provider.streams:grants", "List the grants to you."),
    "invoice": ("gateway.cli.provider.invoice:invoice", "Make invoices of bills."),
    "load": ("gateway.cli.provider.load:load", "Open the loads of a set of homes."),
    "login": ("gateway.cli.provider.registered:login", "Register at a registrar."),
    "new": ("gateway.cli.provider.new", "Make a provider's identity, in a new folder DIR."),
    "price": ("gateway.cli.provider.price:price", "Publish signed prices of energy."),
    "raw": ("gateway.cli.provider.bill:raw", "Open every unit that was granted to you."),
    "read": ("gateway.cli.provider.read", "Open the sums that were granted to you."),
    "request": ("gateway.cli.provider.registered:request", "Ask households for a grant."),
    "requests": ("gateway.cli.provider.registered:requests", "Show what became of your requests."),
    "share": ("gateway.cli.provider.share:share", "Sum the shares of a load, for the centre."),
    "streams": ("gateway.cli.provider.streams:streams", "List the homes that granted you something."),
    "verify": ("gateway.cli.provider.verify", "Check all of a stream."),
}


@click.group(
    cls=LazyGroup, lazy=_COMMANDS, epilog=examples(NEW, STREAMS, READ, BILL, INVOICE, EVIDENCE, VERIFY)
)
def command() -> None:
    """The utility's side: read what households granted, alone or as a load, and verify what a store holds."""
