"""The normal equations of ``next_item``: products of decayed histories with each other and with what came next.

At every place t of a history, x is what came before, decayed: x = sum over p < t, t - p <= window, of v_p r^(t-p-1) e_p. Two
places p <= q of a history therefore meet at every t after q that still has p in its window, and what they add up to

    v_p v_q r^(q-p) * sum over t = q+1 .. p+window of  w_t r^(2 (t-q-1))

is a difference of two sums to the row's end, which one pass makes (``sums_to_the_end``). So an event costs 3 x window products
and not window^2. The rows of both matrices belong to items and are dealt out to lanes: a row is written by one thread in the
order of the events, so that the result has the same bits on any number of threads, and there is one copy of each matrix.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from tastemaker.models.interactions import Floats, Ints, Longs

Doubles = npt.NDArray[np.float64]

LANES = 64  # item i belongs to lane i mod 64, so that each thread gets popular and rare ones


@numba.njit(cache=True, nogil=True)
def sums_to_the_end(indptr: Longs, weights: Floats, ratio: float) -> Doubles:
    """For each entry q, the sum over all later entries t of its row of w_t ratio^(2 (t-q-1)): (entries,)."""
    sums = np.zeros(len(weights))
    for row in range(len(indptr) - 1):
        for entry in range(indptr[row + 1] - 2, indptr[row] - 1, -1):
            sums[entry] = weights[entry + 1] + ratio * ratio * sums[entry + 1]
    return sums


@numba.njit(cache=True, nogil=True, inline="always")
def meetings(sums: Doubles, ratio: float, last: int, reach: int, end: int) -> float:
    """The sum of ``sums_to_the_end`` cut after ``reach`` entries; ``end`` is the end of the row."""
    total = float(sums[last])
    if last + reach < end:
        total -= ratio ** (2 * reach) * sums[last + reach]
    return total


@numba.njit(cache=True, nogil=True, parallel=True)
def add_products(
    indptr: Longs,
    items: Ints,
    weights: Floats,
    item_indptr: Longs,
    item_rows: Ints,
    item_places: Longs,
    sums: Doubles,
    ratio: float,
    window: int,
    gram: Doubles,
    right: Doubles,
) -> None:
    """gram += X'X and right += X'Y, both (items, items); ``item_*``: the events by item (``recency.occurrences``)."""
    powers = ratio ** np.arange(window)
    for first in numba.prange(LANES):
        for item in range(first, len(gram), LANES):
            for event in range(item_indptr[item], item_indptr[item + 1]):
                place, row = item_places[event], item_rows[event]
                start, end = indptr[row], indptr[row + 1]
                own = float(weights[place])
                for other in range(max(start, place - window + 1), min(end, place + window)):
                    gap = abs(other - place)
                    met = meetings(sums, ratio, max(place, other), window - gap, end)
                    gram[item, items[other]] += own * weights[other] * powers[gap] * met
                for target in range(place + 1, min(end, place + window + 1)):
                    right[item, items[target]] += own * weights[target] * powers[target - place - 1]
