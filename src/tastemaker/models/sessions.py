"""Sessions: histories cut where people paused, kept without a word on whose they are, and found by the items in them.

Numbers of sessions ascend with the time of their last event, so a larger number is a newer session. Neither users nor times
are kept: only which items followed each other.
"""

from __future__ import annotations

import numba
import numpy as np

from tastemaker.models.interactions import Bools, Histories, Ints, Longs, Rows, transposed

HOUR = 3_600_000  # milliseconds


def cut(histories: Histories, gap_hours: float | None, length: int, newest: int) -> Histories:
    """The last ``newest`` sessions of at least two events, oldest first; ties in time by the order of the rows.

    A session ends where the next event is more than ``gap_hours`` away (None: nowhere). What is longer than ``length`` events
    is cut into pieces of that length, counted from its end.
    """
    gap = np.iinfo(np.int64).max if gap_hours is None else int(gap_hours * HOUR)
    first = np.zeros(len(histories.items), np.bool_)
    mark_first(histories.indptr, histories.times, gap, length, first)
    starts = np.append(np.flatnonzero(first), len(histories.items))
    pieces = Histories(starts, histories.items, histories.weights, histories.times)
    useful = np.flatnonzero(pieces.lengths >= 2)
    ends = histories.times[starts[useful + 1] - 1]
    return pieces.take(useful[np.argsort(ends, kind="stable")][-newest:])


def posted(sessions: Histories, n_items: int, recent: int) -> Rows:
    """For each item the ``recent`` newest sessions that it occurs in, ascending: row = item, entries = numbers of sessions."""
    by_item = transposed(sessions, n_items)
    indptr = np.zeros(n_items + 1, np.int64)
    postings = np.empty(len(by_item.items), np.int32)
    count = post(by_item.indptr, by_item.items, recent, indptr, postings)
    return Rows(indptr, postings[:count].copy())


@numba.njit(cache=True, nogil=True)
def mark_first(indptr: Longs, times: Longs, gap: int, length: int, first: Bools) -> None:
    """first[e] = a session begins with entry e."""
    for row in range(len(indptr) - 1):
        count = 0
        for entry in range(indptr[row + 1] - 1, indptr[row] - 1, -1):
            count += 1
            if entry == indptr[row] or count == length or times[entry] - times[entry - 1] > gap:
                first[entry], count = True, 0


@numba.njit(cache=True, nogil=True)
def post(by_item: Longs, sessions: Ints, recent: int, indptr: Longs, postings: Ints) -> int:
    """Each item's last ``recent`` distinct sessions of those listed by item in ascending order. Returns how many in all."""
    count = 0
    for item in range(len(by_item) - 1):
        low, left = by_item[item + 1], recent
        while low > by_item[item] and left > 0:  # back to where the recent ones begin
            low -= 1
            if low == by_item[item] or sessions[low - 1] != sessions[low]:
                left -= 1
        for place in range(low, by_item[item + 1]):
            if place == low or sessions[place] != sessions[place - 1]:
                postings[count] = sessions[place]
                count += 1
        indptr[item + 1] = count
    return count
