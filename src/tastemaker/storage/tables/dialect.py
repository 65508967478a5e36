"""What databases do differently: opening, transactions and upserts.

SQLite runs in WAL mode, so that readers never wait for the writer. Writers begin with ``BEGIN IMMEDIATE``: a transaction
that reads first and writes later would fail at once, without waiting, when another writer came in between.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.dml import Insert

from tastemaker.config import Patience, hide
from tastemaker.errors import ConfigError, StorageError
from tastemaker.storage.tables.schema import stamps

BUSY_SECONDS = 30.0
IN = 500  # keys of one IN list; old SQLite takes 999 variables


def connect(text: str, patience: Patience) -> Engine:
    """An engine for a URL; makes the folder of an SQLite file."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise ConfigError(f"connect.tables = {hide(text)!r}: not a URL; write sqlite:///FILE") from None
    if url.get_backend_name() != "sqlite":
        return create_engine(url)
    if not url.database or url.database == ":memory:":
        raise ConfigError(f"connect.tables = {text!r}: names no file; write sqlite:///FILE")
    return connect_sqlite(url, Path(url.database))


def connect_sqlite(url: URL, file: Path) -> Engine:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{file.parent}: the folder cannot be made: {error}") from error
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", set_up_sqlite)
    event.listen(engine, "begin", begin_sqlite)
    return engine


def set_up_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver's own idea of when a transaction begins leaves out reads and DDL; ``begin_sqlite`` does it instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError:
            # SQLite does not wait by itself here, when two processes open a new file at once.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one moment."""
    try:
        with engine.connect() as connection, connection.begin():
            yield connection
    except DBAPIError as error:
        raise explain(engine, error) from error


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes: all of it, or nothing when the block raises."""
    try:
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection
    except DBAPIError as error:
        raise explain(engine, error) from error


def explain(engine: Engine, error: DBAPIError) -> StorageError:
    where = engine.url.render_as_string(hide_password=True)
    remedy = "is another process writing for long, or is the disk full?" if isinstance(error, OperationalError) else ""
    return StorageError(f"{where}: {error.orig}; {remedy}".rstrip("; "))


def lock(connection: Connection, name: str) -> int:
    """Makes other writers of a table wait until this transaction ends. Returns the table's stamp."""
    return int(connection.execute(select(stamps.c.value).where(stamps.c.name == name).with_for_update()).scalar_one())


def move(connection: Connection, name: str) -> None:
    """The table has changed: its stamp grows."""
    connection.execute(update(stamps).where(stamps.c.name == name).values(value=stamps.c.value + 1))


def upsert(backend: str, table: Table) -> Insert:
    """The statement that inserts a row or replaces the one with its primary key.

    >>> from tastemaker.storage.tables.schema import stamps
    >>> print(upsert("sqlite", stamps).compile(dialect=sqlite.dialect()))
    INSERT INTO stamps (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value
    """
    names = [column.name for column in table.columns if not column.primary_key]
    if backend == "mysql":
        inserted = mysql.insert(table)
        return inserted.on_duplicate_key_update({name: inserted.inserted[name] for name in names})
    insert = postgresql.insert(table) if backend == "postgresql" else sqlite.insert(table)
    return insert.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_={name: insert.excluded[name] for name in names}
    )


def put_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts or replaces rows by their primary key."""
    if rows:
        connection.execute(upsert(connection.dialect.name, table), rows)


def blocks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """The keys in parts that fit into one statement."""
    for start in range(0, len(keys), IN):
        yield keys[start : start + IN]
