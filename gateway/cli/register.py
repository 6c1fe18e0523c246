"""`gateway register`: this gateway, at a registrar."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import click

from gateway.cli.config import config_option
from gateway.cli.first_contact import compare, password_of, registrar_card
from gateway.cli.output import echo, examples, json_option, local_time, print_json, printable
from gateway.config import Config
from gateway.control.client import ControlClient
from gateway.control.documents import RegistrationOrder, RegistrationStatus


@click.command(
    epilog=examples(
        "gateway register https://registrar.example.org --user mueller",
        "gateway register https://registrar.example.org --user mueller --region north --listed",
    )
)
@config_option
@click.argument("url", metavar="URL")
@click.option("--user", required=True, help="Your user name at the registrar.")
@click.option(
    "--name", default=socket.gethostname, help="The gateway's name on its card.  [default: the host's]"
)
@click.option(
    "--region", default="", help="The region under which the registrar's catalogue lists your streams."
)
@click.option("--tariff-zone", default="", help="The tariff zone, likewise.")
@click.option("--listed", is_flag=True, help="Let providers find your streams to whom you granted nothing.")
@click.option("--ca", type=click.Path(path_type=Path), help="Who may sign the registrar's certificate (PEM).")
@click.option("--fingerprint", help="The registrar's fingerprint, as its operator told you.")
@json_option
def command(
    config: Config,
    url: str,
    user: str,
    name: str,
    region: str,
    tariff_zone: str,
    listed: bool,
    ca: Path | None,
    fingerprint: str | None,
    as_json: bool,
) -> None:
    """Register the running gateway at the registrar at URL.

    The registrar's operator gives you a user name and a password; the password is asked for, or read from
    standard input, and kept nowhere. The registrar has the TPM prove that it is one, and certifies the
    gateway. From then on it vouches for providers' cards, and gives the gateway its storage credentials where
    the configuration has [store] credentials = "registrar". It learns your streams' ids, and no reading.

    A registration that was interrupted is simply made again.
    """
    card = asyncio.run(registrar_card(url, ca))
    compare(card, url, fingerprint, as_json)
    order = RegistrationOrder(
        url=url,
        user=user,
        password=password_of(user),
        registrar_kid=card.kid.hex(),
        name=name,
        ca=None if ca is None else str(ca.absolute()),
        region=region,
        tariff_zone=tariff_zone,
        listed=listed,
    )
    status = asyncio.run(ControlClient(config.gateway.socket).register(order))
    if as_json:
        print_json(status.model_dump())
        return
    who = f"{printable(status.registrar)} as {printable(status.user)}"
    echo(f"registered at {who}; the root is in {root(status)}")
    show(status)


def show(status: RegistrationStatus) -> None:
    """What the certificate and the credentials of a registration are good for, and what is wrong."""
    echo(f"certificate: valid until {local_time(status.valid_until_ms)}; it is renewed by itself")
    if status.credentials_until_ms is not None:
        echo(f"storage credentials: until {local_time(status.credentials_until_ms)}; renewed by themselves")
    for sentence in status.notices:
        echo(printable(f"the registrar says: {sentence}"))
    if status.error is not None:
        echo(printable(status.error))


def root(status: RegistrationStatus) -> str:
    """Where the root is, by the registrar's certificate."""
    return "a TPM, as the registrar has seen" if status.assurance == "tpm" else "SOFTWARE"
