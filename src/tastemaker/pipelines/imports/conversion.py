"""Blocks of columns as events, with the rows that cannot be events set aside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastemaker.domain import AnyEvent, Interaction, ItemChange, UserChange
from tastemaker.pipelines.imports import checks
from tastemaker.pipelines.imports.blocks import Block, Refused
from tastemaker.pipelines.imports.checks import Faults

DAY = 86_400_000
Converted = tuple[list[AnyEvent], list[Refused]]
decode_preferences = msgspec.json.Decoder(dict[str, float]).decode
decode_list = msgspec.json.Decoder(list[str]).decode


def convert(block: Block, what: str, chosen: Mapping[str, str], source: str, kind: str, time: int) -> Converted:
    """The events of a block, in order, and its refused rows.

    ``chosen`` says which column holds what, ``kind`` is that of interactions without such a column, ``time`` (epoch ms) that
    of items and users without one. An event's id is ``SOURCE:LINE``: the same row is always the same event.
    """
    columns = {field: block.columns.get(name, pa.nulls(len(block.lines), pa.string())) for field, name in chosen.items()}
    faults = Faults()
    make: Callable[..., AnyEvent]
    names = [f"{source}:{line}" for line in block.lines.tolist()]
    if what == "interactions":
        rows = interactions(columns, faults, kind)
        make = Interaction
    elif what == "items":
        rows = items(columns, rest(block, chosen), faults, time)
        make = new_item
    else:
        rows = users(columns, rest(block, chosen), faults, time)
        make = new_user
    parts: list[Any] = [names, *rows]
    refused = list(block.refused)
    if faults.found:
        keep = np.ones(len(names), np.bool_)
        keep[list(faults.found)] = False
        left = np.flatnonzero(keep).tolist()
        parts = [[part[index] for index in left] if isinstance(part, list) else part for part in parts]
        refused += [
            Refused(int(block.lines[index]), reason, chosen.get(field, field), block.text(index))
            for index, (field, reason) in faults.found.items()
        ]
    return list(map(make, *parts)), sorted(refused, key=lambda row: row.line)


def interactions(columns: Mapping[str, pa.Array[Any]], faults: Faults, kind: str) -> list[Any]:
    users = checks.ids(columns["user"], "user", faults).to_pylist()
    items = checks.ids(columns["item"], "item", faults).to_pylist()
    times = checks.times(columns["time"], "time", faults).tolist()
    kinds = checks.names(columns["kind"], "kind", faults).to_pylist() if "kind" in columns else repeat(kind)
    values = checks.values(columns["value"], "value", faults) if "value" in columns else repeat(None)
    return [times, users, items, kinds, values]


def rest(block: Block, chosen: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the columns without a meaning of their own say of each row."""
    others = {name: column for name, column in block.columns.items() if name not in chosen.values()}
    return checks.fields(others) if others else [{} for _ in block.lines]


def given_times(columns: Mapping[str, pa.Array[Any]], faults: Faults, time: int, rows: int) -> list[int]:
    return checks.times(columns["time"], "time", faults).tolist() if "time" in columns else [time] * rows


def items(columns: Mapping[str, pa.Array[Any]], fields: list[dict[str, Any]], faults: Faults, time: int) -> list[Any]:
    names = checks.ids(columns["item"], "item", faults).to_pylist()
    rows = len(names)
    titles, texts = (plain(columns.get(field), field, faults, rows) for field in ("title", "text"))
    categories = listed(columns.get("categories"), faults, rows)
    active = [
        text.strip().lower() not in ("0", "false", "no", "n") for text in plain(columns.get("active"), "active", faults, rows)
    ]
    released = released_at(columns["released"], faults) if "released" in columns else [None] * rows
    return [given_times(columns, faults, time, rows), names, titles, categories, texts, active, released, fields]


def new_item(
    id: str,
    time: int,
    item: str,
    title: str,
    categories: tuple[str, ...],
    text: str,
    active: bool,
    released: int | None,
    fields: dict[str, Any],
) -> ItemChange:
    return ItemChange(id, time, item, title, categories, text, active, released, False, fields)


