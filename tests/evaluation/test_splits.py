"""Splits against a plain restatement: nothing of the truth is in training, everybody is kept or counted."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as given_that
from hypothesis import settings
from hypothesis import strategies as st

from tastemaker.errors import InputError
from tastemaker.evaluation.split_kernels import value_at
from tastemaker.evaluation.splits import Split, given, leave_one_out, temporal
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.models.mapped import MappedHistories, MappedWriter, open_histories

Event = tuple[int, int, int, float]  # user, item, time, weight
N_USERS, N_ITEMS = 6, 5
events_ = st.lists(
    st.tuples(st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1), st.integers(0, 9), st.sampled_from([1.0, 2.0, -1.0])),
    min_size=1,
    max_size=40,
)


def data_of(events: list[Event]) -> Interactions:
    user, item, time, weight = (np.array(column) for column in zip(*events, strict=True))
    histories = Histories.grouped(
        user.astype(np.int64), item.astype(np.int32), weight.astype(np.float32), time.astype(np.int64), N_USERS
    )
    names = tuple(f"u{row}" for row in range(N_USERS))
    return Interactions(names, Vocabulary(tuple(f"i{n}" for n in range(N_ITEMS))), histories, now=int(time.max()))


def entries(histories: Histories, row: int) -> list[tuple[int, int, float]]:
    part = slice(int(histories.indptr[row]), int(histories.indptr[row + 1]))
    columns = (histories.items[part], histories.times[part], histories.weights[part])
    return [(int(item), int(time), float(weight)) for item, time, weight in zip(*columns, strict=True)]


def assert_is_split(split: Split, data: Interactions, repeats: bool) -> None:
    """Restates a split row by row from the training rows it chose."""
    expected = []
    without_later = without_relevant = 0
    for row in range(N_USERS):
        whole, train = entries(data.histories, row), entries(split.train.histories, row)
        later = list(whole)
        for entry in train:
            later.remove(entry)
        assert len(later) + len(train) == len(whole)
        wanted = {item for item, _, weight in later if weight > 0}
        if not repeats:
            wanted -= {item for item, _, _ in train}
        without_later += not later
        without_relevant += bool(later) and not wanted
        if wanted:
            expected.append((row, train, sorted(wanted)))
    got = [(int(row), entries(split.histories, n), split.relevant.row(n).tolist()) for n, row in enumerate(split.users)]
    assert got == expected
    assert split.new.tolist() == [not train for _, train, _ in expected]
    assert split.excluded["users without later events"] == without_later
    assert split.excluded["users without a relevant item"] == without_relevant
    assert len(split) + without_later + without_relevant == N_USERS
    assert split.popularity.sum() == len(split.train.histories.items)
    unseen = {item for _, _, wanted in expected for item in wanted if not split.popularity[item]}
    assert split.excluded["items unseen in training"] == len(unseen)


@settings(deadline=None)
@given_that(events=events_, fraction=st.floats(0.05, 0.9), repeats=st.booleans())
def test_a_temporal_split_trains_on_the_past_and_ties_at_the_cut_stay_there(
    events: list[Event], fraction: float, repeats: bool
) -> None:
    data = data_of(events)
    split = temporal(data, fraction, repeats=repeats)
    times = sorted(time for _, _, time, _ in events)
    cut = times[len(times) - 1 - int(len(times) * fraction)]
    assert split.train.now == cut
    assert sorted(split.train.histories.times.tolist()) == [time for time in times if time <= cut]
    assert_is_split(split, data, repeats)


@settings(deadline=None)
@given_that(events=events_, repeats=st.booleans())
def test_leave_one_out_holds_out_the_last_event_of_users_with_two(events: list[Event], repeats: bool) -> None:
    data = data_of(events)
    split = leave_one_out(data, repeats=repeats)
    for row in range(N_USERS):
        whole = entries(data.histories, row)
        assert entries(split.train.histories, row) == (whole[:-1] if len(whole) >= 2 else whole)
    assert_is_split(split, data, repeats)


def test_a_given_split_matches_users_by_id_and_knows_strangers() -> None:
    items = Vocabulary(("a", "b", "c"))
    train = Interactions(("x", "y"), items, Histories.of([([0, 1], [1, 1], [1, 2]), ([2], [1], [3])]))
    test = Interactions(("new", "y"), items, Histories.of([([2], [1], [9]), ([2, 0], [1, 1], [8, 9])]))
    split = given(train, test)
    assert split.users.tolist() == [-1, 1]
    assert split.new.tolist() == [True, False]
    assert [split.relevant.row(row).tolist() for row in range(2)] == [[2], [0]]
    assert [split.histories.row(row).tolist() for row in range(2)] == [[], [2]]


def test_impossible_splits_are_refused() -> None:
    data = data_of([(0, 0, 0, 1.0)])
    with pytest.raises(InputError, match=r"fraction = 1.5"):
        temporal(data, 1.5)
    with pytest.raises(InputError, match="no events to split"):
        temporal(Interactions(("u",), Vocabulary(("i",)), Histories.empty()))
    with pytest.raises(InputError, match="use the vocabulary of the training set"):
        given(data, Interactions((), Vocabulary(("other",)), Histories.empty(0)))


@settings(deadline=None)
@given_that(numbers=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), min_size=1, max_size=40), data=st.data())
def test_a_value_is_found_at_its_place_without_sorting(numbers: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(numbers) - 1))
    assert value_at(np.array(numbers, np.int64), place) == sorted(numbers)[place]


@settings(deadline=None, max_examples=40)
@given_that(events=events_, repeats=st.booleans())
def test_a_split_of_histories_in_files_is_the_same_and_lies_in_files(events: list[Event], repeats: bool) -> None:
    data = data_of(events)
    with tempfile.TemporaryDirectory() as place:
        with MappedWriter(Path(place) / "set") as writer:
            histories = data.histories
            writer.append(histories.lengths, histories.items, histories.weights, histories.times)
        mapped = replace(data, histories=open_histories(Path(place) / "set"))
        for divide in (temporal, leave_one_out):
            found, expected = divide(mapped, repeats=repeats), divide(data, repeats=repeats)
            assert isinstance(found.train.histories, MappedHistories)
            assert isinstance(found.histories, MappedHistories)
            for name in ("users", "new", "excluded", "popularity"):
                assert np.array_equal(getattr(found, name), getattr(expected, name))
            assert listed(found.train.histories) == listed(expected.train.histories)
            assert listed(found.histories) == listed(expected.histories)
            assert found.relevant.items.tolist() == expected.relevant.items.tolist()


def listed(histories: Histories) -> list[list[tuple[int, int, float]]]:
    return [entries(histories, row) for row in range(len(histories))]
