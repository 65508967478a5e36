"""Logged slates under other policies, against the same by hand; and under the one that drew them."""

from __future__ import annotations

import math
from dataclasses import replace as with_
from itertools import product

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

import world
from tastemaker.config import Slates
from tastemaker.domain import NAN, Decision, History, ItemChange, Scored, Slot
from tastemaker.errors import InputError
from tastemaker.features.rewards import DAY
from tastemaker.models import create
from tastemaker.models.als import Als
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.slates.arranged import Terms
from tastemaker.slates.catalogue import Catalogue
from tastemaker.slates.compose import compose
from tastemaker.slates.decided import by_chance, slots_of
from tastemaker.slates.rescored import logged, readable, rescored, valued
from tastemaker.slates.sources import Shelf, Taste, Wish

NOW = world.BASE + 100 * DAY
VOCABULARY = Vocabulary(tuple(sorted(world.item(number) for number in range(60))))
CLICKS = world.interactions(40, 60, 12, seed=5)
NEW = tuple(ItemChange(f"n{day}", 1, f"n{day}", f"New {day}", ("Drama",), released=NOW - day * DAY) for day in (1, 3, 30))
CATALOGUE = Catalogue.of([*world.catalogue(60), *NEW], 1)


def history_of(user: str) -> History:
    clicks = [click for click in CLICKS if click.user == user]
    return History(tuple(click.item for click in clicks), tuple(1.0 for _ in clicks), tuple(click.time for click in clicks))


HISTORIES = [history_of(world.user(number)) for number in range(40)]
DATA = Interactions(
    tuple(world.user(number) for number in range(40)),
    VOCABULARY,
    Histories.of([([VOCABULARY.number[i] for i in h.items], h.weights, h.times) for h in HISTORIES]),
    now=max(click.time for click in CLICKS),
)


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    model = create("als", {"factors": 8, "epochs": 3}).fit(DATA, seed=1)
    return Shelf(CATALOGUE, model, create("popular").fit(DATA), half_life_days=30.0)


def ruled(shelf: Shelf, **keys: object) -> Shelf:
    return with_(shelf, rules=msgspec.convert(keys, Slates))


def drawn(shelf: Shelf, history: History, seed: int, k: int = 6, category: str | None = None) -> Decision:
    """A drawn slate as it is logged."""
    wish = Wish(k, category, frozenset(history.items), now=NOW)
    made = compose(shelf, Taste(history), wish, seed)
    assert made.drawn is not None
    decision = Decision(f"d{seed}", NOW, "u1", feature_snapshot="7", models=("v1",), slots=slots_of(made.items))
    return by_chance(decision, made.drawn)


RULES: dict[str, dict[str, object]] = {
    "plain": {},
    "hot": {"temperature": 2.0, "fresh": 0.0},
    "diverse": {"diversity": 0.8},
    "capped": {"cap": 2},
    "calibrated": {"calibration": 2.0},
    "fresh": {"fresh": 0.4, "fresh_days": 10.0},
    "all": {"diversity": 0.4, "cap": 3, "calibration": 1.0, "fresh": 0.3, "temperature": 0.7, "candidates": 30},
}


@pytest.mark.parametrize(("rules", "category"), [*product(RULES, (None, "Drama"))])
def test_the_policy_that_drew_draws_with_the_logged_probabilities(shelf: Shelf, rules: str, category: str | None) -> None:
    """Exactly: the weight of every slot is 1, and the difference nothing."""
    own = ruled(shelf, **RULES[rules])
    for seed, history in enumerate(HISTORIES[:12]):
        decision = drawn(own, history, seed, category=category)
        found = rescored(own, decision, Taste(history), decision.scores)
        assert found.target.tolist() == logged(decision).tolist()
        assert len(found.target) >= 2


