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

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar, Self

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from tastemaker.errors import InputError
from tastemaker.models import Progress, Recommendations, silent
from tastemaker.models.als_kernels import STEPS, entry_shares, observed_loss, solve_exactly
from tastemaker.models.als_products import column_squares, eigenbasis, gramian, rotate
from tastemaker.models.als_training import FIRST_STEPS, Alternation, random_factors
from tastemaker.models.artifact import load_artifact, params_of, save_artifact
from tastemaker.models.eigen import eigen
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
    """Dimensions of the vectors; unset, 256, or less for small data (``default_factors``). Among 40,000 items 256 find 14 % more
    than 64, at five times the cost."""
    epochs: Annotated[int, Meta(ge=1, le=1000)] = 5
    """Passes over the data; the loss hardly falls after five, and accuracy not at all."""
    alpha0: Annotated[float, Meta(gt=0, extra=between(0.001, 1.0, log=True))] | None = None
    """Weight of each pair without an event; unset, such that all pairs together weigh ``UNOBSERVED`` times the events."""
    reg: Annotated[float, Meta(ge=0, extra=between(0.0001, 0.03, log=True))] = 0.001
    """Strength of the L2 penalty, before it is scaled by frequency."""
    nu: Annotated[float, Meta(ge=0, le=2, extra=between(0.0, 1.0))] = 1.0
    """Exponent of frequency in the penalty: 0 is the same for all, 1 is in proportion to the weight of a row's terms."""
    tolerance: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Training ends before its last epoch when one lowers the loss by less than this share of it; 0 never ends early."""


UNOBSERVED = 24.0
"""The published tuned values of alpha0 differ by hundreds, but amount to 14-27 times the events on every data set."""


def default_factors(users: int, items: int) -> int:
    """One dimension for every 50 rows of the smaller side, from 8 to 256: with more, few people are learnt by heart.

    Above 64 no more than make a gigabyte of vectors of both sides.

    >>> default_factors(943, 1_682), default_factors(6_040, 3_416), default_factors(29_858, 40_981)
    (18, 68, 256)
    """
    most = min(256, max(64, 2**28 // (users + items)))
    return min(most, max(8, min(users, items) // 50))


class Als:
    """Item factors in the eigenbasis of their Gramian."""

    kind: ClassVar[str] = "als"
    Params: ClassVar[type[msgspec.Struct]] = AlsParams

    def __init__(self, params: AlsParams | None = None) -> None:
        self.params = params or AlsParams()
        self.items = Vocabulary(())
        self.losses: tuple[float, ...] = ()
        self.start: Als | None = None  # a model whose items training begins from; ``fit`` lets go of it
        self.alpha0 = self.params.alpha0 or 0.0
        self.people = 0  # users in training
        self.crowd: Doubles = np.zeros((1, 1))  # (f, f), Gramian of their factors, in the items' basis
        self.settle(np.zeros((0, 1), np.float32))

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:
        """As all models do. ``losses`` says how it went, and ``changes`` by how much each epoch helped."""
        rows, n_items = trainable(data), len(data.items)
        columns = transposed(rows, n_items)
        self.alpha0 = self.weight_of_pairs(rows, n_items)
        items = self.first_factors(len(rows), data.items, seed)
        users = np.zeros((len(rows), items.shape[1]), np.float32)
        ridges = self.ridge(rows, n_items), self.ridge(columns, len(rows))
        sides = Alternation(rows, columns, *ridges, self.alpha0, users, items)
        self.losses = self.run(sides, progress)
        return self.trained(data.items, items, len(rows), gramian(users))

    def weight_of_pairs(self, rows: Histories, items: int) -> float:
        """``alpha0``, or what stands for it."""
        return self.params.alpha0 or UNOBSERVED * float(rows.weights.sum(dtype=np.float64)) / (len(rows) * items)

    def trained(self, items: Vocabulary, factors: Floats, people: int, crowd: Doubles) -> Self:
        """Takes what training found, wherever it ran: item factors, which are rotated in place, and the users' Gramian."""
        self.items, self.people, self.start = items, people, None
        _, basis = eigenbasis(factors)
        rotate(factors, basis)
        self.crowd = basis.T.astype(np.float64) @ crowd @ basis
        self.settle(factors)
        return self

    def run(self, sides: Alternation, progress: Progress) -> tuple[float, ...]:
        """Epochs until the last, or until one helps too little. Returns the loss after each."""
        epochs, losses = self.params.epochs, list[float]()
        for epoch in range(epochs):
            warm = epoch == 0 and self.start is not None
            losses.append(sides.epoch(FIRST_STEPS if warm else STEPS))
            note = f"loss {losses[-1]:.6g}"
            if epoch and losses[-2] - losses[-1] < self.params.tolerance * losses[-2]:
                progress(epochs, epochs, f"{note}, ended after {epoch + 1} epochs")
                break
            progress(epoch + 1, epochs, note)
        return tuple(losses)

    @property
    def changes(self) -> tuple[float, ...]:
        """By which share each epoch but the first lowered the loss."""
        return tuple((before - after) / before for before, after in pairwise(self.losses))

    def warm(self, previous: Als) -> Self:
        """Lets ``fit`` begin from the items of an earlier model, matched by id; new items begin at random, as all do else.

        On Gowalla two epochs then reach the loss of five from nothing, with up to 30 % of items and events new; one does with
        2 %. Raises ``InputError`` if the numbers of factors differ; where the hyper-parameter is unset, it is that of the
        earlier model.
        """
        f = previous.factors.shape[1]
        if self.params.factors not in (None, f):
            raise InputError("factors", self.params.factors, f"the model to start from has {f}; use these, or start from nothing")
        self.start = previous
        return self

    def first_factors(self, n_users: int, items: Vocabulary, seed: int) -> Floats:
        """What training begins from, (items, f)."""
        if self.start is None:
            return random_factors(len(items), self.params.factors or default_factors(n_users, len(items)), seed)
        factors = random_factors(len(items), self.start.factors.shape[1], seed)
        number = self.start.items.number
        matched = np.array([number.get(name, -1) for name in items.ids], np.int64)
        factors[matched >= 0] = self.start.factors[matched[matched >= 0]]
        return factors

    def settle(self, factors: Floats) -> None:
        """Takes item factors that are already in their eigenbasis."""
        self.factors: Floats = np.ascontiguousarray(factors)  # (items, f)
        self.spectrum: Doubles = column_squares(self.factors)  # (f,), eigenvalues of factors.T @ factors
        self.__dict__.pop("directions", None)

    @cached_property
    def directions(self) -> Floats:
        """Factors of length 1, (items, f), for ``similar``."""
        return of_length_one(self.factors)

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

    def fold_in_items(self, events: Histories, users: Histories) -> Floats:
        """Vectors of items that came after training: the items' half-step run to its end, (new items, f).

        ``events``: a row for each new item, whose ``items`` are numbers of rows of ``users``; ``users``: what these people did
        with items that the model knows. Pairs without an event are those with the users of training. Raises ``InputError``
        for numbers out of range.
        """
        events = checked(events, len(users))
        spectrum, basis = eigen(self.crowd)
        vectors = np.ascontiguousarray(self.fold_in(users) @ basis.astype(np.float32))
        found: Floats = solve_exactly(
            vectors, events, self.alpha0 * np.maximum(spectrum, 0.0), self.ridge(events, self.people)
        ) @ basis.T.astype(np.float32)
        return found

    def with_items(self, names: Sequence[str], vectors: Floats) -> Als:
        """A model that knows these items too, with vectors of ``fold_in_items``; this one stays as it is.

        Raises ``InputError`` for a name that is known already or given twice, and for vectors of another shape.
        """
        known_names = set(self.items.ids)
        for name in names:
            if name in known_names:
                raise InputError("names", name, "the model has this item already; give new names, each once")
            known_names.add(name)
        if vectors.shape != (len(names), self.factors.shape[1]):
            raise InputError("vectors", vectors.shape, f"give one row of {self.factors.shape[1]} numbers for each name")
        grown = Als(self.params)
        grown.items, grown.losses = Vocabulary((*self.items.ids, *names)), self.losses
        grown.alpha0, grown.people = self.alpha0, self.people
        factors = np.concatenate([self.factors, vectors.astype(np.float32)])
        _, basis = eigenbasis(factors)
        rotate(factors, basis)
        grown.crowd = basis.T.astype(np.float64) @ self.crowd @ basis
        grown.settle(factors)
        return grown

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
        arrays = {
            "factors": self.factors,
            "alpha0": np.array(self.alpha0),
            "crowd": self.crowd,
            "people": np.array(self.people),
        }
        save_artifact(folder, self.kind, self.params, self.items, arrays, self.losses)

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = load_artifact(folder, cls.kind)
        model = cls(params_of(artifact, AlsParams, folder))
        model.items, model.losses = artifact.items, artifact.losses
        model.alpha0 = float(artifact.arrays["alpha0"])
        model.crowd, model.people = artifact.arrays["crowd"], int(artifact.arrays["people"])
        model.settle(artifact.arrays["factors"])
        return model
