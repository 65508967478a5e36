"""Heaps of the best items of a row: the root is the worst of them, ties go to the smaller item number."""

from __future__ import annotations

import numba
import numpy as np

from tastemaker.models.interactions import Floats, Ints, Longs


@numba.njit(cache=True, nogil=True, inline="always")
def worse(score: np.float32, item: np.int32, other: np.float32, other_item: np.int32) -> bool:
    return bool(score < other or (score == other and item > other_item))


@numba.njit(cache=True, nogil=True)
def sink(scores: Floats, items: Ints, start: int, size: int) -> None:
    """Restores the heap below ``start``; its root is the worst of all."""
    score, item, place = scores[start], items[start], start
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and worse(scores[child + 1], items[child + 1], scores[child], items[child]):
            child += 1
        if not worse(scores[child], items[child], score, item):
            break
        scores[place], items[place] = scores[child], items[child]
        place = child
    scores[place], items[place] = score, item


@numba.njit(cache=True, nogil=True)
def push(scores: Floats, items: Ints, size: int, score: np.float32, item: np.int32) -> int:
    """Adds to a heap with room, or takes the place of its worst. The caller knows that it is better. Returns the size."""
    if size == len(scores):
        scores[0], items[0] = score, item
        sink(scores, items, 0, size)
        return size
    place = size
    while place > 0:
        parent = (place - 1) // 2
        if not worse(score, item, scores[parent], items[parent]):
            break
        scores[place], items[place] = scores[parent], items[parent]
        place = parent
    scores[place], items[place] = score, item
    return size + 1


@numba.njit(cache=True, nogil=True)
def unheap(scores: Floats, items: Ints, size: int) -> None:
    """Sorts a heap in place, best first."""
    for end in range(size - 1, 0, -1):
        score, item = scores[0], items[0]
        scores[0], items[0] = scores[end], items[end]
        scores[end], items[end] = score, item
        sink(scores, items, 0, end)


@numba.njit(cache=True, nogil=True)
def sort_heaps(scores: Floats, items: Ints, sizes: Longs) -> None:
    for row in range(len(sizes)):
        unheap(scores[row], items[row], sizes[row])


@numba.njit(cache=True, nogil=True)
def found_in(items: Ints, start: int, stop: int, item: np.int32) -> bool:
    while start < stop:
        middle = (start + stop) // 2
        if items[middle] < item:
            start = middle + 1
        elif items[middle] > item:
            stop = middle
        else:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def keep_best(total: Floats, touched: Ints, used: int, values: Floats, targets: Ints) -> int:
    """The largest totals above zero of the places that were touched, best first; all totals are zeros afterwards.

    total: (items,), touched: (items,), of which the first ``used`` count. Returns how many there are.
    """
    size = 0
    for place in range(used):
        target = touched[place]
        score, total[target] = total[target], 0
        if not score > 0:
            continue
        if size < len(values) or score > values[0] or (score == values[0] and target < targets[0]):
            size = push(values, targets, size, score, target)
    unheap(values, targets, size)
    return size
