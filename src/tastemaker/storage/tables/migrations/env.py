"""Alembic runs this file for every command. The connection comes from ``migrations.settings``."""

from __future__ import annotations

from alembic import context

from tastemaker.storage.tables.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
