"""The catalogue: coverage of streams, and grants."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.registrar.columns import binary, text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the catalogue's tables."""
    op.create_table(
        "coverage",
        sa.Column("stream", binary(16), nullable=False),
        sa.Column("unit_ms", sa.BigInteger, nullable=False),
        sa.Column("lanes", text(80), nullable=False),
        sa.Column("start_ms", sa.BigInteger, nullable=False),
        sa.Column("sealed_until_ms", sa.BigInteger),
        sa.Column("looked_ms", sa.BigInteger, nullable=False),
        sa.Column("fault", text(500)),
        sa.ForeignKeyConstraint(
            ["stream"], ["streams.stream"], name="fk_coverage_stream", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("stream"),
    )
    op.create_index("ix_coverage_looked_ms", "coverage", ["looked_ms"])
    op.create_table(
        "grants",
        sa.Column("stream", binary(16), nullable=False),
        sa.Column("id", binary(16), nullable=False),
        sa.Column("provider", binary(16), nullable=False),
        sa.Column("kind", text(16), nullable=False),
        sa.Column("lanes", text(80), nullable=False),
        sa.Column("granularity", text(32), nullable=False),
        sa.Column("zone", text(80), nullable=False),
        sa.Column("purpose", text(256), nullable=False),
        sa.Column("from_ms", sa.BigInteger, nullable=False),
        sa.Column("until_ms", sa.BigInteger),
        sa.Column("revoked_from_ms", sa.BigInteger),
        sa.ForeignKeyConstraint(["stream"], ["streams.stream"], name="fk_grants_stream", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("stream", "id"),
    )
    op.create_index("ix_grants_provider", "grants", ["provider"])
