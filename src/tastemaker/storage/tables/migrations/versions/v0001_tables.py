"""The first tables. What is written here never changes: a later schema is a later file."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Integer, column, table

from tastemaker.storage.tables.exact import key, text
from tastemaker.storage.tables.migrations.steps import create_index, create_table

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "stamps",
        Column("name", key(64), primary_key=True),
        Column("value", BigInteger, nullable=False),
    )
    create_table(
        "items",
        Column("item", key(), primary_key=True),
        Column("id", key(), nullable=False),
        Column("time", BigInteger, nullable=False),
        Column("title", text(), nullable=False),
        Column("categories", text(), nullable=False),
        Column("text", text(), nullable=False),
        Column("active", Boolean, nullable=False),
        Column("released", BigInteger),
        Column("deleted", Boolean, nullable=False),
        Column("fields", text(), nullable=False),
    )
    create_table(
        "users",
        Column("user", key(), primary_key=True),
        Column("segment", text(), nullable=False),
        Column("fields", text(), nullable=False),
        Column("time", BigInteger, nullable=False),
        Column("segment_time", BigInteger, nullable=False),
        Column("fields_time", BigInteger, nullable=False),
        Column("preferences_time", BigInteger, nullable=False),
    )
    create_table(
        "preferences",
        Column("user", key(), ForeignKey("users.user", ondelete="CASCADE"), primary_key=True),
        Column("category", key(), primary_key=True),
        Column("score", Double, nullable=False),
    )
    create_table(
        "models",
        Column("version", key(), primary_key=True),
        Column("kind", key(64), nullable=False),
        Column("state", key(64), nullable=False),
        Column("made", BigInteger, nullable=False),
        Column("card", text(), nullable=False),
    )
    create_table(
        "metrics",
        Column("id", key(64), primary_key=True),
        Column("name", key(), nullable=False),
        Column("model", key(), nullable=False),
        Column("slice", key(), nullable=False),
        Column("time", BigInteger, nullable=False),
        Column("value", Double),
        Column("low", Double),
        Column("high", Double),
        Column("n", BigInteger, nullable=False),
        Column("source", key(64), nullable=False),
    )
    create_table(
        "runs",
        Column("id", key(), primary_key=True),
        Column("pipeline", key(), nullable=False),
        Column("start", BigInteger, nullable=False),
        Column("end", BigInteger, nullable=False),
        Column("state", key(64), nullable=False),
        Column("began", BigInteger, nullable=False),
        Column("ended", BigInteger),
        Column("steps", text(), nullable=False),
    )
    create_table(
        "experiments",
        Column("experiment", key(64), primary_key=True),
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("state", key(64), nullable=False),
        Column("made", BigInteger, nullable=False),
        Column("spec", text(), nullable=False),
    )
    create_table(
        "api_keys",
        Column("id", key(64), primary_key=True),
        Column("name", key(), nullable=False),
        Column("digest", key(64), nullable=False),
        Column("scopes", text(), nullable=False),
        Column("made", BigInteger, nullable=False),
        Column("revoked", Boolean, nullable=False),
    )
    create_index("ix_models_made", "models", ["made"])
    create_index("ix_metrics_time", "metrics", ["time"])
    create_index("ix_metrics_name_time", "metrics", ["name", "time"])
    create_index("ix_metrics_model_time", "metrics", ["model", "time"])
    create_index("ix_runs_pipeline_began", "runs", ["pipeline", "began"])
    names = ("items", "users", "models", "metrics", "runs", "api_keys")
    op.bulk_insert(table("stamps", column("name"), column("value")), [{"name": name, "value": 0} for name in names])
