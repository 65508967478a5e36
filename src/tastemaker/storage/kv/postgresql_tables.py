"""Which table holds a key, and the statements that read and write it.

Slates of a model version are written together and removed together, millions at a time. Deleting rows would leave as many
dead ones for PostgreSQL to clean up, so everything under ``slate:VERSION:`` has a table of its own, and so has everything
under ``whole:VERSION:``; removing a version drops two tables. All other keys share one. A small table, the directory, says
which prefixes have their own.

Keys are bytes: they are compared bytewise, and may hold any character. One statement reads keys of several tables, so that
all values are from one moment.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import TypeVar

from psycopg.errors import UndefinedTable

from tastemaker.errors import Unavailable
from tastemaker.storage.kv.postgresql_connections import Connection

MAIN, DIRECTORY = "tastemaker_kv", "tastemaker_kv_tables"
OWN = re.compile(rb"(?:slate|whole):[^:]+:")
LOCK = 0x7A57E0  # of those who change the set of tables
END = b"\xff"  # behind every key: no UTF-8 begins with it
ALIVE = "(expires IS NULL OR expires > now())"
PATIENCE = 300  # milliseconds that a drop waits for readers: new ones queue behind it meanwhile
ATTEMPTS = 5  # others may drop a table between our looking and our reading
Places = Mapping[bytes, Sequence[bytes]]  # prefix -> keys
T = TypeVar("T")
Range = tuple[bytes, bytes]  # keys from the first on and before the second


def place_of(key: bytes) -> bytes:
    """The prefix that has a table of its own and holds the key; empty: the main table.

    >>> place_of(b"slate:v1:anna"), place_of(b"state:anna")
    (b'slate:v1:', b'')
    """
    found = OWN.match(key)
    return found[0] if found else b""


def places_of(keys: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Keys by the prefix whose table holds them."""
    places: dict[bytes, list[bytes]] = {}
    for key in keys:
        places.setdefault(place_of(key), []).append(key)
    return places


def table_of(place: bytes) -> str:
    """A table's name. Versions may be called anything, tables may not."""
    return f"tastemaker_slates_{sha256(place).hexdigest()[:32]}" if place else MAIN


def range_of(prefix: bytes) -> Range:
    """All keys that begin with a prefix.

    >>> range_of(b"slate:")
    (b'slate:', b'slate;')
    """
    return prefix, prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else END


def reading(places: Iterable[bytes], unknown: bool) -> str:
    """Reads keys, one array for each table; then, if some are ``unknown``, which of those prefixes have a table after all.

    Rows are key, value (None: the key is such a prefix) and the seconds left.
    """
    arms = [
        f"SELECT key, value, extract(epoch FROM expires - now())::float8 FROM {table_of(place)} "
        f"WHERE key = ANY(%b::bytea[]) AND {ALIVE}"
        for place in places
    ]
    if unknown:
        arms.append(f"SELECT prefix, NULL, NULL FROM {DIRECTORY} WHERE prefix = ANY(%b::bytea[])")
    return " UNION ALL ".join(arms)


def writing(place: bytes, anew: bool) -> str:
    """Writes keys and values; ``anew``: also what is there already."""
    return (
        f"INSERT INTO {table_of(place)} AS old (key, value, expires) "
        "SELECT k, v, now() + %s::float8 * interval '1 second' FROM unnest(%b::bytea[], %b::bytea[]) AS new (k, v) "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires"
    ) + ("" if anew else " WHERE old.expires <= now()")


IN_TIME = "SELECT 1 / (clock_timestamp() < to_timestamp(%s::float8))::int"
"""The last statement of a change: fails by a division by zero, and so undoes it, behind a time in epoch seconds.

It comes last because the rows are locked then: nobody else can write them between this look at the clock and the end.
"""


def in_time(change: str) -> str:
    """A single statement that does the same: the change, and behind all of its rows the look at the clock."""
    return f"WITH done AS ({change} RETURNING 1) {IN_TIME} FROM (SELECT count(*) FROM done) AS counted"


def merging(place: bytes, source: str) -> str:
    """Writes all rows of another table."""
    return (
        f"INSERT INTO {table_of(place)} (key, value) SELECT key, value FROM {source} ORDER BY key "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires"
    )


def deleting(place: bytes) -> str:
    """Deletes keys. They are locked in their order, as writers do: so nobody waits in a circle."""
    table = table_of(place)
    return f"DELETE FROM {table} WHERE key IN (SELECT key FROM {table} WHERE key = ANY(%b::bytea[]) ORDER BY key FOR UPDATE)"


def deleting_range(place: bytes, most: int) -> str:
    """Deletes some keys of a range; a row for each says whether it was still alive."""
    table = table_of(place)
    chosen = f"SELECT key FROM {table} WHERE key >= %b AND key < %b ORDER BY key LIMIT {most} FOR UPDATE"
    return f"DELETE FROM {table} WHERE key IN ({chosen}) RETURNING {ALIVE}"


