"""Large data sets from small ones: a randomised Kronecker expansion that keeps a set's shape.

    R' = S (x) R, block by block:  block (a, b) of users and items is a shuffled copy of R that keeps an event by chance S[a, b]

R, (users, items), is a real data set and S, (p, q), a small picture of it, so that the expansion has p times its users, q times
its items and sum(S) times its events. Degrees of a Kronecker product are products of degrees, and its singular values products
of singular values: fat tails stay fat and a decaying spectrum decays on (Belletti et al. 2019, "Scalable realistic
recommendation datasets through fractal expansions", after the Kronecker graphs of Leskovec et al. 2010).

S comes from the leading singular vectors of R, whose users and items are ordered by degree and averaged in p and q groups. Blocks
are not copies of each other: events are dropped at random, and users and items change places with those of a similar degree
(``NEIGHBOURS``). The paper shuffles over all of them, which wears down the degrees' tails; that is the one departure from it.

Everything is a function of the seed and the place, not of the order of work. A block of users is in memory at a time, whatever
the size of the whole. Users without an event are left out.
"""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt
import scipy.sparse
from scipy.sparse.linalg import svds

from tastemaker.models.interactions import Floats, Histories, Ints, Longs, item_counts
from tastemaker.models.mapped import MappedWriter

Doubles = npt.NDArray[np.float64]

NEIGHBOURS = 16  # users, and items, of similar degree among which places are shuffled
USERS = 4096  # of a block of users that is written at once
FAINT = 0.02  # of the largest chance, what a block keeps at least: an empty one would be a hole in the set


def expand(
    folder: Path, rows: Histories, items: int, shape: tuple[int, int], interactions: int, seed: int = 0, users: int = USERS
) -> int:
    """Writes an expansion of ``rows`` over ``items`` items into a folder of histories; returns its number of items.

    ``shape``: (p, q), how many times the users and the items. About so many ``interactions`` (their number is a sum of random
    ones) must fit: no more than p q times those of ``rows``. ``users``: how many are written at once; the result is the same.
    """
    chances = picture(rows, items, shape, interactions)
    by_degree = np.argsort(-rows.lengths, kind="stable"), np.argsort(-item_counts(rows, items), kind="stable")
    labels = np.random.default_rng(seed).permutation(shape[1] * items).astype(np.int32)  # blocks must not lie side by side
    with MappedWriter(folder) as writer:
        for a in range(shape[0]):
            keys = keys_of(seed, a, shape[1])
            sources = np.stack([shuffled(by_degree[0], key) for key in keys])
            targets = np.stack([labels[b * items + shuffled(by_degree[1], ~key)] for b, key in enumerate(keys)])
            for start in range(0, len(rows), users):
                part = sources[:, start : start + users]
                lengths = np.zeros(part.shape[1], np.int64)
                count_kept(rows.indptr, part, chances[a], keys, lengths)
                ends = np.cumsum(lengths)
                written = rows.room(int(ends[-1]))
                keep(rows.indptr, rows.items, rows.weights, rows.times, part, targets, chances[a], keys, ends - lengths, *written)
                writer.append(lengths[lengths > 0], *written)
    return shape[1] * items


def picture(rows: Histories, items: int, shape: tuple[int, int], interactions: int) -> Doubles:
    """S: the chances, (p, q), which sum to the factor by which the events grow. Raises ``ValueError`` where they cannot."""
    factor = interactions / len(rows.items)
    if not 0 < factor <= shape[0] * shape[1]:
        raise ValueError(f"{interactions} interactions: {shape} blocks hold up to {shape[0] * shape[1] * len(rows.items)}")
    values, left, right = singular(rows, items, min(shape))
    users, things = np.argsort(-rows.lengths, kind="stable"), np.argsort(-item_counts(rows, items), kind="stable")
    small = pooled(left[users], shape[0]) * values @ pooled(right[things], shape[1]).T
    small = np.maximum(small / small.max(), FAINT)
    low, high = 0.0, 1.0
    while np.minimum(high * small, 1).sum() < factor * (1 - 1e-12) and high < 1e9:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(middle * small, 1).sum() < factor else (low, middle)
    chances: Doubles = np.minimum(high * small, 1.0)
    return chances


