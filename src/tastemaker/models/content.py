"""What items are about: the one model that can recommend an item that nobody has touched, to somebody who has done nothing.

Each item is a sparse vector of its words (``words.py``) and its categories, and, where a file of them is given, a dense one that
somebody else's network made (``vectors.py``). Each of the three has length 1, and their likenesses are summed by weight:

    s(i, j) = (text cos_words + categories cos_categories + vectors_weight cos_vectors) (1 + popularity p_j)

A history's profile is the weighted sum of its items (Rocchio 1971; Pazzani & Billsus 2007), so a score is the sum of the
likenesses to its entries and an explanation is that sum's terms. p is 0 to 1, logarithmic in the events of the target:
without it, all items that share the same terms would tie. An item that shares nothing with the history is not recommended.

Stated preferences are a profile, too: that of ``stated`` events on an item which has just these categories.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import msgspec
import numpy as np
from msgspec import Meta

from tastemaker.errors import InputError
from tastemaker.models import Progress, Recommendations, silent
from tastemaker.models.artifact import load_artifact, params_of, save_artifact
from tastemaker.models.dense import BLOCK
from tastemaker.models.interactions import Bools, Floats, Histories, Interactions, Ints, Longs, Rows, checked, known
from tastemaker.models.linear import Linear
from tastemaker.models.nmf import prior
from tastemaker.models.space import among, between
from tastemaker.models.tables import LowRank, packed, unpacked
from tastemaker.models.terms import Terms
from tastemaker.models.topk import require_rows, select, without
from tastemaker.models.vectors import read_vectors
from tastemaker.models.words import idf, matrix_of


class ContentParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of ``content``."""

    text: Annotated[float, Meta(ge=0, extra=between(0.1, 10.0, log=True))] = 2.0
    """Weight of the likeness of words; twice that of categories was right for films and series."""
    categories: Annotated[float, Meta(ge=0, extra=between(0.05, 5.0, log=True))] = 1.0
    """Weight of the likeness of categories; rare ones say more."""
    vectors: str | None = None
    """Path of an ``.npz`` file with ``ids`` and ``vectors`` (items, dimensions), such as sentence embeddings."""
    vectors_weight: Annotated[float, Meta(ge=0, extra=between(0.05, 5.0, log=True))] = 1.0
    """Weight of the likeness of the file's vectors."""
    weighting: Annotated[Literal["tfidf", "bm25"], Meta(extra=among("tfidf", "bm25"))] = "tfidf"
    """How much a word says about an item: ``tfidf`` or ``bm25``; both are scaled to length 1."""
    min_items: Annotated[int, Meta(ge=1)] = 2
    """Items that must have a word; a word of one item is like no other."""
    max_share: Annotated[float, Meta(gt=0, le=1, extra=between(0.02, 1.0, log=True))] = 0.1
    """Share of the items above which a word says nothing and is dropped; never one of 20 items or fewer."""
    max_terms: Annotated[int, Meta(ge=1)] = 50_000
    """Words kept, those that most items have."""
    fold_accents: bool = True
    """Whether é counts as e."""
    half_life: Annotated[float, Meta(gt=0, extra=between(1.0, 200.0, log=True))] | None = None
    """Entries of the history, counted from its end, after which one weighs half; unset, all weigh alike."""
    popularity: Annotated[float, Meta(ge=0, le=100, extra=between(0.01, 10.0, log=True))] = 0.1
    """Share by which the most popular item scores above one without events that is about the same."""
    stated: Annotated[float, Meta(gt=0)] = 3.0
    """Events that stated preferences count as, beside a history."""


