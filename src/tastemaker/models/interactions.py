"""What models read: histories as compressed rows over a vocabulary of items.

Outside, items are strings; inside a model they are dense int32. A ``Vocabulary`` holds the two together and travels in
the model's artifact, so that a model is never asked about an item by another model's number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tastemaker.errors import InputError

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


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
        """Histories from events in any order: ``row[e]`` is the row of event ``e``; ties in time keep their order."""
        order = np.lexsort((times, row))
        indptr = np.zeros(rows + 1, np.int64)
        np.cumsum(np.bincount(row, minlength=rows), out=indptr[1:])
        return cls(indptr, items[order], weights[order], times[order])

    def take(self, rows: npt.NDArray[np.integer]) -> Histories:
        """The given rows, in the given order."""
        lengths = self.lengths[rows]
        indptr = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=indptr[1:])
        entries = np.arange(indptr[-1]) + np.repeat(self.indptr[:-1][rows] - indptr[:-1], lengths)
        return Histories(indptr, self.items[entries], self.weights[entries], self.times[entries])

    def newest(self, length: int) -> Histories:
        """Each row cut to its last ``length`` events: the same cut in training and serving."""
        position = np.arange(len(self.items)) - np.repeat(self.indptr[1:], self.lengths)
        keep = position >= -length
        indptr = np.zeros_like(self.indptr)
        np.cumsum(np.minimum(self.lengths, length), out=indptr[1:])
        return Histories(indptr, self.items[keep], self.weights[keep], self.times[keep])


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
    return Histories(histories.indptr, histories.items, np.maximum(histories.weights, np.float32(0)), histories.times)


def single(histories: Histories) -> Histories:
    """The same; raises ``InputError`` unless there is exactly one row."""
    if len(histories) != 1:
        raise InputError("histories", len(histories), "an explanation is about one history; pass a single row")
    return histories


def trainable(data: Interactions) -> Histories:
    """The histories of a training set; raises ``InputError`` where there is nothing to learn from."""
    histories = checked(data.histories, len(data.items))
    if not (histories.weights > 0).any():
        raise InputError("interactions", 0, "there is no event with a reward above zero; import events before training")
    return histories


def known(histories: Histories) -> Bools:
    """Which rows say anything, (rows,): at least one event with a reward above zero."""
    totals = np.zeros(len(histories.items) + 1, np.int64)
    np.cumsum(histories.weights > 0, out=totals[1:])
    return totals[histories.indptr[1:]] > totals[histories.indptr[:-1]]


def transposed(rows: Histories, items: int) -> Histories:
    """The same events by item: row = item, ``items`` = number of the user, in the users' order."""
    order = np.argsort(rows.items, kind="stable")
    indptr = np.zeros(items + 1, np.int64)
    np.cumsum(np.bincount(rows.items, minlength=items), out=indptr[1:])
    users = np.repeat(np.arange(len(rows), dtype=np.int32), rows.lengths)
    return Histories(indptr, users[order], rows.weights[order], rows.times[order])


def row_sums(rows: Rows, values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Sums of the entries' values by row, (rows,)."""
    row = np.repeat(np.arange(len(rows)), rows.lengths)
    return np.bincount(row, weights=values, minlength=len(rows)).astype(np.float64)
