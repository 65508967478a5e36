"""Features over columns: what was known at each request, by Ibis expressions that DuckDB and Spark both run.

A point-in-time join is an inequality join (events of the key with ``time < at``) and an aggregation. As-of joins and
ordered aggregates are avoided on purpose: not every backend has them. Nothing here computes until the caller executes the
expression.

Events are tables with the columns of the lake: ``partition, offset, id, time, user, item, kind, value, decision,
mature_at`` for interactions, ``partition, offset, id, time, user, item`` for views. Others may be there and are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import ibis
import ibis.expr.types as ir
import msgspec
from ibis.backends import BaseBackend

from tastemaker.config import Rewards
from tastemaker.errors import InputError, LeakError, did_you_mean
from tastemaker.features.catalog import BY_NAME, FEATURES, FIELDS, Events, Feature, Key
from tastemaker.features.kinds import Kind, Part, Recent
from tastemaker.features.maturity import Imputer, settled
from tastemaker.features.rewards import DAY, reward_column

KEYS: dict[Key, tuple[str, ...]] = {"user": ("user",), "item": ("item",), "user_category": ("user", "category")}


def connect(threads: int | None = None) -> BaseBackend:
    """DuckDB in this process and in memory, with all cores unless told otherwise."""
    return ibis.duckdb.connect() if threads is None else ibis.duckdb.connect(threads=threads)


def distinct_events(events: ir.Table) -> ir.Table:
    """Each event once: of a user's events with the same id the first in the log stays, as in the fold."""
    first = ibis.window(group_by=("user", "id"), order_by=("partition", "offset"))
    return events.mutate(nth=ibis.row_number().over(first)).filter(lambda t: t.nth == 0).drop("nth")


def histories(
    events: ir.Table,
    rewards: Rewards,
    *,
    before: int | None = None,
    length: int,
    aging: bool = False,
    now: ir.IntegerValue | int | None = None,
    imputer: Imputer | None = None,
) -> ir.Table:
    """The newest ``length`` rewarded events of each user before a time (ms; None: all): ``user, item, weight, time``.

    Ordered by user, then oldest first, ties in time by offset: what ``fold.advance`` keeps in a state. With ``aging``, weights
    are what models read (``rewards.aged``). With ``now``, only what a learner may read by then (``maturity.settled``).
    """
    kept = newest_events(events, rewards, before=before, length=length, aging=aging, now=now, imputer=imputer)
    return kept.order_by("user", "time", "offset").select("user", "item", "weight", "time")


def newest_events(
    events: ir.Table,
    rewards: Rewards,
    *,
    before: int | None = None,
    length: int,
    aging: bool = False,
    now: ir.IntegerValue | int | None = None,
    imputer: Imputer | None = None,
) -> ir.Table:
    """The rows of ``histories`` in any order, with all their columns."""
    rewarded = distinct_events(events).mutate(weight=lambda t: reward_column(rewards, t.kind, t.value))
    if before is not None:
        rewarded = rewarded.filter(lambda t: t.time < before)
    if now is not None:
        rewarded = settled(rewarded, rewards, now, imputer)
    rewarded = rewarded.filter(lambda t: t.weight != 0.0)
    newest = ibis.window(group_by="user", order_by=(ibis.desc("time"), ibis.desc("offset")))
    kept = rewarded.mutate(age=ibis.row_number().over(newest)).filter(lambda t: t.age < length)
    return aged(kept, rewards) if aging else kept


def aged(rows: ir.Table, rewards: Rewards) -> ir.Table:
    """``rewards.aged`` over columns."""
    if not rewards.half_life_days:
        return rows
    newest = rows.time.max().over(ibis.window(group_by="user"))
    half_lives = (newest - rows.time).cast("float64") / (rewards.half_life_days * DAY)
    return rows.mutate(weight=rows.weight * ibis.literal(2.0) ** -half_lives)


def stream(interactions: ir.Table, rewards: Rewards, views: ir.Table | None = None) -> ir.Table:
    """Interactions and views as one table with what features may ask of an event."""
    table = distinct_events(interactions)
    merged = table.select(
        "offset",
        "time",
        "user",
        "item",
        "kind",
        type=ibis.literal("interaction"),
        value=table.value.cast("float64"),
        reward=reward_column(rewards, table.kind, table.value),
        attributed=table.decision.notnull(),
        final=ibis.greatest(table.time, ibis.coalesce(table.mature_at, table.time)),
    )
    if views is None:
        return merged
    seen = distinct_events(views)
    return merged.union(
        seen.select(
            "offset",
            "time",
            "user",
            "item",
            kind=ibis.null("string"),
            type=ibis.literal("view"),
            value=ibis.null("float64"),
            reward=ibis.literal(0.0),
            attributed=ibis.literal(True),
            final=seen.time,
        )
    )


