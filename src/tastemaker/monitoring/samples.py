"""What happened in an interval, as plain numbers: counts of kinds and items, and every feature of those who were active.

Features come from the same declarations and the same columns as the training set's (``features/table.py``), as they were known
at the end of the interval. Everything is an Ibis expression until it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import ibis
import ibis.expr.types as ir
import numpy as np
import numpy.typing as npt

from tastemaker.config import Rewards
from tastemaker.features import table
from tastemaker.features.catalog import FEATURES, HOUR, Feature, Key
from tastemaker.features.kinds import Last, Recent

Numbers = npt.NDArray[np.float64]
KEYS: tuple[Key, ...] = ("user", "item", "user_category")


@dataclass(frozen=True)
class Span:
    """An interval in epoch ms: from ``start`` up to ``end``."""

    start: int
    end: int


@dataclass(frozen=True)
class Sample:
    """An interval, looked at. ``features``: name -> a value for each one who was active, NaN where there is none."""

    kinds: Mapping[str, int]
    items: Mapping[str, int]
    views: int
    features: Mapping[str, Numbers] = field(default_factory=dict)

    @property
    def events(self) -> int:
        return sum(self.kinds.values())


@dataclass(frozen=True)
class Source:
    """Tables of the lake at one version, with the catalogue's (item, category) pairs; None: there is no such table."""

    interactions: ir.Table
    views: ir.Table | None
    categories: ir.Table | None


def counted(source: Source, span: Span) -> Sample:
    """Counts alone, which are cheap: they tell whether the rest is worth computing."""
    events = table.distinct_events(within(source.interactions, span))
    views = int(within(source.views, span).count().execute()) if source.views is not None else 0
    return Sample(by_name(events, "kind"), by_name(events, "item"), views)


def looked_at(source: Source, span: Span, counts: Sample, rewards: Rewards, most: int) -> Sample:
    """The counts, with every feature."""
    features = {name: values for key in KEYS for name, values in feature_values(source, span, key, rewards, most).items()}
    return Sample(counts.kinds, counts.items, counts.views, features)


def by_name(events: ir.Table, column: str) -> dict[str, int]:
    found = events.group_by(column).agg(n=events.count()).to_pyarrow()
    return {str(name): int(n) for name, n in zip(found[column].to_pylist(), found["n"].to_pylist(), strict=True)}


def within(events: ir.Table, span: Span) -> ir.Table:
    return events.filter((events.time >= span.start) & (events.time < span.end))


def feature_values(source: Source, span: Span, key: Key, rewards: Rewards, most: int) -> dict[str, Numbers]:
    """The features of a key, for those who were active in the interval; of more than ``most`` a sample, always the same."""
    wanted = watched(key)
    if not wanted or (key == "user_category" and source.categories is None):
        return {}
    asked = active(source, span, key, most)
    requests = asked.mutate(at=ibis.literal(span.end, "int64"))
    # Only their own events are read: the join by key would find the same, later.
    names = [name for name in ("user", "item") if name in table.KEYS[key]]
    own = source.interactions.semi_join(asked, names)
    views = source.views.semi_join(asked, names) if source.views is not None else None
    found = table.point_in_time(requests, own, wanted, rewards=rewards, views=views, categories=source.categories).to_pyarrow()
    columns = {feature.name: found[feature.name].to_numpy().astype(np.float64) for feature in wanted}
    return {feature.name: in_hours(feature, columns[feature.name], span.end) for feature in wanted}


def watched(key: Key) -> list[Feature]:
    """The features of a key that are numbers: a history is none."""
    return [feature for feature in FEATURES if feature.key == key and not isinstance(feature.kind, Recent)]


def active(source: Source, span: Span, key: Key, most: int) -> ir.Table:
    """Who, or what, has an event in the interval."""
    events = within(source.interactions, span)
    if key == "user_category" and source.categories is not None:
        events = events.join(source.categories.select("item", "category").distinct(), "item")
    columns = table.KEYS[key]
    found = events.select(*columns).distinct()
    spread = found[columns[0]].hash()
    return found.order_by(spread, *columns).limit(most)


def in_hours(feature: Feature, values: Numbers, end: int) -> Numbers:
    """A time as hours before the interval's end: times themselves move by passing."""
    return (end - values) / HOUR if isinstance(feature.kind, Last) else values
