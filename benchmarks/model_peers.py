"""The libraries that models stand beside, behind the same three calls as our own models: prepare, fit, top.

implicit and irspack are no part of the project: whoever has them, by the extra ``bench``, sees them in the tables, and others
are told that they are missing. Each runs as its own documentation advises: implicit with one BLAS thread, its own threads on
all cores; irspack in blocks of users with its own selection. Their matrices are made before the clock starts.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sparse

from tastemaker.models import MODELS, Recommender, create
from tastemaker.models.als import UNOBSERVED
from tastemaker.models.interactions import Interactions, Ints, Longs

BLOCK = 512  # users whose dense scores irspack holds at once
OURS, IMPLICIT, IRSPACK = "tastemaker", "implicit", "irspack"
CLASSES_OF_IMPLICIT = {
    "als": ("implicit.als", "AlternatingLeastSquares"),
    "bpr": ("implicit.bpr", "BayesianPersonalizedRanking"),
    "cosine": ("implicit.nearest_neighbours", "CosineRecommender"),
    "bm25": ("implicit.nearest_neighbours", "BM25Recommender"),
}
REG = 0.001  # of our als, which its peers get in their own terms


class Runner(Protocol):
    """A model that can be measured."""

    def prepare(self, data: Interactions) -> None:
        """Whatever is not the model's work: conversion of the data."""

    def fit(self, seed: int) -> None: ...

    def top(self, users: Longs, k: int) -> Ints:
        """The best items of training users, without their own histories: (users, k), best first, padded with -1."""


class Own:
    """A model of ours."""

    def __init__(self, kind: str, params: Mapping[str, Any]) -> None:
        self.kind, self.params = kind, params
        self.model: Recommender = create(kind, params)

    def prepare(self, data: Interactions) -> None:
        self.data = data

    def fit(self, seed: int) -> None:
        self.model = create(self.kind, self.params)
        self.model.fit(self.data, seed=seed)

    def top(self, users: Longs, k: int) -> Ints:
        return self.model.recommend(self.data.histories.take(users), k).items


class Implicit:
    """``implicit``: als, bpr, cosine, bm25."""

    def __init__(self, kind: str, params: Mapping[str, Any]) -> None:
        self.kind, self.params = kind, dict(params)
        self.equal = bool(self.params.pop("equal", False))

    def prepare(self, data: Interactions) -> None:
        self.matrix = matrix_of(data)
        if self.equal:
            alpha0, regularization = equal_terms(data)
            self.params |= {"alpha": 1.0 / alpha0, "regularization": regularization}

    def fit(self, seed: int) -> None:
        module, name = CLASSES_OF_IMPLICIT[self.kind]
        seeded = {"random_state": seed} if self.kind in ("als", "bpr") else {}
        with one_blas_thread():
            self.model = getattr(importlib.import_module(module), name)(**self.params, **seeded)
            self.model.fit(self.matrix, show_progress=False)

    def top(self, users: Longs, k: int) -> Ints:
        with one_blas_thread():
            ids, scores = self.model.recommend(users, self.matrix[users], N=k, filter_already_liked_items=True)
        # the places that it cannot fill hold the lowest float
        items: Ints = np.where(scores > -1e38, ids, -1).astype(np.int32)
        return items


class Irspack:
    """``irspack``: any of its recommenders, by the name of its class."""

    def __init__(self, kind: str, params: Mapping[str, Any]) -> None:
        self.kind, self.params = kind, dict(params)
        self.equal = bool(self.params.pop("equal", False))

    def prepare(self, data: Interactions) -> None:
        self.matrix = matrix_of(data)
        if self.equal:
            self.params |= {"alpha0": equal_terms(data)[0], "reg": REG, "nu": 1.0}

    def fit(self, seed: int) -> None:
        made = getattr(importlib.import_module("irspack"), self.kind)
        seeded = {"random_seed": seed} if self.kind == "IALSRecommender" else {}
        self.model = made(self.matrix, **self.params, **seeded)
        self.model.learn()

    def top(self, users: Longs, k: int) -> Ints:
        mapping = importlib.import_module("irspack.utils.id_mapping")
        items = np.full((len(users), k), -1, np.int32)
        for start in range(0, len(users), BLOCK):
            block = users[start : start + BLOCK]
            scores = np.ascontiguousarray(self.model.get_score_remove_seen(block))
            lists = mapping.retrieve_recommend_from_score(scores, [], k, os.cpu_count() or 1)
            for row, found in enumerate(lists, start):
                best = [item for item, score in found if score > -np.inf]
                items[row, : len(best)] = best
        return items


RUNNERS: dict[str, type[Own | Implicit | Irspack]] = {OURS: Own, IMPLICIT: Implicit, IRSPACK: Irspack}


def one_blas_thread() -> AbstractContextManager[None]:
    """implicit's own threads each call BLAS; it warns that BLAS must not start more of its own."""
    limits: AbstractContextManager[None] = importlib.import_module("threadpoolctl").threadpool_limits(1, "blas")
    return limits


def matrix_of(data: Interactions) -> sparse.csr_matrix:
    """Users x items, a one for each event that has a reward."""
    rows = data.histories
    matrix = sparse.csr_matrix((rows.weights, rows.items, rows.indptr), shape=(len(rows), len(data.items)))
    matrix.sum_duplicates()
    return matrix


def equal_terms(data: Interactions) -> tuple[float, float]:
    """Weight of an unobserved pair, and implicit's regularization, that make its loss and irspack's that of our als.

    Our penalty grows with a row's frequency, implicit's is one number: it gets the mean over users and items. On Gowalla
    that is alpha 62.9 and regularization 37, where tuning by hand had found 62.5 and 37.
    """
    users, items, events = len(data.histories), len(data.items), len(data.histories.items)
    alpha0 = UNOBSERVED * events / (users * items)
    by_user, by_item = events / users + alpha0 * items, events / items + alpha0 * users
    return alpha0, REG * (by_user + by_item) / 2 / alpha0


def missing(by: str, kind: str) -> str:
    """Why a model cannot be measured here; empty where it can."""
    if by == OURS:
        return "" if kind in MODELS else f"there is no model {kind!r} in this version"
    return "" if importlib.util.find_spec(by) else f"{by} is not installed; make bench-models sets it up"


def version_of(by: str) -> str:
    return f"{by} {version(by)}"
