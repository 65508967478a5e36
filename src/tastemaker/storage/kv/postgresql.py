"""The online store on PostgreSQL: durable, shared, and with the slates of each model version in tables of their own.

It stands alone for a small installation, or behind a cache (``storage/kv/cached.py``). What ``put`` returned for is on the
server's disk. Where keys lie is told in ``postgresql_tables.py``, how the server is reached in ``postgresql_connections.py``,
how event loops read in ``postgresql_turns.py``.

``fill`` copies straight into a version's table while its keys are new. When one was there already (the worker wrote it, or
the version is published again) the rows are copied aside and merged from there, which takes about twice as long.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from psycopg import OperationalError
from psycopg.errors import DivisionByZero, UndefinedTable, UniqueViolation

from tastemaker.config import Patience
from tastemaker.errors import InputError
from tastemaker.storage.inspection import Inspection
from tastemaker.storage.kv import postgresql_standing as standing
from tastemaker.storage.kv import postgresql_tables as sql
from tastemaker.storage.kv.postgresql_connections import AsyncConnection, Connection, Connections
from tastemaker.storage.kv.postgresql_turns import Found, Lanes

LONGEST = 2600  # bytes of a key; an index entry has room for a little more
FOREVER = 3.2e9  # seconds: a hundred years, which a time of PostgreSQL still holds
ROWS, BYTES = 1000, 4_000_000  # of one statement
BULK = 10  # times as many of one COPY
CHUNK = 512  # entries that a scan reads at a time
PURGE, PAUSE = 256, 5.0  # expired entries that a put removes at most, seconds between two times
STAGING = "tastemaker_staging"
Row = tuple[bytes, bytes]
T = TypeVar("T")


def open_kv(url: str, patience: Patience | None = None) -> PostgresKeyValue:
    """Opens ``postgresql://user:password@host:port/database``. The server is asked for when it is first needed."""
    return PostgresKeyValue(Connections(url, patience or Patience(), "connect.kv or kv_durable"))


