"""Item-to-item weights: how much an item of the history speaks for each target, in the three forms that fit into memory.

``Neighbours`` keeps a few targets of each item, ``Matrix`` all of them, ``LowRank`` a product of two thin matrices (and
``terms.Terms`` of two sparse ones). A linear model (``linear.py``) is a sum of such tables: score(j) = sum over the history's
entries e of w_e T[item_e, j].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import numba
import numpy as np

from tastemaker.models.artifact import Array
from tastemaker.models.interactions import Floats, Histories, Ints, Longs, Rows
from tastemaker.models.terms import Terms
from tastemaker.models.topk import FEW, PARALLEL


class Table(Protocol):
    """Weights from items of a history to targets, (items, items)."""

    def add_to(self, scores: Floats, histories: Histories) -> None:
        """Adds each history's weighted rows to its row of scores, (rows, items)."""

    def parts(self, entries: Ints, weights: Floats, wanted: Ints) -> Floats:
        """What each entry adds to the scores of the wanted items: (wanted, entries)."""

    def rows(self, items: Ints) -> Floats:
        """The items' rows, dense: (len(items), items)."""

    def arrays(self) -> dict[str, Array]:
        """What ``of`` makes the table of."""

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> Self: ...


@dataclass(frozen=True)
class Neighbours:
    """Lists of targets: row = item of the history, entries = targets, best first."""

    targets: Rows
    values: Floats  # of the targets' entries

    @classmethod
    def padded(cls, targets: Ints, values: Floats) -> Neighbours:
        """From lists that are padded with -1, (items, neighbours)."""
        used = targets >= 0
        indptr = np.zeros(len(targets) + 1, np.int64)
        np.cumsum(used.sum(1), out=indptr[1:])
        return cls(Rows(indptr, targets[used]), values[used])

    def add_to(self, scores: Floats, histories: Histories) -> None:
        lists = (self.targets.indptr, self.targets.items, self.values)
        arguments = (histories.indptr, histories.items, histories.weights, *lists, scores)
        if len(histories) <= FEW:
            add_lists(*arguments)
        else:
            with PARALLEL:
                add_lists_together(*arguments)

    def parts(self, entries: Ints, weights: Floats, wanted: Ints) -> Floats:
        found = np.zeros((len(wanted), len(entries)), np.float32)
        look_up(entries, weights, self.targets.indptr, self.targets.items, self.values, wanted.astype(np.int32), found)
        return found

    def rows(self, items: Ints) -> Floats:
        found = np.zeros((len(items), len(self.targets)), np.float32)
        for place, item in enumerate(items.tolist()):
            start, stop = self.targets.indptr[item], self.targets.indptr[item + 1]
            found[place, self.targets.items[start:stop]] = self.values[start:stop]
        return found

    def arrays(self) -> dict[str, Array]:
        return {"indptr": self.targets.indptr, "targets": self.targets.items, "values": self.values}

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> Neighbours:
        return cls(Rows(arrays["indptr"], arrays["targets"]), arrays["values"])


@dataclass(frozen=True)
class Matrix:
    """All weights: for catalogues of some thousands of items."""

    values: Floats  # (items, items)

    def add_to(self, scores: Floats, histories: Histories) -> None:
        arguments = (histories.indptr, histories.items, histories.weights, self.values, scores)
        if len(histories) <= FEW:
            add_lines(*arguments)
        else:
            with PARALLEL:
                add_lines_together(*arguments)

    def parts(self, entries: Ints, weights: Floats, wanted: Ints) -> Floats:
        return np.ascontiguousarray((self.values[np.ix_(entries, wanted)] * weights[:, None]).T)

    def rows(self, items: Ints) -> Floats:
        return self.values[items]

    def arrays(self) -> dict[str, Array]:
        return {"values": self.values}

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> Matrix:
        return cls(arrays["values"])


@dataclass(frozen=True)
class LowRank:
    """left @ right.T, never multiplied out."""

    left: Floats  # (items, rank)
    right: Floats  # (items, rank)

    def add_to(self, scores: Floats, histories: Histories) -> None:
        sums = np.zeros((len(histories), self.left.shape[1]), np.float32)
        add_lines(histories.indptr, histories.items, histories.weights, self.left, sums)
        if len(histories) <= FEW:
            add_products(sums, self.right, scores)
        else:
            scores += sums @ self.right.T

    def parts(self, entries: Ints, weights: Floats, wanted: Ints) -> Floats:
        return self.right[wanted] @ (self.left[entries] * weights[:, None]).T

    def rows(self, items: Ints) -> Floats:
        return self.left[items] @ self.right.T

    def arrays(self) -> dict[str, Array]:
        return {"left": self.left, "right": self.right}

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> LowRank:
        return cls(arrays["left"], arrays["right"])


