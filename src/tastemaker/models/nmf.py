"""Taste as a mixture of few types: nonnegative factors of the matrix users x categories.

X (users, categories) holds stated preferences, with gaps, or, where nobody stated any, the categories of what users did. It
is approximated by W H, both >= 0, over the known entries only: multiplicative updates (Lee & Seung 2001), each of which
lowers the squared error. A row of H is a type of taste ("crime and thrillers"); a person is a mixture of types.

A person's taste is folded in, exactly, as the mixture that fits best what is known of him: the stated preferences, and the
categories of the history. An item's score is the taste averaged over the item's categories, raised by up to
``popularity`` for its popularity; without that, all items of a category would tie. The model ranks people by interests,
not items by merit: it is the one that also works for a person who only stated preferences.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Self

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from tastemaker.errors import InputError
from tastemaker.models import Progress, Recommendations, silent
from tastemaker.models.artifact import Array, load_artifact, params_of, save_artifact
from tastemaker.models.interactions import (
    Bools,
    Floats,
    Histories,
    Interactions,
    Ints,
    Rows,
    Vocabulary,
    checked,
    single,
)
from tastemaker.models.nmf_kernels import add_shares, factorise, mixtures, ridge_of
from tastemaker.models.row_kernels import add_by_item
from tastemaker.models.space import between
from tastemaker.models.topk import of_length_one, top_scores, without

Doubles = npt.NDArray[np.float64]


class NmfParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of ``nmf``."""

    factors: Annotated[int, Meta(ge=1, le=512, extra=between(2, 64, log=True))] = 8
    """Types of taste; never more than there are categories."""
    epochs: Annotated[int, Meta(ge=1, le=10_000)] = 200
    """Multiplicative updates of both factors."""
    popularity: Annotated[float, Meta(ge=0, le=100, extra=between(0.01, 10.0, log=True))] = 0.1
    """Share by which the most popular item of a category scores above one without events."""


