"""Item-to-item neighbours: what people with this in their history also have, damped by how much all of them have.

The similarity of a history's item i and a target item j is a walk of two hops, item to user to item:

    s(i, j) = sum over users  w_ui w_uj / (D_u^user_power  D_i^item_power  D_j^target_power),    D = sums of rewards

With powers .5, 1, .5 it is the symmetric normalisation of graph models; powers below that damp popularity less and rank
better on every data set tried. A history scores an item by the sum of its items' similarities to it, so an explanation is
that sum's terms. Each item keeps its ``neighbours`` best targets; an item that no neighbour points to is not recommended.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Self

import msgspec
import numba
import numpy as np
from msgspec import Meta

from tastemaker.models import Progress, Recommendations, silent
from tastemaker.models.artifact import Array, load_artifact, params_of, save_artifact
from tastemaker.models.interactions import (
    Bools,
    Floats,
    Histories,
    Interactions,
    Ints,
    Longs,
    Rows,
    Vocabulary,
    checked,
    row_sums,
    single,
    trainable,
    transposed,
)
from tastemaker.models.topk import FEW, PARALLEL, push, require_rows, select, unheap

BLOCK = 128  # rows whose dense scores are held at once
LANES = 64  # item i belongs to lane i mod 64, so that each thread gets popular and rare ones
STRETCH = 8192  # items between two words on progress


class ItemKnnParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of ``item_knn``."""

    neighbours: Annotated[int, Meta(ge=1, le=10_000)] = 200
    """Targets kept for each item; fewer than 100 lose accuracy, more than 200 gain little."""
    item_power: Annotated[float, Meta(ge=0, le=2)] = 0.7
    """How much a popular item in the history is held back."""
    target_power: Annotated[float, Meta(ge=0, le=2)] = 0.3
    """How much a popular target is held back; the larger, the further into the tail recommendations reach."""
    user_power: Annotated[float, Meta(ge=0, le=2)] = 0.7
    """How much a user with many events is held back as a witness."""


