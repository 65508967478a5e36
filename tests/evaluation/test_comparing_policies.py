"""Two policies on the same drawn slates: the difference and its interval, where all probabilities and rewards are known."""

from __future__ import annotations

from contextlib import suppress
from itertools import permutations

import numpy as np
import pytest

from tastemaker.errors import NotFound
from tastemaker.evaluation.counterfactual import Comparison, Logged, cascade_dr, cascade_snips, compared
from tastemaker.evaluation.expected_rewards import by_slot, lines
from tastemaker.slates.sampler import Policy, Walk, log_propensity

MINE, OTHER = np.array([1.0, 0.5, 0.0, -0.5, -1.0]), np.array([0.0, 0.6, -0.6, 0.2, 0.1])
CLICK = np.array([0.5, 0.2, 0.6, 0.3, 0.1])
SLATES = np.array(list(permutations(range(5), 3)))
POLICY = Policy(1.0)
LOGS = {name: np.array([log_propensity(own, s, POLICY) for s in SLATES]) for name, own in (("mine", MINE), ("other", OTHER))}
Ints = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def truth(name: str) -> float:
    """Expected clicks of a slate."""
    return float(np.exp(LOGS[name].sum(1)) @ CLICK[SLATES].sum(1))


def drawn(users: int, each: int, seed: int, fickle: float = 0.0) -> tuple[Logged, Ints]:
    """Slates of users, some of whom click more than others; and which slates they are."""
    random = np.random.default_rng(seed)
    picked = random.choice(len(SLATES), users * each, p=np.exp(LOGS["mine"].sum(1)))
    keen = np.repeat(random.choice([1 - fickle, 1 + fickle], users), each)
    clicks = random.random((len(picked), 3)) < CLICK[SLATES[picked]] * keen[:, None]
    return Logged.of(clicks, LOGS["mine"][picked], LOGS["other"][picked], np.repeat(np.arange(users), each)), picked


def comparisons(count: int) -> list[Comparison]:
    """Of as many worlds of 120 users, whose sessions are alike. The test of support refuses a good one in some hundred."""
    found = []
    for seed in range(count):
        with suppress(NotFound):
            found.append(compared(drawn(120, 10, seed, fickle=0.6)[0]))
    assert len(found) >= 0.985 * count
    return found


def test_a_policy_beside_itself_differs_by_exactly_nothing() -> None:
    data, _ = drawn(100, 5, 1)
    same = Logged.of(data.rewards, data.logged, data.logged, data.cluster)
    found = compared(same)
    assert (found.difference.value, found.difference.low, found.difference.high) == (0.0, 0.0, 0.0)
    assert found.target == found.logged
    assert found.logged.value == pytest.approx(data.rewards.sum(1).mean())


def test_intervals_of_differences_cover_the_truth_as_often_as_they_say() -> None:
    """Also where the sessions of a user are alike."""
    value = truth("other") - truth("mine")
    found = comparisons(400)
    covered = np.mean([one.difference.low <= value <= one.difference.high for one in found])
    assert 0.92 <= covered <= 0.98, covered
    own = np.mean([one.logged.low <= truth("mine") <= one.logged.high for one in found])
    assert 0.92 <= own <= 0.98, own
    assert abs(np.mean([one.difference.value for one in found]) - value) < 0.005


def test_the_difference_is_surer_than_two_estimates_apart() -> None:
    found = compared(drawn(200, 10, 3)[0])
    apart = np.hypot(found.target.high - found.target.low, found.logged.high - found.logged.low)
    assert found.difference.high - found.difference.low < apart
    assert found.difference.n == 200


def test_slates_of_several_lengths_are_as_sure_as_they_are() -> None:
    """How long a slate is varies as well, and that is part of the error."""
    value = truth("mine")
    inside = 0
    for seed in range(200):
        data, _ = drawn(400, 1, seed)
        short = np.random.default_rng(seed).random(400) < 0.5
        chances = np.where(data.there, data.logged, np.nan)
        chances[short, 1:] = np.nan
        found = cascade_snips(Logged.of(data.rewards, chances, chances))
        alone = float(np.exp(LOGS["mine"][:, 0] + LOGS["mine"][:, 1] + LOGS["mine"][:, 2]) @ CLICK[SLATES[:, 0]])
        inside += found.low <= (value + alone) / 2 <= found.high
    assert 0.91 <= inside / 200 <= 0.985


def test_too_few_slates_are_refused() -> None:
    with pytest.raises(NotFound, match="count behind the first slot"):
        compared(drawn(20, 2, 1)[0])


def test_a_slot_that_hardly_any_slate_reaches_is_refused_and_not_counted_as_worthless() -> None:
    """The other policy always draws the slate 1, 2, 3: there are enough of the first slot, few of the last."""
    data, picked = drawn(1500, 1, 1)
    same = np.cumprod(SLATES[picked] == (1, 2, 3), axis=1)
    with pytest.raises(NotFound, match="count behind slot 3"):
        compared(Logged.of(data.rewards, data.logged, np.where(same, 0.0, -np.inf)))


def test_a_line_for_each_slot_is_least_squares() -> None:
    random = np.random.default_rng(0)
    shown, rewards = random.normal(size=(50, 3)), random.normal(size=(50, 3))
    shown[:, 2] = 1.0  # nothing to learn from
    height, slope = lines(shown, rewards)
    for slot in range(2):
        wanted = np.polyfit(shown[:, slot], rewards[:, slot], 1)
        assert np.allclose((slope[slot], height[slot]), wanted)
    assert slope[2] == 0
    assert height[2] == pytest.approx(rewards[:, 2].mean())


def test_with_lines_for_rewards_the_doubly_robust_estimate_finds_the_truth() -> None:
    instead = np.zeros((len(SLATES), 3))
    for row, slate in enumerate(SLATES):
        walk = Walk.of(OTHER, POLICY, None)
        for place, item in enumerate(slate):
            p = walk.chances()
            assert p is not None
            instead[row, place] = p @ OTHER
            walk.take(int(item))
    inside, seeds = 0, 0
    for seed in range(200):
        data, picked = drawn(150, 10, seed)
        assert data.cluster is not None
        expected, drawn_there = by_slot(OTHER[SLATES[picked]], instead[picked], data.rewards, data.cluster)
        try:
            found = cascade_dr(data, expected, drawn_there)
        except NotFound:
            continue
        seeds += 1
        inside += found.low <= truth("other") <= found.high
    assert seeds >= 195
    assert 0.91 <= inside / seeds <= 0.985
