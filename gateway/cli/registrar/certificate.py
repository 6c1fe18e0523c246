"""`gateway registrar certificate`: what the registrar signed, and what it takes back."""

from __future__ import annotations

import click

from gateway.cli.output import examples, json_option, local_time, print_json, print_table
from gateway.cli.registrar.options import CLOCK, settings_option, working
from gateway.host.clock import unix_ms
from gateway.registrar.cards import Issued
from gateway.registrar.settings import Settings

_LIST = "gateway registrar certificate list"
_REVOKE = "gateway registrar certificate revoke 17"


@click.group(epilog=examples(_LIST, _REVOKE))
def certificate() -> None:
    """List and revoke certificates."""


@certificate.command("list", epilog=examples(_LIST))
@settings_option
@json_option
def list_(settings: Settings, as_json: bool) -> None:
    """List all certificates, the revoked and the expired too."""
    found = working(settings, lambda registrar: registrar.cards.all())
    now_ms = unix_ms(CLOCK)
    if as_json:
        print_json([_document(one, now_ms) for one in found])
        return
    rows = [
        [
            str(one.serial),
            one.account or "(removed)",
            one.role or "",
            one.kid.hex(),
            local_time(one.valid_until_ms),
            _state(one, now_ms),
        ]
        for one in found
    ]
    print_table(["serial", "account", "role", "key", "valid until", "state"], rows, numbers=["serial"])


@certificate.command(short_help="Revoke a certificate.", epilog=examples(_REVOKE))
@click.argument("serial", type=click.IntRange(min=1))
@settings_option
def revoke(serial: int, settings: Settings) -> None:
    """Revoke the certificate SERIAL and all others of its key, and end that key's sessions.

    Gateways and providers learn of it from the list of revocations, within a day.
    """
    working(settings, lambda registrar: registrar.cards.revoke(serial))
    click.echo(f"Certificate {serial} and all others of its key are revoked.")


def _state(one: Issued, now_ms: int) -> str:
    if one.revoked_ms is not None:
        return f"revoked {local_time(one.revoked_ms)}"
    return "expired" if one.valid_until_ms <= now_ms else "valid"


def _document(one: Issued, now_ms: int) -> dict[str, object]:
    return {
        "serial": one.serial,
        "account": one.account,
        "role": one.role,
        "kid": one.kid.hex(),
        "issued_ms": one.issued_ms,
        "valid_until_ms": one.valid_until_ms,
        "revoked_ms": one.revoked_ms,
        "valid": one.revoked_ms is None and one.valid_until_ms > now_ms,
    }