class Content(Linear):
    """Terms of items, and vectors where a file is given."""

    kind: ClassVar[str] = "content"
    Params: ClassVar[type[msgspec.Struct]] = ContentParams

    def __init__(self, params: ContentParams | None = None) -> None:
        super().__init__(params)
        self.category_weights: Floats = np.zeros(0, np.float32)  # (categories,), how much each one says
        self.boosts: Floats = np.zeros(0, np.float32)  # (items,), 1 + popularity p
        self.lengths: Floats = np.zeros(0, np.float32)  # (items,), of the weighted vectors, for cosines

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:  # noqa: ARG002 (the port's)
        n_items, params = len(data.items), self.params
        self.boosts = 1 + np.float32(params.popularity) * prior(checked(data.histories, n_items), n_items)
        terms = self.terms_of(data)
        self.tables, squares = (terms,) if len(terms.values) else (), terms.squares
        note = f"{terms.count - len(data.category_names)} words, {len(data.category_names)} categories"
        if params.vectors is not None and params.vectors_weight > 0:
            vectors, missing = read_vectors(params.vectors, data.items, "models.content.vectors")
            vectors *= np.float32(params.vectors_weight**0.5)
            self.tables += (LowRank(vectors, vectors * self.boosts[:, None]),)
            squares += np.einsum("ij,ij->i", vectors, vectors)
            note += f", vectors of {n_items - missing} of {n_items} items"
        if not self.tables:
            remedy = "content needs words or categories of the items; import items with a title, a text or categories"
            raise InputError("interactions.texts", None, remedy)
        self.items, self.lengths = data.items, np.sqrt(squares)
        progress(1, 1, note)
        return self

    def terms_of(self, data: Interactions) -> Terms:
        """Categories and, numbered behind them, words; also sets how much each category says."""
        params, n_items, count = self.params, len(data.items), len(data.category_names)
        words = matrix_of(
            data.texts if data.texts and params.text > 0 else ("",) * n_items,
            weighting=params.weighting,
            fold_accents=params.fold_accents,
            min_items=params.min_items,
            max_share=params.max_share,
            max_terms=params.max_terms,
        )
        categories = data.categories
        if categories is None or params.categories == 0:
            categories = Rows(np.zeros(n_items + 1, np.int64), np.zeros(0, np.int32))
        self.category_weights = idf(np.bincount(categories.items, minlength=count), n_items).astype(np.float32)
        shares = unit(categories, self.category_weights[categories.items])
        lists, values = beside(
            (categories, shares * np.float32(params.categories**0.5)),
            (Rows(words.rows.indptr, words.rows.items + np.int32(count)), words.values * np.float32(params.text**0.5)),
        )
        return Terms(lists, values, self.boosts, count + len(words.names))

    def query(self, histories: Histories) -> Histories:
        """Weights halved every ``half_life`` entries from the end."""
        if self.params.half_life is None:
            return histories
        age = np.repeat(histories.indptr[1:], histories.lengths) - 1 - np.arange(len(histories.items))
        weights = histories.weights * np.exp2(-age / self.params.half_life).astype(np.float32)
        return Histories(histories.indptr, histories.items, weights, histories.times)

    def recommend_preferences(
        self,
        preferences: Floats,
        k: int,
        *,
        histories: Histories | None = None,
        exclude: Rows | None = None,
        allowed: Bools | None = None,
    ) -> Recommendations:
        """For people who stated preferences, (rows, categories): NaN where nothing, below zero for a dislike; and histories.

        Without ``exclude`` the histories are left out, if there are any. Raises ``InputError`` for other columns than the
        training set's categories, and for numbers that are infinite.
        """
        stated = self.profiles(preferences)
        histories = Histories.empty(len(stated)) if histories is None else checked(histories, len(self.items))
        require_rows(histories, len(stated))
        excluded = histories if exclude is None else exclude
        require_rows(excluded, len(stated))
        found = []
        for start in range(0, max(len(stated), 1), BLOCK):
            stop = min(start + BLOCK, len(stated))
            block, wishes = histories.take(np.arange(start, stop)), stated[start:stop]
            scores = self.scores(block)
            for table in self.tables:
                if isinstance(table, Terms):
                    table.add_profiles(scores, Histories.empty(len(block)), wishes)
            silent_rows = ~known(block) & ~wishes.any(axis=1)
            found.append(without(select(scores, k, excluded.part(start, stop), allowed, 0.0), silent_rows))
        return Recommendations(np.concatenate([one.items for one in found]), np.concatenate([one.scores for one in found]))

    def profiles(self, preferences: Floats) -> Floats:
        """Stated preferences as weights of the first terms, (rows, categories)."""
        count = len(self.category_weights)
        if preferences.ndim != 2 or preferences.shape[1] != count:
            raise InputError("preferences", preferences.shape, f"give one column for each of the {count} categories")
        stated = np.nan_to_num(preferences.astype(np.float32), nan=0.0, posinf=np.inf, neginf=-np.inf)
        if np.isinf(stated).any():
            raise InputError("preferences", float(stated[np.isinf(stated)][0]), "preferences are finite numbers")
        stated *= self.category_weights
        lengths = np.sqrt((stated.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
        scale = self.params.stated * self.params.categories**0.5
        profiles: Floats = (stated * (scale / np.where(lengths > 0, lengths, 1))).astype(np.float32)
        return profiles

    def similar(self, items: Ints, k: int) -> Recommendations:
        """By the cosine, over words, categories and vectors together; popularity has no part in it."""
        lengths: Floats = np.where(self.lengths > 0, self.lengths, np.float32(1))
        found = []
        for start in range(0, max(len(items), 1), BLOCK):
            block = items[start : start + BLOCK]
            itself = Rows(np.arange(len(block) + 1, dtype=np.int64), block)
            cosines = (self.rows(itself) / (lengths[block, None] * (lengths * self.boosts))).astype(np.float32)
            found.append(select(cosines, k, itself, floor=0.0))
        return Recommendations(np.concatenate([one.items for one in found]), np.concatenate([one.scores for one in found]))

    def save(self, folder: Path) -> None:
        own = {"category_weights": self.category_weights, "boosts": self.boosts, "lengths": self.lengths}
        save_artifact(folder, self.kind, self.params, self.items, packed(self.tables) | own)

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = load_artifact(folder, cls.kind)
        model = cls(params_of(artifact, ContentParams, folder))
        model.items, model.tables = artifact.items, unpacked(artifact.arrays)
        model.category_weights, model.boosts = artifact.arrays["category_weights"], artifact.arrays["boosts"]
        model.lengths = artifact.arrays["lengths"]
        return model


def unit(rows: Rows, values: Floats) -> Floats:
    """The rows' entries, each row scaled to length 1."""
    row = np.repeat(np.arange(len(rows)), rows.lengths)
    squares = np.bincount(row, weights=values.astype(np.float64) ** 2, minlength=len(rows))
    scaled: Floats = (values / np.sqrt(squares)[row]).astype(np.float32)
    return scaled


def beside(*blocks: tuple[Rows, Floats]) -> tuple[Rows, Floats]:
    """Sparse matrices side by side, of the same rows: entries of the first come first in each."""
    row = np.concatenate([np.repeat(np.arange(len(rows)), rows.lengths) for rows, _ in blocks])
    order = np.argsort(row, kind="stable")
    indptr: Longs = sum(rows.indptr for rows, _ in blocks)  # type: ignore[assignment]  # there is at least one block
    terms = np.concatenate([rows.items for rows, _ in blocks])[order]
    return Rows(indptr, terms), np.concatenate([values for _, values in blocks])[order]
