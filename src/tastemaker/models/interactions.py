"""What models read: histories as compressed rows over a vocabulary of items.

Outside, items are strings; inside a model they are dense int32. A ``Vocabulary`` holds the two together and travels in
the model's artifact, so that a model is never asked about an item by another model's number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tastemaker.errors import InputError
from tastemaker.models import row_kernels as kernels

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

WINDOW = 1 << 24
"""Entries of the result that ``transposed`` writes in one pass over histories that lie in files: 256 MiB at 16 bytes."""


@dataclass(frozen=True)
class Vocabulary:
    """Ids of the items, by their number in the model."""

    ids: tuple[str, ...]

    @cached_property
    def number(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def numbers(self, names: Iterable[str]) -> Ints:
        """Numbers of the names that the model knows; the others are left out.

        >>> Vocabulary(("a", "b")).numbers(["b", "x", "a"])
        array([1, 0], dtype=int32)
        """
        return np.array([self.number[name] for name in names if name in self.number], dtype=np.int32)


@dataclass(frozen=True)
class Rows:
    """Lists of items, one list a row: entry ``e`` of row ``r`` has ``indptr[r] <= e < indptr[r+1]``."""

    indptr: Longs  # (rows + 1,)
    items: Ints  # (entries,)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, number: int) -> Ints:
        return self.items[self.indptr[number] : self.indptr[number + 1]]

    @cached_property
    def lengths(self) -> Longs:
        return np.diff(self.indptr)

    def part(self, start: int, stop: int) -> Rows:
        """Rows ``start`` to ``stop``, the last left out; a view where possible."""
        indptr = self.indptr[start : stop + 1]
        return Rows(indptr - indptr[0], self.items[indptr[0] : indptr[-1]])


@dataclass(frozen=True)
class Histories(Rows):
    """What users did, oldest first within a row. An item may occur more than once."""

    weights: Floats  # (entries,), reward of each event
    times: Longs  # (entries,), epoch milliseconds

    @classmethod
    def empty(cls, rows: int = 1) -> Histories:
        return cls(np.zeros(rows + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    @classmethod
    def of(cls, rows: Sequence[tuple[Sequence[int], Sequence[float], Sequence[int]]]) -> Histories:
        """Rows of (items, weights, times).

        >>> len(Histories.of([([1, 2], [1.0, 1.0], [10, 20]), ([], [], [])]))
        2
        """
        indptr = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(items) for items, _, _ in rows], out=indptr[1:])
        return cls(
            indptr,
            np.array([item for items, _, _ in rows for item in items], dtype=np.int32),
            np.array([weight for _, weights, _ in rows for weight in weights], dtype=np.float32),
            np.array([time for _, _, times in rows for time in times], dtype=np.int64),
        )

    @classmethod
    def grouped(cls, row: Longs, items: Ints, weights: Floats, times: Longs, rows: int) -> Histories:
        """Histories from events in any order: ``row[e]`` is the row of event ``e``; ties in time keep their order.

        Events that are in order already (by row, then time) are taken as they are, without a copy.
        """
        indptr = np.zeros(rows + 1, np.int64)
        kernels.count_items(row, indptr[1:])
        np.cumsum(indptr, out=indptr)
        if kernels.in_order(row, times):
            return cls(indptr, items, weights, times)
        order = np.empty(len(row), np.int64)
        kernels.order_by_row(row, times, indptr, order)
        return cls(indptr, items[order], weights[order], times[order])

    def room(self, entries: int) -> tuple[Ints, Floats, Longs]:
        """Empty items, weights and times of a result that is about as large as these histories."""
        return np.empty(entries, np.int32), np.empty(entries, np.float32), np.empty(entries, np.int64)

    def like(self, indptr: Longs, items: Ints, weights: Floats, times: Longs) -> Histories:
        """Histories made from these, of the same kind: what is made from files lies in files."""
        return Histories(indptr, items, weights, times)

    @property
    def window(self) -> int:
        """Entries of a result that may be written out of order at a time."""
        return len(self.items)

    def take(self, rows: npt.NDArray[np.integer]) -> Histories:
        """The given rows, in the given order. They are copied into memory: for many rows see ``chosen``."""
        return Histories(*self._copied(self.indptr[rows], self.lengths[rows], Histories.room))

    def chosen(self, rows: npt.NDArray[np.integer]) -> Histories:
        """The same as ``take``, of the same kind as these histories."""
        return self.like(*self._copied(self.indptr[rows], self.lengths[rows], type(self).room))

    def newest(self, length: int) -> Histories:
        """Each row cut to its last ``length`` events: the same cut in training and serving."""
        lengths = np.minimum(self.lengths, length)
        return self.like(*self._copied(self.indptr[1:] - lengths, lengths, type(self).room))

    def where(self, flags: Bools, wanted: bool = True) -> Histories:
        """The same rows with only the entries whose flag, (entries,), is ``wanted``."""
        indptr = np.empty_like(self.indptr)
        kernels.count_flags(self.indptr, flags, wanted, indptr)
        kept = self.room(int(indptr[-1]))
        kernels.copy_flagged(flags, wanted, self.items, self.weights, self.times, *kept)
        return self.like(indptr, *kept)

    def _copied(
        self, starts: Longs, lengths: Longs, room: Callable[[Histories, int], tuple[Ints, Floats, Longs]]
    ) -> tuple[Longs, Ints, Floats, Longs]:
        """Stretches of entries, one a row, behind each other."""
        indptr = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=indptr[1:])
        copied = room(self, int(indptr[-1]))
        kernels.copy_rows(starts, indptr, self.items, self.weights, self.times, *copied)
        return indptr, *copied


@dataclass(frozen=True)
class Interactions:
    """A training set: users' histories over a catalogue, with what is known of its items and users."""

    users: tuple[str, ...]
    items: Vocabulary
    histories: Histories  # one row a user
    now: int = 0  # the end of the data; decays count from here
    categories: Rows | None = None  # row = item, entries = numbers of category_names
    category_names: tuple[str, ...] = ()
    preferences: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """Stated preferences, (users, categories), NaN where nothing was stated; (0, 0) where there are none at all."""
    texts: tuple[str, ...] = ()
    """Title and description of each item; empty where the catalogue has no words at all."""


