"""The rules of slates against the same by hand, and drawn slates against what their decisions say of them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import world
from histories import history_of, training_set
from tastemaker.config import Slates
from tastemaker.domain import Decision, History, ItemChange, decode_event
from tastemaker.errors import InputError
from tastemaker.features.rewards import DAY
from tastemaker.models import Recommender, create
from tastemaker.models.als import Als
from tastemaker.slates import rules
from tastemaker.slates.arranged import Drawn, Terms, terms_of
from tastemaker.slates.batch import compose_block
from tastemaker.slates.catalogue import Catalogue
from tastemaker.slates.compose import Composed, compose
from tastemaker.slates.decided import HOME, completed, opening_of
from tastemaker.slates.diversity import divergence
from tastemaker.slates.sampler import log_propensity, scaled
from tastemaker.slates.sources import Shelf, Taste, Wish, numbered

USERS, ITEMS, NOW = 60, 120, world.BASE + 100 * DAY
CLICKS = world.interactions(USERS, ITEMS, 12, seed=3)
NEWCOMERS = tuple(
    ItemChange(f"n{day}", 1, f"n{day}", f"New {day}", ("Drama",), released=NOW - day * DAY) for day in (1, 3, 30, -2)
)
CATALOGUE = Catalogue.of([*world.catalogue(ITEMS), *NEWCOMERS], 1)


HISTORIES = [history_of(CLICKS, world.user(number)) for number in range(USERS)]
DATA = training_set(CLICKS, HISTORIES, ITEMS)
VOCABULARY = DATA.items


@pytest.fixture(scope="module")
def fallback() -> Recommender:
    return create("popular").fit(DATA)


@pytest.fixture(scope="module", params=["als", "item_knn"])
def shelf(request: pytest.FixtureRequest, fallback: Recommender) -> Shelf:
    model = create(request.param, {"factors": 8, "epochs": 3} if request.param == "als" else {}).fit(DATA, seed=1)
    return Shelf(CATALOGUE, model, fallback)


def ruled(shelf: Shelf, **keys: object) -> Shelf:
    return replace(shelf, rules=msgspec.convert(keys, Slates))


def wish_of(history: History, k: int = 8, category: str | None = None) -> Wish:
    return Wish(k, category, frozenset(history.items), now=NOW)


def names(made: Composed) -> list[str]:
    return [offer.item for offer in made.items]


def drawn(made: Composed) -> Drawn:
    assert made.drawn is not None
    return made.drawn


def decision_of(made: Composed, user: str = "u1") -> Decision:
    """As it comes out of the log."""
    opening = opening_of(user, "v1", made.rung, 7, "r1", made.items, len(made.items), made.drawn)
    found = decode_event(completed(opening, HOME, b"d-1", NOW / 1000, 0.001))
    assert isinstance(found, Decision)
    return found


def ranked(shelf: Shelf, history: History, count: int) -> tuple[list[str], np.ndarray]:
    """A model's best items with their relevance."""
    model = shelf.model
    assert model is not None
    found = model.recommend(numbered(history, model.items), count)
    kept = found.items[0] >= 0
    return [model.items.ids[item] for item in found.items[0][kept]], scaled(found.scores[0][kept])


def cosine(shelf: Shelf, a: str, b: str) -> float:
    """By a model's directions; by categories for a model without."""
    if isinstance(shelf.model, Als):
        return float(shelf.model.directions[VOCABULARY.number[a]] @ shelf.model.directions[VOCABULARY.number[b]])
    one, other = (set(CATALOGUE.items[item].categories) for item in (a, b))
    return len(one & other) / math.sqrt(len(one) * len(other)) if one and other else 0.0


def test_diversity_is_maximal_marginal_relevance(shelf: Shelf) -> None:
    for history in HISTORIES[:20]:
        ids, relevance = ranked(shelf, history, 30)
        left, wanted = list(range(len(ids))), list[int]()
        while len(wanted) < 8:
            worth = {
                place: relevance[place] - 0.7 * max([0.0, *(cosine(shelf, ids[place], ids[above]) for above in wanted)])
                for place in left
            }
            wanted.append(max(left, key=lambda place: worth[place]))
            left.remove(wanted[-1])
        made = compose(ruled(shelf, diversity=0.7, candidates=30), Taste(history), wish_of(history))
        assert names(made) == [ids[place] for place in wanted]
        assert (made.rung, made.drawn) == ("personal", None)


