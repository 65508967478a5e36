"""What databases do differently: opening, transactions and upserts.

SQLite runs in WAL mode, so that readers never wait for the writer. Writers begin with ``BEGIN IMMEDIATE``: a transaction
that reads first and writes later would fail at once, without waiting, when another writer came in between.

On a server a reader sees one moment (REPEATABLE READ), and a writer sees what was committed before its lock (READ COMMITTED):
all writers of a table first lock its row of ``stamps``, so they wait for each other there and cannot run into a deadlock.
A connection is tried before it is lent, with the patience of a lookup; then statements may take ``BUSY_SECONDS``, because
some read a whole table and some wait for another writer. ``postgresql.py`` and ``mysql.py`` hold what only one server knows.
"""

from __future__ import annotations

import importlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.dml import Insert

from tastemaker.config import Patience, hide
from tastemaker.errors import ConfigError, MissingExtra, StorageError, Unavailable
from tastemaker.storage.resilience import Careful
from tastemaker.storage.tables.schema import stamps

SERVERS = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}  # a URL's database -> module
EXTRAS = {"postgresql": "postgres", "mysql": "mysql"}  # module -> extra
BUSY_SECONDS = 30.0
MIGRATION_SECONDS = 3600.0  # a change of a large table takes its time, and others wait for it
IN = 500  # keys of one IN list; old SQLite takes 999 variables


def connect(text: str, patience: Patience) -> Engine:
    """An engine for a URL; makes the folder of an SQLite file."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise ConfigError(f"connect.tables = {hide(text)!r}: not a URL; write sqlite:///FILE") from None
    backend = text.partition(":")[0].partition("+")[0]
    if backend in SERVERS:
        return connect_server(url, patience, SERVERS[backend])
    if backend != "sqlite":
        raise ConfigError(f"connect.tables = {hide(text)!r}: no such database; write sqlite:///FILE, postgresql:// or mysql://")
    if not url.database or url.database == ":memory:":
        raise ConfigError(f"connect.tables = {text!r}: names no file; write sqlite:///FILE")
    return connect_sqlite(url, Path(url.database))


class Away(Exception):
    """What ``Careful`` counts: a database error that says that the server is not there."""


def connect_server(url: URL, patience: Patience, name: str) -> Engine:
    where = url.render_as_string(hide_password=True)
    if not url.database:
        raise ConfigError(f"connect.tables = {where!r}: names no database; write {name}://user:password@host/database")
    try:
        server = importlib.import_module(f"tastemaker.storage.tables.{name}")
    except ModuleNotFoundError as error:
        raise MissingExtra(EXTRAS[name], f"connect.tables = {where!r}") from error
    remedy = "see that the database server runs and can be reached; this recovers by itself when it does"
    url, arguments = server.settings(url, patience, BUSY_SECONDS)
    engine = create_engine(
        url,
        connect_args=arguments,
        isolation_level="REPEATABLE READ",
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=24,
        pool_timeout=BUSY_SECONDS,
        pool_recycle=1800,  # firewalls forget connections that are idle for long
        execution_options={"careful": Careful(where, patience, (Away,), remedy), "server": server},
    )
    brisk, patient = patience.timeout_ms / 1000, BUSY_SECONDS + patience.timeout_ms / 1000

    def open_one(_: object, __: object, cargs: list[Any], cparams: dict[str, Any]) -> object:
        connection = server.connect(cargs, cparams)
        server.wait(connection, brisk)
        return connection

    event.listen(engine, "do_connect", open_one)
    event.listen(engine, "checkout", lambda connection, *_: server.wait(connection, patient))
    event.listen(engine, "reset", lambda connection, *_: server.wait(connection, brisk))
    return engine


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
    with transaction(engine, {}) as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes: all of it, or nothing when the block raises."""
    options = {"writes": True} if server_of(engine) is None else {"isolation_level": "READ COMMITTED"}
    with transaction(engine, options) as connection:
        yield connection


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """A transaction that changes the schema. Processes that start together wait here for each other."""
    with writing(engine) as connection:
        server = server_of(engine)
        if server is None:  # the writer of an SQLite file is alone
            yield connection
            return
        with server.migrating(connection, MIGRATION_SECONDS):
            yield connection


@contextmanager
def transaction(engine: Engine, options: Mapping[str, Any]) -> Iterator[Connection]:
    try:
        with borrow(engine, options) as connection, connection.begin():
            yield connection
    except DBAPIError as error:
        raise explain(engine, error) from error


def borrow(engine: Engine, options: Mapping[str, Any]) -> Connection:
    """A connection that works; waits and tries again as ``Patience`` says."""
    careful: Careful | None = engine.get_execution_options().get("careful")
    return try_to_borrow(engine, options) if careful is None else careful.call(lambda: try_to_borrow(engine, options))


def try_to_borrow(engine: Engine, options: Mapping[str, Any]) -> Connection:
    connection = None
    try:
        connection = engine.connect()
        return connection.execution_options(**options) if options else connection
    except NoneFree as error:
        where = engine.url.render_as_string(hide_password=True)
        raise Unavailable(f"{where}: all connections have been in use for {BUSY_SECONDS:g} seconds: lower the load") from error
    except DBAPIError as error:
        if connection is not None:
            connection.close()
        if away(engine, error):
            raise Away(str(error.orig)) from error
        raise


def server_of(engine: Engine) -> ModuleType | None:
    """The module of the engine's server; None for a file."""
    server: ModuleType | None = engine.get_execution_options().get("server")
    return server


def away(engine: Engine, error: DBAPIError) -> bool:
    server = server_of(engine)
    return server is not None and (error.connection_invalidated or server.away(error.orig))


def explain(engine: Engine, error: DBAPIError) -> StorageError:
    if away(engine, error):
        careful: Careful = engine.get_execution_options()["careful"]
        careful.breaker.failed()
        return careful.failure(Away(str(error.orig)))
    where = engine.url.render_as_string(hide_password=True)
    if not isinstance(error, OperationalError):
        return StorageError(f"{where}: {error.orig}")
    file = server_of(engine) is None
    cause = "is the disk full?" if file else "are the user, the password and the database right, and has its disk room?"
    return StorageError(f"{where}: {error.orig}; is another process writing for long, or {cause}")


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
