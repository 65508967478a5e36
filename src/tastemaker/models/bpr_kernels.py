"""The arithmetic of ``bpr``: triples of a batch, the slope of their loss, and a step of Adagrad.

A batch is whole users with all their pairs, so that a user's sum over the history is made once for all of them: an epoch costs
as much as if nothing were left out of the history. First every user finds negatives and slopes, which only reads the vectors;
then every item adds up what the batch says of it, in the batch's order, and takes one step. Users and items are dealt out to
lanes that share nothing, and random numbers are a hash of seed and place: the bits are the same on any number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from tastemaker.models.interactions import Bools, Floats, Ints, Longs

Reals = npt.NDArray[Any]  # float32 in training, float64 where slopes are checked
Real = np.floating[Any]

LANES = 16  # item i belongs to lane i mod 16, the batch's user n to lane n mod 16
GOLDEN, ONE, TWO = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class Pairs(NamedTuple):
    """What users have: row = user, entries in ascending order of the items."""

    indptr: Longs  # (users + 1,)
    items: Ints  # (pairs,)
    weights: Reals  # (pairs,), w: of the entry in its history
    norms: Reals  # (pairs,), what the sum over the rest of the history is multiplied by
    worth: Reals  # (pairs,), of the pair in the loss


class Odds(NamedTuple):
    """Walker's alias table (1977): slot s stands for itself with a chance of ``own[s]``, else for ``other[s]``."""

    own: Floats  # (items,)
    other: Ints  # (items,)


class Triples(NamedTuple):
    """A batch: each line is a pair, its negative, and what the loss says of them."""

    positives: Ints  # (lines,)
    negatives: Ints  # (lines,), -1 where none was found
    margins: Reals  # (lines,), score of the positive less that of the negative
    pulls: Reals  # (lines,), minus the slope of the loss by the margin
    vectors: Reals  # (lines, f), the history without the positive
    errors: Reals  # (lines, f), minus the slope of the batch's loss by the positive's vector as a part of histories


class Side(NamedTuple):
    """One table of vectors and what Adagrad knows of it, each (items, f)."""

    vectors: Reals
    slopes: Reals  # zeros between two batches
    squares: Reals  # sums of squared slopes, from a little above zero on


