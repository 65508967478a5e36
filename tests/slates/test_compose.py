"""Composing: the ladder in order, nothing that is forbidden, reasons that are true, blocks equal to one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import world
from histories import history_of, training_set
from tastemaker.domain import History, ItemChange
from tastemaker.models import Recommender, create
from tastemaker.models.interactions import Histories, Rows
from tastemaker.slates.batch import compose_block
from tastemaker.slates.catalogue import Catalogue
from tastemaker.slates.compose import LADDER, RUNGS, Composed, compose
from tastemaker.slates.sources import Shelf, Taste, Wish, numbered

USERS, ITEMS = 60, 40
CLICKS = world.interactions(USERS, ITEMS, 12, seed=3)


HISTORIES = [history_of(CLICKS, world.user(number)) for number in range(USERS)]
DATA = training_set(CLICKS, HISTORIES, ITEMS)
VOCABULARY = DATA.items
CATALOGUE = Catalogue.of(
    [
        *(change for change in world.catalogue(ITEMS) if change.item not in ("i3", "i5")),  # i5 was deleted, models know it
        ItemChange("off", 1, "i3", "Withdrawn", ("Drama", "Sci-Fi"), active=False),
        ItemChange("fresh", world.BASE + 10**9, "fresh", "Brand new", ("Comedy",)),
    ],
    1,
    frozenset({"i5"}),
)


@pytest.fixture(scope="module")
def fallback() -> Recommender:
    return create("popular").fit(DATA)


@pytest.fixture(scope="module", params=["als", "item_knn"])
def shelf(request: pytest.FixtureRequest, fallback: Recommender) -> Shelf:
    model = create(request.param, {"factors": 8, "epochs": 3} if request.param == "als" else {}).fit(DATA, seed=1)
    return Shelf(CATALOGUE, model, fallback, trending=(("i7", 9.0), ("i3", 8.0), ("i5", 7.0), ("elsewhere", 6.0)))


def sources(made: Composed) -> list[str]:
    return [offer.source for offer in made.items]


def without_repeats(found: list[str]) -> list[str]:
    return list(dict.fromkeys(found))


def test_every_rung_of_the_ladder_is_explained() -> None:
    assert {rung for rung, _ in LADDER} <= set(RUNGS)


def test_a_history_gives_a_personal_slate_by_the_live_model(shelf: Shelf) -> None:
    made = compose(shelf, Taste(HISTORIES[0]), Wish(5, exclude=frozenset(HISTORIES[0].items)))
    assert shelf.model is not None
    assert made.rung == "personal"
    assert made.note == ""
    assert sources(made) == [shelf.model.kind] * 5
    assert [offer.score for offer in made.items] == sorted((offer.score for offer in made.items), reverse=True)


def test_the_ladder_goes_from_personal_to_preferences_to_trending_to_popular_to_new(shelf: Shelf) -> None:
    taste = Taste(HISTORIES[0], {"Comedy": 2.0})
    made = compose(shelf, taste, Wish(100, exclude=frozenset(HISTORIES[0].items)))
    assert shelf.model is not None
    order = [shelf.model.kind, "preferences", "trending", "popular", "new"]
    found = without_repeats(sources(made))
    assert found == [source for source in order if source in found]
    assert sources(made)[0] == shelf.model.kind
    assert sources(made)[-1] == "new"
    assert made.items[-1].item == "fresh"  # the only item that nobody ever clicked
    assert made.note == "every item that may be shown was consumed or excluded"


def test_stated_preferences_alone_give_the_rung_segment_with_their_category_as_reason(shelf: Shelf) -> None:
    made = compose(shelf, Taste(preferences={"Horror": 5.0, "Drama": -2.0}), Wish(4))
    assert made.rung == "segment"
    assert sources(made) == ["preferences"] * 4
    for offer in made.items:
        assert "Horror" in CATALOGUE.items[offer.item].categories
        assert [reason.text for reason in offer.reasons] == ["Because you like Horror"]


def test_nothing_known_gives_what_trends_and_then_what_is_popular(shelf: Shelf) -> None:
    made = compose(shelf, Taste(), Wish(4))
    assert made.rung == "popular"
    assert [offer.item for offer in made.items[:2]] == ["i7", "elsewhere"]  # i3 is inactive, i5 was deleted
    assert sources(made) == ["trending", "trending", "popular", "popular"]


def test_a_live_model_that_is_popular_itself_is_not_called_personal(fallback: Recommender) -> None:
    made = compose(Shelf(CATALOGUE, fallback, fallback), Taste(HISTORIES[0]), Wish(3, exclude=frozenset(HISTORIES[0].items)))
    assert made.rung == "popular"


def test_a_history_of_unknown_items_goes_down_the_ladder(shelf: Shelf) -> None:
    made = compose(shelf, Taste(History(("never seen",), (1.0,), (1,))), Wish(3))
    assert made.rung == "popular"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_consumed_excluded_inactive_and_deleted_items_are_never_shown(shelf: Shelf, data: st.DataObject) -> None:
    names = st.sampled_from([*VOCABULARY.ids, "fresh", "elsewhere", "never seen"])
    past = data.draw(st.lists(names, max_size=30))
    banned = data.draw(st.frozensets(names, max_size=30))
    category = data.draw(st.sampled_from([None, None, *world.CATEGORIES, "no such category"]))
    preferences = data.draw(st.dictionaries(st.sampled_from([*world.CATEGORIES, "other"]), st.floats(-5, 5), max_size=3))
    k = data.draw(st.integers(1, 60))
    taste = Taste(History(tuple(past), (1.0,) * len(past), tuple(range(len(past)))), preferences)
    made = compose(shelf, taste, Wish(k, category, frozenset(past) | banned))
    shown = [offer.item for offer in made.items]
    assert len(shown) == len(set(shown)) <= k
    assert not {*past, *banned, "i3", "i5"} & set(shown)
    if category is not None:
        assert all(category in CATALOGUE.items[name].categories for name in shown)
    assert made.rung in RUNGS
    assert (made.rung == "empty") == (not shown)
    assert bool(made.note) == (len(shown) < k)


def test_a_short_slate_says_why() -> None:
    model = create("popular").fit(DATA)
    shelf = Shelf(CATALOGUE, None, model)
    everything = frozenset(VOCABULARY.ids) | {"fresh"}
    assert compose(shelf, Taste(), Wish(3, "no such category")).note == "no item has category 'no such category'"
    assert compose(shelf, Taste(), Wish(40, "Comedy")).note == "no more items in category 'Comedy'"
    assert compose(shelf, Taste(), Wish(3, exclude=everything)) == Composed(
        (), "empty", "every item that may be shown was consumed or excluded"
    )
    assert compose(Shelf(), Taste(HISTORIES[0]), Wish(3)) == Composed(
        (), "empty", "the catalogue is empty: send item events, or interactions and train a model"
    )


def test_popularity_by_segment_is_that_of_the_one_who_asks() -> None:
    of = {change.item: sorted(change.categories) for change in world.catalogue(ITEMS)}
    lists_of = [of[name] for name in VOCABULARY.ids]
    names = tuple(sorted({name for found in lists_of for name in found}))
    indptr = np.cumsum([0, *(len(found) for found in lists_of)])
    rows = Rows(indptr, np.array([names.index(name) for found in lists_of for name in found], np.int32))
    model = create("popular", {"segments": "categories", "strength": 1.0}).fit(
        replace(DATA, categories=rows, category_names=names)
    )
    shelf = Shelf(CATALOGUE, model, model)
    lists = set()
    for history in HISTORIES:
        made = compose(shelf, Taste(history), Wish(5))
        assert made.rung == "popular"
        lists.add(tuple(offer.item for offer in made.items))
    assert len(lists) > 1
    ageless = create("popular").fit(DATA)
    assert len({compose(Shelf(CATALOGUE, ageless, ageless), Taste(history), Wish(5)).items for history in HISTORIES}) == 1


def test_a_live_model_that_is_nobodys_own_is_the_one_that_answers() -> None:
    rising, popular = create("trending").fit(DATA), create("popular").fit(DATA)
    made = compose(Shelf(CATALOGUE, rising, popular), Taste(HISTORIES[0]), Wish(5))
    assert made.rung == "popular"
    allowed = CATALOGUE.mask(rising.items)
    best = rising.recommend(Histories.empty(), 5, allowed=allowed).items[0]
    assert [offer.item for offer in made.items] == [rising.items.ids[item] for item in best.tolist()]
    assert [offer.item for offer in made.items] != [
        popular.items.ids[item] for item in popular.recommend(Histories.empty(), 5, allowed=allowed).items[0].tolist()
    ]


def test_without_any_model_the_newest_items_are_shown() -> None:
    made = compose(Shelf(CATALOGUE), Taste(HISTORIES[0]), Wish(3, exclude=frozenset(HISTORIES[0].items)))
    assert made.rung == "popular"
    assert sources(made) == ["new"] * 3
    assert made.items[0].item == "fresh"


def test_a_reason_names_the_past_item_that_contributes_most(shelf: Shelf) -> None:
    model = shelf.model
    assert model is not None
    looked_at = 0
    for history in HISTORIES[:10]:
        row = numbered(history, model.items)
        for offer in compose(shelf, Taste(history), Wish(8, exclude=frozenset(history.items))).items:
            if offer.source != model.kind:
                continue
            parts = model.contributions(row, np.array([model.items.number[offer.item]], np.int32))[0]
            assert float(parts.sum()) == pytest.approx(offer.score, rel=1e-3, abs=1e-4)
            if not offer.reasons:
                assert parts.max() <= 0
                continue
            (reason,) = offer.reasons
            assert reason.contribution == pytest.approx(float(parts.max()), abs=1e-5)
            assert reason.item == model.items.ids[row.items[parts.argmax()]]
            assert reason.item in history.items
            assert reason.text == f"Because you watched {CATALOGUE.title(reason.item)}"
            looked_at += 1
    assert looked_at > 40


def test_the_wording_of_a_reason_may_hold_any_text(shelf: Shelf) -> None:
    made = compose(replace(shelf, because="{you} saw {title} {0}"), Taste(HISTORIES[0]), Wish(1))
    past = made.items[0].reasons[0].item
    assert past is not None
    assert made.items[0].reasons[0].text == f"{{you}} saw {CATALOGUE.title(past)} {{0}}"


def test_a_block_gives_what_one_by_one_gives(shelf: Shelf, fallback: Recommender) -> None:
    few = History(("i1", "never seen", "i1"), (1.0, 1.0, 2.0), (1, 2, 3))
    strangers = [History(), History(("never seen",), (1.0,), (1,)), few]
    for case in (shelf, Shelf(CATALOGUE, fallback, fallback), Shelf(CATALOGUE), Shelf()):
        for k in (5, 25, 200):
            histories = [*HISTORIES, *strangers]
            block = compose_block(case, histories, k)
            for history, made in zip(histories, block, strict=True):
                alone = compose(case, Taste(history), Wish(k, exclude=frozenset(history.items)))
                assert [offer.item for offer in made.items] == [offer.item for offer in alone.items]
                assert [offer.source for offer in made.items] == [offer.source for offer in alone.items]
                assert [offer.score for offer in made.items] == pytest.approx([offer.score for offer in alone.items], abs=1e-5)
                assert [offer.reasons[:1] and offer.reasons[0].item for offer in made.items] == [
                    offer.reasons[:1] and offer.reasons[0].item for offer in alone.items
                ]
                assert (made.rung, made.note) == (alone.rung, alone.note)


def test_a_block_of_nobody_is_empty(shelf: Shelf) -> None:
    assert compose_block(shelf, [], 5) == []
