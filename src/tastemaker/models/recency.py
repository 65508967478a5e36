"""How much an entry of a history weighs by its place from the end: what sequential models read instead of the reward alone.

Only entries with a reward above zero take a place: what nobody wanted does not push what somebody wanted out of the window.
"""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np

from tastemaker.models.interactions import Floats, Histories, Longs, transposed


def decayed(histories: Histories, half_life: float | None, window: int) -> Histories:
    """The same entries with weights that halve every ``half_life`` places from the end (None: never).

    The last entry keeps its weight; entries before the last ``window`` weigh nothing.

    >>> decayed(Histories.of([([5, 3, 8, 5], [1.0, 1.0, 0.0, 2.0], [0, 1, 2, 3])]), 1.0, 2).weights
    array([0. , 0.5, 0. , 2. ], dtype=float32)
    """
    weights = np.empty_like(histories.weights)
    decay_rows(histories.indptr, histories.weights, ratio(half_life), window, weights)
    return Histories(histories.indptr, histories.items, weights, histories.times)


def ratio(half_life: float | None) -> float:
    """What a weight is multiplied by from one place to the one before."""
    return 1.0 if half_life is None else float(2.0 ** (-1.0 / half_life))


def wanted(histories: Histories) -> Histories:
    """The entries with a reward above zero."""
    flags = histories.weights > 0
    return histories if flags.all() else histories.where(flags)


def occurrences(histories: Histories, n_items: int) -> Histories:
    """The events by item: row = item, ``items`` = number of the row they come from, ``times`` = their place among all entries."""
    places = np.arange(len(histories.items), dtype=np.int64)
    return transposed(replace(histories, times=places), n_items)


@numba.njit(cache=True, nogil=True)
def decay_rows(indptr: Longs, weights: Floats, ratio: float, window: int, decayed: Floats) -> None:
    """See ``decayed``."""
    for row in range(len(indptr) - 1):
        factor, left = 1.0, window
        for entry in range(indptr[row + 1] - 1, indptr[row] - 1, -1):
            if left == 0 or not weights[entry] > 0:
                decayed[entry] = 0
                continue
            decayed[entry] = factor * weights[entry]
            factor *= ratio
            left -= 1
