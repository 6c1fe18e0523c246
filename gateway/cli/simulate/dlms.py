"""`gateway simulate dlms`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from gateway.cli.output import examples
from gateway.cli.simulate.options import Stand, home_options, run_until_ended
from gateway.errors import UsageError
from gateway.meters.dlms.application import association
from gateway.meters.dlms.application.cipher import AUTHENTICATED, ENCRYPTED, CipherKeys
from gateway.meters.secrets import Secrets, read_secrets
from gateway.simulate.dlms import DlmsMeterSimulation, Framing, serve
from gateway.simulate.dlms_server import Policy

_MECHANISMS = {"none": association.NONE, "lls": association.LLS, "hls5": association.HLS5}


@click.command(
    epilog=examples(
        "gateway simulate dlms",
        "gateway simulate dlms --framing hdlc --authentication hls5 --keys meter-keys.toml",
    )
)
@click.option(
    "--framing",
    type=click.Choice(("wrapper", "hdlc")),
    default="wrapper",
    show_default=True,
    help="TCP wrapper, or HDLC as from a serial converter.",
)
@click.option(
    "--authentication",
    type=click.Choice(tuple(_MECHANISMS)),
    default="none",
    show_default=True,
    help="How client address 1 must authenticate.",
)
@click.option(
    "--keys",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The meter's password and keys, in a file like the gateway's; with keys it ciphers.",
)
@home_options(port=4059)
def command(stand: Stand, framing: Framing, authentication: str, keys: Path | None) -> None:
    """Serve a simulated home's meter over DLMS/COSEM, until Ctrl-C."""
    policy = _policy(authentication, read_secrets(keys) if keys else Secrets())
    simulation = DlmsMeterSimulation(stand.home, policy, stand.clock, stand.truth)

    async def serving(listening: Callable[[int], None]) -> None:
        await serve(simulation, framing, stand.host, stand.port, listening)

    ciphered = ", ciphered" if policy.protection else ""
    run_until_ended(
        stand, serving, f"A DLMS meter on {{at}}, {framing}, client 1: {authentication}{ciphered}"
    )


def _policy(authentication: str, secrets: Secrets) -> Policy:
    if authentication == "lls" and secrets.password is None:
        raise UsageError("--authentication lls needs a password in the file of --keys")
    both = secrets.encryption_key and secrets.authentication_key
    if authentication == "hls5" and not both:
        raise UsageError(
            "--authentication hls5 needs encryption_key and authentication_key in the file of --keys"
        )
    if secrets.encryption_key is None:
        return Policy(_MECHANISMS[authentication], password=secrets.password)
    protection = ENCRYPTED | AUTHENTICATED if secrets.authentication_key else ENCRYPTED
    return Policy(
        _MECHANISMS[authentication],
        protection,
        CipherKeys(secrets.encryption_key, secrets.authentication_key),
        secrets.password,
    )
