"""The tables of the registrar's database, on SQLite and on MariaDB.

Times are Unix ms in BIGINT. Ids and digests are binary, of their own length. Names compare byte by byte. A
change here needs a migration (`migrations/versions`); a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
)

from gateway.registrar.columns import binary, blob, number, text

NAME_LENGTH = 80
SENTENCE_LENGTH = 500

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)


accounts = Table(
    "accounts",
    metadata,
    Column("id", number(), primary_key=True),
    Column("name", text(NAME_LENGTH), nullable=False, unique=True),
    Column("role", text(16), nullable=False),
    Column("password", text(255), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    CheckConstraint("role IN ('household', 'provider', 'operator')", name="role"),
    sqlite_autoincrement=True,
)
"""Who may register, made by the operator. `password` is argon2id's encoded digest (RFC 9106)."""

holders = Table(
    "holders",
    metadata,
    Column("kid", binary(16), primary_key=True),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("role", text(16), nullable=False),
    Column("card", blob(), nullable=False),
    Column("assurance", text(16)),
    Column("tpm", binary(32), index=True),
    Column("registered_ms", BigInteger, nullable=False),
    CheckConstraint("role IN ('gateway', 'provider')", name="role"),
)
"""The holders of registered cards: an account's gateways, or a provider's keys. `card` is self-signed; `tpm`
is the SHA-256 of the TPM's endorsement key."""

certificates = Table(
    "certificates",
    metadata,
    Column("serial", number(), primary_key=True),
    Column("kid", binary(16), nullable=False, index=True),
    Column("issued_ms", BigInteger, nullable=False),
    Column("valid_until_ms", BigInteger, nullable=False),
    Column("signed", blob(), nullable=False),
    Column("revoked_ms", BigInteger, index=True),
    sqlite_autoincrement=True,
)
"""All certificates, those of removed accounts too: a serial is never given twice."""

streams = Table(
    "streams",
    metadata,
    Column("stream", binary(16), primary_key=True),
    Column("kid", ForeignKey("holders.kid", ondelete="CASCADE"), nullable=False, index=True),
    Column("descriptor", blob(), nullable=False),
    Column("region", text(NAME_LENGTH), nullable=False),
    Column("tariff_zone", text(NAME_LENGTH), nullable=False),
    Column("listed", Boolean, nullable=False),
    Column("registered_ms", BigInteger, nullable=False),
)
"""The streams of each gateway, the paper's an-IDs. `descriptor` is a signed gw1/stream."""

sessions = Table(
    "sessions",
    metadata,
    Column("token_digest", binary(32), primary_key=True),
    Column("kid", ForeignKey("holders.kid", ondelete="CASCADE"), nullable=False, index=True),
    Column("expires_ms", BigInteger, nullable=False, index=True),
)
"""Sessions by the SHA-256 of their token, which is kept nowhere."""

attempts = Table(
    "attempts",
    metadata,
    Column("id", number(), primary_key=True),
    Column("kind", text(32), nullable=False),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), index=True),
    Column("who", text(NAME_LENGTH), nullable=False),
    Column("address", text(64), nullable=False),
    Column("sentence", text(SENTENCE_LENGTH), nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False, index=True),
    Column("times", Integer, nullable=False),
    Index("ix_attempts_same", "kind", "who", "address"),
    sqlite_autoincrement=True,
)
"""Refused attempts: `who` is the account's name as typed, or a kid; `account_id` the account that it
concerns. The same one repeated within an hour is one row, seen `times` times."""

requests = Table(
    "requests",
    metadata,
    Column("id", binary(16), primary_key=True),
    Column("provider", ForeignKey("holders.kid", ondelete="CASCADE"), nullable=False, index=True),
    Column("stream", ForeignKey("streams.stream", ondelete="CASCADE"), nullable=False, index=True),
    Column("signed", blob(), nullable=False),
    Column("state", text(16), nullable=False),
    Column("asked_ms", BigInteger, nullable=False),
    Column("decided_ms", BigInteger),
    CheckConstraint("state IN ('open', 'granted', 'declined')", name="state"),
)
"""What providers ask of households: a signed gw1/request each."""

coverage = Table(
    "coverage",
    metadata,
    Column("stream", ForeignKey("streams.stream", ondelete="CASCADE"), primary_key=True),
    Column("unit_ms", BigInteger, nullable=False),
    Column("lanes", text(NAME_LENGTH), nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("sealed_until_ms", BigInteger),
    Column("looked_ms", BigInteger, nullable=False, index=True),
    Column("fault", text(SENTENCE_LENGTH)),
)
"""What the store has of each stream: since when, until when (None: no head yet), in which lanes, as in
",import,count,"; when it was looked at, and what was wrong with it then."""

grants = Table(
    "grants",
    metadata,
    Column("stream", ForeignKey("streams.stream", ondelete="CASCADE"), primary_key=True),
    Column("id", binary(16), primary_key=True),
    Column("provider", binary(16), nullable=False, index=True),
    Column("kind", text(16), nullable=False),
    Column("lanes", text(NAME_LENGTH), nullable=False),
    Column("granularity", text(32), nullable=False),
    Column("zone", text(NAME_LENGTH), nullable=False),
    Column("purpose", text(256), nullable=False),
    Column("from_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger),
    Column("revoked_from_ms", BigInteger),
)
"""The grants that lie in the store, as their gateways signed them. `provider` is a kid, registered or not."""

load_memory = Table(
    "load_memory",
    metadata,
    Column("id", number(), primary_key=True),
    Column("from_ms", BigInteger, nullable=False),
)
"""One row, once the memory of the summing service was begun. From `from_ms` (Unix ms) on it is whole: a
restored backup may lack what was summed after it was made."""

load_sets = Table(
    "load_sets",
    metadata,
    Column("id", number(), primary_key=True),
    Column("digest", binary(32), nullable=False, unique=True),
    Column("homes", blob(), nullable=False),
    sqlite_autoincrement=True,
)
"""Sets of homes that were summed together: the ids of their streams, 16 bytes each, sorted; and H of that."""

load_times = Table(
    "load_times",
    metadata,
    Column("set_id", ForeignKey("load_sets.id"), primary_key=True),
    Column("start_ms", BigInteger, primary_key=True),
    Column("end_ms", BigInteger, nullable=False),
    Index("ix_load_times_span", "start_ms", "end_ms"),
)
"""The times over which each set was summed, [start, end) in Unix ms, apart and as few as can be."""

load_runs = Table(
    "load_runs",
    metadata,
    Column("stream", binary(16), primary_key=True),
    Column("incarnation", binary(8), primary_key=True),
    Column("first_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
)
"""The incarnations (be64) that sealed each home's windows that were summed, by the ends of these windows."""