def users(columns: Mapping[str, pa.Array[Any]], fields: list[dict[str, Any]], faults: Faults, time: int) -> list[Any]:
    names = checks.ids(columns["user"], "user", faults).to_pylist()
    rows = len(names)
    segments = [text or None for text in plain(columns.get("segment"), "segment", faults, rows)]
    stated = preferences(columns["preferences"], faults) if "preferences" in columns else [None] * rows
    return [given_times(columns, faults, time, rows), names, stated, segments, fields]


def new_user(
    id: str, time: int, user: str, preferences: dict[str, float] | None, segment: str | None, fields: dict[str, Any]
) -> UserChange:
    return UserChange(id, time, user, preferences, segment, fields or None)


def plain(column: pa.Array[Any] | None, name: str, faults: Faults, rows: int) -> list[str]:
    if column is None:
        return [""] * rows
    texts: list[str] = pc.fill_null(checks.as_strings(column, name, faults), "").to_pylist()
    return texts


def each(texts: Iterable[str], read: Callable[[str], Any], name: str, reason: str, faults: Faults) -> list[Any]:
    """What ``read`` makes of each text; a ``ValueError`` refuses the row."""
    results: list[Any] = []
    for index, text in enumerate(texts):
        try:
            results.append(read(text))
        except ValueError:
            results.append(None)
            faults.found.setdefault(index, (name, reason))
    return results


def listed(column: pa.Array[Any] | None, faults: Faults, rows: int) -> list[tuple[str, ...]]:
    if column is None:
        return [()] * rows
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return [tuple(str(name) for name in names or () if name) for names in column.to_pylist()]
    return each(plain(column, "categories", faults, rows), split, "categories", "not a list of names", faults)


def split(text: str) -> tuple[str, ...]:
    """Categories of a text: a JSON list, or names between | or commas.

    >>> split("Sci-Fi|War"), split("Drama, War"), split('["a|b"]'), split("")
    (('Sci-Fi', 'War'), ('Drama', 'War'), ('a|b',), ())
    """
    if text.startswith("["):
        return tuple(decode_list(text))
    separator = "|" if "|" in text else ","
    return tuple(name for part in text.split(separator) if (name := part.strip()))


def preferences(column: pa.Array[Any], faults: Faults) -> list[dict[str, float] | None]:
    texts = plain(column, "preferences", faults, len(column))
    return each(texts, read_preferences, "preferences", 'not a JSON object of scores: {"category": 1.5}', faults)


def read_preferences(text: str) -> dict[str, float] | None:
    if not text.strip():
        return None
    scores = decode_preferences(text)
    if any(abs(score) > checks.LARGEST for score in scores.values()):
        raise ValueError
    return scores


def released_at(column: pa.Array[Any], faults: Faults) -> list[int | None]:
    """When items came out, in epoch milliseconds: a year or a time. What is older than 1970 counts as 1970; empty is unknown."""
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        moments = pc.cast(pc.cast(column, pa.timestamp("ms"), safe=False), pa.int64()).to_pylist()
        return [None if moment is None else max(moment, 0) for moment in moments]
    return each(plain(column, "released", faults, len(column)), read_release, "released", "not a year or a time", faults)


def read_release(text: str) -> int | None:
    """A release, see ``released_at``.

    >>> read_release("1995"), read_release("1934"), read_release("1995-01-02"), read_release("")
    (788918400000, 0, 789004800000, None)
    """
    text = text.strip()
    if not text:
        return None
    if text.isdecimal() and len(text) <= 4:
        return max(0, int(np.datetime64(f"{int(text):04}", "D").astype(np.int64)) * DAY)
    number = int(text) if text.lstrip("-").isdecimal() and len(text) < 19 else None
    moment = checks.parse_time(text) if number is None else int(checks.milliseconds(np.array([number]))[0])
    if moment is None or moment > checks.LAST:
        raise ValueError(text)
    return max(0, moment)
