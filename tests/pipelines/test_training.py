"""The training set: numbered, repeatable, and of one moment."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

import world
from tastemaker.config import Config, Reward, Rewards
from tastemaker.domain import AnyEvent, Interaction, ItemChange, UserChange, View
from tastemaker.errors import Conflict, NotFound
from tastemaker.models.interactions import Interactions
from tastemaker.models.untouched import suited, touched
from tastemaker.pipelines.pipeline import Window
from tastemaker.pipelines.training import pinned, preference_matrix, training_set
from tastemaker.storage import Storage
from tastemaker.storage.archive import archive
from tastemaker.storage.erase import erase


def archived(storage: Storage, *events: AnyEvent) -> dict[str, int]:
    """Sends events into log and lake; the versions that a run would pin now."""
    if events:
        storage.log.append(events).result()
    archive(storage.log, storage.lake)
    return {"interactions": storage.lake.version("interactions")}


def click(number: int, user: str, item: str, kind: str = "click", value: float | None = None) -> Interaction:
    return Interaction(f"e{number}", number, user, item, kind, value)


def rows(data: Interactions) -> dict[str, list[tuple[str, float, int]]]:
    """Histories by user, in outside ids."""
    h = data.histories
    found = {}
    for row, user in enumerate(data.users):
        part = slice(h.indptr[row], h.indptr[row + 1])
        names = [data.items.ids[item] for item in h.items[part]]
        found[user] = list(zip(names, h.weights[part].tolist(), h.times[part].tolist(), strict=True))
    return found


def same(a: Interactions, b: Interactions) -> bool:
    h, g = a.histories, b.histories
    times = np.array_equal(h.times, g.times) and np.array_equal(h.indptr, g.indptr)
    taken = np.array_equal(h.items, g.items) and np.array_equal(h.weights, g.weights)
    return (a.users, a.items.ids, a.now) == (b.users, b.items.ids, b.now) and times and taken


def test_users_and_items_are_numbered_densely_in_the_order_of_their_ids(storage: Storage, home: Config) -> None:
    versions = archived(
        storage, click(5, "v", "b"), click(3, "ü", "z"), click(9, "a", "b"), click(4, "v", "a"), click(7, "v", "b")
    )
    data = training_set(storage, home, versions)
    assert data.users == ("a", "v", "ü")
    assert data.items.ids == ("a", "b", "z")
    assert data.now == 9
    assert rows(data) == {
        "a": [("b", 1.0, 9)],
        "v": [("a", 1.0, 4), ("b", 1.0, 5), ("b", 1.0, 7)],
        "ü": [("z", 1.0, 3)],
    }
    assert data.histories.indptr.tolist() == [0, 1, 4, 5]
    assert data.histories.items.dtype == np.int32
    assert data.histories.weights.dtype == np.float32


def test_an_event_that_was_sent_twice_counts_once(storage: Storage, home: Config) -> None:
    versions = archived(storage, click(1, "u", "a"), click(1, "u", "a"), click(2, "u", "b"))
    assert rows(training_set(storage, home, versions)) == {"u": [("a", 1.0, 1), ("b", 1.0, 2)]}


def test_rewards_weigh_and_choose_the_events_and_the_newest_are_kept(storage: Storage, home: Config) -> None:
    kinds = {"rating": Reward(weight=2.0, at_least=4.0), "skip": Reward(weight=0.0)}
    config = replace(home, rewards=Rewards(kinds=kinds, history=2))
    versions = archived(
        storage, click(1, "u", "a"), click(2, "u", "b", "rating", 5.0), click(3, "u", "c", "rating", 3.0),
        click(4, "u", "d", "skip"), click(5, "u", "e"), click(6, "w", "d", "skip"),
    )  # fmt: skip
    data = training_set(storage, config, versions)
    assert rows(data) == {"u": [("b", 2.0, 2), ("e", 1.0, 5)]}, "no row and no column for what is worth nothing"


def test_later_events_do_not_change_a_run_that_pinned_its_versions(storage: Storage, home: Config) -> None:
    storage.log.append(world.interactions(30, 20, 6, seed=1)).result()
    versions = archived(storage)
    before = training_set(storage, home, versions)
    later = archived(storage, click(10**13, "u1", "new"), click(10**13 + 1, "newcomer", "i1"))
    assert later["interactions"] > versions["interactions"]
    assert same(training_set(storage, home, versions), before)
    now = training_set(storage, home, later)
    assert set(now.users) - set(before.users) == {"newcomer"}
    assert set(now.items.ids) - set(before.items.ids) == {"new"}


def test_the_same_events_in_other_commits_give_the_same_set(storage: Storage, home: Config) -> None:
    events = world.interactions(30, 20, 6, seed=2)
    for start in range(0, len(events), 50):
        versions = archived(storage, *events[start : start + 50])
    first = training_set(storage, home, versions)
    storage.lake.compact("interactions")
    assert same(training_set(storage, home, {"interactions": storage.lake.version("interactions")}), first)
    assert len(first.histories.items) == len(events)


def test_categories_and_stated_preferences_stand_beside_the_events(storage: Storage, home: Config) -> None:
    storage.tables.items.put(
        [ItemChange("1", 1, "a", categories=("Horror", "Drama")), ItemChange("2", 1, "c", categories=("Western",))]
    )
    storage.tables.users.put(
        [UserChange("3", 1, "u", {"Drama": 4.0, "Opera": 2.0}), UserChange("4", 1, "stranger", {"Drama": 1.0})]
    )
    data = training_set(storage, home, archived(storage, click(1, "u", "a"), click(2, "v", "b")))
    assert data.category_names == ("Drama", "Horror", "Western")
    assert data.categories is not None
    assert data.items.ids == ("a", "b", "c")
    assert data.categories.indptr.tolist() == [0, 2, 2, 3], "an item without a row in the catalogue has no category"
    assert data.categories.items.tolist() == [0, 1, 2]
    assert data.preferences.shape == (2, 3)
    assert np.array_equal(data.preferences, [[4.0, np.nan, np.nan], [np.nan] * 3], equal_nan=True)


def test_items_without_events_stand_behind_the_others_unless_they_may_not_be_recommended(storage: Storage, home: Config) -> None:
    storage.tables.items.put(
        [
            ItemChange("1", 1, "z", "Never touched", ("Drama",)),
            ItemChange("2", 1, "c", "Alien", text="In space", fields={"director": "Ridley Scott", "year": 1979}),
            ItemChange("3", 1, "b", "Never touched either", text="A second line"),
            ItemChange("4", 1, "a", "Withdrawn before anybody came", ("Opera",), active=False),
            ItemChange("5", 1, "d", "Withdrawn", active=False),
            ItemChange("6", 1, "y", "Deleted", deleted=True),
        ]
    )
    versions = archived(storage, click(1, "u", "m"), click(2, "v", "c"), click(3, "v", "d"))
    data = training_set(storage, home, versions)
    assert data.items.ids == ("c", "d", "m", "b", "z")
    assert data.texts == (
        "Alien\nIn space\nRidley Scott",
        "Withdrawn",
        "",
        "Never touched either\nA second line",
        "Never touched",
    )
    assert data.histories.items.tolist() == [2, 0, 1]
    assert data.categories is not None
    assert [data.categories.row(item).tolist() for item in range(5)] == [[], [], [], [], [0]]
    assert data.category_names == ("Drama", "Opera")
    assert touched(data) == 3
    assert suited("content", data, data) is data
    bare = suited("als", data, data)
    assert (bare.items.ids, bare.texts) == (("c", "d", "m"), ("Alien\nIn space\nRidley Scott", "Withdrawn", ""))
    assert bare.histories is data.histories
    assert bare.categories is not None
    assert (bare.categories.indptr.tolist(), bare.categories.items.tolist()) == ([0, 0, 0, 0], [])


def test_without_untouched_items_every_kind_learns_from_the_set_itself(storage: Storage, home: Config) -> None:
    data = training_set(storage, home, archived(storage, click(1, "u", "a"), click(2, "v", "b")))
    assert data.texts == ()
    assert suited("als", data, data) is data


def test_without_a_catalogue_there_are_no_categories(storage: Storage, home: Config) -> None:
    data = training_set(storage, home, archived(storage, click(1, "u", "a")))
    assert data.categories is None
    assert data.preferences.shape == (0, 0)
    assert preference_matrix(("u",), {}, {"u": {"Drama": 1.0}}).shape == (0, 0)


def test_nothing_to_learn_from_is_a_clear_error(storage: Storage, home: Config) -> None:
    with pytest.raises(NotFound, match="no interactions to learn from: send events to the API or use `tastemaker import`"):
        training_set(storage, home, {})
    versions = archived(storage, click(1, "u", "a", "skip"), View("w", 1, "u", "d", "a"))
    nothing = replace(home, rewards=Rewards(kinds={"skip": Reward(weight=0.0)}))
    with pytest.raises(NotFound, match=r"no interaction is worth anything.*\[rewards.kinds\]"):
        training_set(storage, nothing, versions)
    erase(storage, "u", [])
    with pytest.raises(NotFound, match="everybody was erased"):
        training_set(storage, home, {"interactions": storage.lake.version("interactions")})


def test_pinned_reads_the_versions_of_its_own_run(storage: Storage, home: Config) -> None:
    with pytest.raises(Conflict, match="step 'ingest' has not been done yet"):
        pinned(storage, home, Window("daily-1", 0, 1))
