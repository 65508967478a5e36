"""The best k of many scores: the one selection that all models share.

Scores are made and looked at a register tile at a time (``tiles``, ``topk_kernels``), so that the score matrix never exists
and most scores fall to one comparison with the worst of their row's best k. Masks (own history) are looked at only for the
few scores that pass. Long item vectors come first, and a row ends when those that are left are too short to matter. The
answer is exact, and ties go to the smaller item number.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from tastemaker.errors import InputError
from tastemaker.models import Recommendations
from tastemaker.models.heaps import push as push
from tastemaker.models.heaps import sort_heaps
from tastemaker.models.heaps import unheap as unheap
from tastemaker.models.interactions import Bools, Floats, Ints, Rows
from tastemaker.models.tiles import ROWS, WIDTH
from tastemaker.models.topk_kernels import inner_products, lengths, pack, scan_piece, scan_rows
from tastemaker.models.workers import share

PIECE_ROWS = 16 * ROWS  # rows that one thread answers at a time
PIECE_PANELS = 64
FEW = 4  # rows up to which no thread is started: waking it costs more than a request's whole selection
UNPACKED = 16  # rows up to which a catalogue is not worth being laid out anew

PARALLEL = threading.Lock()
"""Held around every parallel kernel of numba's: not all of its thread pools allow two callers at once."""


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
    queries, factors = np.ascontiguousarray(queries, np.float32), np.ascontiguousarray(factors, np.float32)
    if len(queries) <= UNPACKED or factors.shape[1] == 0:
        scores = np.empty((len(queries), len(factors)), np.float32)
        inner_products(queries, factors, scores)
        heaps.scan(scores)
        return heaps.best()
    heaps.scan_products(queries, factors)
    return heaps.padded()


def select(
    scores: Floats, k: int, exclude: Rows | None = None, allowed: Bools | None = None, floor: float = -np.inf
) -> Recommendations:
    """The ``k`` largest of dense scores, (rows, items); the other arguments are those of ``top_scores``.

    >>> select(np.array([[1, 3, 3, 0]], np.float32), 3).items
    array([[1, 2, 0]], dtype=int32)
    """
    heaps = Heaps(scores.shape[0], scores.shape[1], k, exclude, allowed, floor)
    heaps.scan(np.ascontiguousarray(scores, np.float32))
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

    def scan(self, scores: Floats) -> None:
        """Takes in scores of all rows and items."""

        def work(first: int, last: int) -> None:
            part = slice(first, last)
            require_numbers(
                scan_rows(
                    scores[part],
                    self.floor,
                    self.allowed,
                    self.indptr[first : last + 1],
                    self.excluded,
                    self.scores[part],
                    self.items[part],
                    self.sizes[part],
                )
            )

        pieces(work, len(scores), PIECE_ROWS)

    def scan_products(self, queries: Floats, factors: Floats) -> None:
        """Takes in the inner products of all rows and items, and sorts."""
        reach, spans = lengths(queries), lengths(factors)
        require_numbers(bool(np.isfinite(reach).all() and np.isfinite(spans).all()))
        spans *= 1 + 1e-6 * (8 + factors.shape[1])  # sums in float32 may come out a little longer
        order = np.argsort(-spans, kind="stable").astype(np.int32)
        if len(self.allowed):
            order = order[self.allowed[order]]
        longest = spans[order[::WIDTH]]
        panels = np.empty((len(longest), factors.shape[1], WIDTH), np.float32)
        pieces(lambda first, last: pack(factors, order, first, last, panels), len(panels), PIECE_PANELS)

        def work(first: int, last: int) -> None:
            own = (self.indptr, self.excluded, self.scores, self.items, self.sizes)
            require_numbers(scan_piece(queries, reach, first, last, panels, order, longest, self.floor, *own))

        pieces(work, len(queries), min(PIECE_ROWS, max(ROWS, len(queries) // 8)))

    def best(self) -> Recommendations:
        """Best first, padded to k."""
        sort_heaps(self.scores, self.items, self.sizes)
        return self.padded()

    def padded(self) -> Recommendations:
        """What is sorted already, with places up to k."""
        missing = self.k - self.items.shape[1]
        if missing <= 0:
            return Recommendations(self.items, self.scores)
        return Recommendations(
            np.pad(self.items, ((0, 0), (0, missing)), constant_values=-1),
            np.pad(self.scores, ((0, 0), (0, missing)), constant_values=-np.inf),
        )


def pieces(work: Callable[[int, int], None], rows: int, size: int) -> None:
    """``work(first, last)`` over all rows, ``size`` at a time, on all cores."""
    if rows <= min(FEW, size):
        work(0, rows)
    else:
        share(lambda piece: work(piece * size, min(rows, (piece + 1) * size)), -(-rows // size))


def require_numbers(clean: bool) -> None:
    if not clean:
        raise InputError("scores", float("nan"), "a score is not a number; look for NaN or infinity in model or history")


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
