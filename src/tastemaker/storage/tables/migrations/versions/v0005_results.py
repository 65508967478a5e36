"""Results of experiments over time."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, column, table

from tastemaker.storage.tables.exact import key, text
from tastemaker.storage.tables.migrations.steps import create_index, create_table

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "results",
        Column("experiment", key(64), primary_key=True),
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("source", key(64), primary_key=True),
        Column("time", BigInteger, primary_key=True, autoincrement=False),
        Column("payload", text(), nullable=False),
    )
    create_index("ix_results_time", "results", ["time"])
    op.bulk_insert(table("stamps", column("name"), column("value")), [{"name": "results", "value": 0}])
