"""rp3beta against three matrices of transition probabilities."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from dense import interactions
from tastemaker.models.interactions import Histories
from tastemaker.models.rp3beta import Rp3Beta, Rp3BetaParams

USERS, ITEMS = 60, 35


DATA = interactions(USERS, ITEMS, 4)


def transitions(alpha: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """P_ui^alpha (users, items), P_iu^alpha (items, users), and the items' degrees."""
    x = np.zeros((USERS, ITEMS))
    row = np.repeat(np.arange(USERS), DATA.histories.lengths)
    np.add.at(x, (row, DATA.histories.items), np.maximum(DATA.histories.weights, 0))

    def steps(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        shares = weights / np.maximum(weights.sum(1, keepdims=True), 1e-12)
        return np.where(weights > 0, shares**alpha, 0)

    return steps(x), steps(x.T), x.sum(0)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (1.0, 0.6), (0.7, 0.3), (1.8, 0.5), (0.0, 0.2)])
def test_scores_are_three_steps_of_the_walk(alpha: float, beta: float) -> None:
    to_items, to_users, degrees = transitions(alpha)
    table = to_users @ to_items * np.where(degrees > 0, np.maximum(degrees, 1e-12) ** -beta, 0)
    np.fill_diagonal(table, 0)  # no item speaks for itself
    model = Rp3Beta(Rp3BetaParams(ITEMS, alpha, beta)).fit(DATA)
    found = model.rows(Histories.of([([item], [1.0], [0]) for item in range(ITEMS)]))
    np.testing.assert_allclose(found, table, rtol=2e-5, atol=1e-8)
    once = Histories.of([([1, 4, 9], [3.0, 1.0, 1.0], [0, 1, 2])])
    expected = np.array([3.0, 1.0, 1.0]) ** alpha / 5.0**alpha @ table[[1, 4, 9]]
    np.testing.assert_allclose(model.scores(once)[0], expected, rtol=2e-5, atol=1e-8)


def test_each_item_keeps_its_best_targets() -> None:
    every = Rp3Beta(Rp3BetaParams(ITEMS)).fit(DATA).rows(Histories.of([([3], [1.0], [0])]))[0]
    few = Rp3Beta(Rp3BetaParams(5)).fit(DATA).rows(Histories.of([([3], [1.0], [0])]))[0]
    best = np.sort(every)[::-1][:5]
    assert best[-1] > 0
    np.testing.assert_array_equal(np.sort(few)[::-1][:6], np.append(best, 0))


def test_beta_reaches_into_the_tail() -> None:
    popularity = np.bincount(DATA.histories.items, minlength=ITEMS)

    def mean_popularity(beta: float) -> float:
        found = Rp3Beta(Rp3BetaParams(ITEMS, 1.0, beta)).fit(DATA).recommend(DATA.histories, 5).items
        return float(popularity[found[found >= 0]].mean())

    assert mean_popularity(0.0) > mean_popularity(0.5) > mean_popularity(1.0)


def test_an_event_without_reward_is_no_step() -> None:
    model = Rp3Beta(Rp3BetaParams(alpha=0.0)).fit(DATA)
    scores = model.scores(Histories.of([([1, 2], [1.0, 0.0], [0, 1]), ([1], [1.0], [0])]))
    np.testing.assert_array_equal(scores[0], scores[1])
