"""What concerns the database as a whole: who may work alone, and whether it is well."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from tastemaker.errors import Conflict
from tastemaker.storage.inspection import Inspection, disk
from tastemaker.storage.tables.dialect import borrow, explain, server_of


@contextmanager
def alone(engine: Engine, name: str) -> Iterator[None]:
    """Holds a lock over all machines that share the database while the block lasts; raises ``Conflict`` when another has it.

    The lock ends with the connection that took it, however this process ends. Whoever shares an SQLite file shares a machine:
    a file lock is the caller's business there.
    """
    server = server_of(engine)
    if server is None:
        yield
        return
    connection = borrow(engine, {"isolation_level": "AUTOCOMMIT"})
    try:
        if not server.hold(connection, name):
            where = engine.url.render_as_string(hide_password=True)
            raise Conflict(f"another machine is at work on {name} (it holds a lock in {where}); wait for it")
        try:
            yield
        finally:
            # A server notices the end of a connection a moment later, and the next one may be waiting.
            with suppress(DBAPIError):  # one that is away has forgotten the lock
                server.release(connection, name)
    except DBAPIError as error:
        raise explain(engine, error) from error
    finally:
        connection.invalidate()  # closes it for good, and the lock with it
        connection.close()


def inspect(engine: Engine) -> Inspection:
    """See ``Inspectable``."""
    server = server_of(engine)
    if server is None:
        return Inspection(f"SQLite {sqlite3.sqlite_version}", problems=disk(Path(str(engine.url.database)).absolute()))
    try:
        with borrow(engine, {}) as connection:
            version, clock, problems = server.told(connection)
    except DBAPIError as error:
        raise explain(engine, error) from error
    return Inspection(version, clock, tuple(problems))
