"""The tables of a log on PostgreSQL, and how statements become one durable transaction.

    tastemaker_log_meta       the number of partitions
    tastemaker_log_batches    record batches by partition and first offset; ``version`` grows when one is rewritten
    tastemaker_log_ends       the next offset of each partition: its row's lock is the turn to append
    tastemaker_log_commits    how far each group is
    tastemaker_log_members    who reads in a group, and until when it counts as alive
    tastemaker_log_leases     who may read a partition in a group, and until when

They lie in the first schema of the user's search path. Times are the server's: no other clock decides who holds a lease.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from tastemaker.storage.kv.postgresql_connections import Connection

CREATION = 7_463_911_206  # the advisory lock of those who create the tables
IDLE = 5000  # milliseconds after which the server ends a transaction whose client fell silent in the middle
TABLES = """
CREATE TABLE IF NOT EXISTS tastemaker_log_batches (partition integer, first bigint, count integer NOT NULL,
    version integer NOT NULL DEFAULT 0, payload bytea NOT NULL, PRIMARY KEY (partition, first));
ALTER TABLE tastemaker_log_batches ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE TABLE IF NOT EXISTS tastemaker_log_ends (partition integer PRIMARY KEY, next bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS tastemaker_log_commits (grp text, partition integer, next bigint NOT NULL,
    PRIMARY KEY (grp, partition)) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS tastemaker_log_members (grp text, member text, expires timestamptz NOT NULL,
    PRIMARY KEY (grp, member)) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS tastemaker_log_leases (grp text, partition integer, member text, expires timestamptz NOT NULL,
    PRIMARY KEY (grp, partition)) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS tastemaker_log_meta (name text PRIMARY KEY, value bigint NOT NULL)
"""  # the payload is compressed already; meta comes last: where it is, all are
FOUND = "SELECT value FROM tastemaker_log_meta WHERE name = 'partitions'"
SAFELY = """SELECT set_config('idle_in_transaction_session_timeout', %s, true), set_config('synchronous_commit',
    CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)"""
Statement = tuple[str, Sequence[Any]]


def transact(connection: Connection, *statements: Statement) -> list[psycopg.Cursor[tuple[Any, ...]]]:
    """Runs statements as one transaction, durable when this returns; each sees what the one before it did.

    They travel together: a client that is stopped or cut off leaves no transaction open in the middle, whose locks would
    hold up all others.
    """
    with connection.pipeline():
        connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        connection.execute(SAFELY, (str(IDLE),))
        cursors = [connection.execute(statement, parameters) for statement, parameters in statements]
        connection.execute("COMMIT")
    return cursors


def create(connection: Connection, partitions: int) -> int:
    """Makes the tables where there are none. Returns the number of partitions that the log was made with."""
    if connection.execute("SELECT to_regclass('tastemaker_log_meta')").fetchall() == [(None,)]:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (CREATION,))  # processes that start together wait here
            connection.execute("SET LOCAL client_min_messages = warning")
            for statement in TABLES.split(";"):
                connection.execute(statement)
    transact(
        connection,
        ("INSERT INTO tastemaker_log_meta VALUES ('partitions', %s) ON CONFLICT DO NOTHING", (partitions,)),
        (f"INSERT INTO tastemaker_log_ends SELECT generate_series(0, ({FOUND}) - 1), 0 ON CONFLICT DO NOTHING", ()),
    )
    [(found,)] = connection.execute(FOUND).fetchall()
    return int(found)
