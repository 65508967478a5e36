"""The best k of many scores: the one selection that all models share.

Scores are made a tile at a time (1024 rows x 2048 items, by BLAS) and scanned while the tile is still in cache, so the full
score matrix never exists. Each row keeps a heap of its best k; most scores fall to one comparison with the heap's worst,
a group of scores at once. Masks (own history, inactive items) are looked at only for the few scores that pass. The answer
is exact, and ties go to the smaller item number.

The scan is left to one thread on purpose: it is a tenth of the work, and a second pool of threads, still spinning when BLAS
wants the cores back, made the whole up to ten times slower.
"""

from __future__ import annotations

import threading

import numba
import numpy as np

from tastemaker.errors import InputError
from tastemaker.models import Recommendations
from tastemaker.models.interactions import Bools, Floats, Ints, Longs, Rows

TILE_ROWS = 1024
TILE_ITEMS = 2048
GROUP = 64  # scores that are compared in one vector loop before any is looked at
FEW = 4  # rows up to which BLAS is left out: waking its threads costs more than a request's whole selection

PARALLEL = threading.Lock()
"""Held around every parallel kernel: not all of numba's thread pools allow two callers at once."""


def top_scores(
    queries: Floats,
    factors: Floats,
    k: int,
    exclude: Rows | None = None,
    allowed: Bools | None = None,
    floor: float = -np.inf,
) -> Recommendations:
    """The ``k`` items with the largest inner products, for each query.

    ``queries``: (rows, f). ``factors``: (items, f). ``exclude``: a row of items per query that it may not get. ``allowed``:
    (items,), False where nobody may get the item. Only scores above ``floor`` count. Raises ``InputError`` on NaN.

    >>> top_scores(np.eye(2, dtype=np.float32), np.array([[1, 0], [1, 3]], np.float32), 3, floor=0).items
    array([[ 0,  1, -1],
           [ 1, -1, -1]], dtype=int32)
    """
    heaps = Heaps(len(queries), len(factors), k, exclude, allowed, floor)
    few = len(queries) <= FEW
    width = len(factors) if few else min(TILE_ITEMS, len(factors))
    buffer = np.empty(min(TILE_ROWS, len(queries)) * width, np.float32)
    for row in range(0, len(queries), TILE_ROWS):
        block = queries[row : row + TILE_ROWS]
        for item in range(0, len(factors), max(1, width)):
            part = factors[item : item + width]
            scores = buffer[: len(block) * len(part)].reshape(len(block), len(part))  # contiguous also at the edges
            if few:
                inner_products(block, part, scores)
            else:
                np.matmul(block, part.T, out=scores)
            heaps.scan(scores, row, item)
    return heaps.best()


def select(
    scores: Floats, k: int, exclude: Rows | None = None, allowed: Bools | None = None, floor: float = -np.inf
) -> Recommendations:
    """The ``k`` largest of dense scores, (rows, items); the other arguments are those of ``top_scores``.

    >>> select(np.array([[1, 3, 3, 0]], np.float32), 3).items
    array([[1, 2, 0]], dtype=int32)
    """
    heaps = Heaps(scores.shape[0], scores.shape[1], k, exclude, allowed, floor)
    heaps.scan(scores, 0, 0)
    return heaps.best()


class Heaps:
    """The best k of each row so far, and what may not be among them."""

    def __init__(self, rows: int, items: int, k: int, exclude: Rows | None, allowed: Bools | None, floor: float) -> None:
        if k < 1:
            raise InputError("k", k, "ask for at least one item")
        if exclude is not None:
            require_rows(exclude, rows)
        if allowed is not None and allowed.shape != (items,):
            raise InputError("allowed", allowed.shape, f"give one flag for each of the {items} items")
        width = max(1, min(k, items))  # a heap needs no more places than there are items
        self.k, self.floor = k, np.float32(floor)
        self.scores = np.full((rows, width), -np.inf, np.float32)
        self.items = np.full((rows, width), -1, np.int32)
        self.sizes = np.zeros(rows, np.int64)
        self.allowed = np.ones(0, np.bool_) if allowed is None else allowed
        self.indptr = np.zeros(rows + 1, np.int64) if exclude is None else exclude.indptr
        self.excluded = np.zeros(0, np.int32) if exclude is None else sorted_rows(exclude)

    def scan(self, scores: Floats, row: int, item: int) -> None:
        """Takes in a tile of scores whose first row and item have these numbers."""
        clean = scan_rows(
            scores, row, item, self.floor, self.allowed, self.indptr, self.excluded, self.scores, self.items, self.sizes
        )
        if not clean:
            raise InputError("scores", float("nan"), "a score is not a number; look for NaN or infinity in model or history")

    def best(self) -> Recommendations:
        """Best first, padded to k."""
        sort_heaps(self.scores, self.items, self.sizes)
        missing = self.k - self.items.shape[1]
        if missing <= 0:
            return Recommendations(self.items, self.scores)
        return Recommendations(
            np.pad(self.items, ((0, 0), (0, missing)), constant_values=-1),
            np.pad(self.scores, ((0, 0), (0, missing)), constant_values=-np.inf),
        )