@settings(max_examples=60, deadline=None)
@given(
    row=st.integers(0, USERS - 1), k=st.integers(1, 60), cap=st.integers(1, 4), seed=st.none() | st.integers(0, 99),
    category=st.sampled_from([None, "Drama"]), diversity=st.sampled_from([0.0, 0.5]),
)  # fmt: skip
def test_a_cap_holds_on_all_rungs_but_for_the_category_that_was_asked_for(
    shelf: Shelf, row: int, k: int, cap: int, seed: int | None, category: str | None, diversity: float
) -> None:
    history = HISTORIES[row]
    made = compose(ruled(shelf, cap=cap, diversity=diversity), Taste(history), wish_of(history, k, category), seed)
    counts = Counter(name for item in names(made) for name in CATALOGUE.items[item].categories)
    asked = counts.pop(category, 0) if category is not None else None
    assert max(counts.values(), default=0) <= cap
    assert asked is None or asked == len(made.items)
    assert len(set(names(made))) == len(made.items) <= k
    assert not set(names(made)) & set(history.items)
    assert (f"slates.cap = {cap}" in made.note) == (len(made.items) < k and category is None)


def test_calibration_brings_a_slate_closer_to_the_users_history(shelf: Shelf) -> None:
    def distance(made: Composed, history: History) -> float:
        rows = rules.shares(rules.memberships(CATALOGUE, (*history.items, *names(made)))[1])
        past, shown = rows[: len(history.items)].mean(0), rows[len(history.items) :].mean(0)
        return float(divergence(past, shown))

    means = []
    for weight in (0.0, 0.5, 3.0):
        made = [compose(ruled(shelf, calibration=weight), Taste(history), wish_of(history)) for history in HISTORIES]
        means.append(np.mean([distance(slate, history) for slate, history in zip(made, HISTORIES, strict=True)]))
    assert means[0] > means[1] > means[2]


def test_a_block_follows_the_rules_as_one_by_one_does(shelf: Shelf) -> None:
    case = ruled(shelf, diversity=0.4, calibration=0.3, cap=3)
    histories = [*HISTORIES, History(), History(("never seen",), (1.0,), (1,))]
    for history, made in zip(histories, compose_block(case, histories, 10), strict=True):
        alone = compose(case, Taste(history), Wish(10, exclude=frozenset(history.items)))
        assert (names(made), made.rung, made.note) == (names(alone), alone.rung, alone.note)


@pytest.mark.parametrize(
    "keys",
    [
        {"fresh": 0.0}, {"diversity": 0.6, "fresh": 0.3}, {"calibration": 0.5, "cap": 3}, {"cap": 2, "fresh": 0.5},
        {"temperature": 0.0, "fresh": 0.2}, {"temperature": 50.0},
    ],
)  # fmt: skip
def test_what_a_decision_says_is_enough_to_find_its_propensities_again(shelf: Shelf, keys: dict[str, float]) -> None:
    for seed, history in enumerate(HISTORIES[:15]):
        category = "Drama" if seed % 4 == 0 else None
        made = compose(ruled(shelf, **keys), Taste(history), wish_of(history, category=category), seed)
        decision = decision_of(made)
        terms = terms_of(decision)
        assert (decision.explore, decision.seed, decision.temperature) == (True, seed, keys.get("temperature", 0.3))
        assert (terms.category, terms.k, decision.eligible) == (category, 8, len(decision.candidates))
        offered = rules.Candidates(decision.candidates, np.array(decision.scores), terms.fresh)
        asked = Wish(terms.k, terms.category, now=decision.time)
        policy = rules.policy(replace(shelf, rules=terms.rules), offered, Taste(history), asked, drawn=True)
        chances = np.array([slot.log_propensity for slot in decision.slots])
        there = ~np.isnan(chances)
        assert there.any()
        assert not (np.diff(there.astype(int)) > 0).any()  # slots that were not drawn are the last ones
        places = [decision.candidates.index(slot.item) for slot in np.array(decision.slots)[there]]
        found = log_propensity(scaled(offered.scores), places, policy)
        assert found == pytest.approx(chances[there], abs=1e-12)
        assert [slot.item for slot in decision.slots] == names(made)