class ItemKnn:
    """Neighbour lists: row = item of the history, entries = targets, best first."""

    kind: ClassVar[str] = "item_knn"
    Params: ClassVar[type[msgspec.Struct]] = ItemKnnParams

    def __init__(self, params: ItemKnnParams | None = None) -> None:
        self.params = params or ItemKnnParams()
        self.items = Vocabulary(())
        self.losses: tuple[float, ...] = ()
        self.neighbours = Rows(np.zeros(1, np.int64), np.zeros(0, np.int32))
        self.similarities: Floats = np.zeros(0, np.float32)  # of the neighbours' entries

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:  # noqa: ARG002 (the port's)
        params, rows, n_items = self.params, trainable(data), len(data.items)
        columns = transposed(rows, n_items)
        user_damp = damping(row_sums(rows, rows.weights), params.user_power)
        degrees = row_sums(columns, columns.weights)
        item_damp, target_damp = damping(degrees, params.item_power), damping(degrees, params.target_power)
        width = min(params.neighbours, n_items)
        found: list[tuple[Ints, Floats]] = []
        for start in range(0, n_items, STRETCH):
            stop = min(start + STRETCH, n_items)
            targets = np.full((stop - start, width), -1, np.int32)
            values = np.zeros((stop - start, width), np.float32)
            with PARALLEL:
                find_neighbours(
                    start,
                    *(columns.indptr, columns.items, columns.weights),
                    *(rows.indptr, rows.items, rows.weights),
                    *(user_damp, item_damp, target_damp),
                    *(targets, values),
                )
            found.append((targets, values))
            progress(stop, n_items, "items")
        self.keep(np.concatenate([one for one, _ in found]), np.concatenate([one for _, one in found]))
        self.items = data.items
        return self

    def keep(self, targets: Ints, values: Floats) -> None:
        """Takes lists padded with -1, (items, neighbours)."""
        used = targets >= 0
        indptr = np.zeros(len(targets) + 1, np.int64)
        np.cumsum(used.sum(1), out=indptr[1:])
        self.neighbours, self.similarities = Rows(indptr, targets[used]), values[used]

    def recommend(
        self, histories: Histories, k: int, *, exclude: Rows | None = None, allowed: Bools | None = None
    ) -> Recommendations:
        histories = checked(histories, len(self.items))
        excluded = histories if exclude is None else exclude
        require_rows(excluded, len(histories))
        if len(histories) <= BLOCK:
            return select(self.scores(histories), k, excluded, allowed, floor=0.0)
        parts = []
        for start in range(0, len(histories), BLOCK):
            stop = min(start + BLOCK, len(histories))
            scores = self.scores(histories.take(np.arange(start, stop)))
            parts.append(select(scores, k, excluded.part(start, stop), allowed, floor=0.0))
        return Recommendations(np.concatenate([part.items for part in parts]), np.concatenate([part.scores for part in parts]))

    def scores(self, histories: Histories) -> Floats:
        """Dense scores, (rows, items)."""
        scores = np.zeros((len(histories), len(self.items)), np.float32)
        neighbours = (self.neighbours.indptr, self.neighbours.items, self.similarities)
        arguments = (histories.indptr, histories.items, histories.weights, *neighbours, scores)
        if len(histories) <= FEW:
            add_up(*arguments)
        else:
            with PARALLEL:
                add_up_together(*arguments)
        return scores

    def similar(self, items: Ints, k: int) -> Recommendations:
        """The first of each item's neighbours; there are none beyond ``params.neighbours``."""
        found = Recommendations(np.full((len(items), k), -1, np.int32), np.full((len(items), k), -np.inf, np.float32))
        for place, item in enumerate(items.tolist()):
            start, stop = self.neighbours.indptr[item], self.neighbours.indptr[item + 1]
            stop = min(stop, start + k)
            found.items[place, : stop - start] = self.neighbours.items[start:stop]
            found.scores[place, : stop - start] = self.similarities[start:stop]
        return found

    def explain(self, histories: Histories, item: int) -> Floats:
        parts: Floats = self.contributions(histories, np.array([item], np.int32))[0]
        return parts

    def contributions(self, histories: Histories, items: Ints) -> Floats:
        """The terms of the scores: similarity times reward."""
        histories = checked(single(histories), len(self.items))
        parts = np.zeros((len(items), len(histories.items)), np.float32)
        neighbours = (self.neighbours.indptr, self.neighbours.items, self.similarities)
        look_up(histories.items, histories.weights, *neighbours, items.astype(np.int32), parts)
        return parts

    def save(self, folder: Path) -> None:
        arrays: dict[str, Array] = {
            "indptr": self.neighbours.indptr,
            "neighbours": self.neighbours.items,
            "similarities": self.similarities,
        }
        save_artifact(folder, self.kind, self.params, self.items, arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = load_artifact(folder, cls.kind)
        model = cls(params_of(artifact, ItemKnnParams, folder))
        model.items = artifact.items
        model.neighbours = Rows(artifact.arrays["indptr"], artifact.arrays["neighbours"])
        model.similarities = artifact.arrays["similarities"]
        return model


def damping(degrees: np.typing.NDArray[np.float64], power: float) -> Floats:
    """degree^-power, and 0 where there is nothing to damp."""
    return np.where(degrees > 0, np.maximum(degrees, 1e-30) ** -power, 0).astype(np.float32)


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
            item, used = begin + line, 0
            for event in range(item_indptr[item], item_indptr[item + 1]):
                user = item_users[event]
                share = item_weights[event] * user_damp[user] * item_damp[item]
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
            size = 0
            for place in range(used):
                target = touched[place]
                score, total[target] = total[target] * target_damp[target], 0
                if target == item or not score > 0:
                    continue
                worst, last = values[line, 0], targets[line, 0]
                if size < len(values[line]) or score > worst or (score == worst and target < last):
                    size = push(values[line], targets[line], size, score, target)
            unheap(values[line], targets[line], size)


def add_rows(
    indptr: Longs, items: Ints, weights: Floats, starts: Longs, neighbours: Ints, similarities: Floats, scores: Floats
) -> None:
    """Adds each history's neighbours to its row of scores, (rows, items). Compiled for one thread and for all."""
    for row in numba.prange(len(scores)):
        for entry in range(indptr[row], indptr[row + 1]):
            weight = weights[entry]
            for place in range(starts[items[entry]], starts[items[entry] + 1]):
                scores[row, neighbours[place]] += weight * similarities[place]


add_up = numba.njit(cache=True, nogil=True)(add_rows)
add_up_together = numba.njit(cache=True, nogil=True, parallel=True)(add_rows)


@numba.njit(cache=True, nogil=True)
def look_up(
    entries: Ints, weights: Floats, starts: Longs, neighbours: Ints, similarities: Floats, wanted: Ints, parts: Floats
) -> None:
    """parts[i, e] = weight of entry e times its similarity to wanted[i]; one pass over the entries' neighbours."""
    place_of = np.full(len(starts) - 1, -1, np.int32)
    for number in range(len(wanted)):
        place_of[wanted[number]] = number
    for entry in range(len(entries)):
        for place in range(starts[entries[entry]], starts[entries[entry] + 1]):
            number = place_of[neighbours[place]]
            if number >= 0:
                parts[number, entry] = weights[entry] * similarities[place]
    for number in range(len(wanted)):
        last = place_of[wanted[number]]
        if last != number:  # asked for twice
            parts[number] = parts[last]
