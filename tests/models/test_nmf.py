"""nmf against scikit-learn's on full matrices, against brute force with gaps, and from stated preferences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.decomposition import non_negative_factorization

from tastemaker.errors import InputError
from tastemaker.models.interactions import Histories, Interactions, Rows, Vocabulary
from tastemaker.models.nmf import Nmf, NmfParams
from tastemaker.models.nmf_kernels import factorise, mixtures, ridge_of


def ignore(_done: int, _total: int, _note: str) -> None:
    """Nobody watches."""


def test_without_gaps_the_factors_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    matrix, left, right = random.random((40, 12)), random.random((40, 4)), random.random((4, 12))
    found_left, found_right, _ = factorise(matrix, np.ones(matrix.shape, np.bool_), left, right, 50, ignore)
    their_left, their_right, _ = non_negative_factorization(
        matrix, W=left.copy(), H=right.copy(), n_components=4, init="custom", solver="mu", max_iter=50, tol=0
    )
    np.testing.assert_allclose(found_left, their_left, rtol=1e-6)
    np.testing.assert_allclose(found_right, their_right, rtol=1e-6)


def test_gaps_are_filled_in_from_low_rank_structure_and_the_loss_never_rises() -> None:
    random = np.random.default_rng(1)
    truth = random.random((60, 2)) @ random.random((2, 10))
    mask = random.random(truth.shape) < 0.7
    left, right, losses = factorise(np.where(mask, truth, 0), mask, random.random((60, 2)), random.random((2, 10)), 3000, ignore)
    assert all(after <= before * (1 + 1e-12) for before, after in itertools.pairwise(losses))
    assert np.abs(left @ right - truth)[~mask].mean() < 0.02


def test_mixtures_are_nonnegative_ridge_regressions_on_the_known_entries() -> None:
    random = np.random.default_rng(2)
    types, matrix = random.random((4, 9)), random.random((20, 9))
    mask = random.random(matrix.shape) < 0.8
    mask[3] = False
    found = mixtures(np.where(mask, matrix, 0), mask, types)
    for row in range(20):
        seen = np.vstack([types[:, mask[row]].T, np.sqrt(ridge_of(types)) * np.eye(4)])
        exact, _ = nnls(seen, np.concatenate([matrix[row, mask[row]], np.zeros(4)]))
        np.testing.assert_allclose(found[row], exact, atol=1e-8)


def interactions(preferences: bool) -> Interactions:
    """Two camps: categories 0 and 1 go together, and so do 2 and 3. Item i has category i % 4."""
    random = np.random.default_rng(4)
    rows, stated = [], np.full((60, 4), np.nan, np.float32)
    for user in range(60):
        camp = 2 * (user % 2)
        items = 4 * random.integers(0, 10, 12) + camp + random.integers(0, 2, 12)
        rows.append((items.tolist(), [1.0] * 12, list(range(12))))
        stated[user] = [1, 1, 1, 1]
        stated[user, camp : camp + 2] = 5
        stated[user, random.integers(0, 4)] = np.nan
    return Interactions(
        tuple(map(str, range(60))),
        Vocabulary(tuple(map(str, range(40)))),
        Histories.of(rows),
        categories=Rows(np.arange(41, dtype=np.int64), (np.arange(40) % 4).astype(np.int32)),
        category_names=("a", "b", "c", "d"),
        preferences=stated if preferences else np.zeros((0, 0), np.float32),
    )


@pytest.mark.parametrize("preferences", [True, False])
def test_one_liked_category_speaks_for_those_that_go_with_it(preferences: bool) -> None:
    model = Nmf(NmfParams(factors=2, epochs=200)).fit(interactions(preferences), seed=0)
    lines = np.array([[5, np.nan, np.nan, np.nan], [np.nan, np.nan, np.nan, 5], [np.nan] * 4], np.float32)
    found = model.recommend_preferences(lines, 12)
    assert set((found.items[0] % 4).tolist()) <= {0, 1}
    assert set((found.items[1] % 4).tolist()) <= {2, 3}
    assert (found.items[2] == -1).all(), "of the third nothing is known"
    tastes = model.taste(lines)
    assert tastes[0, 1] > 2 * tastes[0, 2]


def test_a_history_fills_the_gaps_of_stated_preferences_and_is_left_out() -> None:
    model = Nmf(NmfParams(factors=2)).fit(interactions(True), seed=0)
    histories = Histories.of([([2, 3], [1.0, 1.0], [0, 1])])
    found = model.recommend_preferences(np.full((1, 4), np.nan, np.float32), 5, histories=histories)
    np.testing.assert_array_equal(found.items, model.recommend(histories, 5).items)
    assert not set(found.items[0].tolist()) & {2, 3}


def test_within_a_category_the_popular_come_first() -> None:
    data = interactions(False)
    model = Nmf(NmfParams(factors=2)).fit(data, seed=0)
    found = model.recommend_preferences(np.array([[5, 0, 0, 0]], np.float32), 40).items[0]
    counts = np.bincount(data.histories.items, minlength=40)[found[(found >= 0) & (found % 4 == 0)]]
    assert len(counts) == 10
    assert (np.diff(counts) <= 0).all()


def test_no_categories_and_wrong_preferences_are_refused() -> None:
    data = interactions(True)
    bare = Interactions(data.users, data.items, data.histories)
    with pytest.raises(InputError, match="nmf needs categories or preferences"):
        Nmf().fit(bare)
    model = Nmf().fit(data)
    with pytest.raises(InputError, match="4 categories"):
        model.recommend_preferences(np.ones((1, 3), np.float32), 5)
    with pytest.raises(InputError, match="from 0 up"):
        model.recommend_preferences(np.full((1, 4), -1, np.float32), 5)
