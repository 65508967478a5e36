"""iALS against dense algebra in float64: loss, fold-in, contributions, and the same bits on any number of threads."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.models import workers
from tastemaker.models.als import UNOBSERVED, Als, AlsParams
from tastemaker.models.als_kernels import solve_exactly
from tastemaker.models.als_products import eigenbasis, gramian, rotate
from tastemaker.models.als_training import Alternation, random_factors
from tastemaker.models.interactions import Histories, Interactions, Vocabulary, row_sums, transposed

Doubles = npt.NDArray[np.float64]

USERS, ITEMS = 90, 50


def interactions(seed: int = 0) -> Interactions:
    """Skewed popularity, rewards between .2 and 3, repeated items, an empty user, an item without events."""
    random = np.random.default_rng(seed)
    rows: list[tuple[list[int], list[float], list[int]]] = [([], [], [])]
    for _ in range(USERS - 1):
        length = int(random.integers(1, 30))
        items = np.minimum(random.geometric(0.07, length) - 1, ITEMS - 2)
        rows.append((items.tolist(), random.uniform(0.2, 3, length).tolist(), list(range(length))))
    return Interactions(tuple(map(str, range(USERS))), Vocabulary(tuple(map(str, range(ITEMS)))), Histories.of(rows))


DATA = interactions()
PARAMS = AlsParams(factors=16, epochs=6, alpha0=0.1, reg=0.004, nu=0.8)


@pytest.fixture(scope="module")
def model() -> Als:
    return Als(PARAMS).fit(DATA, seed=1)


def equations(model: Als, row: int) -> tuple[Doubles, Doubles]:
    """A and b of one user's least squares, all pairs written out."""
    items, history = model.factors.astype(np.float64), DATA.histories.take(np.array([row]))
    weights = history.weights.astype(np.float64)
    ridge = PARAMS.reg * (weights.sum() + model.alpha0 * ITEMS) ** PARAMS.nu
    seen = items[history.items]
    matrix = model.alpha0 * items.T @ items + ridge * np.eye(16) + (seen * weights[:, None]).T @ seen
    return matrix, (seen * weights[:, None]).sum(0)


def test_fold_in_is_the_closed_form_minimum(model: Als) -> None:
    folded = model.fold_in(DATA.histories)
    for row in range(USERS):
        exact = np.linalg.solve(*equations(model, row))
        assert np.linalg.norm(folded[row] - exact) <= 1e-5 * np.linalg.norm(exact)


def test_fold_in_of_one_row_is_that_of_the_batch(model: Als) -> None:
    folded = model.fold_in(DATA.histories)
    for row in (0, 1, 40, 89):
        np.testing.assert_array_equal(model.fold_in(DATA.histories.take(np.array([row])))[0], folded[row])


def test_fold_in_is_the_last_half_step_of_training_run_to_its_end(model: Als) -> None:
    ridge = model.ridge(DATA.histories, ITEMS)
    spectrum, basis = eigenbasis(model.factors)
    half_step = solve_exactly(model.factors @ basis, DATA.histories, model.alpha0 * spectrum, ridge)
    scores = half_step @ (model.factors @ basis).T
    np.testing.assert_allclose(model.fold_in(DATA.histories) @ model.factors.T, scores, rtol=0, atol=1e-6)  # 4e-7 was measured


def test_the_loss_is_that_of_all_pairs_written_out(model: Als) -> None:
    random = np.random.default_rng(3)
    users, items = random.normal(size=(USERS, 16)).astype("f4"), random.normal(size=(ITEMS, 16)).astype("f4")
    scores = users.astype(np.float64) @ items.T
    total = model.alpha0 * (scores**2).sum()
    user_weight, item_weight = np.zeros(USERS), np.zeros(ITEMS)
    for row in range(USERS):
        start, stop = DATA.histories.indptr[row], DATA.histories.indptr[row + 1]
        for entry in range(start, stop):
            item, weight = DATA.histories.items[entry], float(DATA.histories.weights[entry])
            total += weight * (1 - scores[row, item]) ** 2
            user_weight[row] += weight
            item_weight[item] += weight
    user_ridge = PARAMS.reg * (user_weight + model.alpha0 * ITEMS) ** PARAMS.nu
    item_ridge = PARAMS.reg * (item_weight + model.alpha0 * USERS) ** PARAMS.nu
    total += (user_ridge * (users**2).sum(1)).sum() + (item_ridge * (items**2).sum(1)).sum()
    found = model.loss(DATA.histories, users, items, user_ridge, item_ridge)
    assert found == pytest.approx(total, rel=1e-5)


def test_the_loss_falls_in_every_epoch(model: Als) -> None:
    assert len(model.losses) == PARAMS.epochs
    assert all(after < before for before, after in zip(model.losses, model.losses[1:], strict=False))


def test_training_comes_close_to_exact_alternating_least_squares() -> None:
    fitted = Als(AlsParams(factors=8, epochs=40, alpha0=0.1, reg=0.004, nu=0.8)).fit(DATA, seed=0)
    exact = exact_loss(DATA, 8, 40)
    assert fitted.losses[-1] == pytest.approx(exact, rel=0.02)


