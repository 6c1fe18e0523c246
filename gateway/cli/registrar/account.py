"""`gateway registrar account`: who may register."""

from __future__ import annotations

import sys

import click

from gateway.cli.output import examples, json_option, local_time, print_json, print_table
from gateway.cli.registrar.examples import ACCOUNT
from gateway.cli.registrar.options import settings_option, working
from gateway.errors import NotGranted
from gateway.registrar.accounts import ACCOUNT_ROLES, AccountRole
from gateway.registrar.settings import Settings

_LIST = "gateway registrar account list"
_REMOVE = "gateway registrar account remove muller"
_PASSWORD = "gateway registrar account password muller"  # noqa: S105 - a command
_ask = click.option("--ask", is_flag=True, help="Ask for the password instead of making one up.")


@click.group(epilog=examples(ACCOUNT, _LIST, _PASSWORD, _REMOVE))
def account() -> None:
    """Decide who may register: households and providers, and the operators of the registrar."""


@account.command(short_help="Add an account.", epilog=examples(ACCOUNT))
@click.argument("name")
@click.option("--role", type=click.Choice(ACCOUNT_ROLES), required=True, help="Whose account it is.")
@_ask
@settings_option
@json_option
def add(name: str, role: AccountRole, ask: bool, settings: Settings, as_json: bool) -> None:
    """Add an account called NAME, and print its password, once: it is kept nowhere."""
    given = _asked() if ask else None
    password = working(settings, lambda registrar: registrar.accounts.add(name, role, given))
    _tell(name, password, ask, as_json)


@account.command("list", epilog=examples(_LIST))
@settings_option
@json_option
def list_(settings: Settings, as_json: bool) -> None:
    """List the accounts."""
    found = working(settings, lambda registrar: registrar.accounts.all())
    if as_json:
        print_json([{"name": one.name, "role": one.role, "created_ms": one.created_ms} for one in found])
        return
    print_table(
        ["account", "role", "since"], [[one.name, one.role, local_time(one.created_ms)] for one in found]
    )


@account.command(short_help="Remove an account.", epilog=examples(_REMOVE))
@click.argument("name")
@click.option("--yes", is_flag=True, help="Remove it without being asked.")
@settings_option
def remove(name: str, yes: bool, settings: Settings) -> None:
    """Remove the account NAME with its cards, streams and sessions, and revoke their certificates.

    What was granted to it or by it stays in the store.
    """
    if not yes and not (sys.stdin.isatty() and click.confirm(f"Remove {name}?", err=True)):
        raise NotGranted("nothing was removed; --yes removes it without being asked")
    working(settings, lambda registrar: registrar.accounts.remove(name))
    click.echo(f"{name} is removed, and its certificates are revoked.")


@account.command(short_help="Replace an account's password.", epilog=examples(_PASSWORD))
@click.argument("name")
@_ask
@settings_option
@json_option
def password(name: str, ask: bool, settings: Settings, as_json: bool) -> None:
    """Give the account NAME a new password, and print it, once. Its certificates stay."""
    given = _asked() if ask else None
    made = working(settings, lambda registrar: registrar.accounts.set_password(name, given))
    _tell(name, made, ask, as_json)


def _asked() -> str:
    answer: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return answer


def _tell(name: str, password: str, asked: bool, as_json: bool) -> None:
    shown = {} if asked else {"password": password}
    if as_json:
        print_json({"name": name, **shown})
        return
    for label, value in {"account": name, **shown}.items():
        click.echo(f"{label:<9} {value}")
    if shown:
        click.echo("Hand it over now: it is kept nowhere, and not shown again.")
