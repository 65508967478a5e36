"""item_knn against the same formula on dense matrices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from dense import interactions
from tastemaker.errors import ConfigError
from tastemaker.models import create
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.models.item_knn import ItemKnn, ItemKnnParams
from tastemaker.models.tables import Neighbours

USERS, ITEMS = 70, 40


DATA = interactions(USERS, ITEMS, 2)


def table(model: ItemKnn) -> Neighbours:
    found = model.tables[0]
    assert isinstance(found, Neighbours)
    return found


def dense(item_power: float, target_power: float, user_power: float) -> npt.NDArray[np.float64]:
    weights = np.zeros((USERS, ITEMS))
    row = np.repeat(np.arange(USERS), DATA.histories.lengths)
    np.add.at(weights, (row, DATA.histories.items), np.maximum(DATA.histories.weights, 0))

    def damp(degrees: npt.NDArray[np.float64], power: float) -> npt.NDArray[np.float64]:
        return np.where(degrees > 0, np.maximum(degrees, 1e-9) ** -power, 0)

    users, items = weights.sum(1), weights.sum(0)
    product = weights.T @ (weights * damp(users, user_power)[:, None])
    product *= damp(items, item_power)[:, None] * damp(items, target_power)[None, :]
    np.fill_diagonal(product, 0)
    return product


@pytest.mark.parametrize("powers", [(0.7, 0.3, 0.7), (0.5, 0.5, 1.0), (0.0, 0.0, 0.0)])
def test_similarities_are_those_of_dense_matrices(powers: tuple[float, float, float]) -> None:
    model = ItemKnn(ItemKnnParams(ITEMS, *powers)).fit(DATA)
    expected = dense(*powers)
    found = np.zeros((ITEMS, ITEMS))
    found[np.repeat(np.arange(ITEMS), table(model).targets.lengths), table(model).targets.items] = table(model).values
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


def test_each_item_keeps_its_best_neighbours_best_first() -> None:
    expected = dense(0.7, 0.3, 0.7)
    model = ItemKnn(ItemKnnParams(neighbours=5)).fit(DATA)
    for item in range(ITEMS):
        start, stop = table(model).targets.indptr[item], table(model).targets.indptr[item + 1]
        best = np.sort(expected[item])[::-1][:5]
        np.testing.assert_allclose(table(model).values[start:stop], best[best > 0], rtol=1e-5)


def test_scores_are_sums_over_the_history_and_items_without_evidence_are_left_out() -> None:
    model = ItemKnn(ItemKnnParams(neighbours=ITEMS)).fit(DATA)
    history = Histories.of([([0, 3, 3], [1.0, 2.0, 0.5], [0, 1, 2])])
    expected = dense(0.7, 0.3, 0.7)[[0, 3, 3]].T @ np.array([1.0, 2.0, 0.5])
    found = model.recommend(history, ITEMS)
    used = found.items[0] >= 0
    np.testing.assert_allclose(found.scores[0, used], expected[found.items[0, used]], rtol=1e-5)
    assert set(found.items[0, used].tolist()) == set(np.flatnonzero(expected > 0).tolist()) - {0, 3}
    assert ITEMS - 1 not in found.items, "nobody ever touched it"


def test_asking_twice_about_an_item_explains_it_twice() -> None:
    model = ItemKnn().fit(DATA)
    history = Histories.of([([0, 1], [1.0, 1.0], [0, 1])])
    parts = model.contributions(history, np.array([2, 5, 2], np.int32))
    np.testing.assert_array_equal(parts[0], parts[2])
    assert parts[0].any()
    assert model.contributions(history, np.zeros(0, np.int32)).shape == (0, 2)


def weights() -> npt.NDArray[np.float64]:
    """Pairs' summed rewards, (users, items)."""
    found = np.zeros((USERS, ITEMS))
    row = np.repeat(np.arange(USERS), DATA.histories.lengths)
    np.add.at(found, (row, DATA.histories.items), np.maximum(DATA.histories.weights, 0))
    return found


def quotient(above: npt.NDArray[np.float64], below: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.divide(above, below, out=np.zeros_like(above), where=above > 0)


def assert_table(params: ItemKnnParams, expected: npt.NDArray[np.float64]) -> None:
    model = ItemKnn(params).fit(DATA)
    found = table(model).rows(np.arange(ITEMS, dtype=np.int32))
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-7)
    assert (expected > 0).sum() > 200


@pytest.mark.parametrize("shrink", [0.0, 4.0])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_asymmetric_cosine_is_that_of_dense_matrices(alpha: float, shrink: float) -> None:
    x = weights()
    squares = (x * x).sum(0)
    below = np.outer(squares**alpha, squares ** (1 - alpha)) + shrink
    expected = quotient(x.T @ x, below)
    assert_table(ItemKnnParams(ITEMS, similarity="asymmetric", alpha=alpha, shrink=shrink), expected)


@pytest.mark.parametrize("shrink", [0.0, 4.0])
def test_the_cosine_is_that_of_dense_matrices_and_ignores_what_it_does_not_use(shrink: float) -> None:
    x = weights()
    norms = np.sqrt((x * x).sum(0))
    expected = quotient(x.T @ x, np.outer(norms, norms) + shrink)
    assert_table(ItemKnnParams(ITEMS, 0.1, 0.2, 0.3, "cosine", shrink, alpha=0.9), expected)


def test_the_cosine_of_an_item_with_its_twin_is_one() -> None:
    rows = Histories.of([([0, 1, 0, 1], [1.0, 2.0, 1.0, 0.0], [0, 1, 2, 3]), ([0, 1, 2], [3.0, 3.0, 1.0], [0, 1, 2])])
    model = ItemKnn(ItemKnnParams(similarity="cosine")).fit(Interactions(("a", "b"), Vocabulary(("x", "y", "z")), rows))
    assert table(model).rows(np.array([0], np.int32))[0, 1] == pytest.approx(1, abs=1e-6), "duplicates are summed first"


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.0, 0.5), (50.0, 0.0)])
def test_bm25_is_that_of_dense_matrices(k1: float, b: float) -> None:
    x = weights()
    degrees, counts = x.sum(0), (x > 0).sum(1)
    idf = np.log(1 + (ITEMS - counts + 0.5) / (counts + 0.5))
    norm = k1 * (1 - b + b * degrees / degrees[degrees > 0].mean())
    weighted = quotient(x * (k1 + 1), x + norm) * idf[:, None]
    assert_table(ItemKnnParams(ITEMS, similarity="bm25", k1=k1, b=b), weighted.T @ weighted)


def test_shrinking_adds_to_the_denominator_of_two_hops() -> None:
    degrees = weights().sum(0)
    damped = np.outer(np.maximum(degrees, 1e-9) ** 0.7, np.maximum(degrees, 1e-9) ** 0.3)
    expected = dense(0.7, 0.3, 0.7) * damped / (damped + 3)
    assert_table(ItemKnnParams(ITEMS, shrink=3.0), expected)


def test_an_unknown_similarity_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"models\.item_knn\.similarity = 'jaccard'"):
        create("item_knn", {"similarity": "jaccard"})
