"""Item-to-item neighbours: what people with this in their history also have, damped by how much all of them have.

The similarity of a history's item i and a target item j is a walk of two hops, item to user to item:

    s(i, j) = sum over users  w_ui w_uj / (D_u^user_power  D_i^item_power  D_j^target_power),    D = sums of rewards

With powers .5, 1, .5 it is the symmetric normalisation of graph models; powers below that damp popularity less and rank
better where most items are rare. The textbook's measures (cosine, BM25, asymmetric cosine) are there too (``similarity.py``);
BM25 holds popular items back hard, which pays where everybody has seen hundreds of few thousand items.

A history scores an item by the sum of its items' similarities to it, so an explanation is that sum's terms. Each item keeps
its ``neighbours`` best targets; an item that no neighbour points to is not recommended.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import msgspec
import numba
import numpy as np
from msgspec import Meta

from tastemaker.models import Progress, silent
from tastemaker.models.heaps import keep_best
from tastemaker.models.interactions import Floats, Histories, Interactions, Ints, Longs, trainable
from tastemaker.models.linear import Linear
from tastemaker.models.similarity import Walk, asymmetric, bm25, cosine, damping, two_hop
from tastemaker.models.space import among, between
from tastemaker.models.tables import Neighbours
from tastemaker.models.topk import PARALLEL

__all__ = ["ItemKnn", "ItemKnnParams", "damping", "nearest"]  # damping is made in similarity.py, and used by all who walk

LANES = 64  # item i belongs to lane i mod 64, so that each thread gets popular and rare ones
STRETCH = 8192  # items between two words on progress

Similarity = Literal["two_hop", "cosine", "bm25", "asymmetric"]


class ItemKnnParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of ``item_knn``."""

    neighbours: Annotated[int, Meta(ge=1, le=10_000, extra=between(50, 1000, log=True))] = 200
    """Targets kept for each item; fewer than 100 lose accuracy, more than 200 gain little."""
    item_power: Annotated[float, Meta(ge=0, le=2, extra=between(0.0, 1.0))] = 0.7
    """How much a popular item in the history is held back; ``two_hop`` alone."""
    target_power: Annotated[float, Meta(ge=0, le=2, extra=between(0.0, 1.0))] = 0.3
    """How much a popular target is held back; the larger, the further into the tail recommendations reach; ``two_hop`` alone."""
    user_power: Annotated[float, Meta(ge=0, le=2, extra=between(0.0, 1.0))] = 0.7
    """How much a user with many events is held back as a witness; ``two_hop`` alone."""
    similarity: Annotated[Similarity, Meta(extra=among("two_hop", "cosine", "bm25", "asymmetric"))] = "two_hop"
    """What makes two items alike: ``two_hop``, ``cosine``, ``bm25`` or ``asymmetric``."""
    shrink: Annotated[float, Meta(ge=0, extra=between(0.0, 100.0))] = 0.0
    """Added to the measure's denominator: the larger, the more users two items need in common; in the measure's own units."""
    alpha: Annotated[float, Meta(ge=0, le=1, extra=between(0.1, 0.9))] = 0.5
    """Share of the history's item in the norms of ``asymmetric``; a half is the cosine, more lets popular targets through."""
    k1: Annotated[float, Meta(ge=0, extra=between(0.1, 100.0, log=True))] = 1.2
    """Where ``bm25`` lets a large reward saturate; the larger, the later."""
    b: Annotated[float, Meta(ge=0, le=1, extra=between(0.0, 1.0))] = 0.75
    """How much ``bm25`` holds back popular items."""


class ItemKnn(Linear):
    """One table: each item's nearest targets."""

    kind: ClassVar[str] = "item_knn"
    Params: ClassVar[type[msgspec.Struct]] = ItemKnnParams

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:  # noqa: ARG002 (the port's)
        params, n_items = self.params, len(data.items)
        walk = walk_of(params, trainable(data), n_items)
        self.tables = (nearest(*walk, min(params.neighbours, n_items), progress, params.shrink),)
        self.items = data.items
        return self


