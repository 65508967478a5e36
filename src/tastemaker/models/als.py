"""iALS: matrix factorisation of implicit feedback by alternating least squares, with exact fold-in.

The loss (Hu et al. 2008, in the form of Rendle et al. 2021, "Revisiting the performance of iALS"), x = user . item:

    sum over events  w (1 - x)^2  +  alpha0 * sum over all pairs  x^2
        +  reg * sum over users  (W_u + alpha0 * items)^nu |user|^2   +   the same over items

W_u is the user's sum of rewards w. Half-steps alternate: users given items, items given users. A model keeps its items only;
a user is a history, and his vector is the half-step run to the end, so a recommendation needs no stored user.

Before a half-step both sides are rotated into the eigenvectors of the fixed side's Gramian; scores do not change by that.
The dense part of every row's equations, alpha0 * Gramian + ridge, is then diagonal: a step of conjugate gradients costs
only the row's own events, and the diagonal is a preconditioner for nothing (``solve_row`` in ``als_kernels.py``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Self

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from tastemaker.models import Progress, Recommendations, silent
from tastemaker.models.als_kernels import (
    eigenbasis,
    entry_shares,
    gramian,
    half_step,
    observed_loss,
    solve_exactly,
)
from tastemaker.models.artifact import load_artifact, params_of, save_artifact
from tastemaker.models.interactions import (
    Bools,
    Floats,
    Histories,
    Interactions,
    Ints,
    Rows,
    Vocabulary,
    checked,
    known,
    row_sums,
    single,
    trainable,
    transposed,
)
from tastemaker.models.space import among, between
from tastemaker.models.topk import of_length_one, top_scores, without

Doubles = npt.NDArray[np.float64]


class AlsParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of ``als``."""

    factors: Annotated[int, Meta(ge=1, le=2048, extra=among(32, 64, 128, 256))] | None = None
    """Dimensions of the vectors; unset, 64, or less for small data (``default_factors``). On large data more are better:
    256 find 15 % more than 64 among 40,000 items, at four times the cost."""
    epochs: Annotated[int, Meta(ge=1, le=1000)] = 5
    """Passes over the data; the loss hardly falls after five, and accuracy not at all."""
    alpha0: Annotated[float, Meta(gt=0, extra=between(0.001, 1.0, log=True))] | None = None
    """Weight of each pair without an event; unset, such that all pairs together weigh ``UNOBSERVED`` times the events."""
    reg: Annotated[float, Meta(ge=0, extra=between(0.0001, 0.03, log=True))] = 0.001
    """Strength of the L2 penalty, before it is scaled by frequency."""
    nu: Annotated[float, Meta(ge=0, le=2, extra=between(0.0, 1.0))] = 1.0
    """Exponent of frequency in the penalty: 0 is the same for all, 1 is in proportion to the weight of a row's terms."""


UNOBSERVED = 24.0
"""The published tuned values of alpha0 differ by hundreds, but amount to 14-27 times the events on every data set."""


