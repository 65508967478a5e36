"""Passes over events behind a split: the time at a place in their order, and what each user took that is new.

Sorting a hundred million times, or an (user, item) number of 8 bytes for each event, would need more memory than the events.
"""

from __future__ import annotations

import numba
import numpy as np

from tastemaker.models.interactions import Floats, Histories, Ints, Longs

DIGITS = 16  # bits of a number that are looked at in one pass


def value_at(values: Longs, place: int) -> int:
    """What would stand at ``place`` if the numbers were sorted; a selection by digits, whose passes keep half a megabyte.

    >>> value_at(np.array([30, -10, 20]), 1)
    20
    """
    known = 0  # the digits that are known, from the highest on, of the number shifted to be positive
    for shift in range(64 - DIGITS, -1, -DIGITS):
        counts = np.zeros(1 << DIGITS, np.int64)
        count_digits(values, np.uint64(known), shift, counts)
        before = np.cumsum(counts)
        digit = int(np.searchsorted(before, place, side="right"))
        place -= int(before[digit] - counts[digit])
        known = (known << DIGITS) | digit
    return known - (1 << 63)


def new_items(known: Histories, users: Longs, later: Histories, items: int, *, repeats: bool) -> tuple[Longs, Ints]:
    """The items with a reward above zero in each row of ``later``, once each, ascending; not those the user knew, unless
    ``repeats``.

    ``users``: each row's row in ``known``, -1 for nobody. Returns how many each row has, (rows,), and all of them.
    """
    counts = np.zeros(len(later), np.int64)
    bounds = (known.indptr, known.items, users, later.indptr, later.items, later.weights, repeats)
    walk(*bounds, np.full(items, -1, np.int64), counts, np.zeros(0, np.int32), False)
    found = np.empty(int(counts.sum()), np.int32)
    walk(*bounds, np.full(items, -1, np.int64), counts, found, True)
    return counts, found


@numba.njit(cache=True, nogil=True)
def count_digits(values: Longs, known: np.uint64, shift: int, counts: Longs) -> None:
    """Counts the digits at ``shift`` of the numbers whose higher digits are the known ones."""
    above, low, flip = np.uint64(shift + DIGITS), np.uint64(shift), np.uint64(1 << 63)
    for number in values:
        bits = np.uint64(number) ^ flip
        if shift + DIGITS == 64 or (bits >> above) == known:
            counts[(bits >> low) & np.uint64((1 << DIGITS) - 1)] += 1


@numba.njit(cache=True, nogil=True)
def walk(
    indptr: Longs,
    items: Ints,
    users: Longs,
    later_indptr: Longs,
    later_items: Ints,
    later_weights: Floats,
    repeats: bool,
    stamps: Longs,
    counts: Longs,
    found: Ints,
    keep: bool,
) -> None:
    """Counts, or keeps, each row's new items. stamps: (items,), the last row that had met the item."""
    place = 0
    for row in range(len(users)):
        user, begin = users[row], place
        if user >= 0 and not repeats:
            for entry in range(indptr[user], indptr[user + 1]):
                stamps[items[entry]] = row
        for entry in range(later_indptr[row], later_indptr[row + 1]):
            item = later_items[entry]
            if later_weights[entry] > 0 and stamps[item] != row:
                stamps[item] = row
                if keep:
                    found[place] = item
                place += 1
        if keep:
            found[begin:place].sort()
        else:
            counts[row] = place - begin
