"""Models that say the same to everybody: one score an item. A model of this family says how the scores are made (``fit``).

They answer people of whom nothing is known, are what every other model must beat, and explain nothing by a history.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec
import numpy as np
import numpy.typing as npt

from tastemaker.models import Recommendations
from tastemaker.models.artifact import load_artifact, params_of, save_artifact
from tastemaker.models.interactions import Bools, Floats, Histories, Ints, Rows, Vocabulary, checked, single
from tastemaker.models.row_kernels import add_by_item
from tastemaker.models.topk import top_scores

DAY = 86_400_000  # milliseconds
BLOCK = 1 << 20  # events weighed at once


class Everybody:
    """Base of the family; a ``Recommender`` with a ``fit`` that sets ``counts`` and ``items``.

    An item at zero or below is never recommended.
    """

    kind: ClassVar[str]
    Params: ClassVar[type[msgspec.Struct]]

    def __init__(self, params: Any = None) -> None:
        self.params: Any = params if params is not None else self.Params()
        self.items = Vocabulary(())
        self.losses: tuple[float, ...] = ()
        self.counts: Floats = np.zeros(0, np.float32)  # (items,), what each item counts for

    def recommend(
        self, histories: Histories, k: int, *, exclude: Rows | None = None, allowed: Bools | None = None
    ) -> Recommendations:
        """Everybody's list, without what each row may not get."""
        histories = checked(histories, len(self.items))
        ones = np.ones((len(histories), 1), np.float32)  # one factor for all: popularity is a model of rank one
        return top_scores(ones, self.counts[:, None], k, histories if exclude is None else exclude, allowed, floor=0.0)

    def scores(self, histories: Histories) -> Floats:
        """The same row for each history."""
        return np.tile(self.counts, (len(histories), 1))

    def similar(self, items: Ints, k: int) -> Recommendations:
        """Nothing: popularity knows no likeness."""
        return Recommendations(np.full((len(items), k), -1, np.int32), np.full((len(items), k), -np.inf, np.float32))

    def explain(self, histories: Histories, item: int) -> Floats:
        parts: Floats = self.contributions(histories, np.array([item], np.int32))[0]
        return parts

    def contributions(self, histories: Histories, items: Ints) -> Floats:
        """Zeros: no entry of the history adds to a score."""
        return np.zeros((len(items), len(single(histories).items)), np.float32)

    def save(self, folder: Path) -> None:
        save_artifact(folder, self.kind, self.params, self.items, {"counts": self.counts})

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = load_artifact(folder, cls.kind)
        model = cls(params_of(artifact, cls.Params, folder))
        model.items, model.counts = artifact.items, artifact.arrays["counts"]
        return model


def aged_sums(histories: Histories, items: int, now: int, half_life_days: float | None) -> tuple[npt.NDArray[np.float64], Bools]:
    """Rewards by item, halved every ``half_life_days`` before ``now`` (None: never), and which items have any: (items,) each."""
    counts, seen = np.zeros(items), np.zeros(items, np.bool_)
    for start in range(0, len(histories.items), BLOCK):
        part = slice(start, start + BLOCK)
        numbers, weights = histories.items[part], histories.weights[part].astype(np.float64)
        seen[numbers[weights > 0]] = True
        if half_life_days is not None:
            ages = np.maximum(now - histories.times[part], 0) / (half_life_days * DAY)
            weights *= np.exp2(-ages)
        add_by_item(numbers, weights, counts)
    return counts, seen
