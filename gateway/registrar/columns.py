"""Kinds of columns in the registrar's database, each the same on SQLite and on MariaDB.

Tables and migrations both use these, so that they never change once released: a new kind is added.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, LargeBinary, String
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

_MARIADB = ("mysql", "mariadb")  # by the URL's first word


def text(length: int) -> TypeEngine[str]:
    """Text of at most `length` characters that is compared byte by byte.

    MariaDB's default collation takes Müller for muller, and even its plain binary one "a" for "a ": hence
    `utf8mb4_nopad_bin` (MariaDB Knowledge Base, "Supported Character Sets and Collations").
    """
    return String(length).with_variant(
        mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_nopad_bin"), *_MARIADB
    )


def binary(size: int) -> TypeEngine[bytes]:
    """Exactly `size` bytes."""
    return LargeBinary(size).with_variant(mysql.BINARY(size), *_MARIADB)


def blob() -> TypeEngine[bytes]:
    """A signed object, up to 16 MiB."""
    return LargeBinary().with_variant(mysql.MEDIUMBLOB(), *_MARIADB)


def number() -> TypeEngine[int]:
    """A key that the database counts up; SQLite does so in an INTEGER alone."""
    return BigInteger().with_variant(Integer(), "sqlite")