def purging(place: bytes, most: int) -> str:
    """Deletes some of what is over, but for rows that somebody writes just now."""
    table = table_of(place)
    over = f"SELECT key FROM {table} WHERE expires <= now() ORDER BY expires LIMIT {most} FOR UPDATE SKIP LOCKED"
    return f"DELETE FROM {table} WHERE key IN ({over})"


def scanning(places: Iterable[bytes], most: int) -> str:
    """The first keys and values of a range, which is given for each table."""
    arms = [
        f"(SELECT key, value FROM {table_of(place)} WHERE key >= %b AND key < %b AND {ALIVE} ORDER BY key LIMIT {most})"
        for place in places
    ]
    return f"SELECT key, value FROM ({' UNION ALL '.join(arms)}) AS found ORDER BY key LIMIT {most}"


class Moved(Exception):
    """There are tables that we did not know of: ask again, to see all from one moment."""


class Tables:
    """The tables that are there, as far as this process knows."""

    def __init__(self) -> None:
        self._known: set[bytes] = set()
        self._making = threading.Lock()

    def steadily(self, work: Callable[[], T]) -> T:
        """Runs ``work``, again where a table that it counted on is gone, or one is there that it did not know of."""
        for _ in range(ATTEMPTS):
            try:
                return work()
            except UndefinedTable:
                self.forget()
            except Moved:
                continue
        raise moving()

    def ready(self) -> bool:
        """Whether the main table and the directory are known to be there."""
        return b"" in self._known

    def split(self, places: Places) -> tuple[list[bytes], list[bytes]]:
        """Prefixes that have their table, and those that have none as far as we know."""
        known = [place for place in places if place in self._known]
        return known, [place for place in places if place not in self._known]

    def learn(self, places: Iterable[bytes]) -> None:
        self._known.update(places)

    def forget(self) -> None:
        """After a table was not there: others may have dropped it."""
        self._known = set()

    def make(self, connection: Connection, places: Iterable[bytes] = ()) -> None:
        """Creates the tables of some prefixes, and the main ones, where they are missing."""
        missing = [place for place in ({b""} | set(places)) if place not in self._known]
        if not missing:
            return
        with self._making, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            for place in sorted(missing):
                self._make_one(connection, place)
        self._known.update(missing)

    def _make_one(self, connection: Connection, place: bytes) -> None:
        table = table_of(place)
        if not exists(connection, table):
            connection.execute(
                f"CREATE TABLE {table} (key bytea PRIMARY KEY, value bytea NOT NULL, expires timestamptz) WITH (fillfactor = 85)"
            )
            connection.execute(f"CREATE INDEX {table}_expires ON {table} (expires) WHERE expires IS NOT NULL")
        if not place and not exists(connection, DIRECTORY):
            connection.execute(f"CREATE TABLE {DIRECTORY} (prefix bytea PRIMARY KEY, name text NOT NULL)")
        if place:
            connection.execute(f"INSERT INTO {DIRECTORY} VALUES (%b, %s) ON CONFLICT DO NOTHING", (place, table))

    def under(self, connection: Connection, prefix: bytes) -> list[bytes]:
        """The prefixes with a table that may hold keys under a prefix, the main one (empty) among them."""
        own = place_of(prefix)
        rows = connection.execute(f"SELECT prefix FROM {DIRECTORY}", binary=True).fetchall()
        there = [place for (place,) in rows if place.startswith(prefix) or place == own]
        return there if own else [b"", *there]

    def drop(self, connection: Connection, place: bytes) -> int:
        """Removes a table with all that is in it; returns how many values there were."""
        table = table_of(place)
        try:
            with connection.patient():
                row = connection.execute(f"SELECT count(*) FROM {table} WHERE {ALIVE}").fetchone()
            with connection.patient():
                connection.execute(f"SET LOCAL lock_timeout = {PATIENCE}")
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
                connection.execute(f"DELETE FROM {DIRECTORY} WHERE prefix = %b", [place])
                connection.execute(f"DROP TABLE {table}")
        except UndefinedTable:  # another process was faster
            return 0
        finally:
            self._known.discard(place)
        return int(row[0]) if row is not None else 0


def moving() -> Unavailable:
    return Unavailable("the tables of slates come and go faster than they can be read: try again when no version is removed")


def exists(connection: Connection, table: str) -> bool:
    """Whether there is such a table. ``to_regclass`` may remember one that another process has dropped, or not see a new one."""
    there = "SELECT FROM pg_tables WHERE tablename = %s AND schemaname = ANY (current_schemas(false))"
    return bool(connection.execute(there, [table]).fetchall())