def checked(histories: Histories, items: int) -> Histories:
    """The same histories, ready for a kernel, which checks nothing.

    Rewards below zero become zero: a model of what people want has no use for evidence against. Raises ``InputError`` for
    items that a model of ``items`` items does not know, and for rewards that are not finite.

    >>> checked(Histories.of([([0, 7], [1.0, 1.0], [0, 0])]), 5)
    Traceback (most recent call last):
    tastemaker.errors.InputError: histories.items = 7: the model knows items 0 to 4; translate ids with Vocabulary.numbers
    """
    if len(histories.items) == 0:
        return histories
    for item in (int(histories.items.min()), int(histories.items.max())):
        if not 0 <= item < items:
            remedy = f"the model knows items 0 to {items - 1}; translate ids with Vocabulary.numbers"
            raise InputError("histories.items", item, remedy)
    low, high = float(histories.weights.min()), float(histories.weights.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError("histories.weights", low if not np.isfinite(low) else high, "rewards must be finite numbers")
    if low >= 0:
        return histories
    _, weights, _ = histories.room(len(histories.items))
    np.maximum(histories.weights, np.float32(0), out=weights)
    return histories.like(histories.indptr, histories.items, weights, histories.times)


def single(histories: Histories) -> Histories:
    """The same; raises ``InputError`` unless there is exactly one row."""
    if len(histories) != 1:
        raise InputError("histories", len(histories), "an explanation is about one history; pass a single row")
    return histories


def trainable(data: Interactions) -> Histories:
    """The histories of a training set; raises ``InputError`` where there is nothing to learn from."""
    histories = checked(data.histories, len(data.items))
    if not len(histories.weights) or float(histories.weights.max()) <= 0:
        raise InputError("interactions", 0, "there is no event with a reward above zero; import events before training")
    return histories


def known(histories: Histories) -> Bools:
    """Which rows say anything, (rows,): at least one event with a reward above zero."""
    found = np.empty(len(histories), np.bool_)
    kernels.find_known(histories.indptr, histories.weights, found)
    return found


def transposed(rows: Histories, items: int, *, window: int | None = None) -> Histories:
    """The same events by item: row = item, ``items`` = number of the user, in the users' order.

    A stable counting sort. Of histories in files the result lies in files, too, and is written ``window`` entries at a time
    (None: ``WINDOW``; in memory, all), each by a pass over all rows: what is touched out of order stays small, however large the
    whole. The result is the same. An item with more entries than that is written in one piece.
    """
    window = window or rows.window
    indptr = np.zeros(items + 1, np.int64)
    kernels.count_items(rows.items, indptr[1:])
    np.cumsum(indptr, out=indptr)
    places, result, low = indptr[:-1].copy(), rows.room(len(rows.items)), 0
    while low < items:
        high = max(low + 1, int(np.searchsorted(indptr, indptr[low] + window, side="right")) - 1)
        kernels.scatter_by_item(rows.indptr, rows.items, rows.weights, rows.times, low, high, places, *result)
        low = high
    return rows.like(indptr, *result)


def row_sums(rows: Rows, values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Sums of the entries' values by row, (rows,)."""
    totals = np.empty(len(rows), np.float64)
    kernels.sum_rows(rows.indptr, values, totals)
    return totals


def item_counts(rows: Rows, items: int) -> Longs:
    """How often each of ``items`` items occurs, (items,)."""
    counts = np.zeros(items, np.int64)
    kernels.count_items(rows.items, counts)
    return counts
