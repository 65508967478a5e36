"""Eigenvectors against their definition, on matrices that are hard for the method: zero, of low rank, with equal values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tastemaker.models import workers
from tastemaker.models.eigen import LARGEST, eigen

Doubles = npt.NDArray[np.float64]


def hard_ones(n: int) -> list[Doubles]:
    random = np.random.default_rng(n)
    factors = random.normal(size=(3 * n, n)) * np.linspace(0.01, 3, n) ** 2
    return [
        factors.T @ factors,
        np.zeros((n, n)),
        np.eye(n),
        np.diag(np.arange(n, dtype=np.float64)),
        np.ones((n, n)),
        factors[:3].T @ factors[:3],
        1e-150 * (factors + 0).T @ factors,
        np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1),
    ]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 33, 65, 128, LARGEST, LARGEST + 1])
def test_vectors_are_orthogonal_and_make_up_the_matrix(n: int) -> None:
    for matrix in hard_ones(n):
        values, vectors = eigen(matrix)
        size = np.abs(matrix).max()
        np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, matrix, rtol=0, atol=1e-13 * n * size)
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(n), rtol=0, atol=1e-13 * max(n, 10))
        np.testing.assert_allclose(np.sort(values), np.linalg.eigvalsh(matrix), rtol=0, atol=1e-13 * n * size)


def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, found = hard_ones(150)[0], []
    for count in (1, 3):
        monkeypatch.setattr(workers, "threads", lambda count=count: count)
        found.append(eigen(matrix)[1].tobytes())
    assert found[0] == found[1]
