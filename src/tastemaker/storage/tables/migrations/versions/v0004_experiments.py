"""The stamp of the table of experiments, which stood there without one: its writers wait for each other at it."""

from __future__ import annotations

from alembic import op
from sqlalchemy import column, table

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.bulk_insert(table("stamps", column("name"), column("value")), [{"name": "experiments", "value": 0}])
