"""ridge against the closed form on dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dense import Doubles, damp, interactions, rewards
from tastemaker.models.interactions import Interactions
from tastemaker.models.ridge import Ridge, RidgeParams


def closed_form(data: Interactions, params: RidgeParams) -> Doubles:
    """The weights of each history item (row) for each target (column)."""
    matrix = rewards(data)
    users, items = matrix.sum(1), matrix.sum(0)
    x = matrix * damp(users, params.user_power)[:, None] * damp(items, params.item_power)[None, :]
    gram = x.T @ x
    ridge = params.reg * np.trace(gram) / (items > 0).sum()
    weights = np.zeros_like(gram)
    for target in range(len(gram)):
        order = [i for i in np.lexsort((np.arange(len(gram)), -gram[target])) if i != target and gram[target, i] > 0]
        near = np.array(order[: params.neighbours], dtype=int)
        if len(near):
            weights[near, target] = np.linalg.solve(gram[np.ix_(near, near)] + ridge * np.eye(len(near)), gram[near, target])
    scale = damp(items, params.scale)
    return weights * scale[:, None] / np.where(scale > 0, scale, 1)[None, :]


def found(model: Ridge) -> Doubles:
    return model.tables[0].rows(np.arange(len(model.items), dtype=np.int32)).astype(np.float64)


@pytest.mark.parametrize("params", [RidgeParams(40), RidgeParams(40, 0.5, 0.0, 0.0, 0.0), RidgeParams(40, 2.0, 0.5, 0.7, 0.2)])
def test_weights_are_those_of_the_closed_form(params: RidgeParams) -> None:
    data = interactions(70, 40, 2)
    np.testing.assert_allclose(found(Ridge(params).fit(data)), closed_form(data, params), rtol=1e-3, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(3, 30), st.integers(0, 10_000), st.floats(0.05, 50))
def test_any_data_and_ridge_give_the_closed_form(users: int, items: int, seed: int, reg: float) -> None:
    data = interactions(users, items, seed)
    if not (data.histories.weights > 0).any():
        return
    params = RidgeParams(items, reg)
    np.testing.assert_allclose(found(Ridge(params).fit(data)), closed_form(data, params), rtol=2e-3, atol=2e-4)


def test_with_every_item_a_neighbour_it_is_least_squares_over_all_others() -> None:
    """EASE's property: no weight improves the objective of its target."""
    data, params = interactions(200, 20, 5), RidgeParams(20, 1.0, 0.0, 0.0, 0.0)
    matrix, weights = rewards(data), found(Ridge(params).fit(data))
    ridge = (matrix**2).sum() / (matrix.sum(0) > 0).sum()

    def loss(target: int, w: Doubles) -> float:
        return float(((matrix[:, target] - matrix @ w) ** 2).sum() + ridge * (w**2).sum())

    random = np.random.default_rng(1)
    for target in range(20):
        assert weights[target, target] == 0
        best = loss(target, weights[:, target])
        for _ in range(20):
            moved = weights[:, target] + random.normal(0, 0.02, 20) * (matrix.T @ matrix[:, target] > 0)
            moved[target] = 0
            assert loss(target, moved) >= best - 1e-4


def test_each_target_has_at_most_its_neighbours() -> None:
    weights = found(Ridge(RidgeParams(5)).fit(interactions(70, 40, 2)))
    assert ((weights != 0).sum(0) <= 5).all()
    assert (weights != 0).any()