@numba.njit(cache=True, nogil=True, inline="always")
def scrambled(number: np.uint64) -> np.uint64:
    """Steele et al. 2014, SplitMix64."""
    number = (number ^ (number >> np.uint64(30))) * ONE
    number = (number ^ (number >> np.uint64(27))) * TWO
    return number ^ (number >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def drawn(odds: Odds, seed: np.uint64, place: int) -> np.int32:
    """The item that this seed draws at this place."""
    bits = scrambled(seed + np.uint64(place) * GOLDEN)
    slot = np.int64(((bits >> np.uint64(32)) * np.uint64(len(odds.own))) >> np.uint64(32))
    chance = np.float32(bits & np.uint64(0xFFFFFF)) / np.float32(1 << 24)
    return np.int32(slot) if chance < odds.own[slot] else odds.other[slot]


@numba.njit(cache=True, nogil=True)
def has(items: Ints, item: np.int32) -> bool:
    """Whether a user's items, ascending, hold this one."""
    place = np.searchsorted(items, item)
    return bool(place < len(items) and items[place] == item)


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def hardest(
    own: Ints, vector: Reals, right: Reals, odds: Odds, seed: np.uint64, place: int, candidates: int
) -> tuple[np.int32, float]:
    """Of some drawn items that the user does not have, the one with the largest score; (-1, 0) where he has all of them."""
    best, highest = np.int32(-1), 0.0
    for candidate in range(candidates):
        item = drawn(odds, seed, place * candidates + candidate)
        if has(own, item):
            continue
        target, score = right[item], vector[0] * 0
        for f in range(len(vector)):
            score += vector[f] * target[f]
        if best < 0 or score > highest:
            best, highest = item, score
    return best, highest


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def ask_user(
    user: int, line: int, pairs: Pairs, left: Reals, right: Reals, odds: Odds, seed: np.uint64, candidates: int, found: Triples
) -> None:
    """Fills a user's lines, from ``line`` on."""
    start, stop = pairs.indptr[user], pairs.indptr[user + 1]
    own, factors = pairs.items[start:stop], left.shape[1]
    total, back = np.zeros(factors, left.dtype), np.zeros(factors, left.dtype)
    for entry in range(start, stop):
        weight, part = pairs.weights[entry], left[pairs.items[entry]]
        for f in range(factors):
            total[f] += weight * part[f]
    for entry in range(start, stop):
        at, item, weight, norm = line + entry - start, pairs.items[entry], pairs.weights[entry], pairs.norms[entry]
        vector, error, part, target = found.vectors[at], found.errors[at], left[item], right[item]
        score = norm * 0
        for f in range(factors):
            vector[f] = norm * (total[f] - weight * part[f])
            score += vector[f] * target[f]
        negative, other = hardest(own, vector, right, odds, seed, entry, candidates)
        found.positives[at], found.negatives[at] = item, negative
        found.margins[at] = found.pulls[at] = 0
        if negative >= 0:
            found.margins[at] = score - other
            found.pulls[at] = pairs.worth[entry] / (1 + np.exp(found.margins[at]))
        share, against = norm * found.pulls[at], right[negative]
        for f in range(factors):
            error[f] = share * (target[f] - against[f])
            back[f] += error[f]
    for entry in range(start, stop):  # an item is part of the vector of every pair but its own
        weight, error = pairs.weights[entry], found.errors[line + entry - start]
        for f in range(factors):
            error[f] = weight * (back[f] - error[f])


@numba.njit(cache=True, nogil=True, parallel=True)
def ask(
    users: Longs,
    lines: Longs,
    pairs: Pairs,
    left: Reals,
    right: Reals,
    odds: Odds,
    seed: np.uint64,
    candidates: int,
    found: Triples,
) -> None:
    """Fills the batch: the lines of each user begin at ``lines``, (users,)."""
    for first in numba.prange(LANES):
        for place in range(first, len(users), LANES):
            ask_user(users[place], lines[place], pairs, left, right, odds, seed, candidates, found)


@numba.njit(cache=True, nogil=True)
def deal(count: int, found: Triples, order: Ints, bounds: Longs) -> None:
    """Lists what each lane's items have to read, in the batch's order: 2 n for the positive of line n, 2 n + 1 for its negative.

    order: (2 lines,); bounds: (lanes + 1,), lane l reads from ``bounds[l]`` to ``bounds[l + 1]``.
    """
    lanes = len(bounds) - 1
    bounds[:] = 0
    for at in range(count):
        if found.negatives[at] >= 0:
            bounds[found.positives[at] % lanes + 1] += 1
            bounds[found.negatives[at] % lanes + 1] += 1
    for lane in range(lanes):
        bounds[lane + 1] += bounds[lane]
    places = bounds[:-1].copy()
    for at in range(count):
        if found.negatives[at] >= 0:
            for side in range(2):
                lane = (found.negatives[at] if side else found.positives[at]) % lanes
                order[places[lane]] = 2 * at + side
                places[lane] += 1


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def add_slopes(order: Ints, found: Triples, left: Side, right: Side, reg: Real, touched: Bools, used: Ints) -> int:
    """Adds minus the slopes of the listed lines to both sides, and lists the items in ``used``; returns how many.

    touched: (items,), marked for those. The penalty, reg / 2 (|p|^2 + |q|^2), is counted once for each pair of the item.
    """
    size = 0
    for code in order:
        at, negative = code // 2, code % 2 == 1
        item = found.negatives[at] if negative else found.positives[at]
        if not touched[item]:
            touched[item], used[size] = True, item
            size += 1
        pull, vector, target, slopes = found.pulls[at], found.vectors[at], right.vectors[item], right.slopes[item]
        if negative:
            for f in range(len(slopes)):
                slopes[f] -= pull * vector[f]
        else:
            error, part, others = found.errors[at], left.vectors[item], left.slopes[item]
            for f in range(len(slopes)):
                slopes[f] += pull * vector[f] - reg * target[f]
            for f in range(len(slopes)):
                others[f] += error[f] - reg * part[f]
    return size


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def step(item: int, side: Side, rate: Real) -> None:
    """Duchi et al. 2011, eq. 3, with diagonal matrices: each number moves by rate * slope / root of its squared slopes."""
    vector, slopes, squares = side.vectors[item], side.slopes[item], side.squares[item]
    for f in range(len(vector)):
        squares[f] += slopes[f] * slopes[f]
        vector[f] += rate * slopes[f] / np.sqrt(squares[f])
        slopes[f] = 0


@numba.njit(cache=True, nogil=True, parallel=True)
def descend(order: Ints, bounds: Longs, found: Triples, left: Side, right: Side, rate: Real, reg: Real, touched: Bools) -> None:
    """One step of every item in the batch. touched: (items,), False before and after."""
    for lane in numba.prange(len(bounds) - 1):
        used = np.empty(bounds[lane + 1] - bounds[lane], np.int32)
        size = add_slopes(order[bounds[lane] : bounds[lane + 1]], found, left, right, reg, touched, used)
        for item in used[:size]:
            touched[item] = False
            step(item, left, rate)
            step(item, right, rate)
