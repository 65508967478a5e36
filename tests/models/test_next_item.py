"""next_item against the regression written out: every place of every history a row of X."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.errors import InputError
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.models.next_item import NextItem, NextItemParams, products
from tastemaker.models.recency import wanted
from tastemaker.models.tables import Matrix

Doubles = npt.NDArray[np.float64]

ITEMS = 12


def interactions(users: int = 40) -> Interactions:
    """Repeated items, rewards of zero and below, ties in time, empty rows, an item without events."""
    random = np.random.default_rng(5)
    rows = []
    for _ in range(users):
        length = int(random.integers(0, 25))
        items = np.minimum(random.geometric(0.25, length) - 1, ITEMS - 2)
        rows.append((items.tolist(), random.choice([-1.0, 0.0, 1.0, 2.5], length).tolist(), [length // 3] * length))
    return Interactions(tuple(map(str, range(users))), Vocabulary(tuple(map(str, range(ITEMS)))), Histories.of(rows))


DATA = interactions()


def normal_equations(rows: list[list[tuple[int, float]]], half_life: float | None, window: int) -> tuple[Doubles, Doubles]:
    """X'X and X'Y place by place, with no algebra."""
    rate = 1.0 if half_life is None else 2.0 ** (-1 / half_life)
    gram, right = np.zeros((ITEMS, ITEMS)), np.zeros((ITEMS, ITEMS))
    for row in rows:
        row = [(item, weight) for item, weight in row if weight > 0]
        for place, (target, reward) in enumerate(row):
            x = np.zeros(ITEMS)
            for back in range(1, min(window, place) + 1):
                item, weight = row[place - back]
                x[item] += weight * rate ** (back - 1)
            gram += reward * np.outer(x, x)
            right[:, target] += reward * x
    return gram, right


def lists(histories: Histories) -> list[list[tuple[int, float]]]:
    events = list(zip(histories.items.tolist(), histories.weights.tolist(), strict=True))
    return [events[start:stop] for start, stop in zip(histories.indptr[:-1], histories.indptr[1:], strict=True)]


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(st.lists(st.tuples(st.integers(0, ITEMS - 1), st.sampled_from([0.0, 0.5, 1.0, 2.0])), max_size=14), max_size=4),
    st.sampled_from([None, 0.5, 2.0, 30.0]),
    st.integers(1, 16),
)
def test_products_are_those_of_every_place_written_out(
    rows: list[list[tuple[int, float]]], half_life: float | None, window: int
) -> None:
    histories = Histories.of([([i for i, _ in row], [w for _, w in row], [0] * len(row)) for row in rows])
    gram, right = products(wanted(histories), ITEMS, half_life, window)
    expected_gram, expected_right = normal_equations(rows, half_life, window)
    np.testing.assert_allclose(gram, expected_gram, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(right, expected_right, rtol=1e-9, atol=1e-9)


def matrix(model: NextItem) -> npt.NDArray[np.float32]:
    assert isinstance(model.tables[0], Matrix)
    return model.tables[0].values


def test_weights_solve_the_ridge_regression() -> None:
    params = NextItemParams(half_life=3.0, window=5, reg=0.7, own_reg=0.4, target_power=0.2)
    gram, right = normal_equations(lists(DATA.histories), 3.0, 5)
    own = np.diagonal(gram)
    used = own > 0
    ridge = np.where(used, 0.7 * own[used].mean() + 0.4 * own, 1)
    degrees = np.zeros(ITEMS)
    np.add.at(degrees, DATA.histories.items, np.maximum(DATA.histories.weights, 0))
    expected = np.linalg.solve(gram + np.diag(ridge), right) * np.where(degrees > 0, np.maximum(degrees, 1e-9) ** -0.2, 0)
    found = matrix(NextItem(params).fit(DATA))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
    assert not found[ITEMS - 1].any()
    assert not found[:, ITEMS - 1].any(), "nobody ever touched it"


def test_without_a_ridge_the_regression_still_has_a_solution() -> None:
    twins = Histories.of([([0, 1, 2], [1.0, 1.0, 1.0], [0, 1, 2])] * 5)
    data = Interactions(tuple("abcde"), DATA.items, twins)
    model = NextItem(NextItemParams(half_life=None, reg=0, own_reg=0, target_power=0)).fit(data)
    assert np.isfinite(matrix(model)).all()
    found = model.recommend(Histories.of([([0, 1], [1.0, 1.0], [0, 1])]), 1)
    assert found.items.tolist() == [[2]]
    np.testing.assert_allclose(found.scores, 1, rtol=1e-3)


def test_a_score_is_the_decayed_history_times_the_weights() -> None:
    model = NextItem(NextItemParams(half_life=2.0, window=3)).fit(DATA)
    history = Histories.of([([4, 0, 3, 0, 1], [9.0, 1.0, 2.0, 0.0, 1.0], [0, 1, 2, 2, 2])])
    decay = 2.0**-0.5
    expected = matrix(model)[1] + 2 * decay * matrix(model)[3] + decay**2 * matrix(model)[0]
    np.testing.assert_allclose(model.scores(history)[0], expected, rtol=1e-4, atol=1e-6)
    parts = model.contributions(history, np.arange(ITEMS, dtype=np.int32))
    assert not parts[:, 0].any(), "it is out of the window"
    np.testing.assert_allclose(parts.sum(1), expected, rtol=1e-4, atol=1e-6)


def test_an_event_counts_at_once_and_order_matters() -> None:
    rows = [([0, 1, 2, 3], [1.0] * 4, [0, 1, 2, 3]), ([3, 2, 5, 4], [1.0] * 4, [0, 1, 2, 3])] * 20
    data = Interactions(tuple(map(str, range(40))), DATA.items, Histories.of(rows))
    model = NextItem().fit(data)
    nothing = Histories.empty(1)
    assert model.recommend(Histories.of([([0, 1], [1.0] * 2, [0, 1])]), 1, exclude=nothing).items.tolist() == [[2]]
    assert model.recommend(Histories.of([([0, 1, 2], [1.0] * 3, [0, 1, 2])]), 1, exclude=nothing).items.tolist() == [[3]]
    assert model.recommend(Histories.of([([3, 2], [1.0] * 2, [0, 1])]), 1, exclude=nothing).items.tolist() == [[5]]


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    rows = wanted(DATA.histories.where(DATA.histories.weights > 0))
    many = products(rows, ITEMS, 2.0, 8)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = products(rows, ITEMS, 2.0, 8)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(one[0], many[0])
    np.testing.assert_array_equal(one[1], many[1])


def test_a_catalogue_that_is_too_large_is_refused_with_size_limit_and_alternative() -> None:
    large = Interactions(DATA.users, Vocabulary(tuple(map(str, range(400)))), DATA.histories)
    with pytest.raises(InputError, match=r"items = 400: .* take 4 MiB, and limit_mb allows 3; train transitions"):
        NextItem(NextItemParams(limit_mb=3)).fit(large)
    NextItem(NextItemParams(limit_mb=4)).fit(large)