class Nmf:
    """Types of taste, and each item's categories."""

    kind: ClassVar[str] = "nmf"
    Params: ClassVar[type[msgspec.Struct]] = NmfParams

    def __init__(self, params: NmfParams | None = None) -> None:
        self.params = params or NmfParams()
        self.items = Vocabulary(())
        self.losses: tuple[float, ...] = ()
        self.types: Doubles = np.zeros((0, 0))  # H, (types, categories)
        self.profiles: Floats = np.zeros((0, 0), np.float32)  # (items, categories), rows sum to 1 or are 0
        self.boosted: Floats = self.profiles  # (items, categories), each row times 1 + popularity * prior
        self.scale = 1.0  # the largest entry of a history's profile, in the units of the preferences

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:
        if data.categories is None or len(data.categories.items) == 0:
            remedy = "nmf needs categories or preferences over them, and each item's categories; import items with categories"
            raise InputError("interactions.categories", None, remedy)
        histories = checked(data.histories, len(data.items))
        self.items = data.items
        self.profiles = profiles_of(data.categories, len(data.category_names))
        boosts = 1 + np.float32(self.params.popularity) * prior(histories, len(data.items))
        self.boosted = self.profiles * boosts[:, None]
        stated = stated_preferences(data.preferences, len(data.category_names))
        if stated is not None:
            stated = stated[~np.isnan(stated).all(axis=1)]
        if stated is None or len(stated) == 0:
            matrix = self.tastes_of(histories)
            matrix = matrix[matrix.any(axis=1)]
        else:
            matrix = stated
            self.scale = float(np.nanmax(matrix, axis=1).mean()) or 1.0
        if len(matrix) == 0:
            raise InputError("interactions", 0, "nmf needs users with stated preferences, or events on items with categories")
        count = min(self.params.factors, matrix.shape[1])
        mask = ~np.isnan(matrix)
        _, self.types, self.losses = factorise(
            np.where(mask, matrix, 0), mask, *beginnings(matrix, count, seed), self.params.epochs, progress
        )
        return self

    def tastes_of(self, histories: Histories) -> Doubles:
        """Each history's categories, (rows, categories): the mean of its items' shares, its largest entry at ``scale``."""
        means = np.zeros((len(histories), self.profiles.shape[1]))
        add_shares(histories.indptr, histories.items, histories.weights, self.profiles, means)
        largest = means.max(axis=1, keepdims=True, initial=0)
        return means * np.where(largest > 0, self.scale / np.where(largest > 0, largest, 1), 0)

    def scores(self, histories: Histories) -> Floats:
        """Average preference over each item's categories, raised by popularity: (rows, items)."""
        nothing = np.full((len(histories), self.types.shape[1]), np.nan, np.float32)
        tastes: Floats = self.taste(nothing, histories).astype(np.float32)
        return tastes @ self.boosted.T

    def recommend(
        self, histories: Histories, k: int, *, exclude: Rows | None = None, allowed: Bools | None = None
    ) -> Recommendations:
        histories = checked(histories, len(self.items))
        nothing = np.full((len(histories), self.types.shape[1]), np.nan, np.float32)
        return self.recommend_preferences(nothing, k, histories=histories, exclude=exclude, allowed=allowed)

    def recommend_preferences(
        self,
        preferences: Floats,
        k: int,
        *,
        histories: Histories | None = None,
        exclude: Rows | None = None,
        allowed: Bools | None = None,
    ) -> Recommendations:
        """For people who stated preferences, (rows, categories), NaN where nothing; what they did fills the gaps.

        Without ``exclude`` the histories are left out, if there are any.
        """
        tastes = self.taste(preferences, histories)
        excluded = histories if exclude is None else exclude
        # average over the categories, raised by popularity: one inner product
        found = top_scores(tastes.astype(np.float32), self.boosted, k, excluded, allowed, floor=0.0)
        return without(found, tastes.sum(axis=1) == 0)

    def taste(self, preferences: Floats, histories: Histories | None = None) -> Doubles:
        """The preferences over all categories that the types make of what is known, (rows, categories)."""
        stated = stated_preferences(preferences, self.types.shape[1])
        if stated is None:
            raise InputError("preferences", preferences.shape, f"give one column for each of {self.types.shape[1]} categories")
        if histories is not None:
            lived = self.tastes_of(checked(histories, len(self.items)))
            stated = np.where(np.isnan(stated) & lived.any(axis=1, keepdims=True), lived, stated)
        mask = ~np.isnan(stated)
        tastes: Doubles = mixtures(np.where(mask, stated, 0), mask, self.types) @ self.types
        return tastes

    def similar(self, items: Ints, k: int) -> Recommendations:
        """By the cosine of the items' mixtures of types; alike items with the same categories come by number."""
        directions = of_length_one((self.profiles @ self.types.T).astype(np.float32))
        itself = Rows(np.arange(len(items) + 1, dtype=np.int64), items)
        return top_scores(directions[items], directions, k, itself, floor=0.0)

    def explain(self, histories: Histories, item: int) -> Floats:
        parts: Floats = self.contributions(histories, np.array([item], np.int32))[0]
        return parts

    def contributions(self, histories: Histories, items: Ints) -> Floats:
        """Given which types the mixture uses, it is linear in the history's profile, and so in each entry."""
        histories = checked(single(histories), len(self.items))
        lived = self.tastes_of(histories)  # (1, categories)
        used = self.types[mixtures(lived, np.ones(lived.shape, np.bool_), self.types)[0] > 0]  # (used, categories)
        raw = self.profiles[histories.items].astype(np.float64) * histories.weights[:, None]  # (entries, categories)
        largest = raw.sum(axis=0).max(initial=0)
        if len(used) == 0 or largest == 0:
            return np.zeros((len(items), len(raw)), np.float32)
        wanted = used @ self.boosted[items].T.astype(np.float64)  # (used, items)
        solved = np.linalg.solve(used @ used.T + ridge_of(self.types) * np.eye(len(used)), wanted)
        parts: Floats = (solved.T @ used @ (raw * self.scale / largest).T).astype(np.float32)
        return parts

    def save(self, folder: Path) -> None:
        arrays: dict[str, Array] = {"types": self.types, "profiles": self.profiles, "boosted": self.boosted}
        arrays["scale"] = np.array(self.scale)
        save_artifact(folder, self.kind, self.params, self.items, arrays, self.losses)

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = load_artifact(folder, cls.kind)
        model, arrays = cls(params_of(artifact, NmfParams, folder)), artifact.arrays
        model.items, model.losses = artifact.items, artifact.losses
        model.types, model.profiles, model.boosted = arrays["types"], arrays["profiles"], arrays["boosted"]
        model.scale = float(arrays["scale"])
        return model


def profiles_of(categories: Rows, count: int) -> Floats:
    """Each item's shares of its categories, (items, categories)."""
    profiles = np.zeros((len(categories), count), np.float32)
    row = np.repeat(np.arange(len(categories)), categories.lengths)
    profiles[row, categories.items] = 1
    profiles /= np.maximum(profiles.sum(axis=1, keepdims=True), 1)
    return profiles


def prior(histories: Histories, items: int) -> Floats:
    """Popularity between 0 and 1, on a logarithmic scale, (items,)."""
    counts = np.zeros(items)
    add_by_item(histories.items, histories.weights, counts)
    counts = np.log1p(counts)
    return (counts / max(float(counts.max(initial=0)), 1e-30)).astype(np.float32)


def stated_preferences(preferences: Floats, categories: int) -> Doubles | None:
    """Checked preferences, or None where nobody stated any."""
    if preferences.shape == (0, 0):
        return None
    if preferences.ndim != 2 or preferences.shape[1] != categories:
        raise InputError("preferences", preferences.shape, f"give one column for each of the {categories} categories")
    if (preferences < 0).any() or np.isinf(preferences).any():
        raise InputError("preferences", float(np.nanmin(preferences)), "preferences are finite numbers from 0 up")
    return preferences.astype(np.float64)


def beginnings(matrix: Doubles, count: int, seed: int) -> tuple[Doubles, Doubles]:
    """Random W (rows, count) and H (count, categories) whose product has about the mean of the known entries."""
    random = np.random.default_rng(seed)
    size = np.sqrt(max(float(np.nanmean(matrix)), 1e-12) / count)
    users = size * np.abs(random.standard_normal((len(matrix), count)))
    return users, size * np.abs(random.standard_normal((count, matrix.shape[1])))