class PostgresKeyValue:
    """A ``KeyValue``, and a ``Dated`` one."""

    immediate = False

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._tables = sql.Tables()
        self._lanes = Lanes(connections, self._read_soon)
        self._merged: set[bytes] = set()  # prefixes whose table held keys that were loaded again
        self._purged = time.monotonic()

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        names = [stored(key) for key in keys]
        return values_of(names, self._connections.call(lambda connection: self._read(connection, names))) if names else []

    async def fetch(self, keys: Sequence[str]) -> list[bytes | None]:
        names = [stored(key) for key in keys]
        return values_of(names, await self._lanes.here().fetch(names)) if names else []

    def look(self, keys: Sequence[str]) -> list[tuple[bytes, float | None] | None]:
        names = [stored(key) for key in keys]
        found = self._connections.call(lambda connection: self._read(connection, names), repeat=False) if names else {}
        return [found.get(name) for name in names]

    def _read(self, connection: Connection, names: Sequence[bytes]) -> Found:
        def once() -> Found:
            self._tables.make(connection)
            statement, parameters = self._question(names)
            return self._understood(connection.execute(statement, parameters, binary=True).fetchall())

        return self._tables.steadily(once)

    async def _read_soon(self, connection: AsyncConnection, names: Sequence[bytes]) -> Found:
        for _ in range(sql.ATTEMPTS):
            if not self._tables.ready():
                await asyncio.to_thread(self._connections.call, self._tables.make, repeat=False)
            statement, parameters = self._question(names)
            try:
                cursor = await connection.execute(statement, parameters, binary=True)
                return self._understood(await cursor.fetchall())
            except UndefinedTable:
                self._tables.forget()
            except sql.Moved:
                continue
        raise sql.moving()

    def _question(self, names: Sequence[bytes]) -> tuple[str, list[list[bytes]]]:
        """The statement that reads keys, and its parameters."""
        places = sql.places_of(names)
        known, unknown = self._tables.split(places)
        parameters = [places[place] for place in known]
        return sql.reading(known, bool(unknown)), [*parameters, unknown] if unknown else parameters

    def _understood(self, rows: Sequence[tuple[bytes, bytes | None, float | None]]) -> Found:
        """What was found. A row without a value is a table that we did not know of."""
        found: Found = {}
        fresh = []
        for key, value, left in rows:
            if value is None:
                fresh.append(key)
            else:
                found[key] = (value, left)
        if fresh:
            self._tables.learn(fresh)
            raise sql.Moved
        return found

    def scan(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """See ``KeyValue``. Reads in chunks, each from one moment: what is written meanwhile may show or not."""
        low, high = sql.range_of(prefix.encode())
        while True:
            rows = self._connections.call(partial(self._chunk, prefix=prefix.encode(), low=low, high=high))
            for key, value in rows:
                yield key.decode(), value
            if len(rows) < CHUNK:
                return
            low = rows[-1][0] + b"\0"

    def _chunk(self, connection: Connection, prefix: bytes, low: bytes, high: bytes) -> list[Row]:
        def once() -> list[Row]:
            self._tables.make(connection)
            places = self._tables.under(connection, prefix)
            if not places:
                return []
            return connection.execute(sql.scanning(places, CHUNK), [low, high] * len(places), binary=True).fetchall()

        return self._tables.steadily(once)

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def put(self, items: Mapping[str, bytes], ttl: float | None = None) -> None:
        self._write(items, ttl, anew=True)

    def add(self, items: Mapping[str, bytes], ttl: float | None = None) -> None:
        self._write(items, ttl, anew=False)

    def _write(self, items: Mapping[str, bytes], ttl: float | None, *, anew: bool) -> None:
        if ttl is not None and not ttl > 0:
            raise InputError("ttl", ttl, "give seconds above 0, or None for no end")
        seconds = None if ttl is None else min(ttl, FOREVER)
        statements = [
            (sql.writing(place, anew), (seconds, [key for key, _ in rows], [value for _, value in rows]))
            for place, rows in parts_of(items)
        ]

        def write(connection: Connection) -> None:
            self._purge(connection)
            run(connection, statements)

        if statements:
            self._change(write, {sql.place_of(stored(key)) for key in items})

    def _purge(self, connection: Connection) -> None:
        """Now and then, removes some of what is over."""
        if time.monotonic() - self._purged > PAUSE:
            for place in self._tables.under(connection, b""):
                connection.execute(sql.purging(place, PURGE))
            self._purged = time.monotonic()

    def fill(self, items: Mapping[str, bytes]) -> None:
        for place, rows in parts_of(items, BULK):
            self._change(partial(self._load, place=place, rows=rows), {place})

    def _load(self, connection: Connection, place: bytes, rows: Sequence[Row]) -> None:
        if place and place not in self._merged:
            try:
                with connection.patient():
                    copy(connection, sql.table_of(place), rows)
                return
            except UniqueViolation:
                self._merged.add(place)
        with connection.patient():
            connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {STAGING} (key bytea, value bytea) ON COMMIT DELETE ROWS")
            copy(connection, STAGING, rows)
            connection.execute(sql.merging(place, STAGING))

    def delete(self, keys: Sequence[str]) -> None:
        places = sql.places_of(sorted({stored(key) for key in keys}))

        def remove(connection: Connection) -> None:
            if self._tables.split(places)[1]:
                self._tables.learn(self._tables.under(connection, b""))
            there, _ = self._tables.split(places)
            run(connection, [(sql.deleting(place), (places[place],)) for place in sorted(there)])

        if places:
            self._change(remove)

    def drop(self, prefix: str) -> int:
        start = prefix.encode()

        def tables(connection: Connection) -> tuple[int, list[bytes]]:
            """Drops tables that hold nothing else; returns how many values they had, and which others there are."""
            there = self._tables.under(connection, start)
            self._merged.clear()
            own = [place for place in there if place and place.startswith(start)]
            return sum(self._tables.drop(connection, place) for place in own), [each for each in there if each not in own]

        count, others = self._change(tables)
        for place in others:
            while found := self._change(partial(remove_some, place=place, prefix=start)):
                count += sum(alive for (alive,) in found)
        return count

    def _change(self, work: Callable[[Connection], T], places: Iterable[bytes] = ()) -> T:
        """Runs a change, with the tables of ``places`` made if they are missing."""

        def change(connection: Connection) -> T:
            def once() -> T:
                self._tables.make(connection, places)
                return work(connection)

            return self._tables.steadily(once)

        return self._connections.call(change)

    def inspect(self) -> Inspection:
        return self._connections.call(standing.inspect, repeat=False)

    def close(self) -> None:
        self._connections.close()
        self._lanes.close()


def stored(key: str) -> bytes:
    name = key.encode()
    if not name:
        raise InputError("key", key, "a key needs at least one character")
    if len(name) > LONGEST:
        raise InputError("key", key, f"PostgreSQL takes keys of {LONGEST} bytes at most")
    return name


def values_of(names: Sequence[bytes], found: Found) -> list[bytes | None]:
    return [entry[0] if (entry := found.get(name)) is not None else None for name in names]


def parts_of(items: Mapping[str, bytes], times: int = 1) -> Iterator[tuple[bytes, list[Row]]]:
    """Rows for one statement each, with the table they belong to. All writers go in this order: nobody waits in a circle."""
    named = {stored(key): value for key, value in items.items()}
    for place, names in sorted(sql.places_of(named).items()):
        part: list[Row] = []
        size = 0
        for name in sorted(names):
            row = (name, named[name])
            if part and (len(part) >= times * ROWS or size >= times * BYTES):
                yield place, part
                part, size = [], 0
            part.append(row)
            size += len(row[0]) + len(row[1])
        yield place, part


def run(connection: Connection, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
    """All statements in one transaction and one round trip; none of them where the server comes to them too late."""
    end = connection.deadline()
    try:
        if len(statements) == 1:
            ((statement, parameters),) = statements
            connection.execute(sql.in_time(statement), [*parameters, end])
        elif statements:
            with connection.pipeline(), connection.transaction():
                for statement, parameters in statements:
                    connection.execute(statement, parameters)
                connection.execute(sql.IN_TIME, [end])
    except DivisionByZero as error:
        connection.measured = -math.inf  # or one of the clocks was set
        raise OperationalError("the server came to it after we had stopped waiting, and undid it") from error


def copy(connection: Connection, table: str, rows: Sequence[Row]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} (key, value) FROM STDIN (FORMAT BINARY)") as target:
        target.set_types(["bytea", "bytea"])
        for row in rows:
            target.write_row(row)


def remove_some(connection: Connection, place: bytes, prefix: bytes) -> list[tuple[bool]]:
    """Deletes a handful of a table's keys under a prefix; for each: whether it was still alive."""
    return connection.execute(sql.deleting_range(place, ROWS), sql.range_of(prefix)).fetchall()
