"""Items and users: what is known of them now, out of the changes that the log holds.

Both may be written again from the log at any time, in any order: an older change never undoes a newer one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, delete, func, select

from tastemaker.domain import ItemChange, Scalar, UserChange
from tastemaker.errors import InputError
from tastemaker.storage.tables.dialect import blocks, lock, move, put_rows, reading, writing
from tastemaker.storage.tables.schema import items, preferences, stamps, users

encode = msgspec.json.encode
decode_categories = msgspec.json.Decoder(tuple[str, ...]).decode
decode_fields = msgspec.json.Decoder(dict[str, Scalar]).decode


class User(msgspec.Struct, frozen=True):
    """What a user has told us. ``time`` is that of the newest change."""

    user: str
    segment: str = ""
    preferences: dict[str, float] = msgspec.field(default_factory=dict)
    fields: dict[str, Scalar] = msgspec.field(default_factory=dict)
    time: int = 0


class Items:
    """The catalogue. Deleted items leave a tombstone, so that late news cannot bring them back."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def put(self, changes: Sequence[ItemChange]) -> int:
        """Writes whole states; the last by (time, id) stays. Returns how many rows are different now."""
        newest: dict[str, ItemChange] = {}
        for change in changes:
            held = newest.get(change.item)
            if held is None or (held.time, held.id) < (change.time, change.id):
                newest[change.item] = change
        if not newest:
            return 0
        with writing(self.engine) as connection:
            lock(connection, "items")
            stored = stored_versions(connection, list(newest))
            rows = [
                item_row(change)
                for name, change in newest.items()
                if name not in stored or stored[name] < (change.time, change.id)
            ]
            put_rows(connection, items, rows)
            if rows:
                move(connection, "items")
        return len(rows)

    def get(self, item: str) -> ItemChange | None:
        """The item as it is now; None when unknown or deleted."""
        with reading(self.engine) as connection:
            row = connection.execute(select(items).where(items.c.item == item, ~items.c.deleted)).one_or_none()
        return None if row is None else item_of(row)

    def all(self) -> list[ItemChange]:
        """Every item that is not deleted, in order of its id."""
        with reading(self.engine) as connection:
            return [item_of(row) for row in connection.execute(select(items).where(~items.c.deleted).order_by(items.c.item))]

    def each(self) -> Iterator[ItemChange]:
        """The same, one at a time, streamed from one moment: for catalogues that should not be held as a whole."""
        chosen = select(items).where(~items.c.deleted).order_by(items.c.item)
        with reading(self.engine) as connection:
            for row in connection.execution_options(yield_per=5000).execute(chosen):
                yield item_of(row)

    def deleted(self) -> frozenset[str]:
        """Ids of the items that were deleted: events may still speak of them."""
        with reading(self.engine) as connection:
            return frozenset(connection.execute(select(items.c.item).where(items.c.deleted)).scalars())

    def page(self, after: str, limit: int) -> list[ItemChange]:
        """The next items behind ``after`` ("" is the beginning), in order of their ids."""
        chosen = select(items).where(~items.c.deleted, items.c.item > after).order_by(items.c.item).limit(limit)
        with reading(self.engine) as connection:
            return [item_of(row) for row in connection.execute(chosen)]

    def count(self) -> int:
        with reading(self.engine) as connection:
            return int(connection.execute(select(func.count()).select_from(items).where(~items.c.deleted)).scalar_one())

    def stamp(self) -> int:
        """A number that grows with every change of the catalogue."""
        with reading(self.engine) as connection:
            return int(connection.execute(select(stamps.c.value).where(stamps.c.name == "items")).scalar_one())


def stored_versions(connection: Connection, names: Sequence[str]) -> dict[str, tuple[int, str]]:
    """(time, id) of the rows that exist."""
    found: dict[str, tuple[int, str]] = {}
    for part in blocks(names):
        rows = connection.execute(select(items.c.item, items.c.time, items.c.id).where(items.c.item.in_(part)))
        found.update((item, (time, change)) for item, time, change in rows)
    return found


def item_row(change: ItemChange) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(change),
        "categories": encode(change.categories).decode(),
        "fields": encode(change.fields).decode(),
    }


def item_of(row: Row[Any]) -> ItemChange:
    values = row._asdict()
    return ItemChange(
        **{**values, "categories": decode_categories(row.categories), "fields": decode_fields(row.fields)},
    )