def default_factors(users: int, items: int) -> int:
    """One dimension for every 50 rows of the smaller side, between 8 and 64: with more, few people are learnt by heart.

    >>> default_factors(943, 1_682), default_factors(6_040, 3_416), default_factors(29_858, 40_981)
    (18, 64, 64)
    """
    return min(64, max(8, min(users, items) // 50))


class Als:
    """Item factors in the eigenbasis of their Gramian."""

    kind: ClassVar[str] = "als"
    Params: ClassVar[type[msgspec.Struct]] = AlsParams

    def __init__(self, params: AlsParams | None = None) -> None:
        self.params = params or AlsParams()
        self.items = Vocabulary(())
        self.losses: tuple[float, ...] = ()
        self.alpha0 = self.params.alpha0 or 0.0
        self.factors: Floats = np.zeros((0, 1), np.float32)  # (items, f)
        self.spectrum: Doubles = np.zeros(1)  # (f,), eigenvalues of factors.T @ factors
        self.directions: Floats = self.factors  # (items, f), factors of length 1, for similar()

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:
        params, rows = self.params, trainable(data)
        columns = transposed(rows, len(data.items))
        n_users, n_items = len(rows), len(data.items)
        f = params.factors or default_factors(n_users, n_items)
        total = float(rows.weights.sum(dtype=np.float64))
        self.alpha0 = params.alpha0 or UNOBSERVED * total / (n_users * n_items)
        user_ridge, item_ridge = self.ridge(rows, n_items), self.ridge(columns, n_users)
        random = np.random.default_rng(seed)
        items = random.normal(0, 0.1 / np.sqrt(f), (n_items, f)).astype(np.float32)
        users = np.zeros((n_users, f), np.float32)
        losses = []
        for epoch in range(params.epochs):
            spectrum, basis = eigenbasis(items)
            items, users = items @ basis, users @ basis
            half_step(items, rows, self.alpha0 * spectrum, user_ridge, users)
            spectrum, basis = eigenbasis(users)
            items, users = items @ basis, users @ basis
            half_step(users, columns, self.alpha0 * spectrum, item_ridge, items)
            losses.append(self.loss(rows, users, items, user_ridge, item_ridge))
            progress(epoch + 1, params.epochs, f"loss {losses[-1]:.6g}")
        self.losses, self.items = tuple(losses), data.items
        self.settle(items @ eigenbasis(items)[1])
        return self

    def settle(self, factors: Floats) -> None:
        """Takes item factors that are already in their eigenbasis."""
        self.factors = np.ascontiguousarray(factors)
        self.spectrum = np.maximum(np.diagonal(gramian(self.factors)), 0.0)
        self.directions = of_length_one(self.factors)

    def ridge(self, rows: Histories, others: int) -> Doubles:
        """Each row's share of the penalty, (rows,): reg * (sum of rewards + alpha0 * rows of the other side)^nu."""
        return self.params.reg * (row_sums(rows, rows.weights) + self.alpha0 * others) ** self.params.nu

    def loss(self, rows: Histories, users: Floats, items: Floats, user_ridge: Doubles, item_ridge: Doubles) -> float:
        """The training objective. The sum over all pairs is that of the product of two Gramians, (f, f) each."""
        pairs = float((gramian(users) * gramian(items)).sum())
        lengths = user_ridge @ (users.astype(np.float64) ** 2).sum(1) + item_ridge @ (items.astype(np.float64) ** 2).sum(1)
        return observed_loss(users, items, rows) + self.alpha0 * pairs + float(lengths)

    def fold_in(self, histories: Histories) -> Floats:
        """The vectors that minimise the loss for these histories, given the items: (rows, f)."""
        histories = checked(histories, len(self.items))
        ridge = self.ridge(histories, len(self.items))
        return solve_exactly(self.factors, histories, self.alpha0 * self.spectrum, ridge)

    def recommend(
        self, histories: Histories, k: int, *, exclude: Rows | None = None, allowed: Bools | None = None
    ) -> Recommendations:
        vectors = self.fold_in(histories)
        found = top_scores(vectors, self.factors, k, histories if exclude is None else exclude, allowed)
        return without(found, ~known(histories))

    def scores(self, histories: Histories) -> Floats:
        """Inner products with every item, (rows, items); zeros for a row about which nothing is known."""
        found: Floats = self.fold_in(histories) @ self.factors.T
        return found

    def similar(self, items: Ints, k: int) -> Recommendations:
        """By the cosine of the items' factors."""
        itself = Rows(np.arange(len(items) + 1, dtype=np.int64), items)
        return top_scores(self.directions[items], self.directions, k, itself)

    def explain(self, histories: Histories, item: int) -> Floats:
        parts: Floats = self.contributions(histories, np.array([item], np.int32))[0]
        return parts

    def contributions(self, histories: Histories, items: Ints) -> Floats:
        """Hu et al. 2008, section 5: score = item . A^-1 . sum of w q, which is a sum over the history's entries (w, q)."""
        histories = checked(single(histories), len(self.items))
        diagonal = self.alpha0 * self.spectrum + self.ridge(histories, len(self.items))[0]
        return entry_shares(self.factors, histories.items, histories.weights, diagonal, self.factors[items])

    def save(self, folder: Path) -> None:
        arrays = {"factors": self.factors, "alpha0": np.array(self.alpha0)}
        save_artifact(folder, self.kind, self.params, self.items, arrays, self.losses)

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = load_artifact(folder, cls.kind)
        model = cls(params_of(artifact, AlsParams, folder))
        model.items, model.losses = artifact.items, artifact.losses
        model.alpha0 = float(artifact.arrays["alpha0"])
        model.settle(artifact.arrays["factors"])
        return model