def singular(rows: Histories, items: int, count: int) -> tuple[Doubles, Doubles, Doubles]:
    """The leading singular values, (count,), largest first, and vectors, (users, count) and (items, count)."""
    matrix = scipy.sparse.csr_array((np.ones(len(rows.items)), rows.items, rows.indptr), shape=(len(rows), items))
    left, values, right = (np.asarray(part, np.float64) for part in svds(matrix, k=count, v0=np.ones(min(matrix.shape))))
    signs = np.where(right.sum(axis=1) < 0, -1, 1)
    return values[::-1], (left * signs)[:, ::-1], (right.T * signs)[:, ::-1]


def pooled(vectors: Doubles, groups: int) -> Doubles:
    """The means of so many groups of rows, made orthonormal again: (groups, count)."""
    means = np.stack([part.mean(axis=0) for part in np.array_split(vectors, groups)])
    basis, triangle = np.linalg.qr(means)
    turned: Doubles = basis * np.where(np.diagonal(triangle) < 0, -1, 1)
    return turned


@numba.njit(cache=True, nogil=True)
def mixed(key: np.uint64, number: int) -> np.uint64:
    """A random number for a number, by the finaliser of SplitMix64 (Steele et al. 2014)."""
    z = np.uint64(key) + np.uint64(number + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def keys_of(seed: int, a: int, count: int) -> npt.NDArray[np.uint64]:
    """The keys of the blocks (a, 0) to (a, count - 1)."""
    keys = np.empty(count, np.uint64)
    for b in range(count):
        keys[b] = mixed(mixed(np.uint64(seed), a), b)
    return keys


@numba.njit(cache=True, nogil=True)
def shuffled(order: Longs, key: np.uint64) -> Longs:
    """result[i] = what takes the place of i: another of similar degree. order: by degree."""
    moved, result = order.copy(), np.empty_like(order)
    for place in range(len(order)):
        begin = place - place % NEIGHBOURS
        other = begin + int(mixed(key, place) % np.uint64(place - begin + 1))  # Fisher and Yates, within the neighbours
        moved[place], moved[other] = moved[other], moved[place]
    for place in range(len(order)):
        result[order[place]] = moved[place]
    return result


@numba.njit(cache=True, nogil=True)
def stays(key: np.uint64, entry: int, chance: float) -> bool:
    return bool((mixed(key, entry) >> np.uint64(11)) * (1.0 / (1 << 53)) < chance)


@numba.njit(cache=True, nogil=True)
def count_kept(indptr: Longs, sources: Longs, chances: Doubles, keys: npt.NDArray[np.uint64], lengths: Longs) -> None:
    """How many events each user of a block of users has. sources: (q, users), whose row he has in each block of items."""
    for user in range(len(lengths)):
        for b in range(len(keys)):
            source = sources[b, user]
            for entry in range(indptr[source], indptr[source + 1]):
                if stays(keys[b], entry, chances[b]):
                    lengths[user] += 1


@numba.njit(cache=True, nogil=True)
def keep(
    indptr: Longs,
    items: Ints,
    weights: Floats,
    times: Longs,
    sources: Longs,
    targets: Ints,
    chances: Doubles,
    keys: npt.NDArray[np.uint64],
    starts: Longs,
    to_items: Ints,
    to_weights: Floats,
    to_times: Longs,
) -> None:
    """The events themselves, oldest first. targets: (q, items), the item's number in the expansion."""
    for user in range(len(starts)):
        place = starts[user]
        for b in range(len(keys)):
            source = sources[b, user]
            for entry in range(indptr[source], indptr[source + 1]):
                if stays(keys[b], entry, chances[b]):
                    to_items[place], to_weights[place] = targets[b, items[entry]], weights[entry]
                    to_times[place] = times[entry]
                    place += 1
        part = slice(starts[user], place)
        order = np.argsort(to_times[part], kind="mergesort")
        to_items[part], to_weights[part] = to_items[part][order], to_weights[part][order]
        to_times[part] = to_times[part][order]
