"""item_knn against the same formula on dense matrices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.models.item_knn import ItemKnn, ItemKnnParams
from tastemaker.models.tables import Neighbours

USERS, ITEMS = 70, 40


def interactions() -> Interactions:
    random = np.random.default_rng(2)
    rows = []
    for _ in range(USERS):
        length = int(random.integers(0, 15))
        items = np.minimum(random.geometric(0.1, length) - 1, ITEMS - 2)
        rows.append((items.tolist(), random.choice([-1.0, 0.0, 1.0, 2.5], length).tolist(), list(range(length))))
    return Interactions(tuple(map(str, range(USERS))), Vocabulary(tuple(map(str, range(ITEMS)))), Histories.of(rows))


DATA = interactions()


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
