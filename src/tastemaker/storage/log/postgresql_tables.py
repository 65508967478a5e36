"""The tables of a log on PostgreSQL, and how they are made.

    tastemaker_log_meta       the number of partitions
    tastemaker_log_batches    record batches by partition and first offset; ``version`` grows when one is rewritten
    tastemaker_log_ends       the next offset of each partition: its row's lock is the turn to append
    tastemaker_log_commits    how far each group is
    tastemaker_log_members    who reads in a group, and until when it counts as alive
    tastemaker_log_leases     who may read a partition in a group, and until when

Whatever locks rows that others need is a single statement: a client that is stopped or cut off in the middle of a transaction
of several would keep its locks, and hold up everybody, for as long as it is silent.

They lie in the first schema of the user's search path. Times are the server's: no other clock decides who holds a lease.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import parse_qsl, quote, urlencode

from tastemaker.storage.kv.postgresql_connections import Connection, milliseconds

CREATION = 7_463_911_206  # the advisory lock of those who create the tables
SILENCE = 5.0  # seconds between two statements that create the tables
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
PARTITIONS = "INSERT INTO tastemaker_log_meta VALUES ('partitions', %s) ON CONFLICT DO NOTHING"
ENDS = f"INSERT INTO tastemaker_log_ends SELECT generate_series(0, ({FOUND}) - 1), 0 ON CONFLICT DO NOTHING"


def durable(url: str) -> str:
    """The URL with a setting: what was committed is on the disk, unless the URL itself says otherwise."""
    base, _, query = url.partition("?")
    settings = parse_qsl(query, keep_blank_values=True)
    options = " ".join(["-c synchronous_commit=on", *(value for name, value in settings if name == "options")])
    settings = [(name, value) for name, value in settings if name != "options"]
    return f"{base}?{urlencode([*settings, ('options', options)], quote_via=quote)}"


@contextmanager
def talking(connection: Connection, seconds: float) -> Generator[None]:
    """A transaction of several questions, which the server ends when its client is silent in the middle for so long."""
    with connection.transaction():
        connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds(seconds)}")
        yield


def create(connection: Connection, partitions: int) -> int:
    """Makes the tables where there are none. Returns the number of partitions that the log was made with."""
    if connection.execute("SELECT to_regclass('tastemaker_log_meta')").fetchall() == [(None,)]:
        with talking(connection, SILENCE):
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (CREATION,))  # processes that start together wait here
            connection.execute("SET LOCAL client_min_messages = warning")
            for statement in TABLES.split(";"):
                connection.execute(statement)
    connection.execute(PARTITIONS, (partitions,))
    connection.execute(ENDS)
    [(found,)] = connection.execute(FOUND).fetchall()
    return int(found)
