"""The selection kernel against brute force: exact, with ties, masks and padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.errors import InputError
from tastemaker.models import Recommendations, workers
from tastemaker.models.interactions import Bools, Floats, Rows
from tastemaker.models.topk import FEW, UNPACKED, select, top_scores


def brute(scores: Floats, k: int, exclude: Rows | None, allowed: Bools | None, floor: float) -> Recommendations:
    items = np.full((len(scores), k), -1, np.int32)
    values = np.full((len(scores), k), -np.inf, np.float32)
    for row, line in enumerate(scores):
        barred = set() if exclude is None else set(exclude.row(row).tolist())
        fit = [
            (-float(score), item)
            for item, score in enumerate(line)
            if score > floor and item not in barred and (allowed is None or allowed[item])
        ]
        for place, (score, item) in enumerate(sorted(fit)[:k]):
            items[row, place], values[row, place] = item, -score
    return Recommendations(items, values)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Floats, Floats, int, Rows | None, Bools | None, float]:
    """Small whole numbers: the inner products are exact, and ties are everywhere."""
    rows, items, f = draw(st.integers(0, 2 * UNPACKED)), draw(st.integers(0, 150)), draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    queries = random.integers(-2, 3, (rows, f)).astype(np.float32)
    factors = random.integers(-2, 3, (items, f)).astype(np.float32)
    exclude = None
    if draw(st.booleans()):
        lengths = random.integers(0, 30, rows) * (items > 0)
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        exclude = Rows(indptr, random.integers(0, max(items, 1), int(indptr[-1])).astype(np.int32))
    allowed = random.random(items) < draw(st.sampled_from([0.0, 0.3, 1.0])) if draw(st.booleans()) else None
    return queries, factors, draw(st.integers(1, 200)), exclude, allowed, draw(st.sampled_from([-np.inf, -1.0, 0.0]))


@settings(max_examples=300, deadline=None)
@given(cases())
def test_selection_equals_brute_force(case: tuple[Floats, Floats, int, Rows | None, Bools | None, float]) -> None:
    queries, factors, k, exclude, allowed, floor = case
    expected = brute(queries @ factors.T, k, exclude, allowed, floor)
    for found in (
        top_scores(queries, factors, k, exclude, allowed, floor),
        select(queries @ factors.T, k, exclude, allowed, floor),
    ):
        np.testing.assert_array_equal(found.items, expected.items)
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_many_tiles_equal_brute_force() -> None:
    random = np.random.default_rng(5)
    queries = random.integers(-3, 4, (1030, 3)).astype(np.float32)
    factors = random.integers(-3, 4, (4500, 3)).astype(np.float32)
    exclude = Rows(np.arange(1031, dtype=np.int64) * 7, random.integers(0, 4500, 7210).astype(np.int32))
    found = top_scores(queries, factors, 25, exclude)
    rows = np.array([0, 1, 500, 1023, 1024, 1029])
    few = Rows(np.arange(7, dtype=np.int64) * 7, np.concatenate([exclude.row(row) for row in rows]))
    expected = brute(queries[rows] @ factors.T, 25, few, None, -np.inf)
    np.testing.assert_array_equal(found.items[rows], expected.items)
    np.testing.assert_array_equal(found.scores[rows], expected.scores)


@pytest.mark.parametrize("rows", [1, FEW + 1, UNPACKED + 1])
def test_a_score_that_is_not_a_number_is_refused(rows: int) -> None:
    factors = np.ones((100, 2), np.float32)
    factors[77, 1] = np.nan
    with pytest.raises(InputError, match="not a number"):
        top_scores(np.ones((rows, 2), np.float32), factors, 3)


def test_wrong_shapes_are_refused_by_name() -> None:
    scores = np.ones((2, 5), np.float32)
    with pytest.raises(InputError, match="k = 0"):
        select(scores, 0)
    with pytest.raises(InputError, match="allowed"):
        select(scores, 1, allowed=np.ones(4, np.bool_))
    with pytest.raises(InputError, match="exclude"):
        select(scores, 1, exclude=Rows(np.zeros(2, np.int64), np.zeros(0, np.int32)))


@settings(max_examples=60, deadline=None)
@given(st.integers(17, 60), st.integers(1, 900), st.integers(1, 70), st.integers(1, 40), st.integers(0, 2**32))
def test_short_vectors_are_left_out_only_where_they_cannot_win(rows: int, items: int, f: int, k: int, seed: int) -> None:
    """Lengths differ by orders of magnitude, so that most rows end early; scores are those of the vectors in float64."""
    random = np.random.default_rng(seed)
    queries = random.normal(size=(rows, f)).astype(np.float32)
    factors = (random.normal(size=(items, f)) * random.lognormal(0, 2, (items, 1))).astype(np.float32)
    allowed = random.random(items) < 0.8
    scores = np.where(allowed, queries.astype(np.float64) @ factors.T.astype(np.float64), -np.inf)
    found = top_scores(queries, factors, k, allowed=allowed)
    expected = -np.sort(-scores, axis=1)[:, :k]
    size = np.abs(scores[np.isfinite(scores)]).max(initial=0)
    np.testing.assert_allclose(found.scores[:, : expected.shape[1]], expected, rtol=1e-5, atol=1e-5 * size)


def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    queries, factors = (random.normal(size=(rows, 33)).astype(np.float32) for rows in (700, 3000))
    found = []
    for count in (1, 3):
        monkeypatch.setattr(workers, "threads", lambda count=count: count)
        found.append(top_scores(queries, factors, 15))
    np.testing.assert_array_equal(found[0].items, found[1].items)
    np.testing.assert_array_equal(found[0].scores, found[1].scores)


def test_an_error_in_any_thread_is_raised_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "threads", lambda: 4)

    def work(piece: int) -> None:
        if piece == 5:
            raise InputError("piece", piece, "this one fails")

    with pytest.raises(InputError, match="piece = 5"):
        workers.share(work, 40)
