"""Whole tables from one database into another, and whether the two then hold the same.

Rows are copied as they are, in batches of upserts, so a copy that was cut off is simply made again. A row that the target
holds and the source does not is foreign. Only where the caller knows that the target is a copy, and in tables from which rows
are removed as a matter of course, it was removed from the source since, and goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import Row, Table, delete, func, select, tuple_

from tastemaker.errors import Conflict
from tastemaker.storage.checksum import Sum
from tastemaker.storage.tables import Tables, dialect
from tastemaker.storage.tables.schema import metadata, stamps

ROWS = 1000
# Tables from which rows are removed, or where a copy adds some.
PASSING = ("users", "preferences", "dead_letters", "runs", "metrics", "alerts", "triggers", "results")
Progress = Callable[[int, int, str], None]
encode = msgspec.msgpack.Encoder().encode


def copied() -> list[Table]:
    """Every table, those that others refer to first."""
    return list(metadata.sorted_tables)


def rows_of(tables: Tables, table: Table) -> Iterator[Sequence[Row[Any]]]:
    """All rows of a table from one moment, in batches, in the order of the primary key."""
    chosen = select(table).order_by(*table.primary_key.columns)
    with dialect.reading(tables.engine) as connection:
        yield from connection.execution_options(yield_per=ROWS).execute(chosen).partitions()


def count(tables: Tables, table: Table) -> int:
    with dialect.reading(tables.engine) as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def counts(tables: Tables) -> dict[str, int]:
    """Rows of each table."""
    return {table.name: count(tables, table) for table in copied()}


def sums(tables: Tables) -> dict[str, Sum]:
    """A checksum of each table."""
    return {table.name: Sum.of(encode(list(row)) for part in rows_of(tables, table) for row in part) for table in copied()}


def copy(source: Tables, target: Tables, progress: Progress, *, own: bool) -> int:
    """Copies every table; returns the number of rows. ``own``: the target is a copy of this source already, or part of one.

    Raises ``Conflict`` when the target holds rows that do not come from the source.
    """
    surplus = {table.name: foreign(source, target, table, own=own) for table in copied()}
    total, done = sum(counts(source).values()), 0
    for table in copied():
        for part in rows_of(source, table):
            with dialect.writing(target.engine) as connection:
                dialect.put_rows(connection, table, [row._asdict() for row in part])
            done += len(part)
            progress(done, max(total, done), table.name)
    for table in reversed(copied()):
        remove(target, table, surplus[table.name])
    return done


def foreign(source: Tables, target: Tables, table: Table, *, own: bool) -> list[tuple[Any, ...]]:
    """Keys of the target's rows that the source does not hold. Where it is not our ``own`` copy, there may be none."""
    held = count(target, table)
    if not held or (table is stamps and not own):  # migrations fill the stamps
        return []
    known = {key_of(table, row): digest(row) for part in rows_of(source, table) for row in part}
    surplus: list[tuple[Any, ...]] = []
    for part in rows_of(target, table):
        for row in part:
            key = key_of(table, row)
            if key in known and (own or known[key] == digest(row)):
                continue
            if not own or table.name not in PASSING:
                raise Conflict(
                    f"{target.engine.url.render_as_string(hide_password=True)}: table {table.name} holds {held} rows that are "
                    f"not of this source, such as {key}: name an empty database as connect.tables of the target"
                )
            surplus.append(key)
    return surplus


def key_of(table: Table, row: Row[Any]) -> tuple[Any, ...]:
    return tuple(row._mapping[column.name] for column in table.primary_key.columns)


def digest(row: Row[Any]) -> int:
    return Sum.of([encode(list(row))]).hashes


def remove(target: Tables, table: Table, names: Sequence[tuple[Any, ...]]) -> None:
    """Rows that were removed from the source after they were copied."""
    left = iter(names)
    while part := list(islice(left, dialect.IN // 4)):
        with dialect.writing(target.engine) as connection:
            connection.execute(delete(table).where(tuple_(*table.primary_key.columns).in_(part)))
