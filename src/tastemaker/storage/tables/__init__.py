"""The tables: what is looked up by name, and changes in place.

The log knows all that happened; here is what people and pipelines ask for by key: the catalogue, users, models with their
cards, metrics over time, runs, alerts and API keys. Items and users can be written again from the log, the rest lives here only.
All of it is SQLAlchemy Core, without an ORM: the rows are the structs of ``domain/``.

Start with ``catalogue.py`` to see how a table is read and written. ``schema.py`` describes the tables, ``migrations/`` leads
every older file there, ``dialect.py`` holds what databases do differently, ``learning.py`` and ``access.py`` hold the rest.
Every method is one transaction, and every object may be used from many threads.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from sqlalchemy import Engine, inspect, text

from tastemaker.config import Patience
from tastemaker.storage.inspection import Inspection
from tastemaker.storage.tables import dialect, schema, standing
from tastemaker.storage.tables.access import ApiKey, Keys
from tastemaker.storage.tables.alerts import Alert, Alerts
from tastemaker.storage.tables.catalogue import Items, User, Users
from tastemaker.storage.tables.dead_letters import DeadLetter, DeadLetters
from tastemaker.storage.tables.experiments import Experiments
from tastemaker.storage.tables.learning import Metric, Metrics, Models, Runs
from tastemaker.storage.tables.results import Result, Results
from tastemaker.storage.tables.triggers import Trigger, Triggers

__all__ = [
    "Alert", "Alerts", "ApiKey", "DeadLetter", "DeadLetters", "Experiments", "Items", "Keys", "Metric", "Metrics", "Models",
    "Result", "Results", "Runs", "Tables", "Trigger", "Triggers", "User", "Users", "open_tables",
]  # fmt: skip


class Tables:
    """All tables of one database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.items = Items(engine)
        self.users = Users(engine)
        self.models = Models(engine)
        self.metrics = Metrics(engine)
        self.runs = Runs(engine)
        self.keys = Keys(engine)
        self.dead_letters = DeadLetters(engine)
        self.alerts = Alerts(engine)
        self.triggers = Triggers(engine)
        self.experiments = Experiments(engine)
        self.results = Results(engine)

    def alone(self, name: str) -> AbstractContextManager[None]:
        """Lets one process on all machines into the block; raises ``Conflict`` for the others."""
        return standing.alone(self.engine, name)

    def inspect(self) -> Inspection:
        return standing.inspect(self.engine)

    def close(self) -> None:
        self.engine.dispose()


def open_tables(url: str, patience: Patience | None = None) -> Tables:
    """Opens a database and brings its tables up to date.

    ``sqlite:///relative/path.db`` (four slashes: absolute), ``postgresql://user:password@host/database`` or ``mysql://...``.
    """
    engine = dialect.connect(url, patience or Patience())
    try:
        if not up_to_date(engine):
            # Processes that start together wait here for each other; the later ones find nothing left to do.
            with dialect.migrating(engine) as connection:
                from tastemaker.storage.tables.migrations import upgrade  # Alembic is slow to load and seldom needed

                upgrade(connection)
    except BaseException:
        engine.dispose()
        raise
    return Tables(engine)


def up_to_date(engine: Engine) -> bool:
    with dialect.reading(engine) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return False
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == schema.REVISION
