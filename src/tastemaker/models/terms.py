"""Likeness by shared terms: items x terms, sparse, and its product with itself, which is never multiplied out.

A history's profile is the weighted sum of its items' terms; an inverted index (term -> items) turns it into scores in as many
steps as there are pairs of a term in the profile and an item that has it. Beside ``tables.py``, of which this is one more kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np

from tastemaker.models.artifact import Array
from tastemaker.models.interactions import Floats, Histories, Ints, Longs, Rows
from tastemaker.models.topk import FEW, PARALLEL

LANES = 16  # row r belongs to lane r mod 16, which holds one dense profile: some 10 microseconds a row to pass over


@dataclass(frozen=True)
class Terms:
    """T[i, j] = (terms of i . terms of j) boost[j]."""

    lists: Rows  # row = item, entries = its terms
    values: Floats  # of the lists' entries, above zero
    boosts: Floats  # (items,)
    count: int  # terms there are

    @cached_property
    def index(self) -> tuple[Longs, Ints, Floats]:
        """By term: where its items begin, the items ascending, and values times boosts."""
        indptr = np.zeros(self.count + 1, np.int64)
        np.cumsum(np.bincount(self.lists.items, minlength=self.count), out=indptr[1:])
        items, values = np.empty(len(self.values), np.int32), np.empty(len(self.values), np.float32)
        invert(self.lists.indptr, self.lists.items, self.values, self.boosts, indptr[:-1].copy(), items, values)
        return indptr, items, values

    def add_to(self, scores: Floats, histories: Histories) -> None:
        self.add_profiles(scores, histories, np.zeros((len(histories), 0), np.float32))

    def add_profiles(self, scores: Floats, histories: Histories, stated: Floats) -> None:
        """The same for profiles to which ``stated``, (rows, the first so many terms), is added."""
        asked = (histories.indptr, histories.items, histories.weights)
        arguments = (*asked, stated, self.lists.indptr, self.lists.items, self.values, *self.index, scores)
        if len(histories) <= FEW:
            add_profile_rows(*arguments)
        else:
            with PARALLEL:
                add_profile_rows_together(*arguments)

    def parts(self, entries: Ints, weights: Floats, wanted: Ints) -> Floats:
        found = np.zeros((len(wanted), len(entries)), np.float32)
        products(entries, weights, wanted, self.lists.indptr, self.lists.items, self.values, self.boosts, self.count, found)
        return found

    def rows(self, items: Ints) -> Floats:
        found = np.zeros((len(items), len(self.lists)), np.float32)
        ones, never = np.ones(len(items), np.float32), np.zeros(len(items), np.int64)
        self.add_to(found, Histories(np.arange(len(items) + 1, dtype=np.int64), items, ones, never))
        return found

    @property
    def squares(self) -> Floats:
        """Each item's likeness to itself, boosts left out: (items,)."""
        row = np.repeat(np.arange(len(self.lists)), self.lists.lengths)
        return np.bincount(row, weights=self.values**2, minlength=len(self.lists)).astype(np.float32)

    def arrays(self) -> dict[str, Array]:
        numbers: dict[str, Array] = {"indptr": self.lists.indptr, "terms": self.lists.items}
        return {**numbers, "values": self.values, "boosts": self.boosts, "count": np.array(self.count)}

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> Terms:
        rows = Rows(arrays["indptr"], arrays["terms"])
        return cls(rows, arrays["values"], arrays["boosts"], int(arrays["count"]))


@numba.njit(cache=True, nogil=True)
def invert(indptr: Longs, terms: Ints, values: Floats, boosts: Floats, places: Longs, to_items: Ints, to_values: Floats) -> None:
    """Writes the items of each term from its place on, ascending."""
    for item in range(len(indptr) - 1):
        for entry in range(indptr[item], indptr[item + 1]):
            place = places[terms[entry]]
            places[terms[entry]] = place + 1
            to_items[place], to_values[place] = item, values[entry] * boosts[item]


@numba.njit(cache=True, nogil=True)
def add_lane(
    lane: int,
    indptr: Longs,
    items: Ints,
    weights: Floats,
    stated: Floats,
    starts: Longs,
    terms: Ints,
    values: Floats,
    term_starts: Longs,
    term_items: Ints,
    term_values: Floats,
    scores: Floats,
) -> None:
    """Every ``LANES``-th row of scores from ``lane`` on."""
    profile = np.zeros(len(term_starts) - 1, np.float32)
    for row in range(lane, len(scores), LANES):
        for term in range(stated.shape[1]):
            profile[term] += stated[row, term]
        for entry in range(indptr[row], indptr[row + 1]):
            weight, item = weights[entry], items[entry]
            for place in range(starts[item], starts[item + 1]):
                profile[terms[place]] += weight * values[place]
        for term in range(len(profile)):
            share = profile[term]
            if share != 0:
                profile[term] = 0
                for place in range(term_starts[term], term_starts[term + 1]):
                    scores[row, term_items[place]] += share * term_values[place]


# One function for each way to compile: numba's cache on disk does not tell two compilations of the same function apart.


@numba.njit(cache=True, nogil=True)
def add_profile_rows(
    indptr: Longs,
    items: Ints,
    weights: Floats,
    stated: Floats,
    starts: Longs,
    terms: Ints,
    values: Floats,
    term_starts: Longs,
    term_items: Ints,
    term_values: Floats,
    scores: Floats,
) -> None:
    """Rows of scores, by one thread."""
    for lane in range(min(LANES, len(scores))):
        add_lane(lane, indptr, items, weights, stated, starts, terms, values, term_starts, term_items, term_values, scores)


@numba.njit(cache=True, nogil=True, parallel=True)
def add_profile_rows_together(
    indptr: Longs,
    items: Ints,
    weights: Floats,
    stated: Floats,
    starts: Longs,
    terms: Ints,
    values: Floats,
    term_starts: Longs,
    term_items: Ints,
    term_values: Floats,
    scores: Floats,
) -> None:
    """Rows of scores, by all threads, each in one order."""
    for lane in numba.prange(min(LANES, len(scores))):
        add_lane(lane, indptr, items, weights, stated, starts, terms, values, term_starts, term_items, term_values, scores)


@numba.njit(cache=True, nogil=True)
def products(
    entries: Ints,
    weights: Floats,
    wanted: Ints,
    starts: Longs,
    terms: Ints,
    values: Floats,
    boosts: Floats,
    count: int,
    parts: Floats,
) -> None:
    """parts[i, e] = weight of entry e times its terms' product with those of wanted[i], times that one's boost."""
    line = np.zeros(count, np.float32)
    for number in range(len(wanted)):
        item = wanted[number]
        for place in range(starts[item], starts[item + 1]):
            line[terms[place]] = values[place]
        for entry in range(len(entries)):
            total = np.float32(0)
            for place in range(starts[entries[entry]], starts[entries[entry] + 1]):
                total += line[terms[place]] * values[place]
            parts[number, entry] = weights[entry] * total * boosts[item]
        for place in range(starts[item], starts[item + 1]):
            line[terms[place]] = 0
