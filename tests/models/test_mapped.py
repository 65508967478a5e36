"""Histories in files: the same numbers as in memory, whatever is made of them, and no folder that is half written."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.errors import InputError, StorageError
from tastemaker.models import create
from tastemaker.models.interactions import (
    Histories,
    Interactions,
    Vocabulary,
    checked,
    item_counts,
    known,
    row_sums,
    trainable,
    transposed,
)
from tastemaker.models.mapped import HEADER, MappedHistories, MappedWriter, nameless, open_histories

events = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.integers(0, 9)), max_size=6)
tables = st.lists(events.map(lambda row: ([e[0] for e in row], [e[1] for e in row], [e[2] for e in row])), max_size=6)
quickly = settings(deadline=None, max_examples=60)  # the first call compiles


def write(folder: Path, histories: Histories, block: int = 2) -> Path:
    """The histories in a folder, some rows at a time."""
    with MappedWriter(folder) as writer:
        for start in range(0, len(histories), block):
            part = histories.take(np.arange(start, min(start + block, len(histories))))
            writer.append(part.lengths, part.items, part.weights, part.times)
    return folder


@contextmanager
def mapped(histories: Histories) -> Iterator[MappedHistories]:
    with tempfile.TemporaryDirectory() as place:
        yield open_histories(write(Path(place) / "set", histories))


def same(a: Histories, b: Histories) -> bool:
    return all(
        getattr(a, name).dtype == getattr(b, name).dtype and np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("indptr", "items", "weights", "times")
    )


def random_histories(rows: int = 300, items: int = 80, seed: int = 0) -> Histories:
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 30, rows)
    total = int(lengths.sum())
    chosen = (items * random.random(total) ** 2).astype(np.int32)
    weights = random.integers(1, 4, total).astype(np.float32)
    times = random.integers(0, 1000, total)
    return Histories.grouped(np.repeat(np.arange(rows), lengths), chosen, weights, times, rows)


def interactions(histories: Histories, items: int = 80) -> Interactions:
    names = Vocabulary(tuple(map(str, range(items))))
    return Interactions(tuple(map(str, range(len(histories)))), names, histories, now=1000)


@quickly
@given(tables, st.integers(1, 5))
def test_what_is_read_is_what_was_written_in_blocks_of_any_size(
    table: list[tuple[list[int], list[float], list[int]]], n: int
) -> None:
    histories = Histories.of(table)
    with tempfile.TemporaryDirectory() as place:
        assert same(open_histories(write(Path(place) / "set", histories, n)), histories)


@quickly
@given(tables, st.integers(1, 9), st.data())
def test_whatever_is_made_of_them_has_the_same_bits(
    table: list[tuple[list[int], list[float], list[int]]], window: int, data: st.DataObject
) -> None:
    memory = Histories.of(table)
    flags = np.array(data.draw(st.lists(st.booleans(), min_size=len(memory.items), max_size=len(memory.items))), np.bool_)
    rows = np.array(data.draw(st.lists(st.integers(0, len(table) - 1), max_size=4)) if table else [], np.int64)
    with mapped(memory) as files:
        for number in (files.chosen(rows), files.newest(2), files.where(flags), files.where(flags, False), checked(files, 6)):
            assert isinstance(number, MappedHistories)
        assert same(files.take(rows), memory.take(rows))
        assert same(files.chosen(rows), memory.take(rows))
        assert same(files.newest(2), memory.newest(2))
        assert same(files.where(flags), memory.where(flags))
        assert same(files.where(flags, False), memory.where(~flags))
        assert same(checked(files, 6), checked(memory, 6))
        assert same(transposed(files, 6, window=window), transposed(memory, 6))
        assert np.array_equal(known(files), known(memory))
        assert np.array_equal(row_sums(files, files.weights), row_sums(memory, memory.weights))
        assert np.array_equal(item_counts(files, 6), np.bincount(memory.items, minlength=6))


def test_a_taken_row_lies_in_memory_and_outlives_the_files() -> None:
    histories = random_histories()
    with mapped(histories) as files:
        taken = files.take(np.array([3, 1]))
    assert not isinstance(taken, MappedHistories)
    assert same(taken, histories.take(np.array([3, 1])))


@pytest.mark.parametrize("kind", ["popular", "als", "item_knn"])
def test_a_model_that_learns_from_files_is_the_model_that_learns_from_memory(kind: str) -> None:
    histories = random_histories()
    with mapped(histories) as files:
        learnt = create(kind).fit(interactions(files), seed=3)
        found = learnt.recommend(files, 5)
    expected = create(kind).fit(interactions(histories), seed=3)
    assert learnt.losses == expected.losses
    answer = expected.recommend(histories, 5)
    assert np.array_equal(found.items, answer.items)
    assert np.array_equal(found.scores, answer.scores)


def test_negative_rewards_are_cut_in_a_file_of_their_own() -> None:
    histories = Histories.of([([0, 1], [-1.0, 2.0], [0, 0])])
    with mapped(histories) as files:
        assert trainable(interactions(files)).weights.tolist() == [0.0, 2.0]
        assert files.weights.tolist() == [-1.0, 2.0], "the folder stays as it was written"


def test_files_without_a_name_are_gone_with_their_last_array(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    array = nameless(tmp_path, 1000, np.dtype(np.int64))
    array[:] = 7
    assert list(tmp_path.iterdir()) == []
    assert int(array.sum()) == 7000
    del array
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_full_disk_is_an_error_and_no_signal(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="look at space and permissions"):
        nameless(tmp_path, 1 << 58, np.dtype(np.int64))


def test_a_half_written_folder_is_refused_and_not_left_behind(tmp_path: Path) -> None:
    writer = MappedWriter(tmp_path / "set")
    writer.append(np.array([1]), np.array([0], np.int32), np.ones(1, np.float32), np.zeros(1, np.int64))
    with pytest.raises(StorageError, match="not all of them"):
        open_histories(writer.draft)
    with pytest.raises(StorageError, match="there are no histories in this folder"):
        open_histories(tmp_path / "set")
    writer.discard()
    assert list(tmp_path.iterdir()) == []

    def fail() -> None:
        with MappedWriter(tmp_path / "set"):
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_written_over(tmp_path: Path) -> None:
    write(tmp_path / "set", random_histories(3))
    with pytest.raises(StorageError, match="is there already"):
        MappedWriter(tmp_path / "set")


@pytest.mark.parametrize("name", ["items", "times"])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "set", random_histories(20)) / f"{name}.npy"
    os.truncate(path, path.stat().st_size - 4)
    with pytest.raises(StorageError, match=rf"{name}\.npy: damaged, it has \d+ bytes instead of"):
        open_histories(path.parent)


def test_rows_that_do_not_sum_up_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "set", Histories.of([([1], [1.0], [1]), ([2, 3], [1.0, 1.0], [1, 2])])) / "indptr.npy"
    with path.open("r+b") as file:
        file.seek(HEADER + 8)
        file.write(np.int64(9).tobytes())
    with pytest.raises(StorageError, match=r"the rows of indptr\.npy are not those of 3 events"):
        open_histories(path.parent)


def test_entries_that_do_not_fit_their_rows_are_refused(tmp_path: Path) -> None:
    with MappedWriter(tmp_path / "set") as writer:
        with pytest.raises(InputError, match=r"weights = 1: the lengths of the rows sum to 2"):
            writer.append(np.array([2]), np.zeros(2, np.int32), np.ones(1, np.float32), np.zeros(2, np.int64))
        with pytest.raises(InputError, match=r"lengths = -1"):
            writer.append(np.array([-1, 1]), np.zeros(0, np.int32), np.ones(0, np.float32), np.zeros(0, np.int64))


def test_the_files_are_ordinary_numpy_files(tmp_path: Path) -> None:
    histories = random_histories(10)
    folder = write(tmp_path / "set", histories)
    assert np.array_equal(np.load(folder / "items.npy"), histories.items)
    assert np.array_equal(np.load(folder / "indptr.npy", mmap_mode="r"), histories.indptr)
