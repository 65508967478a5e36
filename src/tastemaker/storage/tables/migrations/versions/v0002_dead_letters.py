"""Dead letters: records of the log that could not be applied, or not even be read."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, column, table

from tastemaker.storage.tables.exact import key, text
from tastemaker.storage.tables.migrations.steps import create_index, create_table

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "dead_letters",
        Column("id", key(), primary_key=True),
        Column("reader", key(), nullable=False),
        Column("partition", Integer, nullable=False),
        Column("offset", BigInteger, nullable=False),
        Column("made", BigInteger, nullable=False),
        Column("kind", key(64), nullable=False),
        Column("user", key(), nullable=False),
        Column("body", text(), nullable=False),
        Column("error", text(), nullable=False),
    )
    create_index("ix_dead_letters_made", "dead_letters", ["made"])
    create_index("ix_dead_letters_user", "dead_letters", ["user"])
    op.bulk_insert(table("stamps", column("name"), column("value")), [{"name": "dead_letters", "value": 0}])
