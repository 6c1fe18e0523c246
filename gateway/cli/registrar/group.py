"""`gateway registrar`, for the operator of a registrar."""

from __future__ import annotations

import click

from gateway.cli.lazy import LazyGroup
from gateway.cli.output import examples
from gateway.cli.registrar.examples import ACCOUNT, BACKUP, EXAMPLE, INIT, SERVE
from gateway.errors import UsageError

_COMMANDS = {
    "example": ("gateway.cli.registrar.example", "Print a commented configuration to start from."),
    "init": ("gateway.cli.registrar.init", "Make the registrar's key and its database."),
    "serve": ("gateway.cli.registrar.serve", "Answer gateways and providers, until stopped."),
    "account": ("gateway.cli.registrar.account:account", "Decide who may register."),
    "certificate": ("gateway.cli.registrar.certificate:certificate", "List and revoke certificates."),
    "query": ("gateway.cli.registrar.query", "Search the catalogue of streams and grants."),
    "loads": ("gateway.cli.registrar.loads:loads", "The memory of the summing service."),
    "attempts": ("gateway.cli.registrar.attempts", "Show what was refused, to whom and why."),
    "policy": ("gateway.cli.registrar.policy", "Print a bucket's policy, for a store without sessions."),
    "backup": ("gateway.cli.registrar.backup:backup", "Copy key and database into FILE."),
    "restore": ("gateway.cli.registrar.backup:restore", "Put a backup's key and database back."),
    "openapi": ("gateway.cli.registrar.openapi", "Print the OpenAPI description of the HTTP API."),
}
_PACKAGES = ("aiosqlite", "alembic", "argon2", "asyncmy", "jinja2", "sqlalchemy")


class _Group(LazyGroup):
    """A LazyGroup that says which extra has a missing package."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        try:
            return super().get_command(ctx, cmd_name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in _PACKAGES:
                raise
            raise UsageError(
                f"the package {error.name} is missing: install gateway[registrar], which has all that a "
                "registrar needs"
            ) from None


@click.group(cls=_Group, lazy=_COMMANDS, epilog=examples(EXAMPLE, INIT, ACCOUNT, SERVE, BACKUP))
def command() -> None:
    """The registrar: who may register, the certificates of gateways and providers, and its HTTP server."""