class Users:
    """What users have told about themselves."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def put(self, changes: Sequence[UserChange]) -> int:
        """Merges changes: what is None stays, ``preferences`` and ``fields`` are replaced as a whole where given.

        Each part keeps the time of its news, so that a late change fills gaps but undoes nothing. Returns how many users
        are different now.
        """
        by_user: dict[str, list[UserChange]] = {}
        for change in changes:
            by_user.setdefault(change.user, []).append(change)
        if not by_user:
            return 0
        with writing(self.engine) as connection:
            lock(connection, "users")
            stored = stored_users(connection, list(by_user))
            rows: list[dict[str, Any]] = []
            stated: dict[str, dict[str, float]] = {}
            for user, news in by_user.items():
                before = stored.get(user, new_user(user))
                row = dict(before)
                for change in sorted(news, key=lambda change: (change.time, change.id)):
                    given = merge_user(row, change)
                    if given is not None:
                        stated[user] = given
                if row != before or user not in stored:
                    rows.append(row)
            put_rows(connection, users, rows)
            replace_preferences(connection, stated)
            changed = {row["user"] for row in rows} | set(stated)
            if changed:
                move(connection, "users")
        return len(changed)

    def get(self, user: str) -> User | None:
        with reading(self.engine) as connection:
            row = connection.execute(select(users).where(users.c.user == user)).one_or_none()
            if row is None:
                return None
            chosen = select(preferences.c.category, preferences.c.score).where(preferences.c.user == user)
            scores = {part.category: part.score for part in connection.execute(chosen.order_by(preferences.c.category))}
        return User(user=user, segment=row.segment, preferences=scores, fields=decode_fields(row.fields), time=row.time)

    def delete(self, user: str) -> int:
        """Forgets a user. Returns how many rows, of the user and of preferences, are gone."""
        with writing(self.engine) as connection:
            lock(connection, "users")
            gone = connection.execute(delete(preferences).where(preferences.c.user == user)).rowcount
            gone += connection.execute(delete(users).where(users.c.user == user)).rowcount
            if gone:
                move(connection, "users")
        return gone

    def preferences(self) -> Iterator[tuple[str, str, float]]:
        """(user, category, score) of every stated preference, in order, streamed from one moment."""
        chosen = select(preferences).order_by(preferences.c.user, preferences.c.category)
        with reading(self.engine) as connection:
            for row in connection.execution_options(yield_per=5000).execute(chosen):
                yield row.user, row.category, row.score

    def segments(self) -> dict[str, str]:
        """User -> segment, of those who have one."""
        chosen = select(users.c.user, users.c.segment).where(users.c.segment != "")
        with reading(self.engine) as connection:
            return {row.user: row.segment for row in connection.execute(chosen)}

    def count(self) -> int:
        with reading(self.engine) as connection:
            return int(connection.execute(select(func.count()).select_from(users)).scalar_one())


def new_user(user: str) -> dict[str, Any]:
    never = {"time": -1, "segment_time": -1, "fields_time": -1, "preferences_time": -1}
    return {"user": user, "segment": "", "fields": "{}", **never}


def stored_users(connection: Connection, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for part in blocks(names):
        found.update((row.user, row._asdict()) for row in connection.execute(select(users).where(users.c.user.in_(part))))
    return found


def merge_user(row: dict[str, Any], change: UserChange) -> dict[str, float] | None:
    """Puts the news into the user's row. Returns the preferences that replace the stored ones, None when they stay."""
    row["time"] = max(row["time"], change.time)
    if change.segment is not None and change.time >= row["segment_time"]:
        row["segment"], row["segment_time"] = change.segment, change.time
    if change.fields is not None and change.time >= row["fields_time"]:
        row["fields"], row["fields_time"] = encode(change.fields).decode(), change.time
    if change.preferences is None or change.time < row["preferences_time"]:
        return None
    for category, score in change.preferences.items():
        if not math.isfinite(score):
            raise InputError(f"users[{change.user!r}].preferences[{category!r}]", score, "a score is a finite number")
    row["preferences_time"] = change.time
    return change.preferences


def replace_preferences(connection: Connection, stated: Mapping[str, Mapping[str, float]]) -> None:
    for part in blocks(list(stated)):
        connection.execute(delete(preferences).where(preferences.c.user.in_(part)))
    put_rows(
        connection,
        preferences,
        [
            {"user": user, "category": category, "score": score}
            for user, scores in stated.items()
            for category, score in scores.items()
        ],
    )
