"""What is drawn is drawn with the probability that is logged, whatever rules bend the slate."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.errors import InputError
from tastemaker.slates.diversity import Calibrated, Cap, Similar, normalised
from tastemaker.slates.sampler import Budget, Policy, draw, log_propensity, scaled

RELEVANCE = scaled([2.0, 1.5, 1.0, 0.2, 0.0, -1.0])
VECTORS = normalised([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, 1.0], [0.2, 1.0], [0.0, 0.0]])
GROUPS = np.array([[1, 0], [1, 0], [0, 1], [1, 1], [0, 1], [0, 0]], bool)
SHARES = np.array([[1, 0], [1, 0], [0, 1], [0.5, 0.5], [0, 1], [0.5, 0.5]])
FRESH = np.array([0, 0, 0, 0, 1, 1], bool)
POLICIES = {
    "plain": Policy(0.7),
    "similar": Policy(0.7, (Similar(VECTORS, 0.8),)),
    "capped": Policy(0.5, (Cap(GROUPS, 1),)),
    "calibrated": Policy(0.6, (Calibrated(SHARES, np.array([0.3, 0.7]), 0.5),)),
    "new ones": Policy(0.7, (Similar(VECTORS, 0.8),), Budget(0.2, FRESH)),
    "greedy but for new ones": Policy(0.0, (), Budget(0.3, FRESH)),
}


def exact(policy: Policy) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """(first, second) probabilities of the first two slots, slate by slate."""
    found = np.zeros((6, 6))
    for a, b in permutations(range(6), 2):
        found[a, b] = np.exp(log_propensity(RELEVANCE, [a, b], policy).sum())
    return found


@pytest.mark.parametrize("name", POLICIES)
def test_the_probabilities_of_all_slates_add_up_to_one(name: str) -> None:
    assert exact(POLICIES[name]).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["plain", "similar", "new ones"])
def test_slates_come_as_often_as_they_should(name: str) -> None:
    policy, random, draws = POLICIES[name], np.random.default_rng(1), 20_000
    seen = np.zeros((6, 6))
    for _ in range(draws):
        a, b = draw(RELEVANCE, 2, random, policy).items
        seen[a, b] += 1
    assert np.abs(seen / draws - exact(policy)).max() <= 0.01


@pytest.mark.nightly
@pytest.mark.parametrize("name", POLICIES)
def test_slates_come_as_often_as_they_should_among_many(name: str) -> None:
    policy, random, draws = POLICIES[name], np.random.default_rng(1), 200_000
    seen = np.zeros((6, 6))
    for _ in range(draws):
        a, b = draw(RELEVANCE, 2, random, policy).items
        seen[a, b] += 1
    assert np.abs(seen / draws - exact(policy)).max() <= 0.003


@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(0, 30), st.floats(0, 3), st.integers(0, 2**32),
    st.sampled_from(["none", "similar", "capped"]),
)  # fmt: skip
def test_what_is_logged_is_what_the_same_policy_says_again(
    scores: list[float], k: int, temperature: float, seed: int, rule: str
) -> None:
    random = np.random.default_rng(seed)
    vectors, groups = normalised(random.normal(size=(len(scores), 3))), random.random((len(scores), 4)) < 0.3
    penalties = {"none": (), "similar": (Similar(vectors, 0.5),), "capped": (Cap(groups, 2),)}[rule]
    allowed = random.random(len(scores)) < 0.8
    policy = Policy(temperature, penalties, Budget(0.1, random.random(len(scores)) < 0.2))  # type: ignore[arg-type]  # of both kinds
    drawn = draw(scores, k, random, policy, allowed)
    assert len(set(drawn.items.tolist())) == len(drawn.items) <= k
    assert allowed[drawn.items].all()
    assert np.array_equal(log_propensity(scores, drawn.items, policy, allowed), drawn.log_propensity)
    assert (drawn.log_propensity > -np.inf).all()


def test_without_temperature_it_is_the_greedy_slate() -> None:
    drawn = draw(RELEVANCE, 6, np.random.default_rng(0))
    assert drawn.items.tolist() == [0, 1, 2, 3, 4, 5]
    assert drawn.log_propensity.tolist() == [0.0] * 6
    diverse = draw(RELEVANCE, 3, np.random.default_rng(0), Policy(0.0, (Similar(VECTORS, 5.0),)))
    assert diverse.items.tolist() == [0, 2, 5]
    assert draw(RELEVANCE, 6, np.random.default_rng(0), Policy(0.0, (Cap(GROUPS, 1),))).items.tolist() == [0, 2, 5]


def test_what_cannot_come_has_no_probability() -> None:
    assert log_propensity(RELEVANCE, [0, 0]).tolist() == [0.0, -np.inf]
    assert log_propensity(RELEVANCE, [1]).tolist() == [-np.inf]
    assert log_propensity(RELEVANCE, [0, 1], Policy(1.0, (Cap(GROUPS, 1),)))[1] == -np.inf
    assert len(draw(RELEVANCE, 3, np.random.default_rng(0), allowed=np.zeros(6, bool)).items) == 0


def test_a_share_of_each_slot_goes_to_new_items_as_long_as_there_are_some() -> None:
    random = np.random.default_rng(2)
    first = [int(draw(RELEVANCE, 1, random, POLICIES["greedy but for new ones"]).items[0]) for _ in range(4000)]
    assert np.mean(np.isin(first, [4, 5])) == pytest.approx(0.3, abs=0.03)
    none = Policy(0.5, (), Budget(0.3, np.zeros(6, bool)))
    assert np.array_equal(log_propensity(RELEVANCE, [2], none), log_propensity(RELEVANCE, [2], Policy(0.5)))


def test_what_no_probability_can_be_made_of_is_refused() -> None:
    for relevance, policy, word in (
        ([float("nan")], Policy(), "relevance"),
        ([1.0], Policy(-1.0), "temperature"),
        ([1.0], Policy(1.0, (), Budget(1.0, np.ones(1, bool))), "budget.share"),
    ):
        with pytest.raises(InputError, match=word):
            draw(relevance, 1, np.random.default_rng(0), policy)
