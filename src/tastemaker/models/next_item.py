"""Next-item ridge: which item comes next, regressed on the decayed history before it, in closed form.

The transitional half of SLIST (Choi et al. 2021, "Session-aware linear item-item models for session-based recommendation",
section 4.2, where the future of a session is the target; here it is the next item alone). At every place t of every history

    x_t = sum over p < t, t - p <= window, of w_p 2^(-(t-p-1) / half_life) e_p,    y_t = e_(item at t), with weight w_t

(w are rewards, and only entries with a reward take a place), and over all of them together

    W = argmin  sum of w_t |y_t - x_t W|^2 + tr(W' L W) = (X'X + L)^-1 X'Y,    L_ii = reg * mean of diag(X'X) + own_reg * (X'X)_ii

A history scores item j by its own x times W's column j, times D_j^-target_power (D: sum of rewards), so an explanation is that
sum's terms. A new event makes a longer history and the weights by place follow from it (``query``): it counts at once, nothing
is trained again. W is dense; what it takes is refused above ``limit_mb``.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import msgspec
import numpy as np
import scipy.linalg
from msgspec import Meta

from tastemaker.errors import InputError
from tastemaker.models import Progress, silent
from tastemaker.models.interactions import Floats, Histories, Interactions, trainable
from tastemaker.models.linear import Linear
from tastemaker.models.next_item_kernels import Doubles, add_products, sums_to_the_end
from tastemaker.models.recency import decayed, occurrences, ratio, wanted
from tastemaker.models.similarity import damping
from tastemaker.models.space import between
from tastemaker.models.tables import Matrix
from tastemaker.models.topk import PARALLEL

BYTES = 20  # for each pair of items: two matrices in float64 and one in float32
MEBIBYTE = 1 << 20


class NextItemParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of ``next_item``."""

    half_life: Annotated[float, Meta(gt=0, extra=between(1.0, 10.0, log=True))] | None = 2.5
    """Places from the end of the history after which an item speaks half as loud; unset, all of the window speak alike."""
    window: Annotated[int, Meta(ge=1, le=1000)] = 16
    """How many items before the next one are looked at."""
    reg: Annotated[float, Meta(ge=0, extra=between(0.1, 10.0, log=True))] = 1.0
    """Ridge, the same for all items: a multiple of the mean squared length of the items' columns."""
    own_reg: Annotated[float, Meta(ge=0, extra=between(0.3, 10.0, log=True))] = 1.5
    """Ridge in proportion to the item's own squared length, which holds popular items back as much as rare ones."""
    target_power: Annotated[float, Meta(ge=0, le=2, extra=between(0.0, 0.3))] = 0.1
    """How much a popular target is held back."""
    limit_mb: Annotated[int, Meta(ge=1)] = 2048
    """Memory that training may take, in MiB; a catalogue that needs more is refused. The default is enough for 10,000 items."""


class NextItem(Linear):
    """One table: W."""

    kind: ClassVar[str] = "next_item"
    Params: ClassVar[type[msgspec.Struct]] = NextItemParams

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:  # noqa: ARG002 (the port's)
        params, rows, n_items = self.params, wanted(trainable(data)), len(data.items)
        require_room(n_items, params.limit_mb)
        gram, right = products(rows, n_items, params.half_life, params.window)
        progress(1, 2, "products")
        degrees = np.bincount(rows.items, weights=rows.weights, minlength=n_items).astype(np.float64)
        solved = regression(gram, right, params.reg, params.own_reg)
        solved *= damping(degrees, params.target_power)
        self.tables, self.items = (Matrix(solved),), data.items
        progress(2, 2, "weights")
        return self

    def query(self, histories: Histories) -> Histories:
        return decayed(histories, self.params.half_life, self.params.window)


def require_room(n_items: int, limit_mb: int) -> None:
    """Raises ``InputError`` where the matrices would take more memory than they may."""
    needed = -(-n_items * n_items * BYTES // MEBIBYTE)
    if needed > limit_mb:
        remedy = (
            f"next_item holds matrices of {n_items} x {n_items}, which take {needed} MiB, and limit_mb allows {limit_mb}; "
            "train transitions instead, which keeps some targets of each item, or raise limit_mb"
        )
        raise InputError("interactions.items", n_items, remedy)


def products(rows: Histories, n_items: int, half_life: float | None, window: int) -> tuple[Doubles, Doubles]:
    """X'X and X'Y of the module's text, (items, items) each."""
    gram, right = np.zeros((n_items, n_items)), np.zeros((n_items, n_items))
    by_item, rate = occurrences(rows, n_items), ratio(half_life)
    with PARALLEL:
        add_products(
            *(rows.indptr, rows.items, rows.weights, by_item.indptr, by_item.items, by_item.times),
            *(sums_to_the_end(rows.indptr, rows.weights, rate), rate, window, gram, right),
        )
    return gram, right


def regression(gram: Doubles, right: Doubles, reg: float, own_reg: float) -> Floats:
    """(gram + L)^-1 right; both matrices are used up. Items that no history has before another one get zeros."""
    own = np.diagonal(gram).copy()
    used = own > 0
    mean = float(own[used].mean()) if used.any() else 1.0
    ridge = reg * mean + own_reg * own
    gram[np.diag_indices_from(gram)] += np.where(used, np.maximum(ridge, 1e-6 * mean), 1.0)
    factor = scipy.linalg.cholesky(gram.T, lower=True, overwrite_a=True, check_finite=False)  # symmetric, and .T is Fortran's
    solved = scipy.linalg.cho_solve((factor, True), right, check_finite=False)
    return solved.astype(np.float32, order="C")
