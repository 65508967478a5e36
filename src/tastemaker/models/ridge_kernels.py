"""The arithmetic of ``ridge``: for each target the nearest items, and the ridge regression of the target on them.

No Gramian is made. The regression's matrix is a product of the neighbours' columns, which are short, so conjugate gradients
multiply by these: with a ridge many times the diagonal, ten steps are enough. Targets are dealt out to a fixed number of
lanes and share nothing: the result has the same bits on any number of threads.
"""

from __future__ import annotations

import numba
import numpy as np

from tastemaker.models.heaps import keep_best
from tastemaker.models.interactions import Floats, Ints, Longs
from tastemaker.models.item_knn import walk

LANES = 64  # target j belongs to lane j mod 64, so that each thread gets popular and rare ones
STEPS = 100
TOLERANCE = 1e-5  # of the residual, relative to the right side


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def regress(
    starts: Longs, slots: Ints, entries: Floats, ridge: np.float32, right: Floats, x: Floats, scratch: Floats, sums: Floats
) -> None:
    """Solves (A A' + ridge) x = right by preconditioned conjugate gradients, from zero, into ``x``.

    Row a of A has ``entries`` at columns ``slots``, from ``starts[a]`` to ``starts[a + 1]``. scratch: (4, n); sums: as many as
    A has columns.
    """
    n = len(right)
    residual, direction, product, diagonal = scratch[0], scratch[1], scratch[2], scratch[3]
    norm, goal = np.float32(0), np.float32(0)
    for a in range(n):
        own = ridge
        for entry in range(starts[a], starts[a + 1]):
            own += entries[entry] * entries[entry]
        diagonal[a], residual[a], x[a] = own, right[a], 0
        direction[a] = right[a] / own
        norm += right[a] * direction[a]
    goal = norm * np.float32(TOLERANCE * TOLERANCE)
    for _ in range(STEPS):
        if not norm > goal:
            break
        sums[:] = 0
        for a in range(n):
            for entry in range(starts[a], starts[a + 1]):
                sums[slots[entry]] += entries[entry] * direction[a]
        curve = np.float32(0)
        for a in range(n):
            total = ridge * direction[a]
            for entry in range(starts[a], starts[a + 1]):
                total += entries[entry] * sums[slots[entry]]
            product[a] = total
            curve += total * direction[a]
        length = norm / curve
        before, norm = norm, np.float32(0)
        for a in range(n):
            x[a] += length * direction[a]
            residual[a] -= length * product[a]
            norm += residual[a] * residual[a] / diagonal[a]
        turn = norm / before
        for a in range(n):
            direction[a] = residual[a] / diagonal[a] + turn * direction[a]


@numba.njit(cache=True, nogil=True)
def gather(
    items: Ints, column_indptr: Longs, column_users: Ints, column_values: Floats, slot_of: Ints, starts: Longs
) -> tuple[Ints, Floats, int]:
    """The columns of some items over the users that occur in them: (slots, entries, users), with ``starts`` filled.

    slot_of: (users,), -1 before and after.
    """
    count = 0
    for a in range(len(items)):
        starts[a] = count
        count += column_indptr[items[a] + 1] - column_indptr[items[a]]
    starts[len(items)] = count
    slots, entries = np.empty(count, np.int32), np.empty(count, np.float32)
    used, place = 0, 0
    for a in range(len(items)):
        for event in range(column_indptr[items[a]], column_indptr[items[a] + 1]):
            user = column_users[event]
            if slot_of[user] < 0:
                slot_of[user] = used
                used += 1
            slots[place], entries[place] = slot_of[user], column_values[event]
            place += 1
    for a in range(len(items)):
        for event in range(column_indptr[items[a]], column_indptr[items[a] + 1]):
            slot_of[column_users[event]] = -1
    return slots, entries, used


@numba.njit(cache=True, nogil=True, parallel=True)
def find_weights(
    begin: int,
    column_indptr: Longs,
    column_users: Ints,
    column_values: Floats,
    row_indptr: Longs,
    row_items: Ints,
    row_values: Floats,
    ridge: np.float32,
    items: Ints,
    weights: Floats,
) -> None:
    """The regression of targets ``begin`` and following on their neighbours; items and weights: (targets, K), padded with -1."""
    for first in numba.prange(LANES):
        total = np.zeros(len(column_indptr) - 1, np.float32)
        touched = np.empty(len(column_indptr) - 1, np.int32)
        slot_of = np.full(len(row_indptr) - 1, -1, np.int32)
        near, ones = np.empty(items.shape[1], np.float32), np.ones(len(row_indptr) - 1, np.float32)
        scratch = np.empty((4, items.shape[1]), np.float32)
        starts = np.empty(items.shape[1] + 1, np.int64)
        for line in range(first, len(items), LANES):
            lists = (column_indptr, column_users, column_values, row_indptr, row_items, row_values)
            used = walk(begin + line, *lists, ones, np.float32(1), total, touched)
            total[begin + line] = 0
            size = keep_best(total, touched, used, near, items[line])
            slots, entries, users = gather(items[line, :size], column_indptr, column_users, column_values, slot_of, starts)
            sums = np.empty(users, np.float32)
            regress(starts, slots, entries, ridge, near[:size], weights[line, :size], scratch[:, :size], sums)
