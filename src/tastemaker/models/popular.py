"""The most popular items: what everybody else did, weighted by reward and, if wanted, by age and by segment.

It is the baseline that every other model must beat, and the answer for people of whom nothing is known.
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
from tastemaker.models.everybody import Everybody, aged_sums
from tastemaker.models.interactions import Bools, Floats, Histories, Interactions, Rows, checked, trainable
from tastemaker.models.segments import Segments
from tastemaker.models.space import between
from tastemaker.models.topk import require_rows, select


class PopularParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of ``popular``."""

    half_life_days: Annotated[float, Meta(gt=0, extra=between(1.0, 1000.0, log=True))] | None = None
    """Days after which an event counts half; unset, all of time counts alike."""
    segments: Literal["none", "categories"] = "none"
    """``categories``: popularity among people whose favourite category is that of the history; ``none``: among all."""
    strength: Annotated[float, Meta(gt=0)] = 100.0
    """Rewards of everybody that are added to those of a segment, so that a small one does not follow a few people."""


class Popular(Everybody):
    """Sums of rewards by item. An item without events is never recommended."""

    kind: ClassVar[str] = "popular"
    Params: ClassVar[type[msgspec.Struct]] = PopularParams

    def __init__(self, params: PopularParams | None = None) -> None:
        super().__init__(params)
        self.segments: Segments | None = None

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:  # noqa: ARG002 (the port's)
        histories = trainable(data)
        if self.params.segments == "categories":
            if data.categories is None or len(data.categories.items) == 0:
                remedy = "no item has a category to make segments of; import items with categories, or set it to none"
                raise InputError("models.popular.segments", self.params.segments, remedy)
            count = len(data.category_names)
            self.segments = Segments.of(histories, data.categories, count, data.now, self.params.half_life_days)
        counts, seen = aged_sums(histories, len(data.items), data.now, self.params.half_life_days)
        # an event so old that its weight vanishes is still an event
        self.counts = np.where(seen, np.maximum(counts, np.finfo(np.float32).tiny), 0).astype(np.float32)
        self.items = data.items
        progress(1, 1, f"{int(seen.sum())} items with events")
        return self

    def recommend(
        self, histories: Histories, k: int, *, exclude: Rows | None = None, allowed: Bools | None = None
    ) -> Recommendations:
        """What is popular with everybody, or in the segment that each history is of; an empty one is of none."""
        if self.segments is None:
            return super().recommend(histories, k, exclude=exclude, allowed=allowed)
        histories = checked(histories, len(self.items))
        excluded, found = histories if exclude is None else exclude, []
        require_rows(excluded, len(histories))
        for start in range(0, max(len(histories), 1), BLOCK):
            stop = min(start + BLOCK, len(histories))
            scores = self.scores(histories.take(np.arange(start, stop)))
            found.append(select(scores, k, excluded.part(start, stop), allowed, floor=0.0))
        return Recommendations(np.concatenate([one.items for one in found]), np.concatenate([one.scores for one in found]))

    def scores(self, histories: Histories) -> Floats:
        """Sums of rewards; of a segment, as large as if everybody were like it."""
        if self.segments is None:
            return super().scores(histories)
        favourite = self.segments.favourites(checked(histories, len(self.items)))
        scores = np.empty((len(histories), len(self.items)), np.float32)
        for segment in np.unique(favourite).tolist():
            scores[favourite == segment] = self.segments.counts(segment, self.counts, self.params.strength)
        return scores

    def save(self, folder: Path) -> None:
        arrays = self.segments.arrays() if self.segments is not None else {}
        save_artifact(folder, self.kind, self.params, self.items, {"counts": self.counts, **arrays})

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = load_artifact(folder, cls.kind)
        model = cls(params_of(artifact, PopularParams, folder))
        model.items, model.counts = artifact.items, artifact.arrays["counts"]
        if model.params.segments == "categories":
            model.segments = Segments.loaded(artifact.arrays)
        return model