def test_another_policy_is_rescored_as_by_hand(shelf: Shelf) -> None:
    """The softmax of its scores less its penalties, without the items above; a share goes evenly to what is new."""
    other = ruled(shelf, diversity=0.5, temperature=0.6, fresh=0.2)
    for seed, history in enumerate(HISTORIES[:8]):
        decision = drawn(ruled(shelf, candidates=20, fresh_days=10.0), history, seed)
        fresh = msgspec.json.decode(decision.policy, type=Terms).fresh
        assert fresh == 2
        scores = np.random.default_rng(seed).normal(size=len(decision.candidates))
        scores[-fresh:] = NAN  # the other model has never heard of what is new
        least = min(scores[:-fresh])
        values = {item: least if math.isnan(s) else s for item, s in zip(decision.candidates, scores, strict=True)}
        top, spread = max(values.values()), float(np.std(list(values.values())))
        news, above = decision.candidates[-fresh:], list[str]()
        found = rescored(other, decision, Taste(history), scores)
        for place, slot in enumerate(decision.slots):
            worth = {
                item: ((values[item] - top) / spread - 0.5 * max([0.0, *(cosine(shelf, item, one) for one in above)])) / 0.6
                for item in decision.candidates
                if item not in above
            }
            total = sum(math.exp(value) for value in worth.values())
            left = [item for item in news if item not in above]
            share = 0.2 if left else 0.0
            p = {
                item: (1 - share) * math.exp(w) / total + share * (item in left) / max(1, len(left)) for item, w in worth.items()
            }
            assert math.isclose(math.exp(found.target[place]), p[slot.item], rel_tol=1e-9)
            relevance = {item: (values[item] - top) / spread for item in values}
            assert math.isclose(found.shown[place], relevance[slot.item], abs_tol=1e-12)
            assert math.isclose(found.drawn[place], sum(p[item] * relevance[item] for item in p), abs_tol=1e-9)
            above.append(slot.item)


def cosine(shelf: Shelf, a: str, b: str) -> float:
    numbers = VOCABULARY.number
    if a not in numbers or b not in numbers:
        return 0.0
    assert isinstance(shelf.model, Als)
    rows = shelf.model.directions.astype(np.float64)
    return float(rows[numbers[a]] @ rows[numbers[b]])


def test_what_is_unknown_counts_as_the_least() -> None:
    assert valued(np.array([3.0, NAN, 1.0])).tolist() == [3.0, 1.0, 1.0]
    assert valued(np.array([NAN, NAN])).tolist() == [0.0, 0.0]


def test_a_slate_that_the_other_policy_never_draws_is_impossible_from_there_on(shelf: Shelf) -> None:
    decision = drawn(ruled(shelf, temperature=5.0), HISTORIES[0], 3)
    target = rescored(ruled(shelf, cap=1), decision, Taste(HISTORIES[0]), decision.scores).target
    rows = [set(CATALOGUE.items[slot.item].categories) for slot in decision.slots]
    double = next(place for place, row in enumerate(rows) if row & set().union(*rows[:place]))
    assert np.isneginf(target[double])
    assert np.isfinite(target[:double]).all()
    greedy = rescored(ruled(shelf, temperature=0.0, fresh=0.0), decision, Taste(HISTORIES[0]), decision.scores).target
    assert set(greedy.tolist()) <= {0.0, -math.inf}


def test_slots_that_lower_rungs_filled_are_no_part_of_it(shelf: Shelf) -> None:
    decision = drawn(ruled(shelf), HISTORIES[0], 1)
    longer = replace(decision, slots=(*decision.slots, *slots_of([Scored("zzz", 1.0, "popular")])))
    assert len(rescored(shelf, longer, Taste(HISTORIES[0]), decision.scores).target) == len(decision.slots)


def test_a_decision_that_was_not_drawn_or_not_logged_whole_is_refused(shelf: Shelf) -> None:
    decision = drawn(ruled(shelf), HISTORIES[0], 1)
    broken = {
        "explore": replace(decision, explore=False),
        "this version reads": replace(decision, policy="compose/1"),
        "not among them": replace(decision, candidates=tuple(f"x{n}" for n in range(len(decision.candidates)))),
        "behind one that was not": replace(decision, slots=(Slot("a"), *decision.slots)),
    }
    for message, bad in broken.items():
        with pytest.raises(InputError, match=message):
            rescored(shelf, bad, Taste(HISTORIES[0]), decision.scores)
        assert not readable(bad)
    assert readable(decision)
    assert not readable(replace(decision, scores=decision.scores[1:]))
    assert not readable(replace(decision, slots=()))
