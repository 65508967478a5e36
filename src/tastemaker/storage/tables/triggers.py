"""Triggers: runs of a pipeline that somebody has asked for, each taken by exactly one run.

While one is pending, asking again adds nothing: a storm of reasons starts one run. The run that begins after the trigger was
made takes it, whoever started that run; one that had begun before leaves it, since it knows nothing of what happened later.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Engine, Row, delete, select, update

from tastemaker.storage.tables.dialect import lock, move, put_rows, reading, writing
from tastemaker.storage.tables.schema import triggers


class Trigger(msgspec.Struct, frozen=True):
    """``made`` and ``taken`` in epoch milliseconds; ``run`` is empty while it is pending."""

    id: str
    pipeline: str
    reason: str
    made: int
    taken: int | None = None
    run: str = ""


class Triggers:
    """The table."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def ask(self, id: str, pipeline: str, reason: str, now: int) -> Trigger:
        """Asks for a run. Where one is pending, or this one was asked for before, it is returned as it is."""
        with writing(self.engine) as connection:
            lock(connection, "triggers")
            same = connection.execute(select(triggers).where(triggers.c.id == id)).one_or_none()
            pending = select(triggers).where(triggers.c.pipeline == pipeline, triggers.c.taken.is_(None))
            known = same or connection.execute(pending.order_by(triggers.c.made, triggers.c.id)).first()
            if known is not None:
                return trigger_of(known)
            asked = Trigger(id, pipeline, reason, now)
            put_rows(connection, triggers, [msgspec.structs.asdict(asked)])
            move(connection, "triggers")
        return asked

    def take(self, pipeline: str, run: str, began: int) -> int:
        """What was asked for before a run began is done by it; returns how many that were."""
        waits = (triggers.c.pipeline == pipeline, triggers.c.taken.is_(None), triggers.c.made <= began)
        with reading(self.engine) as connection:
            if connection.execute(select(triggers.c.id).where(*waits).limit(1)).first() is None:
                return 0
        with writing(self.engine) as connection:
            lock(connection, "triggers")
            taken = connection.execute(update(triggers).where(*waits).values(taken=began, run=run)).rowcount
            move(connection, "triggers")
        return int(taken)

    def pending(self, pipeline: str | None = None) -> list[Trigger]:
        """Those that no run has taken yet, oldest first."""
        chosen = select(triggers).where(triggers.c.taken.is_(None)).order_by(triggers.c.made, triggers.c.id)
        with reading(self.engine) as connection:
            return [
                trigger_of(row)
                for row in connection.execute(chosen if pipeline is None else chosen.where(triggers.c.pipeline == pipeline))
            ]

    def last(self, limit: int = 20) -> list[Trigger]:
        """The newest, pending or taken."""
        chosen = select(triggers).order_by(triggers.c.made.desc(), triggers.c.id).limit(limit)
        with reading(self.engine) as connection:
            return [trigger_of(row) for row in connection.execute(chosen)]

    def forget(self, before: int) -> int:
        """Removes triggers that were taken before a time; returns how many."""
        with writing(self.engine) as connection:
            return int(connection.execute(delete(triggers).where(triggers.c.taken < before)).rowcount)


def trigger_of(row: Row[Any]) -> Trigger:
    return Trigger(**row._asdict())