def point_in_time(
    requests: ir.Table,
    interactions: ir.Table,
    features: Sequence[Feature] = FEATURES,
    *,
    rewards: Rewards,
    views: ir.Table | None = None,
    categories: ir.Table | None = None,
) -> ir.Table:
    """``requests`` with one more column per feature: its value from the events before ``at``.

    ``requests``: ``at`` (ms) and the keys that the features need (``user``, ``item``, ``category``); ``categories``: ``item,
    category``, for features by category. A value that is final later (``mature_at``) is not known before.
    """
    events = stream(interactions, rewards, views)
    result = requests
    for key, group in groupby(sorted(features, key=lambda feature: feature.key), key=lambda feature: feature.key):
        missing = [name for name in (*KEYS[key], "at") if name not in requests.columns]
        if missing:
            raise InputError("requests", list(requests.columns), f"features by {key} need the column {missing[0]!r}")
        if key == "user_category" and categories is None:
            raise InputError("categories", None, "features by category need the table of items and their categories")
        result = joined(result, events, key, list(group), rewards, categories)
    return result.select(*requests.columns, *(feature.name for feature in features))


def joined(
    requests: ir.Table, events: ir.Table, key: Key, features: Sequence[Feature], rewards: Rewards, categories: ir.Table | None
) -> ir.Table:
    """``requests`` with the features of one key."""
    if key == "user_category" and categories is not None:
        events = events.join(categories.select("item", "category").distinct(), "item")
    asked = requests.select(at="at", **{f"own_{name}": name for name in KEYS[key]}).distinct()
    same = [asked[f"own_{name}"] == events[name] for name in KEYS[key]]
    pairs = asked.left_join(events, [*same, events.time < asked.at])
    own = [f"own_{name}" for name in KEYS[key]]
    found = pairs.group_by("at", *own).agg(
        **{
            feature.name: cut(feature.kind, rewards).column(pairs, *(part_of(pairs, events) for events in feature.parts))
            for feature in features
        }
    )
    found = found.rename(own_at="at")
    matches = [requests[name] == found[f"own_{name}"] for name in (*KEYS[key], "at")]
    return requests.left_join(found, matches).drop("own_at", *own)


def cut(kind: Kind, rewards: Rewards) -> Kind:
    """A history of the configured length: the state keeps no more."""
    return msgspec.structs.replace(kind, newest=rewards.history) if isinstance(kind, Recent) else kind


def part_of(pairs: ir.Table, events: Events) -> Part:
    """Which pairs a part of a feature reads, and what each brings."""
    where = pairs.type == events.type
    if events.kinds:
        where = where & pairs.kind.isin(events.kinds)
    if events.attributed:
        where = where & pairs.attributed
    if events.amount in ("value", "valued"):
        where = where & pairs.value.notnull() & (pairs.final < pairs.at)
    if events.amount == "reward":
        where = where & (pairs.reward != 0.0)
    amount = {"value": pairs.value, "reward": pairs.reward, "time": pairs.time.cast("float64")}
    one = pairs.at.notnull().ifelse(1.0, 0.0)  # a literal is no column, and only columns can be summed
    return Part(where, amount.get(events.amount, one))


def training_set(
    requests: ir.Table,
    interactions: ir.Table,
    inputs: Sequence[str],
    label: str,
    *,
    rewards: Rewards,
    views: ir.Table | None = None,
    categories: ir.Table | None = None,
) -> ir.Table:
    """Inputs as they were known at each request, and what happened then.

    ``requests``: labelled interactions (columns of the lake) with ``at``, the time of the decision. ``inputs``: names of
    features (``user_events``) and of fields of the interaction (``interaction.session``). ``label``: a field of the
    interaction, whenever it is known. Columns: ``user, item, at``, the inputs (fields without their prefix), ``label``.

    Raises ``LeakError`` for a field that is not known at request time, ``InputError`` for an unknown name.
    """
    fields = [name for name in inputs if name not in BY_NAME]
    for name in (*fields, label):
        if not name.startswith("interaction.") or name not in FIELDS:
            known = [*BY_NAME, *(field for field in FIELDS if field.startswith("interaction."))]
            raise InputError("label" if name == label else "inputs", name, did_you_mean(name, known))
    for name in fields:
        if FIELDS[name] != "request":
            raise LeakError(
                f"inputs: {name} is known with availability {FIELDS[name]!r}, so not yet when the decision is made: "
                f"use it as the label, or give a feature of earlier events (such as {closest_feature(name)}) as input"
            )
    requests = requests.mutate(label=requests[label.partition(".")[2]])
    features = [BY_NAME[name] for name in inputs if name in BY_NAME]
    table = point_in_time(requests, interactions, features, rewards=rewards, views=views, categories=categories)
    columns = [name.partition(".")[2] if name in fields else name for name in inputs]
    return table.select(*dict.fromkeys(["user", "item", "at", *columns, "label"]))


def closest_feature(field: str) -> str:
    """A feature that is made of a field but looks back."""
    return "user_mean_value" if field == "interaction.value" else "user_events"
