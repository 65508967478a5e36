"""Alerts, and triggers: runs that a rule has asked for."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Double, column, table

from tastemaker.storage.tables.exact import key, text
from tastemaker.storage.tables.migrations.steps import create_index, create_table

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "alerts",
        Column("id", key(64), primary_key=True),
        Column("name", key(), nullable=False),
        Column("subject", key(), nullable=False),
        Column("severity", key(64), nullable=False),
        Column("state", key(64), nullable=False),
        Column("text", text(), nullable=False),
        Column("opened", BigInteger, nullable=False),
        Column("seen", BigInteger, nullable=False),
        Column("closed", BigInteger),
        Column("value", Double),
        Column("count", BigInteger, nullable=False),
    )
    create_table(
        "triggers",
        Column("id", key(), primary_key=True),
        Column("pipeline", key(), nullable=False),
        Column("reason", text(), nullable=False),
        Column("made", BigInteger, nullable=False),
        Column("taken", BigInteger),
        Column("run", key(), nullable=False),
    )
    create_index("ix_alerts_opened", "alerts", ["opened"])
    create_index("ix_alerts_state_name", "alerts", ["state", "name"])
    create_index("ix_triggers_made", "triggers", ["made"])
    names = ("alerts", "triggers")
    op.bulk_insert(table("stamps", column("name"), column("value")), [{"name": name, "value": 0} for name in names])