KINDS: dict[str, type[Neighbours] | type[Matrix] | type[LowRank] | type[Terms]] = {
    "neighbours": Neighbours,
    "matrix": Matrix,
    "low_rank": LowRank,
    "terms": Terms,
}
NAMES = {cls: name for name, cls in KINDS.items()}


def packed(tables: tuple[Table, ...]) -> dict[str, Array]:
    """Arrays of an artifact, by names such as ``0.neighbours.values``."""
    return {
        f"{place}.{NAMES[type(table)]}.{name}": array  # type: ignore[index]  # every table is of a kind
        for place, table in enumerate(tables)
        for name, array in table.arrays().items()
    }


def unpacked(arrays: Mapping[str, Array]) -> tuple[Table, ...]:
    """The opposite of ``packed``; leaves other arrays alone."""
    found: dict[tuple[int, str], dict[str, Array]] = {}
    for name, array in arrays.items():
        place, _, rest = name.partition(".")
        kind, _, field = rest.partition(".")
        if place.isdigit() and kind in KINDS:
            found.setdefault((int(place), kind), {})[field] = array
    return tuple(KINDS[kind].of(fields) for (_, kind), fields in sorted(found.items()))


# One function for each way to compile: numba's cache on disk does not tell two compilations of the same function apart.


@numba.njit(cache=True, nogil=True)
def add_list(items: Ints, weights: Floats, starts: Longs, targets: Ints, values: Floats, scores: Floats) -> None:
    """One history's weighted sparse rows, added to its scores, (items,)."""
    for entry in range(len(items)):
        weight = weights[entry]
        if weight != 0:
            for place in range(starts[items[entry]], starts[items[entry] + 1]):
                scores[targets[place]] += weight * values[place]


@numba.njit(cache=True, nogil=True)
def add_lists(indptr: Longs, items: Ints, weights: Floats, starts: Longs, targets: Ints, values: Floats, scores: Floats) -> None:
    """``add_list`` for each row, by one thread."""
    for row in range(len(scores)):
        own = slice(indptr[row], indptr[row + 1])
        add_list(items[own], weights[own], starts, targets, values, scores[row])


@numba.njit(cache=True, nogil=True, parallel=True)
def add_lists_together(
    indptr: Longs, items: Ints, weights: Floats, starts: Longs, targets: Ints, values: Floats, scores: Floats
) -> None:
    """``add_list`` for each row, by all threads."""
    for row in numba.prange(len(scores)):
        own = slice(indptr[row], indptr[row + 1])
        add_list(items[own], weights[own], starts, targets, values, scores[row])


@numba.njit(cache=True, nogil=True)
def add_line(items: Ints, weights: Floats, values: Floats, scores: Floats) -> None:
    """One history's weighted dense rows, added to its scores, (columns,)."""
    for entry in range(len(items)):
        weight, line = weights[entry], values[items[entry]]
        if weight != 0:
            for target in range(len(scores)):
                scores[target] += weight * line[target]


@numba.njit(cache=True, nogil=True)
def add_lines(indptr: Longs, items: Ints, weights: Floats, values: Floats, scores: Floats) -> None:
    """``add_line`` for each row, by one thread."""
    for row in range(len(scores)):
        own = slice(indptr[row], indptr[row + 1])
        add_line(items[own], weights[own], values, scores[row])


@numba.njit(cache=True, nogil=True, parallel=True)
def add_lines_together(indptr: Longs, items: Ints, weights: Floats, values: Floats, scores: Floats) -> None:
    """``add_line`` for each row, by all threads."""
    for row in numba.prange(len(scores)):
        own = slice(indptr[row], indptr[row + 1])
        add_line(items[own], weights[own], values, scores[row])


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def add_products(queries: Floats, factors: Floats, scores: Floats) -> None:
    """scores += queries @ factors.T by one thread: waking BLAS's costs a request more."""
    for row in range(len(queries)):
        for item in range(len(factors)):
            total = np.float32(0)
            for factor in range(factors.shape[1]):
                total += queries[row, factor] * factors[item, factor]
            scores[row, item] += total


@numba.njit(cache=True, nogil=True)
def look_up(entries: Ints, weights: Floats, starts: Longs, targets: Ints, values: Floats, wanted: Ints, parts: Floats) -> None:
    """parts[i, e] = weight of entry e times its value for wanted[i]; one pass over the entries' lists."""
    place_of = np.full(len(starts) - 1, -1, np.int32)
    for number in range(len(wanted)):
        place_of[wanted[number]] = number
    for entry in range(len(entries)):
        for place in range(starts[entries[entry]], starts[entries[entry] + 1]):
            number = place_of[targets[place]]
            if number >= 0:
                parts[number, entry] = weights[entry] * values[place]
    for number in range(len(wanted)):
        last = place_of[wanted[number]]
        if last != number:  # asked for twice
            parts[number] = parts[last]
