"""MySQL and MariaDB under the tables: how they are connected to, how long they are waited for, which errors mean "away".

Both commit at every change of the schema, so a migration that is interrupted leaves the half of it behind: migrations are
written so that they can be run again (see ``migrations/steps.py``), and ``GET_LOCK`` lets one process at a time run them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymysql
from pymysql.connections import Connection as Driver
from sqlalchemy import URL, Connection, text

from tastemaker.config import Patience
from tastemaker.errors import StorageError

# Not to be reached, gone, lost; too many connections, shutting down, killed, read-only after a fail-over.
AWAY = frozenset((1040, 1053, 1152, 1158, 1159, 1160, 1161, 1203, 1290, 1927, 2002, 2003, 2006, 2013, 2055, 4031))


class Watched(Driver):
    """A connection whose patience can be changed while it is open."""

    _read_timeout: float | None
    _write_timeout: float | None

    def bear(self, seconds: float) -> None:
        self._read_timeout = self._write_timeout = seconds


def settings(url: URL, patience: Patience, busy: float) -> tuple[URL, dict[str, Any]]:
    """The URL as SQLAlchemy wants it, and what to connect with."""
    timeout = patience.timeout_ms / 1000
    wanted: dict[str, Any] = {
        "connect_timeout": patience.connect_ms / 1000,
        "read_timeout": timeout,
        "write_timeout": timeout,
        "charset": "utf8mb4",
        # Strict: a value that does not fit is an error, never cut.
        "init_command": f"SET SESSION innodb_lock_wait_timeout = {int(busy)}, "
        "sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
    }
    return url.set(drivername="mysql+pymysql"), {name: value for name, value in wanted.items() if name not in url.query}


def connect(cargs: list[Any], cparams: dict[str, Any]) -> Watched:
    return Watched(*cargs, **cparams)


def wait(connection: Any, seconds: float) -> None:
    """From now on the connection bears this many seconds of silence."""
    connection.bear(seconds)


def away(error: BaseException | None) -> bool:
    """Whether an error of the driver says that the server is not there now. A wrong password is no such error."""
    return isinstance(error, pymysql.Error) and bool(error.args) and error.args[0] in AWAY


@contextmanager
def migrating(connection: Connection, seconds: float) -> Iterator[None]:
    """Others who want to change the schema of this database wait until the block ends; it is committed then."""
    wait(connection.connection.dbapi_connection, seconds)
    database = str(connection.engine.url.database)
    name = lock_name(connection, "schema")
    if connection.execute(text("SELECT GET_LOCK(:name, :seconds)"), {"name": name, "seconds": int(seconds)}).scalar() != 1:
        raise StorageError(f"{database}: another process has been changing its schema for {seconds:g} seconds: see what it does")
    try:
        yield
        connection.exec_driver_sql("COMMIT")  # before the next one may look
        connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name})
    except BaseException:
        connection.invalidate()  # the lock ends with the connection
        raise


def lock_name(connection: Connection, name: str) -> str:
    """A name for ``GET_LOCK`` that no other database of the server uses: such locks are the whole server's."""
    full = f"{connection.engine.url.database}/{name}"
    return f"tastemaker-{hashlib.sha256(full.encode()).hexdigest()[:40]}"


def hold(connection: Connection, name: str) -> bool:
    """Takes a lock that lasts as long as the connection, if nobody has it."""
    connection.execute(text("SET SESSION wait_timeout = 604800"))  # a run may be silent here for hours
    return connection.execute(text("SELECT GET_LOCK(:name, 0)"), {"name": lock_name(connection, name)}).scalar() == 1


def release(connection: Connection, name: str) -> None:
    """Gives the lock back."""
    connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": lock_name(connection, name)})


def told(connection: Connection) -> tuple[str, float, list[str]]:
    """Version, clock in epoch seconds, and settings that are wrong for data that must last."""
    version, clock = connection.execute(text("SELECT VERSION(), UNIX_TIMESTAMP(SYSDATE(6))")).one()
    flush = connection.execute(text("SELECT @@innodb_flush_log_at_trx_commit")).scalar()
    problem = f"innodb_flush_log_at_trx_commit is {flush}: what was committed may be lost with the power; set it to 1"
    name = "" if "mariadb" in str(version).lower() else "MySQL "
    return f"{name}{version}", float(clock), [] if flush == 1 else [problem]
