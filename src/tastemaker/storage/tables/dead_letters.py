"""Dead letters: records of the log that a consumer could not apply, kept with the reason until somebody decides.

A row is one record for one consumer group, so a record that fails again replaces its row. What the log holds is kept byte
for byte, also where it is no event at all.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Engine, Row, delete, func, select

from tastemaker.domain import AnyEvent, Record, decode_event, encode_event, key_of, tag_of
from tastemaker.storage.tables.dialect import blocks, put_rows, reading, writing
from tastemaker.storage.tables.schema import dead_letters

LONGEST = 2000  # letters of an error


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that was set aside. ``made`` is in epoch milliseconds."""

    id: str
    reader: str
    partition: int
    offset: int
    made: int
    kind: str
    user: str
    body: bytes
    error: str

    def event(self) -> AnyEvent:
        """The event; raises ``msgspec.DecodeError`` where the log holds something else."""
        event: AnyEvent = decode_event(self.body)
        return event


class DeadLetters:
    """The table."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def put(self, reader: str, record: Record, error: Exception) -> None:
        """Sets a record aside that could not be applied."""
        event = record.event
        self._put(reader, record.partition, record.offset, tag_of(type(event)), key_of(event), encode_event(event), repr(error))

    def put_unreadable(self, reader: str, partition: int, offset: int, body: bytes, error: str) -> None:
        """Sets bytes aside that are no event."""
        self._put(reader, partition, offset, "", "", body, error)

    def _put(self, reader: str, partition: int, offset: int, kind: str, user: str, body: bytes, error: str) -> None:
        row = {
            "id": f"{reader}-{partition}-{offset}",
            "reader": reader,
            "partition": partition,
            "offset": offset,
            "made": time.time_ns() // 1_000_000,
            "kind": kind,
            "user": user,
            "body": base64.b64encode(body).decode(),
            "error": error[:LONGEST],
        }
        with writing(self.engine) as connection:
            put_rows(connection, dead_letters, [row])

    def all(self, limit: int | None = None) -> list[DeadLetter]:
        """The newest first."""
        wanted = select(dead_letters).order_by(dead_letters.c.made.desc(), dead_letters.c.id)
        with reading(self.engine) as connection:
            return [letter_of(row) for row in connection.execute(wanted if limit is None else wanted.limit(limit))]

    def count(self) -> int:
        with reading(self.engine) as connection:
            return int(connection.execute(select(func.count()).select_from(dead_letters)).scalar_one())

    def get(self, id: str) -> DeadLetter | None:
        with reading(self.engine) as connection:
            row = connection.execute(select(dead_letters).where(dead_letters.c.id == id)).one_or_none()
        return letter_of(row) if row is not None else None

    def delete(self, ids: Sequence[str]) -> int:
        """Removes letters that are done with; returns how many there were."""
        with writing(self.engine) as connection:
            return sum(
                connection.execute(delete(dead_letters).where(dead_letters.c.id.in_(part))).rowcount for part in blocks(ids)
            )

    def forget(self, before: int) -> int:
        """Removes letters that were set aside before a time; returns how many."""
        with writing(self.engine) as connection:
            return int(connection.execute(delete(dead_letters).where(dead_letters.c.made < before)).rowcount)

    def erase(self, user: str) -> int:
        """Removes what there is of a user."""
        with writing(self.engine) as connection:
            return int(connection.execute(delete(dead_letters).where(dead_letters.c.user == user)).rowcount)


def letter_of(row: Row[Any]) -> DeadLetter:
    values = row._asdict()
    return DeadLetter(**{**values, "body": base64.b64decode(values["body"])})
