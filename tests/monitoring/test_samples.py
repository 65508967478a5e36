"""Samples of an interval: counts and features by hand, and never anything from behind the interval's end."""

from __future__ import annotations

from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pytest

from tastemaker.config import Rewards
from tastemaker.domain import Interaction, Record, View
from tastemaker.features.catalog import DAY, FEATURES, HOUR
from tastemaker.monitoring.samples import KEYS, Sample, Source, Span, counted, feature_values, looked_at, watched
from tastemaker.storage.columns import to_table

NOW = 100 * DAY
LAST = Span(NOW - DAY, NOW)


def click(number: int, time: int, user: str, item: str, kind: str = "click", **more: Any) -> Record:
    return Record(0, number, Interaction(f"e{number}", time, user, item, kind, **more))


def source(*records: Record, categories: list[tuple[str, str]] | None = None) -> Source:
    made = [record for record in records if isinstance(record.event, Interaction)]
    seen = [record for record in records if isinstance(record.event, View)]
    pairs = pa.table({"item": [i for i, _ in categories], "category": [c for _, c in categories]}) if categories else None
    return Source(
        ibis.memtable(to_table("interactions", made)),
        ibis.memtable(to_table("views", seen)) if seen else None,
        ibis.memtable(pairs) if pairs is not None else None,
    )


EVENTS = (
    click(0, NOW - 3 * DAY, "old", "a"),
    click(1, NOW - 2 * DAY, "u", "a", value=2.0),
    click(2, NOW - DAY, "u", "b", "play", value=4.0),
    click(3, NOW - HOUR, "v", "b"),
    click(3, NOW - HOUR, "v", "b"),  # the same event, sent twice
    click(5, NOW, "w", "a"),  # behind the end
    Record(0, 6, View("v1", NOW - HOUR, "u", "d", "a")),
    Record(0, 7, View("v2", NOW, "u", "d", "a")),
)


def test_events_are_counted_once_and_only_within_the_interval() -> None:
    assert counted(source(*EVENTS), LAST) == Sample({"play": 1, "click": 1}, {"b": 2}, 1)
    assert counted(source(*EVENTS), Span(0, 1)) == Sample({}, {}, 0)
    assert counted(source(*EVENTS[:3]), LAST).views == 0


def test_features_are_those_of_who_was_active_as_they_were_known_at_the_end() -> None:
    found = feature_values(source(*EVENTS), LAST, "user", Rewards(), 100)
    assert sorted(found["user_events"].tolist()) == [1.0, 2.0]
    assert sorted(found["user_last_time"].tolist()) == [1.0, 24.0], "hours before the end"
    assert np.nanmax(found["user_mean_value"]) == 3.0
    items = feature_values(source(*EVENTS), LAST, "item", Rewards(), 100)
    assert items["item_events"].tolist() == [2.0]


def test_features_by_category_need_the_catalogue() -> None:
    assert feature_values(source(*EVENTS), LAST, "user_category", Rewards(), 100) == {}
    known = source(*EVENTS, categories=[("a", "Drama"), ("b", "Drama"), ("b", "Comedy")])
    found = feature_values(known, LAST, "user_category", Rewards(), 100)["user_category_affinity"]
    assert len(found) == 4, "two users, and the two categories of the item that they took"


def test_every_feature_that_is_a_number_is_watched() -> None:
    names = {feature.name for key in KEYS for feature in watched(key)}
    assert {feature.name for feature in FEATURES} - names == {"user_recent"}
    known = source(*EVENTS, categories=[("a", "Drama"), ("b", "Comedy")])
    assert set(looked_at(known, LAST, counted(known, LAST), Rewards(), 100).features) == names


@pytest.mark.parametrize("most", [5, 50])
def test_of_many_a_sample_is_taken_and_always_the_same(most: int) -> None:
    many = source(*(click(n, NOW - HOUR + n, f"u{n}", "a", value=float(n)) for n in range(200)))
    first, again = (feature_values(many, LAST, "user", Rewards(), most)["user_mean_value"] for _ in range(2))
    assert len(first) == most
    assert sorted(first.tolist()) == sorted(again.tolist())
    assert sorted(first.tolist()) != [float(n) for n in range(most)], "not simply the first"
