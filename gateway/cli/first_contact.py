"""The first contact with a registrar: its fingerprint, compared by a person, and the user's password."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gateway.cli.output import printable
from gateway.errors import NotGranted, UsageError
from gateway.registry.client import RegistrarClient
from gateway.wire.card import Card, read_fingerprint


async def registrar_card(url: str, ca: Path | None) -> Card:
    """The card that the registrar at `url` shows of itself."""
    async with RegistrarClient(url, ca) as client:
        return (await client.status())[1]


def compare(card: Card, url: str, fingerprint: str | None, as_json: bool) -> None:
    """Have a person compare the registrar's fingerprint; NotGranted where nobody can."""
    if fingerprint is not None:
        if read_fingerprint(fingerprint) != card.fingerprint:
            raise UsageError(
                f"the registrar at {url} has the fingerprint {card.fingerprint}, and not the one that you"
                " were told: nothing was sent to it"
            )
        return
    click.echo(printable(f"The registrar is {card.name}, with the fingerprint {card.fingerprint}"), err=True)
    question = "Is this the fingerprint that its operator told you?"
    if as_json or not sys.stdin.isatty() or not click.confirm(question, err=True):
        raise NotGranted(
            "not registered: compare the fingerprint with the one that the registrar's operator told you, and"
            " register with --fingerprint"
        )


def password_of(user: str) -> str:
    """The user's password at the registrar: asked for on a terminal, else a line of standard input."""
    if sys.stdin.isatty():
        return str(click.prompt(f"Password of {user} at the registrar", hide_input=True, err=True))
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise UsageError("standard input has no password: give it there, in one line")
    return password
