"""Diverse slates against their definitions, done the slow way."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tastemaker.errors import InputError
from tastemaker.slates.diversity import Calibrated, Similar, divergence, dpp_greedy, normalised
from tastemaker.slates.sampler import Policy, draw, scaled


@pytest.mark.parametrize("seed", range(30))
def test_the_point_process_is_the_naive_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors, quality = normalised(random.normal(size=(25, 8))), random.random(25) + 0.2
    kernel = quality[:, None] * (vectors @ vectors.T) * quality
    naive: list[int] = []
    while len(naive) < 6:
        naive.append(
            max((j for j in range(25) if j not in naive), key=lambda j: np.linalg.det(kernel[np.ix_([*naive, j], [*naive, j])]))
        )
    assert dpp_greedy(kernel, 6) == naive


def test_the_point_process_ends_where_nothing_adds_anything_and_refuses_too_many() -> None:
    assert len(dpp_greedy(np.ones((5, 5)), 3)) == 1
    assert dpp_greedy(np.zeros((0, 0)), 3) == []
    with pytest.raises(InputError, match="a square of 300 candidates at most"):
        dpp_greedy(np.ones((301, 301)), 3)


def test_marginal_relevance_is_its_formula() -> None:
    random = np.random.default_rng(1)
    vectors, relevance = normalised(random.normal(size=(40, 5))), scaled(random.normal(size=40))
    chosen: list[int] = []
    while len(chosen) < 10:

        def worth(j: int) -> float:
            nearest = max((float(vectors[j] @ vectors[i]) for i in chosen), default=0.0)
            return float(relevance[j]) - 0.7 * max(0.0, nearest)

        chosen.append(max((j for j in range(40) if j not in chosen), key=worth))
    assert draw(relevance, 10, random, Policy(0.0, (Similar(vectors, 0.7),))).items.tolist() == chosen


def test_the_more_calibration_counts_the_nearer_the_slate_is_to_the_user() -> None:
    random = np.random.default_rng(2)
    for _ in range(10):
        shares = random.dirichlet(np.full(8, 0.2), 200)
        target, relevance = random.dirichlet(np.full(8, 0.5)), scaled(random.normal(size=200))
        found = []
        for weight in (0.0, 0.3, 1.0, 3.0, 10.0, 100.0):
            items = draw(relevance, 20, random, Policy(0.0, (Calibrated(shares, target, weight),))).items
            found.append(float(divergence(target, shares[items].mean(0))))
        assert found[-1] < found[0]
        assert all(after <= before + 0.02 for before, after in pairwise(found))
