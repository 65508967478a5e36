"""transitions against the same counts by loops over pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest

from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.models.tables import Neighbours
from tastemaker.models.transitions import DAY, LAWS, Transitions, TransitionsParams

Doubles = npt.NDArray[np.float64]

USERS, ITEMS = 60, 30


def interactions() -> Interactions:
    """Repeated items, rewards of zero and below, ties in time, empty rows, an item without events."""
    random = np.random.default_rng(11)
    rows = []
    for _ in range(USERS):
        length = int(random.integers(0, 20))
        items = np.minimum(random.geometric(0.15, length) - 1, ITEMS - 2)
        times = np.sort(random.integers(0, 9, length)) * DAY
        rows.append((items.tolist(), random.choice([-1.0, 0.0, 1.0, 2.5], length).tolist(), times.tolist()))
    return Interactions(tuple(map(str, range(USERS))), Vocabulary(tuple(map(str, range(ITEMS)))), Histories.of(rows))


DATA = interactions()


def counted(params: TransitionsParams) -> Doubles:
    """Transitions by the formula, (items, items)."""
    laws: dict[str, Callable[[int], float]] = {
        "inverse": lambda gap: 1 / gap,
        "root": lambda gap: gap**-0.5,
        "log": lambda gap: 1 / np.log2(gap + 1),
        "linear": lambda gap: (params.window + 1 - gap) / params.window,
        "flat": lambda _: 1.0,
    }
    totals, degrees = np.zeros((ITEMS, ITEMS)), np.zeros(ITEMS)
    for row in range(USERS):
        span = slice(DATA.histories.indptr[row], DATA.histories.indptr[row + 1])
        events = [
            event
            for event in zip(DATA.histories.items[span], DATA.histories.weights[span], DATA.histories.times[span], strict=True)
            if event[1] > 0
        ]
        for place, (item, weight, time) in enumerate(events):
            degrees[item] += weight
            for gap in range(1, params.window + 1):
                if place + gap == len(events):
                    break
                target, reward, later = events[place + gap]
                days = (later - time) / DAY
                added = weight * reward * laws[params.law](gap)
                added *= 1 if params.days_half_life is None else 2 ** (-days / params.days_half_life)
                totals[item, target] += added
                if params.bidirectional:
                    totals[target, item] += added
    np.fill_diagonal(totals, 0)
    inverse = [
        np.where(degrees > 0, np.maximum(degrees, 1e-9) ** -power, 0) for power in (params.item_power, params.target_power)
    ]
    return totals * inverse[0][:, None] * inverse[1][None, :]


def table(model: Transitions) -> Neighbours:
    assert isinstance(model.tables[0], Neighbours)
    return model.tables[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        *({"law": law, "window": 6} for law in LAWS),
        {"bidirectional": True, "window": 3},
        {"days_half_life": 2.0},
        {"item_power": 0.0, "target_power": 0.0, "window": 1},
        {"bidirectional": True, "days_half_life": 0.5, "item_power": 1.0, "target_power": 0.7},
    ],
)
def test_weights_are_those_of_all_pairs_written_out(options: dict[str, Any]) -> None:
    params = TransitionsParams(neighbours=ITEMS, **options)
    model = Transitions(params).fit(DATA)
    np.testing.assert_allclose(table(model).rows(np.arange(ITEMS, dtype=np.int32)), counted(params), rtol=1e-4, atol=1e-9)


def test_each_item_keeps_its_best_targets_best_first() -> None:
    params = TransitionsParams(neighbours=4)
    model, expected = Transitions(params).fit(DATA), counted(params)
    for item in range(ITEMS):
        start, stop = table(model).targets.indptr[item], table(model).targets.indptr[item + 1]
        best = np.sort(expected[item])[::-1][:4]
        np.testing.assert_allclose(table(model).values[start:stop], best[best > 0], rtol=1e-4)


def test_the_last_items_speak_and_the_latest_loudest() -> None:
    model = Transitions(TransitionsParams(neighbours=ITEMS, half_life=1.0, query_window=2)).fit(DATA)
    rows = table(model).rows(np.array([0, 1], np.int32))
    history = Histories.of([([2, 0, 1, 3], [1.0, 1.0, 3.0, -1.0], [0, 1, 2, 3])])
    expected = 0.5 * rows[0] + 3 * rows[1]
    np.testing.assert_allclose(model.scores(history)[0], expected, rtol=1e-5)
    parts = model.contributions(history, np.arange(ITEMS, dtype=np.int32))
    np.testing.assert_allclose(parts.sum(1), expected, rtol=1e-5)
    assert not parts[:, [0, 3]].any(), "before the window, and not wanted"


def test_direction_counts_unless_told_otherwise() -> None:
    rows = Histories.of([([0, 1], [1.0, 1.0], [0, 1])] * 3)
    data = Interactions(("a", "b", "c"), DATA.items, rows)
    one = np.array([1], np.int32)
    assert Transitions().fit(data).similar(one, 1).items.tolist() == [[-1]]
    assert Transitions(TransitionsParams(bidirectional=True)).fit(data).similar(one, 1).items.tolist() == [[0]]


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    many, before = table(Transitions().fit(DATA)), numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = table(Transitions().fit(DATA))
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(one.targets.items, many.targets.items)
    np.testing.assert_array_equal(one.values, many.values)
