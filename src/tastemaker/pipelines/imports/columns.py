"""Which column of a file holds what: names that are recognised, and the mapping a person gives where they are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tastemaker.errors import InputError, did_you_mean

ITEM = ("item", "item_id", "itemid", "movie", "movie_id", "movieid", "product_id", "productid", "track_id", "iid", "sid")
USER = ("user", "user_id", "userid", "customer_id", "customerid", "uid")
TIME = ("time", "timestamp", "ts", "datetime", "date", "created_at", "event_time")

KNOWN: dict[str, dict[str, tuple[str, ...]]] = {
    "interactions": {
        "user": USER,
        "item": ITEM,
        "time": TIME,
        "value": ("value", "rating", "stars", "score", "weight"),
        "kind": ("kind", "event", "event_type", "type", "action"),
    },
    "items": {
        "item": (*ITEM, "id"),
        "title": ("title", "name", "movie_title"),
        "categories": ("categories", "category", "genres", "genre", "tags", "class"),
        "text": ("text", "description", "overview"),
        "released": ("released", "release_date", "release_year", "year"),
        "active": ("active",),
        "time": TIME,
    },
    "users": {"user": (*USER, "id"), "segment": ("segment",), "preferences": ("preferences",), "time": TIME},
}
NEEDED = {"interactions": ("user", "item", "time"), "items": ("item",), "users": ("user",)}


def plain(name: str) -> str:
    """A column's name for comparison: case, a type behind a colon and signs do not count.

    >>> plain("Movie-Id"), plain("user_id:token"), plain("movieId")
    ('movie_id', 'user_id', 'movieid')
    """
    return name.partition(":")[0].strip().lower().replace("-", "_").replace(" ", "_")


def choose(what: str, names: Sequence[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Field -> column: the mapping first, then names that are recognised.

    Raises ``InputError`` for a field or column that does not exist, and for a field that is needed and not found.

    >>> choose("interactions", ["userId", "movieId", "rating", "timestamp"], {})
    {'user': 'userId', 'item': 'movieId', 'time': 'timestamp', 'value': 'rating'}
    """
    if what not in KNOWN:
        raise InputError("what", what, f"no such thing to import; {did_you_mean(what, KNOWN)}")
    for field, column in mapping.items():
        if field not in KNOWN[what]:
            raise InputError("mapping", field, f"no such field of {what}; {did_you_mean(field, KNOWN[what])}")
        if column not in names:
            raise InputError(f"mapping.{field}", column, f"the file has no such column; {did_you_mean(column, names)}")
    by_plain = {plain(name): name for name in reversed(names)}
    chosen = dict(mapping)
    for field, spellings in KNOWN[what].items():
        free = [by_plain[each] for each in spellings if each in by_plain and by_plain[each] not in chosen.values()]
        if field not in chosen and free:
            chosen[field] = free[0]
    for field in NEEDED[what]:
        if field not in chosen:
            columns = ", ".join(names[:20])
            raise InputError(f"mapping.{field}", None, f"say which column holds it, {field}=COLUMN; columns: {columns}")
    return {field: chosen[field] for field in KNOWN[what] if field in chosen}
