"""Histories: cutting, taking, grouping and turning around, against plain Python."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.errors import InputError
from tastemaker.models.interactions import Histories, checked, known, row_sums, transposed

Row = tuple[list[int], list[float], list[int]]

events = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.integers(0, 9)), max_size=6)
tables = st.lists(events.map(lambda row: ([e[0] for e in row], [e[1] for e in row], [e[2] for e in row])), max_size=5)


def listed(histories: Histories) -> list[list[tuple[int, float, int]]]:
    edges = histories.indptr.tolist()
    everything = list(zip(histories.items.tolist(), histories.weights.tolist(), histories.times.tolist(), strict=True))
    return [everything[start:stop] for start, stop in itertools.pairwise(edges)]


@settings(deadline=None)  # the first call compiles
@given(tables, st.integers(1, 7))
def test_newest_keeps_the_last_events_of_each_row(table: list[Row], length: int) -> None:
    histories = Histories.of(table)
    assert listed(histories.newest(length)) == [row[-length:] for row in listed(histories)]


@settings(deadline=None)  # the first call compiles
@given(tables, st.data())
def test_take_gives_the_rows_asked_for(table: list[Row], data: st.DataObject) -> None:
    histories = Histories.of(table)
    if table:
        wanted = data.draw(st.lists(st.integers(0, len(table) - 1), max_size=6))
        whole = listed(histories)
        assert listed(histories.take(np.array(wanted, np.int64))) == [whole[row] for row in wanted]


@settings(deadline=None)  # the first call compiles
@given(tables)
def test_transposing_twice_sorts_rows_by_item_and_loses_nothing(table: list[Row]) -> None:
    histories = Histories.of(table)
    back = transposed(transposed(histories, 6), len(table))
    assert listed(back) == [sorted(row, key=lambda event: event[0]) for row in listed(histories)]


@settings(deadline=None)  # the first call compiles
@given(tables)
def test_grouped_sorts_by_time_and_keeps_ties_in_order(table: list[Row]) -> None:
    histories = Histories.of(table)
    row = np.repeat(np.arange(len(table)), histories.lengths)
    grouped = Histories.grouped(row, histories.items, histories.weights, histories.times, len(table))
    assert listed(grouped) == [sorted(row, key=lambda event: event[2]) for row in listed(histories)]


@settings(deadline=None)  # the first call compiles
@given(tables)
def test_sums_and_knowledge_by_row_agree_with_plain_python(table: list[Row]) -> None:
    histories = Histories.of(table)
    assert row_sums(histories, histories.weights).tolist() == [sum(row[1]) for row in table]
    assert known(histories).tolist() == [any(weight > 0 for weight in row[1]) for row in table]


@settings(deadline=None)  # the first call compiles
@given(tables, st.integers(0, 5), st.integers(0, 6))
def test_part_is_a_slice_of_the_rows(table: list[Row], start: int, stop: int) -> None:
    histories = Histories.of(table)
    start, stop = min(start, len(table)), min(max(start, stop), len(table))
    part = histories.part(start, stop)
    assert [part.row(row).tolist() for row in range(len(part))] == [row[0] for row in table[start:stop]]


@pytest.mark.parametrize("item", [-1, 6])
def test_items_that_the_model_does_not_know_are_refused(item: int) -> None:
    with pytest.raises(InputError, match=rf"histories\.items = {item}"):
        checked(Histories.of([([0, item], [1.0, 1.0], [0, 0])]), 6)


@pytest.mark.parametrize("weight", [np.nan, np.inf])
def test_rewards_that_are_not_finite_are_refused(weight: float) -> None:
    with pytest.raises(InputError, match=r"histories\.weights"):
        checked(Histories.of([([0], [weight], [0])]), 6)


def test_rewards_below_zero_count_as_zero() -> None:
    assert checked(Histories.of([([0, 1], [-1.0, 2.0], [0, 0])]), 6).weights.tolist() == [0.0, 2.0]