def walk_of(params: ItemKnnParams, rows: Histories, items: int) -> Walk:
    """The walk that the hyper-parameters ask for."""
    match params.similarity:
        case "cosine":
            return cosine(rows, items)
        case "asymmetric":
            return asymmetric(rows, items, params.alpha)
        case "bm25":
            return bm25(rows, items, params.k1, params.b)
        case "two_hop":
            return two_hop(rows, items, params.user_power, params.item_power, params.target_power)


def nearest(
    rows: Histories,
    columns: Histories,
    user_damp: Floats,
    item_damp: Floats,
    target_damp: Floats,
    width: int,
    progress: Progress = silent,
    shrink: float = 0.0,
) -> Neighbours:
    """The ``width`` targets of each item that two hops reach with most weight, best first.

    ``columns``: the rows transposed. The walk's weight times the items' damping is divided by 1 + shrink times that damping,
    which is to add ``shrink`` to the denominator.
    """
    found: list[tuple[Ints, Floats]] = []
    hops = Walk(rows, columns, user_damp, item_damp, target_damp)
    for start in range(0, len(columns), STRETCH):
        stop = min(start + STRETCH, len(columns))
        found.append(stretch(hops, start, stop, width, shrink))
        progress(stop, len(columns), "items")
    return Neighbours.padded(np.concatenate([one for one, _ in found]), np.concatenate([one for _, one in found]))


def stretch(hops: Walk, start: int, stop: int, width: int, shrink: float) -> tuple[Ints, Floats]:
    """The targets of the items ``start`` to ``stop`` and their weights, (items, width), padded with -1 and 0."""
    targets = np.full((stop - start, width), -1, np.int32)
    values = np.zeros((stop - start, width), np.float32)
    with PARALLEL:
        find_neighbours(
            start,
            *(hops.columns.indptr, hops.columns.items, hops.columns.weights),
            *(hops.rows.indptr, hops.rows.items, hops.rows.weights),
            *(hops.user_damp, hops.item_damp, hops.target_damp),
            np.float32(shrink),
            *(targets, values),
        )
    return targets, values


@numba.njit(cache=True, nogil=True)
def walk(
    item: int,
    item_indptr: Longs,
    item_users: Ints,
    item_weights: Floats,
    user_indptr: Longs,
    user_items: Ints,
    user_weights: Floats,
    user_damp: Floats,
    scale: np.float32,
    total: Floats,
    touched: Ints,
) -> int:
    """Adds up what two hops from an item, by its users, bring to each target; the targets are listed in ``touched``.

    total: (items,), zeros before; touched: (items,). Returns how many places it touched.
    """
    used = 0
    for event in range(item_indptr[item], item_indptr[item + 1]):
        user = item_users[event]
        share = item_weights[event] * user_damp[user] * scale
        if share == 0:
            continue
        for entry in range(user_indptr[user], user_indptr[user + 1]):
            target, added = user_items[entry], share * user_weights[entry]
            if added == 0:
                continue  # else the place would be listed twice
            if total[target] == 0:
                touched[used] = target
                used += 1
            total[target] += added
    return used


@numba.njit(cache=True, nogil=True, parallel=True)
def find_neighbours(
    begin: int,
    item_indptr: Longs,
    item_users: Ints,
    item_weights: Floats,
    user_indptr: Longs,
    user_items: Ints,
    user_weights: Floats,
    user_damp: Floats,
    item_damp: Floats,
    target_damp: Floats,
    shrink: np.float32,
    targets: Ints,
    values: Floats,
) -> None:
    """The best targets of items ``begin`` and following, best first; targets and values: (items, neighbours), padded.

    One lane holds one dense accumulator and the list of the places it used; no item x item matrix exists.
    """
    for first in numba.prange(LANES):
        total = np.zeros(len(target_damp), np.float32)
        touched = np.empty(len(target_damp), np.int32)
        for line in range(first, len(targets), LANES):
            item = begin + line
            lists = (item_indptr, item_users, item_weights, user_indptr, user_items, user_weights)
            used = walk(item, *lists, user_damp, item_damp[item], total, touched)
            total[item] = 0
            for place in range(used):
                target = touched[place]
                total[target] *= target_damp[target]
                if shrink > 0:
                    total[target] /= 1 + shrink * item_damp[item] * target_damp[target]
            keep_best(total, touched, used, values[line], targets[line])
