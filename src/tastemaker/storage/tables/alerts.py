"""Alerts: what went wrong and is not well yet, each once, however often it is noticed.

Of one name and subject at most one alert is open. Whoever raises it again counts it up; whoever closes it leaves it in the
history. Writers wait for each other at the table's row of ``stamps``, so two of them cannot open the same alert.
"""

from __future__ import annotations

import math
import secrets
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, Select, delete, func, select

from tastemaker.storage.tables.dialect import lock, move, put_rows, reading, writing
from tastemaker.storage.tables.schema import alerts


class Alert(msgspec.Struct, frozen=True):
    """Times are in epoch milliseconds; ``value`` is that of the last time it was raised, NaN where there is none."""

    id: str
    name: str
    subject: str
    severity: str
    state: str
    text: str
    opened: int
    seen: int
    closed: int | None
    value: float
    count: int


class Alerts:
    """The table."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def note(self, name: str, subject: str, severity: str, text: str, value: float, now: int) -> Alert:
        """Opens an alert, or counts up the one that is open: by one for each moment, so that work done again counts once."""
        with writing(self.engine) as connection:
            lock(connection, "alerts")
            known = standing(connection, name, subject)
            if known is None:
                raised = Alert(secrets.token_hex(8), name, subject, severity, "open", text, now, now, None, value, 1)
            elif now <= known.seen:
                return known
            else:
                raised = msgspec.structs.replace(
                    known, severity=severity, text=text, value=value, seen=now, count=known.count + 1
                )
            put_rows(connection, alerts, [row_of(raised)])
            move(connection, "alerts")
        return raised

    def close(self, name: str, subject: str, now: int) -> Alert | None:
        """Closes the open alert of a name and subject; None: there is none."""
        with writing(self.engine) as connection:
            lock(connection, "alerts")
            known = standing(connection, name, subject)
            if known is None:
                return None
            closed = msgspec.structs.replace(known, state="closed", closed=now)
            put_rows(connection, alerts, [row_of(closed)])
            move(connection, "alerts")
        return closed

    def get(self, id: str) -> Alert | None:
        found = self._select(select(alerts).where(alerts.c.id == id))
        return found[0] if found else None

    def open(self, name: str | None = None) -> list[Alert]:
        """Those that are open, of one name or of all, newest first."""
        chosen = newest_first().where(alerts.c.state == "open")
        return self._select(chosen if name is None else chosen.where(alerts.c.name == name))

    def last(self, limit: int = 100) -> list[Alert]:
        """The newest, open or closed."""
        return self._select(newest_first().limit(limit))

    def counts(self) -> dict[str, int]:
        """How many are open, by severity."""
        chosen = select(alerts.c.severity, func.count()).where(alerts.c.state == "open").group_by(alerts.c.severity)
        with reading(self.engine) as connection:
            return {severity: int(count) for severity, count in connection.execute(chosen)}

    def forget(self, before: int) -> int:
        """Removes alerts that were closed before a time; returns how many."""
        with writing(self.engine) as connection:
            return int(connection.execute(delete(alerts).where(alerts.c.closed < before)).rowcount)

    def _select(self, chosen: Select[*tuple[Any, ...]]) -> list[Alert]:
        with reading(self.engine) as connection:
            return [alert_of(row) for row in connection.execute(chosen)]


def newest_first() -> Select[*tuple[Any, ...]]:
    return select(alerts).order_by(alerts.c.opened.desc(), alerts.c.id)


def standing(connection: Connection, name: str, subject: str) -> Alert | None:
    """The open alert of a name and subject."""
    chosen = select(alerts).where(alerts.c.name == name, alerts.c.subject == subject, alerts.c.state == "open")
    row = connection.execute(chosen).one_or_none()
    return alert_of(row) if row is not None else None


def row_of(alert: Alert) -> dict[str, Any]:
    row = msgspec.structs.asdict(alert)
    return row | ({"value": None} if math.isnan(alert.value) else {})


def alert_of(row: Row[Any]) -> Alert:
    values = row._asdict()
    return Alert(**{**values, "value": math.nan if values["value"] is None else values["value"]})
