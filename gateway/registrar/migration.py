"""Migrations of the registrar's database, by Alembic: numbered steps in `migrations/versions`.

A new database goes through all of them, so that its tables are the same as a migrated one's. A step never
changes once it is released: a new version adds one.
"""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from gateway.errors import UsageError

VERSION_TABLE = "alembic_version"
"""Alembic's own, of one row."""
_PLACE = "gateway.registrar:migrations"


def migrate(connection: Connection) -> None:
    """Take the database to this program's version. UsageError, and nothing changed, for one that a newer
    registrar wrote and for another program's."""
    config = alembic_config(connection)
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    found = version(connection)
    if found == scripts.get_current_head():
        return
    if found is None and inspect(connection).get_table_names():
        raise _foreign()
    if found is not None and found not in known:
        raise UsageError(
            f"the registrar's database has version {found}, but this program supports versions up to "
            f"{scripts.get_current_head()}: install the program that wrote it, or a newer one"
        )
    command.upgrade(config, "head")


def migrate_to(connection: Connection, revision: str) -> None:
    """Take an empty database to an older version. UsageError for one that this program does not know, and
    where the database has tables already."""
    config = alembic_config(connection)
    if inspect(connection).get_table_names():
        raise _foreign()
    if revision not in {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}:
        raise UsageError(f"the tables have version {revision}, which this program does not know: update it")
    command.upgrade(config, revision)


def version(connection: Connection) -> str | None:
    """The database's version, such as "0001"; None where it has none."""
    return MigrationContext.configure(connection).get_current_revision()


def alembic_config(connection: Connection) -> Config:
    """What Alembic needs to work on an open connection."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", _PLACE)
    config.set_main_option("path_separator", "os")
    return config


def _foreign() -> UsageError:
    return UsageError(
        "the database has tables already, and not a registrar's: give the registrar a database of its own"
    )
