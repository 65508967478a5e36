"""graph_filter against the same filters on dense matrices."""

from __future__ import annotations

import numpy as np
import pytest

from dense import damp, interactions, rewards
from tastemaker.models.graph_filter import GraphFilter, GraphFilterParams


@pytest.mark.parametrize(("power", "mix", "rank"), [(0.5, 0.3, 4), (0.4, 1.0, 10), (0.5, 0.0, 1)])
def test_it_is_the_linear_filter_plus_the_ideal_low_pass_filter(power: float, mix: float, rank: int) -> None:
    data = interactions(90, 40, 3)
    model = GraphFilter(GraphFilterParams(rank, mix, 40, power, sweeps=60)).fit(data)
    matrix = rewards(data)
    users, items = damp(matrix.sum(1), power), damp(matrix.sum(0), power)
    q = matrix * users[:, None] * items[None, :]
    vectors = np.linalg.svd(q)[2][:rank].T
    back = np.where(items > 0, 1 / np.where(items > 0, items, 1), 0)
    linear = q.T @ q
    np.fill_diagonal(linear, 0)
    expected = linear + mix * items[:, None] * (vectors @ vectors.T) * back[None, :]
    everything = np.arange(40, dtype=np.int32)
    found = sum(table.rows(everything).astype(np.float64) for table in model.tables)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-4)


def test_a_rank_beyond_the_data_lets_everything_pass() -> None:
    data = interactions(30, 12, 4)
    model = GraphFilter(GraphFilterParams(rank=500, neighbours=12)).fit(data)
    q_rank = np.linalg.matrix_rank(rewards(data))
    low_pass = model.tables[1].rows(np.arange(12, dtype=np.int32)) / np.float32(0.3)
    assert np.linalg.matrix_rank(low_pass, tol=1e-3) == q_rank
    np.testing.assert_allclose(low_pass @ low_pass, low_pass, atol=2e-3)  # a projection


def test_the_seed_alone_decides_where_the_iteration_begins() -> None:
    data = interactions(90, 40, 3)
    one, same, other = (GraphFilter(GraphFilterParams(4)).fit(data, seed=seed).scores(data.histories) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(one, other, atol=0.05)
