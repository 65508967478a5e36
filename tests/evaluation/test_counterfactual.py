"""Off-policy estimates against the truth, which is known where every slate's reward is, and against plain formulas."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from tastemaker.errors import InputError, NotFound
from tastemaker.evaluation.counterfactual import (
    Estimate,
    Logged,
    cascade_dr,
    cascade_snips,
    direct,
    effective,
    replay,
    slate_snips,
    weights,
)  # fmt: skip
from tastemaker.slates.sampler import Policy, Walk, draw, log_propensity

MINE, OTHER = np.array([1.0, 0.5, 0.0, -0.5, -1.0]), np.array([0.0, 0.6, -0.6, 0.2, 0.1])
CLICK = np.array([0.5, 0.2, 0.6, 0.3, 0.1])
POLICY = Policy(1.0)


def expected(slate: tuple[int, ...]) -> float:
    """Clicks of a slate in a cascade: an item is looked at as long as none above it was clicked."""
    looked, found = 1.0, 0.0
    for item in slate:
        found += looked * CLICK[item]
        looked *= 1 - CLICK[item]
    return found


def truth(relevance: np.ndarray[tuple[int], np.dtype[np.float64]], k: int) -> float:
    slates = permutations(range(5), k)
    return sum(float(np.exp(log_propensity(relevance, slate, POLICY).sum())) * expected(slate) for slate in slates)


def sessions(n: int, k: int, seed: int) -> tuple[Logged, np.ndarray[tuple[int, int], np.dtype[np.int64]]]:
    """Slates that were drawn by one policy, with what came of them, weighed for the other."""
    random = np.random.default_rng(seed)
    items, logged, target, rewards = np.zeros((n, k), int), np.zeros((n, k)), np.zeros((n, k)), np.zeros((n, k))
    for row in range(n):
        drawn = draw(MINE, k, random, POLICY)
        items[row], logged[row] = drawn.items, drawn.log_propensity
        target[row] = log_propensity(OTHER, drawn.items, POLICY)
        clicked = random.random(k) < CLICK[drawn.items]
        if clicked.any():
            rewards[row, clicked.argmax()] = 1.0
    return Logged.of(rewards, logged, target), items


def drawn_instead(items: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The clicks that the other policy would have drawn at each slot, had it drawn those above."""
    found = np.zeros(items.shape)
    for row, slate in enumerate(items):
        walk = Walk.of(OTHER, POLICY, None)
        for place, item in enumerate(slate):
            p = walk.chances()
            assert p is not None
            found[row, place] = p @ CLICK
            walk.take(int(item))
    return found


def near(found: Estimate, value: float) -> bool:
    return found.low - 0.01 <= value <= found.high + 0.01


@pytest.mark.parametrize("k", [1, 3])
def test_estimates_of_another_policy_find_its_true_value(k: int) -> None:
    data, items = sessions(4000, k, 1)
    value = truth(OTHER, k)
    for found in (cascade_snips(data), slate_snips(data), cascade_dr(data, CLICK[items], drawn_instead(items))):
        assert near(found, value), (found, value)
        assert found.high - found.low < 0.1
        assert found.mean_weight == pytest.approx(1.0, abs=0.05)
    assert not near(cascade_snips(data), truth(MINE, k))


def test_of_its_own_policy_an_estimate_is_the_mean() -> None:
    data, _ = sessions(500, 3, 2)
    own = Logged.of(data.rewards, data.logged, data.logged)
    found = cascade_snips(own)
    mean = data.rewards.sum(1).mean()
    assert (found.clipped, found.mean_weight) == (0.0, 1.0)
    assert found.value == pytest.approx(mean)
    assert found.ess == pytest.approx((500.0,) * 3)
    half = 1.96 * data.rewards.sum(1).std() / np.sqrt(500)
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half), abs=1e-3)
    assert slate_snips(own).value == pytest.approx(mean)
    assert cascade_dr(own, np.full((500, 3), 0.2), np.full((500, 3), 0.2)).value == pytest.approx(mean)


def test_weights_are_products_down_to_their_slot_and_are_cut() -> None:
    data = Logged.of(np.zeros((2, 2)), np.log([[0.5, 0.5], [0.5, 0.1]]), np.log([[0.25, 0.5], [1.0, 1.0]]))
    w, cut = weights(data)
    assert w == pytest.approx(np.array([[0.5, 0.5], [2.0, 20.0]]))
    assert cut == 0.0
    w, cut = weights(data, 5.0)
    assert (w.max(), cut) == (5.0, 0.25)
    assert effective(np.array([[1.0], [1.0], [0.0]])).tolist() == [2.0]


def test_slates_may_be_short() -> None:
    data, _ = sessions(1000, 3, 3)
    logged = data.logged.copy()
    logged[::2, 1:] = np.nan
    short = Logged.of(data.rewards, logged, data.logged)
    assert cascade_snips(short).value == pytest.approx(np.where(np.isnan(logged), 0, data.rewards).sum(1).mean(), rel=1e-9)


def test_sessions_of_one_user_count_less_than_those_of_many() -> None:
    data, _ = sessions(1000, 2, 4)
    rewards = np.repeat(data.rewards[:100], 10, 0)  # each user does the same ten times
    same = np.zeros((1000, 2))
    alone = cascade_snips(Logged.of(rewards, same, same))
    together = cascade_snips(Logged.of(rewards, same, same, np.repeat(np.arange(100), 10)))
    assert together.value == alone.value
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(np.sqrt(10), rel=0.01)


def test_without_support_nothing_is_told() -> None:
    none = Logged.of(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)))
    with pytest.raises(NotFound, match="there are no drawn slates"):
        cascade_snips(none)
    data, _ = sessions(300, 2, 5)
    far = Logged.of(data.rewards, data.logged, data.target * 40)
    with pytest.raises(NotFound, match="count behind the first slot"):
        cascade_snips(far)


@pytest.mark.parametrize("factor", [0.6, 1.5])
def test_propensities_that_are_not_those_that_were_drawn_with_are_refused(factor: float) -> None:
    data, _ = sessions(3000, 2, 6)
    with pytest.raises(NotFound, match="of the first slot have the mean"):
        cascade_snips(Logged.of(data.rewards, data.logged * factor, data.target))


def test_evenly_drawn_slots_are_replayed_where_the_policies_agree() -> None:
    random = np.random.default_rng(7)
    shown = random.integers(0, 5, 5000)
    rewards = (random.random(5000) < CLICK[shown]).astype(float)
    found = replay(rewards, shown == 2)
    assert near(found, CLICK[2])
    assert found.n == (shown == 2).sum()
    with pytest.raises(NotFound, match="both policies agree in 0 of 5,000"):
        replay(rewards, shown == 9)


def test_the_direct_method_believes_its_model() -> None:
    data, _ = sessions(200, 2, 8)
    found = direct(data, np.full((200, 2), 0.3))
    assert found.value == pytest.approx(0.6)
    assert "is not counted" in found.warnings[0]


def test_arrays_that_do_not_fit_are_refused() -> None:
    zeros = np.zeros((3, 2))
    for arrays, words in (
        ((zeros, zeros, np.zeros((3, 1))), "target"),
        ((zeros, zeros + 0.5, zeros), "a probability of 0 or above 1"),
        ((zeros, np.array([[np.nan, 0.0]] * 3), zeros), "without gaps"),
    ):
        with pytest.raises(InputError, match=words):
            Logged.of(*arrays)
    with pytest.raises(InputError, match="a finite number for each slot"):
        direct(Logged.of(zeros, zeros, zeros), np.full((3, 2), np.nan))
