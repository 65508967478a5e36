"""The catalogue in memory: what may be shown, as single answers and as masks."""

from __future__ import annotations

import threading

import pytest

from tastemaker.domain import ItemChange
from tastemaker.models.interactions import Vocabulary
from tastemaker.slates.catalogue import Catalogue
from tastemaker.storage import Storage

ITEMS = (
    ItemChange("1", 10, "old", "Old film", ("Drama",), released=5),
    ItemChange("2", 20, "new", "New film", ("Drama", "Comedy"), released=50),
    ItemChange("3", 30, "dark", "Dark film", ("Horror",), active=False, released=90),
    ItemChange("4", 40, "bare"),
)
CATALOGUE = Catalogue.of(ITEMS, 7, frozenset({"gone"}))
VOCABULARY = Vocabulary(("new", "gone", "dark", "only-in-events", "old"))


def test_inactive_and_deleted_items_are_never_allowed_and_unknown_ones_only_without_a_category() -> None:
    assert [name for name in (*VOCABULARY.ids, "bare") if CATALOGUE.allows(name)] == ["new", "only-in-events", "old", "bare"]
    assert [name for name in (*VOCABULARY.ids, "bare") if CATALOGUE.allows(name, "Drama")] == ["new", "old"]
    assert not any(CATALOGUE.allows(name, "Horror") for name in VOCABULARY.ids)


@pytest.mark.parametrize("category", [None, "Drama", "Comedy", "Horror", "no such category"])
def test_a_mask_says_what_allows_says(category: str | None) -> None:
    assert CATALOGUE.mask(VOCABULARY, category).tolist() == [CATALOGUE.allows(name, category) for name in VOCABULARY.ids]


def test_a_mask_is_computed_once_for_a_vocabulary_and_category() -> None:
    catalogue = Catalogue.of(ITEMS, 7)
    assert catalogue.mask(VOCABULARY, "Drama") is catalogue.mask(VOCABULARY, "Drama")
    other = Vocabulary(("old",))
    assert catalogue.mask(other, "Drama").tolist() == [True]
    assert catalogue.mask(VOCABULARY, "Drama").tolist() == [True, False, False, False, True]


def test_the_masks_of_made_up_categories_do_not_fill_the_memory() -> None:
    catalogue = Catalogue.of(ITEMS, 7)
    for number in range(1000):
        assert not catalogue.mask(VOCABULARY, f"made up {number}").any()
    assert len(catalogue.masks) <= 256
    assert catalogue.mask(VOCABULARY, "Comedy").tolist() == [True, False, False, False, False]


def test_threads_that_ask_for_more_masks_than_are_kept_all_get_theirs() -> None:
    catalogue = Catalogue.of(ITEMS, 7)
    failures: list[BaseException] = []

    def ask(thread: int) -> None:
        try:
            for number in range(3000):
                catalogue.mask(VOCABULARY, f"{thread}-{number}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_titles_fall_back_to_the_id() -> None:
    assert [CATALOGUE.title(name) for name in ("old", "bare", "only-in-events")] == ["Old film", "bare", "only-in-events"]


def test_the_newest_active_items_come_first_and_those_without_a_release_by_when_they_came() -> None:
    assert CATALOGUE.newest == ("new", "bare", "old")


def test_categories_are_listed_once_in_order() -> None:
    assert CATALOGUE.categories == ("Comedy", "Drama", "Horror")
    assert CATALOGUE.by_item["new"] == ("Drama", "Comedy")


def test_the_tables_stamp_moves_with_a_change_and_a_deleted_item_stays_known_as_deleted(storage: Storage) -> None:
    items = storage.tables.items
    items.put(ITEMS)
    before = items.stamp()
    items.put(ITEMS)
    assert items.stamp() == before
    items.put([ItemChange("5", 50, "old", active=False, deleted=True)])
    assert items.stamp() > before
    catalogue = Catalogue.of(items.all(), items.stamp(), items.deleted())
    assert catalogue.gone == {"old"}
    assert not catalogue.allows("old")
    assert "old" not in catalogue.newest
    assert catalogue.stamp == items.stamp()
