"""`gateway registrar backup` and `restore`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from gateway.cli.output import examples
from gateway.cli.registrar.examples import BACKUP
from gateway.cli.registrar.options import settings_option, working
from gateway.registrar.backup import restore_backup, write_backup
from gateway.registrar.settings import Settings

_FILE = click.Path(path_type=Path)


@click.command(short_help="Copy key and database into FILE.", epilog=examples(BACKUP))
@click.argument("file", type=_FILE)
@settings_option
def backup(file: Path, settings: Settings) -> None:
    """Copy the registrar's key and its database, as they are at one moment, into FILE. The server may run.

    FILE must be new. It holds the registrar's key in clear and has mode 0600: keep it as safe as the key.
    """
    working(settings, lambda registrar: write_backup(registrar, file))
    click.echo(f"{file} has the registrar's key and database. Keep it as safe as the key itself.")


@click.command(
    short_help="Put a backup's key and database back.",
    epilog=examples("gateway registrar restore registrar-backup.tar"),
)
@click.argument("file", type=_FILE)
@settings_option
def restore(file: Path, settings: Settings) -> None:
    """Put key and database of the backup FILE where the configuration says: on SQLite or MariaDB, whichever
    it was before. The state folder must have no key, and the database no accounts.

    Sessions are not restored: gateways and providers log in again by themselves.
    """
    rows = asyncio.run(restore_backup(settings, file))
    click.echo(
        f"The registrar is restored: its key, and {rows} rows. Start it with `gateway registrar serve`."
    )