def exact_loss(data: Interactions, factors: int, epochs: int) -> float:
    """Final loss of textbook ALS in float64: each row's equations solved in full."""
    weights = np.zeros((USERS, ITEMS))
    np.add.at(weights, (np.repeat(np.arange(USERS), data.histories.lengths), data.histories.items), data.histories.weights)
    random = np.random.default_rng(0)
    items, users = random.normal(0, 0.1 / np.sqrt(factors), (ITEMS, factors)), np.zeros((USERS, factors))
    ridges = [0.004 * (weights.sum(axis) + 0.1 * other) ** 0.8 for axis, other in ((1, ITEMS), (0, USERS))]
    for _ in range(epochs):
        for fixed, moving, table, ridge in ((items, users, weights, ridges[0]), (users, items, weights.T, ridges[1])):
            for row in range(len(moving)):
                matrix = fixed.T @ (fixed * (table[row] + 0.1)[:, None]) + ridge[row] * np.eye(factors)
                moving[row] = np.linalg.solve(matrix, fixed.T @ table[row])
    scores = users @ items.T
    fit = (weights * (1 - scores) ** 2).sum() + 0.1 * (scores**2).sum()
    return float(fit + ridges[0] @ (users**2).sum(1) + ridges[1] @ (items**2).sum(1))


def test_contributions_are_those_of_the_closed_form(model: Als) -> None:
    history = DATA.histories.take(np.array([5]))
    matrix, _ = equations(model, 5)
    items = np.array([0, 3, ITEMS - 1], np.int32)
    seen = model.factors[history.items].astype(np.float64)
    expected = model.factors[items] @ np.linalg.inv(matrix) @ (seen * history.weights[:, None]).T
    np.testing.assert_allclose(model.contributions(history, items), expected, rtol=1e-4, atol=1e-7)


def test_the_stored_basis_is_the_items_eigenbasis(model: Als) -> None:
    product = gramian(model.factors)
    np.testing.assert_allclose(product, np.diag(model.spectrum), atol=1e-5 * model.spectrum.max())


def test_unset_alpha0_weighs_all_pairs_in_proportion_to_the_events() -> None:
    fitted = Als(AlsParams(factors=4, epochs=1)).fit(DATA)
    assert fitted.alpha0 * USERS * ITEMS == pytest.approx(UNOBSERVED * DATA.histories.weights.sum(), rel=1e-5)


def test_an_item_without_events_stays_at_zero(model: Als) -> None:
    assert row_sums(DATA.histories, DATA.histories.weights)[0] == 0
    assert not model.factors[ITEMS - 1].any()


def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = []
    for count in (1, 2, 5):
        monkeypatch.setattr(workers, "threads", lambda count=count: count)
        model = Als(PARAMS).fit(DATA, seed=1)
        fitted.append((model.factors.tobytes(), model.losses, model.fold_in(DATA.histories).tobytes()))
    assert fitted[0] == fitted[1] == fitted[2]


def test_the_reported_loss_is_the_training_objective() -> None:
    """The half-steps add it up on their way; ``loss`` takes it from the finished factors."""
    rows, columns = DATA.histories, transposed(DATA.histories, ITEMS)
    model = Als(PARAMS)
    model.alpha0 = 0.1
    ridges = model.ridge(rows, ITEMS), model.ridge(columns, USERS)
    items, users = random_factors(ITEMS, 16, seed=4), np.zeros((USERS, 16), np.float32)
    sides = Alternation(rows, columns, *ridges, 0.1, users, items)
    for _ in range(4):
        reported = sides.epoch()
        assert reported == pytest.approx(model.loss(rows, users, items, *ridges), rel=1e-5)


def test_training_ends_early_only_where_a_tolerance_says_so() -> None:
    words: list[str] = []
    endless = msgspec.structs.replace(PARAMS, epochs=60)
    full = Als(endless).fit(DATA, seed=1)
    short = Als(msgspec.structs.replace(endless, tolerance=0.01)).fit(
        DATA, seed=1, progress=lambda *call: words.append(str(call))
    )
    assert len(full.losses) == 60
    assert 2 <= len(short.losses) < 40
    assert short.losses == full.losses[: len(short.losses)], "the epochs that were run are the same"
    assert short.changes[-1] < 0.01
    assert all(change >= 0.01 for change in short.changes[:-1])
    assert words[-1].startswith("(60, 60, ")
    assert f"ended after {len(short.losses)} epochs" in words[-1]


def test_a_penalty_of_zero_and_more_factors_than_items_train_to_numbers() -> None:
    fitted = Als(AlsParams(factors=80, epochs=3, reg=0.0)).fit(DATA)
    assert np.isfinite(fitted.factors).all()
    assert np.isfinite(fitted.fold_in(DATA.histories)).all()
    assert fitted.losses[2] < fitted.losses[0]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 700), st.integers(1, 150), st.integers(0, 2**32))
def test_gramians_and_rotations_are_those_of_numpy(rows: int, f: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    factors = random.normal(size=(rows, f)).astype(np.float32)
    basis = random.normal(size=(f, f)).astype(np.float32)
    wide = factors.astype(np.float64)
    np.testing.assert_allclose(gramian(factors), wide.T @ wide, rtol=1e-4, atol=1e-4 * rows**0.5)
    rotated = factors.copy()
    rotate(rotated, basis)
    np.testing.assert_allclose(rotated, wide @ basis, rtol=1e-4, atol=1e-4 * f**0.5)
