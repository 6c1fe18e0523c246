"""Schema migrations: numbered SQL files, each of which takes a ledger one version up.

A new ledger goes through all of them, from version 0, an empty file, so that its schema is the same as a
migrated one's. A file never changes once it is released: a new version adds a file.
"""

from __future__ import annotations

import sqlite3
from importlib.resources import files

VERSION = 9
_APPLICATION_ID = 0x67773031  # "gw01", which file(1) shows too


def version_of(db: sqlite3.Connection) -> int | None:
    """The version of a ledger, 0 for an empty file; None for another program's database."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (objects,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application == _APPLICATION_ID:
        return int(version)
    return None if application or version or objects else 0


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Take a ledger from `version` to VERSION, each step in one transaction.

    Foreign keys must not be enforced meanwhile, since a step may replace a table that others refer to.
    """
    for at in range(version, VERSION):
        step = files("gateway.ledger").joinpath("schema", f"{at}_to_{at + 1}.sql").read_text("utf-8")
        marks = f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {at + 1};"
        db.executescript(f"BEGIN; {step} {marks} COMMIT;")
