"""`gateway card`: what a provider's card says."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.output import examples, json_option, local_time, print_json, printable
from gateway.errors import UsageError
from gateway.provider.identity import CARD_FILE, is_private
from gateway.wire.card import Card


@click.group(epilog=examples("gateway card show card.cose"))
def command() -> None:
    """Look at a card before something is granted to its holder."""


@command.command(epilog=examples("gateway card show card.cose"))
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def show(path: Path, as_json: bool) -> None:
    """Show the card in FILE, and its fingerprint.

    Compare all of it with what the holder told you by another way, such as by telephone or on a paper bill:
    whoever can change a card on its way to you can change a fingerprint that comes with it.
    """
    card = _read(path, _bytes(path))
    if as_json:
        print_json(
            {
                "name": card.name,
                "role": card.role,
                "valid_from_ms": card.valid_from_ms,
                "valid_until_ms": card.valid_until_ms,
                "kid": card.kid.hex(),
                "fingerprint": card.fingerprint,
            }
        )
        return
    click.echo(printable(f"name         {card.name}"))
    click.echo(f"role         {card.role}")
    click.echo(f"valid from   {local_time(card.valid_from_ms)}")
    click.echo(f"valid until  {local_time(card.valid_until_ms)}")
    click.echo(f"kid          {card.kid.hex()}")
    click.echo(f"fingerprint  {card.fingerprint}")


def read_card(path: Path) -> Card:
    """The card in a file. The errors are those of `checked_card`."""
    return _read(path, _bytes(path))


def checked_card(path: Path) -> bytes:
    """The bytes of a card file. UsageError if it cannot be read, Refused if it is not a card that its own key
    has signed."""
    data = _bytes(path)
    _read(path, data)
    return data


def _read(path: Path, data: bytes) -> Card:
    if is_private(data):
        raise UsageError(
            f"{path} is a SECRET key, which opens everything that was granted to its holder, and not a card: "
            f"the card is the file {CARD_FILE} beside it. Nobody but the holder may have this file; if you "
            "were sent it, delete it, and tell the holder to make a new key"
        )
    return Card.read_self_signed(data, f"the card {path}")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"the card {path} cannot be read: {error.strerror}") from None
