"""The steps that lead an older database to ``schema.py``, run by Alembic when the tables are opened.

A change of the schema is a new file in ``versions/``, by hand, and a new ``schema.REVISION``. The tests migrate an empty
database and compare what they get with the schema.
"""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(connection: Connection) -> None:
    """Runs what is pending, inside the caller's transaction."""
    command.upgrade(settings(connection), "head")


def settings(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "tastemaker.storage.tables:migrations")
    config.attributes["connection"] = connection
    return config
