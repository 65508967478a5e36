"""The compiled half of the selection: scans of scores into heaps of the best.

``scan_row`` reads scores that lie in memory. ``scan_piece`` makes them itself, a register tile at a time (``tiles``), and
looks only at tiles that hold a score no worse than the row's worst so far. It meets long vectors first and leaves a row
when no vector left is long enough: an inner product is at most the product of the lengths (Teflioudi et al. 2015, LEMP).
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from tastemaker.models.heaps import found_in, push, unheap, worse
from tastemaker.models.interactions import Bools, Floats, Ints, Longs
from tastemaker.models.tiles import ROWS, WIDTH, lowest_bit, multiply_above

Doubles = npt.NDArray[np.float64]

GROUP = 64  # scores that are compared in one vector loop before any is looked at
TILE_BYTES = 393_216  # of panels that a core works on at a time; they stay in its second cache
CHECKED = 4  # panels between two looks at the lengths


@numba.njit(cache=True, nogil=True)
def scan_row(
    line: Floats,
    floor: np.float32,
    allowed: Bools,
    excluded: Ints,
    start: int,
    stop: int,
    scores: Floats,
    items: Ints,
    size: int,
) -> int:
    """One row of scores. Items come in ascending order, so an equal score never beats the heap's worst.

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
            item = np.int32(place)
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
    floor: np.float32,
    allowed: Bools,
    indptr: Longs,
    excluded: Ints,
    scores: Floats,
    items: Ints,
    sizes: Longs,
) -> bool:
    """All rows of a table of scores; False if one holds NaN."""
    for at in range(len(tile)):
        size = scan_row(tile[at], floor, allowed, excluded, indptr[at], indptr[at + 1], scores[at], items[at], sizes[at])
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


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def lengths(vectors: Floats) -> Doubles:
    """Euclidean lengths of the rows, (rows,); not finite where a number of the row is not."""
    found = np.empty(len(vectors))
    for row in range(len(vectors)):
        total = 0.0
        for value in vectors[row]:
            total += np.float64(value) * np.float64(value)
        found[row] = np.sqrt(total)
    return found


@numba.njit(cache=True, nogil=True)
def pack(factors: Floats, order: Ints, first: int, last: int, panels: Floats) -> None:
    """Panels ``first`` to ``last`` of (panels, f, WIDTH): vectors in the given order as columns, then zeros."""
    for panel in range(first, last):
        for column in range(WIDTH):
            place = panel * WIDTH + column
            if place < len(order):
                vector = factors[order[place]]
                for c in range(len(vector)):
                    panels[panel, c, column] = vector[c]
            else:
                panels[panel, :, column] = 0


@numba.njit(cache=True, nogil=True)
def pack_queries(queries: Floats, first: int, last: int) -> Floats:
    """Rows ``first`` to ``last`` as columns of blocks, (blocks, f, ROWS)."""
    packed = np.zeros(((last - first + ROWS - 1) // ROWS, queries.shape[1], ROWS), np.float32)
    for row in range(first, last):
        block, column = (row - first) // ROWS, (row - first) % ROWS
        for c in range(queries.shape[1]):
            packed[block, c, column] = queries[row, c]
    return packed


@numba.njit(cache=True, nogil=True)
def out_of_reach(length: float, reach: Doubles, bars: Floats) -> bool:
    """Whether no vector of this length can bring any of the rows above its bar."""
    close = 0
    for row in range(ROWS):
        close += not (length * reach[row] < bars[row])
    return close == 0


@numba.njit(cache=True, nogil=True)
def take_in(
    line: Floats,
    mask: int,
    order: Ints,
    first: int,
    floor: np.float32,
    excluded: Ints,
    start: int,
    stop: int,
    scores: Floats,
    items: Ints,
    size: int,
) -> int:
    """The marked scores of one row of a tile, in any order of items. Returns the heap's size, or -1 on NaN."""
    while mask != 0:
        column = lowest_bit(mask)
        mask &= mask - 1
        if first + column >= len(order):
            break
        score, item = line[column], order[first + column]
        if np.isnan(score):
            return -1
        if score <= floor or (size == len(scores) and not worse(scores[0], items[0], score, item)):
            continue
        if stop > start and found_in(excluded, start, stop, item):
            continue
        size = push(scores, items, size, score, item)
    return size


@numba.njit(cache=True, nogil=True)
def scan_piece(
    queries: Floats,
    reach: Doubles,
    first: int,
    last: int,
    panels: Floats,
    order: Ints,
    longest: Doubles,
    floor: np.float32,
    indptr: Longs,
    excluded: Ints,
    scores: Floats,
    items: Ints,
    sizes: Longs,
) -> bool:
    """The best of rows ``first`` to ``last``, sorted; False on NaN.

    reach: (rows,), lengths of the queries. order: items by falling length; longest: (panels,), the greatest in each.
    """
    packed = pack_queries(queries, first, last)
    blocks, f = len(packed), queries.shape[1]
    bars, spans = np.full((blocks, ROWS), np.inf, np.float32), np.zeros((blocks, ROWS))
    for row in range(first, last):
        bars[(row - first) // ROWS, (row - first) % ROWS] = floor
        spans[(row - first) // ROWS, (row - first) % ROWS] = reach[row]
    tile, masks, open_blocks = np.empty((ROWS, WIDTH), np.float32), np.zeros(ROWS, np.int64), np.ones(blocks, np.bool_)
    step = max(1, TILE_BYTES // (4 * f * WIDTH))
    for begin in range(0, len(panels), step):
        for block in range(blocks):
            for panel in range(begin, min(begin + step, len(panels))):
                if not open_blocks[block]:
                    break
                if (panel - begin) % CHECKED == 0 and out_of_reach(longest[panel], spans[block], bars[block]):
                    open_blocks[block] = False
                    break
                if not multiply_above(
                    packed[block].ctypes.data,
                    ROWS,
                    panels[panel].ctypes.data,
                    WIDTH,
                    f,
                    bars[block].ctypes.data,
                    tile.ctypes.data,
                    masks.ctypes.data,
                ):
                    continue
                for line in range(min(ROWS, last - first - block * ROWS)):
                    if masks[line] == 0:
                        continue
                    at = first + block * ROWS + line
                    start, stop, heap = indptr[at], indptr[at + 1], scores[at]
                    size = take_in(
                        tile[line], masks[line], order, panel * WIDTH, floor, excluded, start, stop, heap, items[at], sizes[at]
                    )
                    if size < 0:
                        return False
                    sizes[at] = size
                    if size == len(heap):
                        bars[block, line] = heap[0]
    for row in range(first, last):
        unheap(scores[row], items[row], sizes[row])
    return True
