"""The memory of the summing service of loads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.registrar.columns import binary, blob, number

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of the memory."""
    op.create_table(
        "load_memory",
        sa.Column("id", number(), nullable=False),
        sa.Column("from_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "load_sets",
        sa.Column("id", number(), nullable=False),
        sa.Column("digest", binary(32), nullable=False),
        sa.Column("homes", blob(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest", name="uq_load_sets_digest"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "load_times",
        sa.Column("set_id", number(), nullable=False),
        sa.Column("start_ms", sa.BigInteger, nullable=False),
        sa.Column("end_ms", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["set_id"], ["load_sets.id"], name="fk_load_times_set_id"),
        sa.PrimaryKeyConstraint("set_id", "start_ms"),
    )
    op.create_index("ix_load_times_span", "load_times", ["start_ms", "end_ms"])
    op.create_table(
        "load_runs",
        sa.Column("stream", binary(16), nullable=False),
        sa.Column("incarnation", binary(8), nullable=False),
        sa.Column("first_ms", sa.BigInteger, nullable=False),
        sa.Column("last_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("stream", "incarnation"),
    )
