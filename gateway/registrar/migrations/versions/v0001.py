"""Accounts, holders of cards, certificates, streams, sessions, refused attempts, requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.registrar.columns import binary, blob, number, text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "accounts",
        sa.Column("id", number(), nullable=False),
        sa.Column("name", text(80), nullable=False),
        sa.Column("role", text(16), nullable=False),
        sa.Column("password", text(255), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("role IN ('household', 'provider', 'operator')", name="ck_accounts_role"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name", name="uq_accounts_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "holders",
        sa.Column("kid", binary(16), nullable=False),
        sa.Column("account_id", number(), nullable=False),
        sa.Column("role", text(16), nullable=False),
        sa.Column("card", blob(), nullable=False),
        sa.Column("assurance", text(16)),
        sa.Column("tpm", binary(32)),
        sa.Column("registered_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("role IN ('gateway', 'provider')", name="ck_holders_role"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_holders_account_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("kid"),
    )
    op.create_index("ix_holders_account_id", "holders", ["account_id"])
    op.create_index("ix_holders_tpm", "holders", ["tpm"])
    op.create_table(
        "certificates",
        sa.Column("serial", number(), nullable=False),
        sa.Column("kid", binary(16), nullable=False),
        sa.Column("issued_ms", sa.BigInteger, nullable=False),
        sa.Column("valid_until_ms", sa.BigInteger, nullable=False),
        sa.Column("signed", blob(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("serial"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_certificates_kid", "certificates", ["kid"])
    op.create_index("ix_certificates_revoked_ms", "certificates", ["revoked_ms"])
    op.create_table(
        "streams",
        sa.Column("stream", binary(16), nullable=False),
        sa.Column("kid", binary(16), nullable=False),
        sa.Column("descriptor", blob(), nullable=False),
        sa.Column("region", text(80), nullable=False),
        sa.Column("tariff_zone", text(80), nullable=False),
        sa.Column("listed", sa.Boolean, nullable=False),
        sa.Column("registered_ms", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["kid"], ["holders.kid"], name="fk_streams_kid", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("stream"),
    )
    op.create_index("ix_streams_kid", "streams", ["kid"])
    op.create_table(
        "sessions",
        sa.Column("token_digest", binary(32), nullable=False),
        sa.Column("kid", binary(16), nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["kid"], ["holders.kid"], name="fk_sessions_kid", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_digest"),
    )
    op.create_index("ix_sessions_expires_ms", "sessions", ["expires_ms"])
    op.create_index("ix_sessions_kid", "sessions", ["kid"])
    op.create_table(
        "attempts",
        sa.Column("id", number(), nullable=False),
        sa.Column("kind", text(32), nullable=False),
        sa.Column("account_id", number()),
        sa.Column("who", text(80), nullable=False),
        sa.Column("address", text(64), nullable=False),
        sa.Column("sentence", text(500), nullable=False),
        sa.Column("first_ms", sa.BigInteger, nullable=False),
        sa.Column("last_ms", sa.BigInteger, nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_attempts_account_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_attempts_account_id", "attempts", ["account_id"])
    op.create_index("ix_attempts_last_ms", "attempts", ["last_ms"])
    op.create_index("ix_attempts_same", "attempts", ["kind", "who", "address"])
    op.create_table(
        "requests",
        sa.Column("id", binary(16), nullable=False),
        sa.Column("provider", binary(16), nullable=False),
        sa.Column("stream", binary(16), nullable=False),
        sa.Column("signed", blob(), nullable=False),
        sa.Column("state", text(16), nullable=False),
        sa.Column("asked_ms", sa.BigInteger, nullable=False),
        sa.Column("decided_ms", sa.BigInteger),
        sa.CheckConstraint("state IN ('open', 'granted', 'declined')", name="ck_requests_state"),
        sa.ForeignKeyConstraint(
            ["provider"], ["holders.kid"], name="fk_requests_provider", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["stream"], ["streams.stream"], name="fk_requests_stream", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_requests_provider", "requests", ["provider"])
    op.create_index("ix_requests_stream", "requests", ["stream"])
