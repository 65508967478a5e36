"""The most popular items: what everybody else did, weighted by reward and, if wanted, by age.

It is the baseline that every other model must beat, and the answer for people of whom nothing is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Self

import msgspec
import numpy as np
from msgspec import Meta

from tastemaker.models import Progress, Recommendations, silent
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
    single,
    trainable,
)
from tastemaker.models.row_kernels import add_by_item
from tastemaker.models.space import between
from tastemaker.models.topk import top_scores

DAY = 86_400_000  # milliseconds
BLOCK = 1 << 20  # events weighed at once


class PopularParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of ``popular``."""

    half_life_days: Annotated[float, Meta(gt=0, extra=between(1.0, 1000.0, log=True))] | None = None
    """Days after which an event counts half; unset, all of time counts alike."""


class Popular:
    """Sums of rewards by item. An item without events is never recommended."""

    kind: ClassVar[str] = "popular"
    Params: ClassVar[type[msgspec.Struct]] = PopularParams

    def __init__(self, params: PopularParams | None = None) -> None:
        self.params = params or PopularParams()
        self.items = Vocabulary(())
        self.losses: tuple[float, ...] = ()
        self.counts: Floats = np.zeros(0, np.float32)  # (items,)

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:  # noqa: ARG002 (the port's)
        histories = trainable(data)
        counts, seen = np.zeros(len(data.items)), np.zeros(len(data.items), np.bool_)
        for start in range(0, len(histories.items), BLOCK):
            part = slice(start, start + BLOCK)
            items, weights = histories.items[part], histories.weights[part].astype(np.float64)
            seen[items[weights > 0]] = True
            if self.params.half_life_days is not None:
                ages = np.maximum(data.now - histories.times[part], 0) / (self.params.half_life_days * DAY)
                weights *= np.exp2(-ages)
            add_by_item(items, weights, counts)
        # an event so old that its weight vanishes is still an event
        self.counts = np.where(seen, np.maximum(counts, np.finfo(np.float32).tiny), 0).astype(np.float32)
        self.items = data.items
        progress(1, 1, f"{int(seen.sum())} items with events")
        return self

    def recommend(
        self, histories: Histories, k: int, *, exclude: Rows | None = None, allowed: Bools | None = None
    ) -> Recommendations:
        histories = checked(histories, len(self.items))
        ones = np.ones((len(histories), 1), np.float32)  # one factor for all: popularity is a model of rank one
        return top_scores(ones, self.counts[:, None], k, histories if exclude is None else exclude, allowed, floor=0.0)

    def scores(self, histories: Histories) -> Floats:
        return np.tile(self.counts, (len(histories), 1))

    def similar(self, items: Ints, k: int) -> Recommendations:
        """Nothing: popularity knows no likeness."""
        return Recommendations(np.full((len(items), k), -1, np.int32), np.full((len(items), k), -np.inf, np.float32))

    def explain(self, histories: Histories, item: int) -> Floats:
        parts: Floats = self.contributions(histories, np.array([item], np.int32))[0]
        return parts

    def contributions(self, histories: Histories, items: Ints) -> Floats:
        """Zeros: the score owes nothing to the history."""
        return np.zeros((len(items), len(single(histories).items)), np.float32)

    def save(self, folder: Path) -> None:
        save_artifact(folder, self.kind, self.params, self.items, {"counts": self.counts})

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = load_artifact(folder, cls.kind)
        model = cls(params_of(artifact, PopularParams, folder))
        model.items, model.counts = artifact.items, artifact.arrays["counts"]
        return model
