"""Popularity by segment: people whose favourite category is the same, and what these take.

A history chooses its segment by itself: the category with most reward in it, an item of several categories giving each its
share. What a segment takes is little where it is small, so its shares are shrunk to those of everybody by a Dirichlet prior
(Zhai & Lafferty 2004, equation 6): with n the segment's rewards of an item and N all of the segment's,

    share(j) = (n_j + strength * share of everybody(j)) / (N + strength)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from tastemaker.models.artifact import Array
from tastemaker.models.everybody import DAY
from tastemaker.models.interactions import Floats, Histories, Ints, Longs, Rows

NAMES = ("category_indptr", "category_numbers", "segment_indptr", "segment_items", "segment_values", "segment_totals")


@dataclass(frozen=True)
class Segments:
    """What the people of each favourite category take."""

    categories: Rows  # row = item, entries = its categories
    lists: Rows  # row = category, entries = items, ascending
    values: Floats  # rewards of the lists' entries
    totals: npt.NDArray[np.float64]  # (categories,), rewards in all

    @classmethod
    def of(cls, histories: Histories, categories: Rows, count: int, now: int, half_life_days: float | None) -> Segments:
        """Counted over the histories, each in the segment of its favourite among ``count`` categories."""
        favourite = favourites_of(histories, categories, count)
        rows = np.argsort(favourite, kind="stable")
        starts = np.searchsorted(favourite[rows], np.arange(count + 1))
        days = half_life_days if half_life_days is not None else np.inf
        items, values, totals = [np.zeros(0, np.int32)], [np.zeros(0, np.float32)], np.zeros(count)
        for segment in range(count):
            sums = np.zeros(len(categories))
            own = rows[starts[segment] : starts[segment + 1]]
            add_aged(own, histories.indptr, histories.items, histories.weights, histories.times, now, days * DAY, sums)
            items.append(np.flatnonzero(sums).astype(np.int32))
            values.append(sums[items[-1]].astype(np.float32))
            totals[segment] = sums.sum()
        indptr = np.append(0, np.cumsum([len(part) for part in items[1:]])).astype(np.int64)
        return cls(categories, Rows(indptr, np.concatenate(items)), np.concatenate(values), totals)

    def favourites(self, histories: Histories) -> Ints:
        """The segment of each history, (rows,): -1 for one without a rewarded item that has a category."""
        return favourites_of(histories, self.categories, len(self.lists))

    def counts(self, segment: int, overall: Floats, strength: float) -> Floats:
        """What each item would count for if everybody were like the segment, (items,); -1: everybody as they are."""
        total = float(overall.sum(dtype=np.float64))
        if segment < 0 or total == 0:
            return overall
        scale = total / (self.totals[segment] + strength)
        counts = overall * np.float32(strength * scale / total)
        part = slice(self.lists.indptr[segment], self.lists.indptr[segment + 1])
        counts[self.lists.items[part]] += self.values[part] * np.float32(scale)
        # an item that anybody took stays above zero, however small the share
        found: Floats = np.where(overall > 0, np.maximum(counts, np.finfo(np.float32).tiny), 0).astype(np.float32)
        return found

    def arrays(self) -> dict[str, Array]:
        both = (self.categories.indptr, self.categories.items, self.lists.indptr, self.lists.items)
        return dict(zip(NAMES, (*both, self.values, self.totals), strict=True))

    @classmethod
    def loaded(cls, arrays: Mapping[str, Array]) -> Segments:
        """The opposite of ``arrays``."""
        indptr, numbers, starts, items, values, totals = (arrays[name] for name in NAMES)
        return cls(Rows(indptr, numbers), Rows(starts, items), values, totals)


def favourites_of(histories: Histories, categories: Rows, count: int) -> Ints:
    """The category with most reward in each history, (rows,); of equal ones the first, -1 where there is none."""
    found = np.empty(len(histories), np.int32)
    find_favourites(
        histories.indptr, histories.items, histories.weights, categories.indptr, categories.items, np.zeros(count), found
    )
    return found


@numba.njit(cache=True, nogil=True)
def find_favourites(
    indptr: Longs,
    items: Ints,
    weights: Floats,
    starts: Longs,
    categories: Ints,
    sums: npt.NDArray[np.float64],
    found: Ints,
) -> None:
    """See ``favourites_of``. ``sums``: (categories,) zeros, and zeros again afterwards."""
    for row in range(len(found)):
        for entry in range(indptr[row], indptr[row + 1]):
            start, stop = starts[items[entry]], starts[items[entry] + 1]
            for place in range(start, stop):
                sums[categories[place]] += max(weights[entry], 0.0) / (stop - start)
        best, most = -1, 0.0
        for entry in range(indptr[row], indptr[row + 1]):  # only these categories can have anything
            for place in range(starts[items[entry]], starts[items[entry] + 1]):
                category = categories[place]
                if sums[category] > most or (sums[category] == most and 0 <= category < best):
                    best, most = category, sums[category]
        for entry in range(indptr[row], indptr[row + 1]):
            for place in range(starts[items[entry]], starts[items[entry] + 1]):
                sums[categories[place]] = 0
        found[row] = best


@numba.njit(cache=True, nogil=True)
def add_aged(
    rows: Longs,
    indptr: Longs,
    items: Ints,
    weights: Floats,
    times: Longs,
    now: int,
    half_life: float,
    sums: npt.NDArray[np.float64],
) -> None:
    """Adds the rewards of these rows to their items, halved every ``half_life`` milliseconds before ``now``."""
    for row in rows:
        for entry in range(indptr[row], indptr[row + 1]):
            sums[items[entry]] += weights[entry] * 2.0 ** (-max(now - times[entry], 0) / half_life)
