"""Weights by place against loops over each row."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.models.interactions import Histories
from tastemaker.models.recency import decayed, occurrences, wanted

HISTORY = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.0, 0.5, 1.0, 3.0])), max_size=12)


def histories_of(rows: list[list[tuple[int, float]]]) -> Histories:
    return Histories.of([([item for item, _ in row], [weight for _, weight in row], list(range(len(row)))) for row in rows])


@settings(deadline=None)  # the first call compiles
@given(st.lists(HISTORY, max_size=4), st.sampled_from([None, 0.5, 2.0]), st.integers(1, 6))
def test_weights_halve_by_place_from_the_end_and_end_with_the_window(
    rows: list[list[tuple[int, float]]], half_life: float | None, window: int
) -> None:
    histories = histories_of(rows)
    expected = []
    for row in rows:
        weights = [0.0] * len(row)
        places = [place for place, (_, weight) in enumerate(row) if weight > 0][::-1]
        for back, place in enumerate(places[:window]):
            weights[place] = row[place][1] * (1.0 if half_life is None else 2.0 ** (-back / half_life))
        expected += weights
    found = decayed(histories, half_life, window)
    np.testing.assert_allclose(found.weights, np.array(expected, np.float32), rtol=1e-6)
    np.testing.assert_array_equal(found.items, histories.items)


@settings(deadline=None)  # the first call compiles
@given(st.lists(HISTORY, max_size=4))
def test_a_reward_of_zero_changes_nothing_wherever_it_stands(rows: list[list[tuple[int, float]]]) -> None:
    with_zeros = decayed(histories_of(rows), 2.0, 3)
    without = decayed(histories_of([[entry for entry in row if entry[1] > 0] for row in rows]), 2.0, 3)
    kept = histories_of(rows).weights > 0
    np.testing.assert_array_equal(with_zeros.weights[kept], without.weights)
    assert not with_zeros.weights[~kept].any()


def test_occurrences_name_row_and_place_of_each_event() -> None:
    histories = wanted(histories_of([[(2, 1.0), (0, 0.0), (1, 2.0)], [], [(2, 1.0), (2, 1.0)]]))
    found = occurrences(histories, 4)
    assert found.indptr.tolist() == [0, 0, 1, 4, 4]
    assert found.times.tolist() == [1, 0, 2, 3], "places among the entries"
    assert found.items.tolist() == [0, 0, 2, 2], "numbers of the rows"
