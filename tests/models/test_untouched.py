"""Items without events: kept by splits with all that is known of them, and kept from models that learn from events alone."""

from __future__ import annotations

import numpy as np

from tastemaker.evaluation.splits import leave_one_out, temporal
from tastemaker.models import UNTOUCHED, Recommender, create
from tastemaker.models.interactions import Histories, Interactions, Rows, Vocabulary
from tastemaker.models.untouched import first_items, suited, touched


def whole() -> Interactions:
    """Three users; items 3 and 4 have no event."""
    return Interactions(
        ("u", "v", "w"),
        Vocabulary(("a", "b", "c", "d", "e")),
        Histories.of([([0, 1], [1.0, 1.0], [1, 5]), ([1, 0], [1.0, 1.0], [2, 3]), ([1, 2], [1.0, 1.0], [4, 9])]),
        9,
        Rows(np.arange(6, dtype=np.int64), np.array([0, 1, 0, 1, 0], np.int32)),
        ("x", "y"),
        np.array([[1, np.nan], [np.nan, 2], [3, 3]], np.float32),
        ("one", "two", "three", "four", "five"),
    )


def test_a_split_keeps_texts_categories_and_preferences() -> None:
    data = whole()
    for split in (temporal(data, 0.3), leave_one_out(data)):
        assert split.train.items is data.items
        assert split.train.texts is data.texts
        assert split.train.categories is data.categories
        assert split.train.category_names is data.category_names
        assert split.train.preferences is data.preferences
        assert len(split.popularity) == 5, "untouched items count as part of the catalogue"


def test_both_halves_of_a_version_have_the_items_with_events_before_or_after_the_line() -> None:
    data = whole()
    past = temporal(data, 0.2).train
    assert touched(past) == 2, "the last event of all is the only one of item 2"
    assert suited("als", past, data).items.ids == suited("als", data, data).items.ids == ("a", "b", "c")
    for kind in UNTOUCHED:
        assert suited(kind, past, data) is past
    without = first_items(Interactions(("u",), Vocabulary(("a", "b")), Histories.empty(1)), 1)
    assert (without.items.ids, without.categories, without.texts) == (("a",), None, ())


def test_other_models_are_what_they_would_be_without_the_catalogue() -> None:
    data = whole()
    seen = Interactions(data.users, Vocabulary(data.items.ids[:3]), data.histories, data.now)

    def lists(model: Recommender) -> list[object]:
        found = model.recommend(data.histories, 3, exclude=Rows(np.zeros(4, np.int64), np.zeros(0, np.int32)))
        return [found.items.tolist(), found.scores.tolist()]

    for kind in ("popular", "als", "item_knn"):
        assert lists(create(kind).fit(suited(kind, data, data))) == lists(create(kind).fit(seen))
