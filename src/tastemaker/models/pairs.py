"""Pairs: a history with each of its items once, the weights of its events summed.

A dot product of two items does not mind an item that occurs twice in a history; a length, a power or a saturation of the
weight does. Models that need one of these read pairs instead of events.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from tastemaker.models.interactions import Floats, Histories, Ints, Longs


def paired(rows: Histories) -> Histories:
    """The same rows, each item once and in ascending order, without those that weigh nothing. Times are zeros.

    >>> found = paired(Histories.of([([2, 0, 2, 1], [1.0, 1.0, 0.5, 0.0], [1, 2, 3, 4])]))
    >>> found.items, found.weights
    (array([0, 2], dtype=int32), array([1. , 1.5], dtype=float32))
    """
    indptr = np.zeros(len(rows) + 1, np.int64)
    items, weights = np.empty(len(rows.items), np.int32), np.empty(len(rows.items), np.float32)
    merge_rows(rows.indptr, rows.items, rows.weights, indptr, items, weights)
    count = int(indptr[-1])
    return Histories(indptr, items[:count].copy(), weights[:count].copy(), np.zeros(count, np.int64))


def powered(rows: Histories, power: float) -> Histories:
    """The same rows with each weight, all of them above zero, raised to a power."""
    return rows if power == 1 else with_weights(rows, (rows.weights**power).astype(np.float32))


def with_weights(rows: Histories, weights: Floats) -> Histories:
    """The same entries with other weights, (entries,)."""
    return Histories(rows.indptr, rows.items, weights, rows.times)


def lengths_squared(rows: Histories, others: int) -> npt.NDArray[np.float64]:
    """Sums of squared weights by item, (others,), of pairs."""
    return np.bincount(rows.items, weights=rows.weights.astype(np.float64) ** 2, minlength=others).astype(np.float64)


@numba.njit(cache=True, nogil=True)
def merge_rows(indptr: Longs, items: Ints, weights: Floats, to_indptr: Longs, to_items: Ints, to_weights: Floats) -> None:
    """Writes each row's distinct items, ascending, with the sums of their weights; sums run in the entries' order."""
    place = 0
    for row in range(len(indptr) - 1):
        start, stop = indptr[row], indptr[row + 1]
        order = np.argsort(items[start:stop], kind="mergesort")
        entry = 0
        while entry < len(order):
            item, total = items[start + order[entry]], 0.0
            while entry < len(order) and items[start + order[entry]] == item:
                total += weights[start + order[entry]]
                entry += 1
            if total > 0:
                to_items[place], to_weights[place] = item, total
                place += 1
        to_indptr[row + 1] = place
