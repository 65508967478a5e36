"""ease against its closed form in numpy, what it refuses, and its two precisions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from dense import interactions
from tastemaker.errors import InputError
from tastemaker.models import ease_kernels
from tastemaker.models.ease import Ease, EaseParams, require_room
from tastemaker.models.interactions import Interactions
from tastemaker.models.tables import Matrix

USERS = 90
Doubles = npt.NDArray[np.float64]


def matrix_of(data: Interactions) -> Doubles:
    x = np.zeros((USERS, len(data.items)))
    row = np.repeat(np.arange(USERS), data.histories.lengths)
    np.add.at(x, (row, data.histories.items), np.maximum(data.histories.weights, 0))
    return x


def damp(degrees: Doubles, power: float) -> Doubles:
    return np.where(degrees > 0, np.maximum(degrees, 1e-12) ** -power, 0)


def closed_form(x: Doubles, params: EaseParams) -> Doubles:
    """Steck 2019, eq. 8."""
    gram = (x * damp(x.sum(1), params.user_power)[:, None]).T @ x
    ridge = params.reg * np.trace(gram) / (x.sum(0) > 0).sum()
    inverse = np.linalg.inv(gram + ridge * np.eye(len(gram)))
    weights = np.eye(len(gram)) - inverse / np.diagonal(inverse)[None, :]
    expected: Doubles = weights * damp(x.sum(0), params.target_power)[None, :]
    return expected


def table(model: Ease) -> npt.NDArray[np.float32]:
    found = model.tables[0]
    assert isinstance(found, Matrix)
    return found.values


@pytest.mark.parametrize("items", [7, 64, 150])
@pytest.mark.parametrize("powers", [(0.0, 0.0), (0.5, 0.1), (1.0, 0.4)])
def test_weights_are_those_of_the_closed_form(items: int, powers: tuple[float, float]) -> None:
    data, params = interactions(USERS, items, 5), EaseParams(0.7, *powers)
    found = table(Ease(params).fit(data))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, closed_form(matrix_of(data), params), atol=1e-6, rtol=1e-4)
    assert not np.diagonal(found).any()


@pytest.mark.parametrize("items", [7, 64, 150])
def test_the_narrow_precision_agrees_with_the_closed_form(items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease_kernels, "DOUBLE", 0)
    data, params = interactions(USERS, items, 5), EaseParams()
    np.testing.assert_allclose(table(Ease(params).fit(data)), closed_form(matrix_of(data), params), atol=1e-6, rtol=1e-4)


def test_plain_ease_minimises_its_loss() -> None:
    """No other matrix with a diagonal of zeros does better."""
    data = interactions(USERS, 30, 5)
    x, weights = matrix_of(data), table(Ease(EaseParams(1.0, 0.0, 0.0)).fit(data)).astype(np.float64)
    ridge = np.trace(x.T @ x) / (x.sum(0) > 0).sum()
    slope = -2 * x.T @ (x - x @ weights) + 2 * ridge * weights
    np.fill_diagonal(slope, 0)
    assert np.abs(slope).max() < 1e-5 * np.abs(x.T @ x).max()


def test_a_catalogue_that_would_not_fit_is_refused_with_size_limit_and_alternative() -> None:
    with pytest.raises(InputError, match="60000 x 60000, which takes 13733 MiB, and limit_mb allows 2048; train ridge"):
        require_room(60_000, 2048)
    with pytest.raises(InputError, match="interactions.items = 300"):  # noqa: RUF043 (a dot matches a dot)
        Ease(EaseParams(limit_mb=1)).fit(interactions(USERS, 300, 5))
    Ease(EaseParams(limit_mb=2)).fit(interactions(USERS, 300, 5))


def test_memory_is_counted_for_both_precisions() -> None:
    assert ease_kernels.peak_bytes(1000) == 12_000_000
    assert ease_kernels.peak_bytes(20_000) == 1_600_000_000
    require_room(23_000, 2048)


def test_a_matrix_without_an_inverse_is_refused() -> None:
    ones = np.ones((9, 9), np.float32)
    with pytest.raises(InputError, match=r"raise models\.ease\.reg"):
        ease_kernels.regression(-ones, 1e-3, np.ones(9, np.float32))
