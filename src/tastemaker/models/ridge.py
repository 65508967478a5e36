"""Neighbourhood ridge: each item regressed on its nearest items, in closed form.

EASE (Steck 2019, "Embarrassingly shallow autoencoders") regresses every item on all others, which takes a dense matrix of
items x items. Here a target j is regressed on its ``neighbours`` alone, those with the largest products with it:

    w_j = argmin |x_j - X_N w|^2 + lambda |w|^2 = (X_N' X_N + lambda)^-1 X_N' x_j

with x_ui = r_ui / (D_u^user_power D_i^item_power), D = sums of rewards, and lambda = ``reg`` times the mean of |x_i|^2. Unlike
a similarity, the weights know what the other neighbours say already, and unlike EASE's they are a few for each item. A history
scores a target by the sum of

    r_i  D_i^-scale  w_ij  D_j^scale

over its items i, so an explanation is that sum's terms.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import msgspec
import numpy as np
from msgspec import Meta

from tastemaker.models import Progress, silent
from tastemaker.models.interactions import Floats, Histories, Interactions, Ints, Rows, row_sums, trainable, transposed
from tastemaker.models.linear import Linear
from tastemaker.models.pairs import lengths_squared, paired, with_weights
from tastemaker.models.ridge_kernels import find_weights
from tastemaker.models.similarity import damping
from tastemaker.models.space import between
from tastemaker.models.tables import Neighbours
from tastemaker.models.topk import PARALLEL

STRETCH = 4096  # targets between two words on progress


class RidgeParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of ``ridge``."""

    neighbours: Annotated[int, Meta(ge=1, le=10_000, extra=between(50, 400))] = 200
    """Items that each target is regressed on; training time grows in proportion."""
    reg: Annotated[float, Meta(gt=0, extra=between(1.0, 50.0, log=True))] = 12.0
    """Ridge, as a multiple of the mean squared length of the items' columns."""
    user_power: Annotated[float, Meta(ge=0, le=2, extra=between(0.0, 0.6))] = 0.2
    """How much a user with many events is held back as a witness."""
    item_power: Annotated[float, Meta(ge=0, le=2, extra=between(0.0, 0.8))] = 0.4
    """How much popular items are held back in the regression."""
    scale: Annotated[float, Meta(ge=0, le=2, extra=between(0.0, 0.8))] = 0.35
    """How much popular items in the history are held back in the scores, and popular targets brought forward."""


class Ridge(Linear):
    """One table: the weights of each item for the targets whose neighbour it is."""

    kind: ClassVar[str] = "ridge"
    Params: ClassVar[type[msgspec.Struct]] = RidgeParams

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:  # noqa: ARG002 (the port's)
        params, rows, n_items = self.params, paired(trainable(data)), len(data.items)
        degrees = np.bincount(rows.items, weights=rows.weights, minlength=n_items).astype(np.float64)
        users, items = damping(row_sums(rows, rows.weights), params.user_power), damping(degrees, params.item_power)
        rows = with_weights(rows, rows.weights * np.repeat(users, rows.lengths) * items[rows.items])
        columns = transposed(rows, n_items)
        ridge = params.reg * float(lengths_squared(rows, n_items).sum()) / int((degrees > 0).sum())
        found, weights = regressed(rows, columns, ridge, min(params.neighbours, n_items), progress)
        scales = damping(degrees, params.scale)
        self.tables = (turned(found, weights, scales, n_items),)
        self.items = data.items
        return self


def regressed(rows: Histories, columns: Histories, ridge: float, width: int, progress: Progress) -> tuple[Ints, Floats]:
    """Each target's neighbours and their weights, (items, width), padded with -1."""
    items = np.full((len(columns), width), -1, np.int32)
    weights = np.zeros((len(columns), width), np.float32)
    for start in range(0, len(columns), STRETCH):
        stop = min(start + STRETCH, len(columns))
        with PARALLEL:
            find_weights(
                start,
                *(columns.indptr, columns.items, columns.weights, rows.indptr, rows.items, rows.weights),
                *(np.float32(ridge), items[start:stop], weights[start:stop]),
            )
        progress(stop, len(columns), "items")
    return items, weights


def turned(items: Ints, weights: Floats, scales: Floats, n_items: int) -> Neighbours:
    """Lists by target as lists by item of the history, scaled: row = item of the history, best target first."""
    target, place = np.nonzero(items >= 0)
    source = items[target, place]
    values = (weights[target, place] * scales[source] / np.where(scales[target] > 0, scales[target], 1)).astype(np.float32)
    order = np.lexsort((target, -values, source))
    indptr = np.zeros(n_items + 1, np.int64)
    np.cumsum(np.bincount(source, minlength=n_items), out=indptr[1:])
    return Neighbours(Rows(indptr, target[order].astype(np.int32)), values[order])
