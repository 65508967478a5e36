"""Passes over histories that need no memory beside their result: what a hundred million events ask of simple things.

In numpy, the row of each entry is an array of 8 bytes an entry, an order by item another one, and a mask a third. These
kernels walk the rows instead. They run on one thread, in the entries' order, so that sums have the bits of ``np.bincount``
and orders are those of a stable sort.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]
Reals = npt.NDArray[np.floating]


@numba.njit(cache=True, nogil=True)
def sum_rows(indptr: Longs, values: Reals, totals: Doubles) -> None:
    """totals[r] = sum of row r's values, in float64."""
    for row in range(len(totals)):
        total = 0.0
        for entry in range(indptr[row], indptr[row + 1]):
            total += values[entry]
        totals[row] = total


@numba.njit(cache=True, nogil=True)
def add_by_item(items: Ints, values: Reals, totals: Doubles) -> None:
    """Adds each entry's value to its item's total: ``np.bincount`` that can be continued with more entries."""
    for entry in range(len(items)):
        totals[items[entry]] += values[entry]


@numba.njit(cache=True, nogil=True)
def count_items(items: npt.NDArray[np.integer], counts: Longs) -> None:
    """Adds one to its item's count for each entry; ``np.bincount`` would make an int64 of each entry first."""
    for entry in range(len(items)):
        counts[items[entry]] += 1


@numba.njit(cache=True, nogil=True)
def find_known(indptr: Longs, weights: Floats, known: Bools) -> None:
    """known[r] = row r has a weight above zero."""
    for row in range(len(known)):
        known[row] = False
        for entry in range(indptr[row], indptr[row + 1]):
            if weights[entry] > 0:
                known[row] = True
                break


@numba.njit(cache=True, nogil=True)
def copy_rows(
    starts: Longs, into: Longs, items: Ints, weights: Floats, times: Longs, to_items: Ints, to_weights: Floats, to_times: Longs
) -> None:
    """Row r of the result, ``into[r]`` to ``into[r + 1]``, is what begins at ``starts[r]``."""
    for row in range(len(starts)):
        shift = starts[row] - into[row]
        for entry in range(into[row], into[row + 1]):
            to_items[entry] = items[entry + shift]
            to_weights[entry] = weights[entry + shift]
            to_times[entry] = times[entry + shift]


@numba.njit(cache=True, nogil=True)
def count_flags(indptr: Longs, flags: Bools, wanted: bool, into: Longs) -> None:
    """into = where each row begins when only the entries whose flag is ``wanted`` stay, (rows + 1,)."""
    into[0] = 0
    for row in range(len(indptr) - 1):
        count = 0
        for entry in range(indptr[row], indptr[row + 1]):
            if flags[entry] == wanted:
                count += 1
        into[row + 1] = into[row] + count


@numba.njit(cache=True, nogil=True)
def copy_flagged(
    flags: Bools,
    wanted: bool,
    items: Ints,
    weights: Floats,
    times: Longs,
    to_items: Ints,
    to_weights: Floats,
    to_times: Longs,
) -> None:
    """The entries whose flag is ``wanted``, in their order."""
    place = 0
    for entry in range(len(items)):
        if flags[entry] == wanted:
            to_items[place], to_weights[place], to_times[place] = items[entry], weights[entry], times[entry]
            place += 1


@numba.njit(cache=True, nogil=True)
def scatter_by_item(
    indptr: Longs,
    items: Ints,
    weights: Floats,
    times: Longs,
    low: int,
    high: int,
    places: Longs,
    to_users: Ints,
    to_weights: Floats,
    to_times: Longs,
) -> None:
    """The entries of items ``low`` to ``high``, the last left out, to where ``places`` says; places move on by one each.

    Rows are read in their order, so an item's entries stay in it: a stable counting sort.
    """
    for row in range(len(indptr) - 1):
        for entry in range(indptr[row], indptr[row + 1]):
            item = items[entry]
            if low <= item < high:
                place = places[item]
                places[item] = place + 1
                to_users[place], to_weights[place], to_times[place] = row, weights[entry], times[entry]


@numba.njit(cache=True, nogil=True)
def in_order(row: Longs, times: Longs) -> bool:
    """Whether events are sorted by row, then time."""
    for entry in range(1, len(row)):
        before, now = row[entry - 1], row[entry]
        if now < before or (now == before and times[entry] < times[entry - 1]):
            return False
    return True


@numba.njit(cache=True, nogil=True)
def order_by_row(row: Longs, times: Longs, indptr: Longs, order: Longs) -> None:
    """order = events by row, then time, ties as they came; a row that already is in order is not sorted again."""
    places = indptr[:-1].copy()
    for entry in range(len(row)):
        order[places[row[entry]]] = entry
        places[row[entry]] += 1
    for number in range(len(indptr) - 1):
        part = order[indptr[number] : indptr[number + 1]]
        for place in range(1, len(part)):
            if times[part[place]] < times[part[place - 1]]:
                part[:] = part[np.argsort(times[part], kind="mergesort")]
                break
