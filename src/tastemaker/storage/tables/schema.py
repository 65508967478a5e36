"""Every table, as SQLAlchemy metadata: the one description that the migrations must arrive at.

The types are chosen so that SQLite, PostgreSQL and MySQL behave alike: keys compare by their bytes (``exact.py``), times are
64-bit milliseconds, NaN is NULL, and structures are JSON in a text column that nobody queries into.

A writer first locks its row of ``stamps``. This makes read-compare-write safe in every database, and the row's value is a
cheap way to see that a table has changed.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Index, Integer, MetaData, Table

from tastemaker.storage.tables.exact import key, text

REVISION = "0005"  # the newest migration; a test holds it equal to the scripts

metadata = MetaData()

stamps = Table(
    "stamps",
    metadata,
    Column("name", key(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

items = Table(
    "items",
    metadata,
    Column("item", key(), primary_key=True),
    Column("id", key(), nullable=False),  # of the change that wrote the row
    Column("time", BigInteger, nullable=False),
    Column("title", text(), nullable=False),
    Column("categories", text(), nullable=False),
    Column("text", text(), nullable=False),
    Column("active", Boolean, nullable=False),
    Column("released", BigInteger),
    Column("deleted", Boolean, nullable=False),
    Column("fields", text(), nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("user", key(), primary_key=True),
    Column("segment", text(), nullable=False),
    Column("fields", text(), nullable=False),
    Column("time", BigInteger, nullable=False),  # of the newest change
    Column("segment_time", BigInteger, nullable=False),  # each part keeps its own time: late news must not undo newer ones
    Column("fields_time", BigInteger, nullable=False),
    Column("preferences_time", BigInteger, nullable=False),
)

preferences = Table(
    "preferences",
    metadata,
    Column("user", key(), ForeignKey("users.user", ondelete="CASCADE"), primary_key=True),
    Column("category", key(), primary_key=True),
    Column("score", Double, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("version", key(), primary_key=True),
    Column("kind", key(64), nullable=False),
    Column("state", key(64), nullable=False),
    Column("made", BigInteger, nullable=False),
    Column("card", text(), nullable=False),
    Index("ix_models_made", "made"),
)

metrics = Table(
    "metrics",
    metadata,
    Column("id", key(64), primary_key=True),  # digest of name, model, slice, time: together too long for a key in MySQL
    Column("name", key(), nullable=False),
    Column("model", key(), nullable=False),
    Column("slice", key(), nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("value", Double),
    Column("low", Double),
    Column("high", Double),
    Column("n", BigInteger, nullable=False),
    Column("source", key(64), nullable=False),
    Index("ix_metrics_time", "time"),
    Index("ix_metrics_name_time", "name", "time"),
    Index("ix_metrics_model_time", "model", "time"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", key(), primary_key=True),
    Column("pipeline", key(), nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
    Column("state", key(64), nullable=False),
    Column("began", BigInteger, nullable=False),
    Column("ended", BigInteger),
    Column("steps", text(), nullable=False),
    Index("ix_runs_pipeline_began", "pipeline", "began"),
)

experiments = Table(
    "experiments",
    metadata,
    Column("experiment", key(64), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("state", key(64), nullable=False),
    Column("made", BigInteger, nullable=False),
    Column("spec", text(), nullable=False),
)

results = Table(
    "results",
    metadata,
    Column("experiment", key(64), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("source", key(64), primary_key=True),  # lake or stream
    Column("time", BigInteger, primary_key=True, autoincrement=False),  # up to which events were counted
    Column("payload", text(), nullable=False),
    Index("ix_results_time", "time"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", key(64), primary_key=True),  # the first letters of the digest
    Column("name", key(), nullable=False),
    Column("digest", key(64), nullable=False),  # SHA-256 of the secret, which is kept nowhere
    Column("scopes", text(), nullable=False),
    Column("made", BigInteger, nullable=False),
    Column("revoked", Boolean, nullable=False),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", key(), primary_key=True),
    Column("reader", key(), nullable=False),  # the consumer group that could not apply it
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("made", BigInteger, nullable=False),
    Column("kind", key(64), nullable=False),  # of the event; empty where it cannot be read
    Column("user", key(), nullable=False),
    Column("body", text(), nullable=False),  # Base64 of what the log holds
    Column("error", text(), nullable=False),
    Index("ix_dead_letters_made", "made"),
    Index("ix_dead_letters_user", "user"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", key(64), primary_key=True),
    Column("name", key(), nullable=False),  # the rule, or what went wrong
    Column("subject", key(), nullable=False),  # the pipeline, run, step or model that it is about
    Column("severity", key(64), nullable=False),
    Column("state", key(64), nullable=False),
    Column("text", text(), nullable=False),
    Column("opened", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),  # when it was raised last
    Column("closed", BigInteger),
    Column("value", Double),
    Column("count", BigInteger, nullable=False),
    Index("ix_alerts_opened", "opened"),
    Index("ix_alerts_state_name", "state", "name"),
)

triggers = Table(
    "triggers",
    metadata,
    Column("id", key(), primary_key=True),
    Column("pipeline", key(), nullable=False),
    Column("reason", text(), nullable=False),
    Column("made", BigInteger, nullable=False),
    Column("taken", BigInteger),
    Column("run", key(), nullable=False),  # the one that took it; empty while it is pending
    Index("ix_triggers_made", "made"),
)
