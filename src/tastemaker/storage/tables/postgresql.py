"""PostgreSQL under the tables: how it is connected to, how long it is waited for, and which of its errors mean "away".

The server bounds its statements itself (``statement_timeout``), but one that is frozen, or behind a dead link, never gets to
it. So the connection also watches the clock: when nothing has come for too long it closes itself and says so.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, text

from tastemaker.config import Patience

MIGRATIONS = 7_463_911_205  # the advisory lock of those who change the schema
AWAY = ("08", "57P", "53300")  # connection errors, shutdown and start, too many connections
REFUSED = re.compile(r"authentication failed|does not exist|no pg_hba\.conf|no password supplied|permission denied")
TICK = 0.1  # seconds between two looks at the clock


class Watched(psycopg.Connection[Any]):
    """A connection that bears ``silence`` seconds without a byte from the server."""

    silence = 10.0

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("interval", min(TICK, self.silence / 4))
        return super().wait(self._watch(gen), *args, **kwargs)

    def _watch(self, work: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        try:
            wanted = next(work)
            heard = time.monotonic()
            while True:
                ready = yield wanted
                now = time.monotonic()
                if ready:
                    heard = now
                elif now - heard > self.silence:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"the server has not answered for {self.silence:g} seconds")
                wanted = work.send(ready)
        except StopIteration as done:
            return done.value


def settings(url: URL, patience: Patience, busy: float) -> tuple[URL, dict[str, Any]]:
    """The URL as SQLAlchemy wants it, and what to connect with."""
    query = url.query
    wanted: dict[str, Any] = {
        "connect_timeout": max(2, math.ceil(patience.connect_ms / 1000)),  # the library waits for two seconds at least
        "tcp_user_timeout": int(busy * 1000),
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "application_name": "tastemaker",
        "options": f"-c statement_timeout={int(busy * 1000)}",
    }
    return url.set(drivername="postgresql+psycopg"), {name: value for name, value in wanted.items() if name not in query}


def connect(cargs: list[Any], cparams: dict[str, Any]) -> Watched:
    return Watched.connect(*cargs, **cparams)


def wait(connection: Any, seconds: float) -> None:
    """From now on the connection bears this many seconds of silence."""
    connection.silence = seconds


def away(error: BaseException | None) -> bool:
    """Whether an error of the driver says that the server is not there now. A wrong password is no such error."""
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate:
        return error.sqlstate.startswith(AWAY)
    return isinstance(error, psycopg.OperationalError) and not REFUSED.search(str(error))


@contextmanager
def migrating(connection: Connection, seconds: float) -> Iterator[None]:
    """Others who want to change the schema wait until the transaction ends."""
    wait(connection.connection.dbapi_connection, seconds)
    connection.execute(text(f"SET LOCAL statement_timeout = {int(seconds * 1000)}"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATIONS})
    yield


def hold(connection: Connection, name: str) -> bool:
    """Takes a lock that lasts as long as the connection, if nobody has it."""
    taken = connection.execute(text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))"), {"name": name}).scalar()
    return bool(taken)


def release(connection: Connection, name: str) -> None:
    """Gives the lock back."""
    connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), {"name": name})


def told(connection: Connection) -> tuple[str, float, list[str]]:
    """Version, clock in epoch seconds, and settings that are wrong for data that must last."""
    version, clock = connection.execute(
        text("SELECT current_setting('server_version'), extract(epoch FROM clock_timestamp())")
    ).one()
    problems = []
    for setting, why in (("fsync", "a power failure may damage it"), ("full_page_writes", "a power failure may damage it")):
        if connection.execute(text("SELECT current_setting(:name)"), {"name": setting}).scalar() == "off":
            problems.append(f"{setting} is off: {why}; switch it on")
    return f"PostgreSQL {version}", float(clock), problems
