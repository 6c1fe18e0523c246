"""Alembic's entry: it migrates the connection that `gateway.registrar.migration` hands over."""

from __future__ import annotations

from alembic import context

from gateway.registrar.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