def require_rows(exclude: Rows, rows: int) -> None:
    if len(exclude) != rows:
        raise InputError("exclude", len(exclude), f"give one row of items for each of the {rows} rows")


def sorted_rows(rows: Rows) -> Ints:
    """The entries, ascending within each row, so that an item is found by halving."""
    if len(rows) == 1:
        return np.sort(rows.items)
    keys = (np.repeat(np.arange(len(rows)), rows.lengths) << 32) | rows.items
    keys.sort()
    return (keys & 0xFFFFFFFF).astype(np.int32)


def of_length_one(factors: Floats) -> Floats:
    """The rows divided by their lengths, so that inner products are cosines; rows of zeros stay."""
    lengths = np.sqrt((factors * factors).sum(axis=1, keepdims=True))
    return np.ascontiguousarray(factors / np.where(lengths > 0, lengths, np.float32(1)), np.float32)


def without(found: Recommendations, rows: Bools) -> Recommendations:
    """The same, with nothing for the marked rows: the model knows nothing about them."""
    if rows.any():
        found.items[rows] = -1
        found.scores[rows] = -np.inf
    return found


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
def scan_row(
    line: Floats,
    first: int,
    floor: np.float32,
    allowed: Bools,
    excluded: Ints,
    start: int,
    stop: int,
    scores: Floats,
    items: Ints,
    size: int,
) -> int:
    """One row's part of a tile. Items come in ascending order, so an equal score never beats the heap's worst.

    Returns the heap's size, or -1 on NaN, which passes the comparison on purpose: it is written as "not below".
    """
    full = len(scores)
    bar = scores[0] if size == full else floor
    for group in range(0, len(line), GROUP):
        end = min(group + GROUP, len(line))
        passing = 0
        for place in range(group, end):  # counts instead of leaving early: a loop without exits becomes vector code
            passing += not (line[place] <= bar)
        if passing == 0:
            continue
        for place in range(group, end):
            score = line[place]
            if score <= bar:
                continue
            if np.isnan(score):
                return -1
            item = np.int32(first + place)
            if len(allowed) > 0 and not allowed[item]:
                continue
            if stop > start and found_in(excluded, start, stop, item):
                continue
            size = push(scores, items, size, score, item)
            if size == full:
                bar = scores[0]
    return size


@numba.njit(cache=True, nogil=True)
def scan_rows(
    tile: Floats,
    row: int,
    item: int,
    floor: np.float32,
    allowed: Bools,
    indptr: Longs,
    excluded: Ints,
    scores: Floats,
    items: Ints,
    sizes: Longs,
) -> bool:
    """All rows of a tile; False if one holds NaN."""
    for line in range(len(tile)):
        at = row + line
        size = scan_row(tile[line], item, floor, allowed, excluded, indptr[at], indptr[at + 1], scores[at], items[at], sizes[at])
        if size < 0:
            return False
        sizes[at] = size
    return True


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def inner_products(queries: Floats, factors: Floats, scores: Floats) -> None:
    """``queries @ factors.T`` by one thread, for a few rows: 0.1 ms for 20,000 items at 64 factors."""
    for row in range(len(queries)):
        for item in range(len(factors)):
            total = np.float32(0)
            for factor in range(factors.shape[1]):
                total += queries[row, factor] * factors[item, factor]
            scores[row, item] = total