def test_the_first_place_is_drawn_as_often_as_its_propensity_says(shelf: Shelf) -> None:
    history, case = HISTORIES[0], ruled(shelf, temperature=0.5, candidates=10, fresh=0.2)
    first: Counter[str] = Counter()
    told = {}
    draws = 3000
    for seed in range(draws):
        made = compose(case, Taste(history), wish_of(history, 1), seed)
        first.update(names(made))
        told[names(made)[0]] = math.exp(drawn(made).log_propensity[0])
    assert sum(told.values()) == pytest.approx(1.0, abs=0.01)
    for item, chance in told.items():
        assert first[item] / draws == pytest.approx(chance, abs=4 * math.sqrt(chance / draws))
    assert {item: told[item] >= 0.1 for item in ("n1", "n3")} == {"n1": True, "n3": True}  # half of the share each, or more
    assert not {"n30", "n-2"} & set(told)  # too old, and not out yet


def test_the_same_seed_draws_the_same_and_another_does_not(shelf: Shelf) -> None:
    history = HISTORIES[1]
    made = [compose(ruled(shelf, temperature=1.0), Taste(history), wish_of(history), seed) for seed in (5, 5, 6)]
    assert made[0] == made[1]
    assert names(made[0]) != names(made[2])


def test_new_items_stand_last_among_the_candidates_and_say_why_they_are_there(shelf: Shelf) -> None:
    history = HISTORIES[2]
    made = compose(ruled(shelf, fresh=0.9, candidates=10), Taste(history), wish_of(history, 6), 3)
    ids = drawn(made).candidates
    assert ids[-2:] == ("n1", "n3")
    assert msgspec.json.decode(drawn(made).policy, type=Terms).fresh == 2
    assert min(drawn(made).scores) == drawn(made).scores[-1] == drawn(made).scores[-2]
    told = {offer.item: offer for offer in made.items}
    assert (told["n1"].source, told["n1"].reasons[0].text) == ("new", "New in the catalogue")


def test_nothing_is_drawn_for_who_has_no_history_or_where_the_model_is_nobodys_own(shelf: Shelf, fallback: Recommender) -> None:
    for case, taste in ((shelf, Taste()), (replace(shelf, model=fallback), Taste(HISTORIES[0]))):
        made = compose(ruled(case, explore=1.0), taste, Wish(5, now=NOW), 1)
        assert (made.rung, made.drawn, len(made.items)) == ("popular", None, 5)
        assert decision_of(made).explore is False


def test_slots_behind_the_drawn_ones_have_no_propensity(shelf: Shelf) -> None:
    history = HISTORIES[3]
    made = compose(ruled(shelf, candidates=1000), Taste(history), wish_of(history, 1000), 1)
    slots = decision_of(made).slots
    behind = [slot for slot in slots if math.isnan(slot.log_propensity)]
    assert {"n30", "n-2"} <= {slot.item for slot in behind}  # no model knows them, and they are not new
    assert behind == list(slots[len(slots) - len(behind) :])
    assert len(drawn(made).log_propensity) == len(slots) - len(behind) > 20


def test_a_decision_that_was_not_drawn_or_is_of_another_kind_is_refused(shelf: Shelf) -> None:
    plain = decision_of(compose(shelf, Taste(HISTORIES[0]), wish_of(HISTORIES[0])))
    with pytest.raises(InputError, match="decision = 'd-1': give one whose slate was drawn"):
        terms_of(plain)
    with pytest.raises(InputError, match="policy = 'greedy/9'"):
        terms_of(msgspec.structs.replace(plain, explore=True, policy="greedy/9"))
