"""Linear item-to-item models: a score is a sum over the history, so an explanation is that sum's terms.

A model of this family says how its tables are made (``fit``) and, where the order of the history matters, how much each of
its entries weighs (``query``). All else is here. The smallest one is ``item_knn.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec
import numpy as np

from tastemaker.models import Recommendations
from tastemaker.models.artifact import load_artifact, params_of, save_artifact
from tastemaker.models.dense import best_of
from tastemaker.models.interactions import Bools, Floats, Histories, Ints, Rows, Vocabulary, checked, single
from tastemaker.models.tables import Table, packed, unpacked


class Linear:
    """Base of the family; a ``Recommender`` with a ``fit`` that sets ``tables`` and ``items``."""

    kind: ClassVar[str]
    Params: ClassVar[type[msgspec.Struct]]

    def __init__(self, params: Any = None) -> None:
        self.params: Any = params if params is not None else self.Params()
        self.items = Vocabulary(())
        self.losses: tuple[float, ...] = ()
        self.tables: tuple[Table, ...] = ()

    def query(self, histories: Histories) -> Histories:
        """The same entries with the weights that the scores are linear in."""
        return histories

    def scores(self, histories: Histories) -> Floats:
        """Dense scores, (rows, items)."""
        asked = self.query(checked(histories, len(self.items)))
        scores = np.zeros((len(histories), len(self.items)), np.float32)
        for table in self.tables:
            table.add_to(scores, asked)
        return scores

    def recommend(
        self, histories: Histories, k: int, *, exclude: Rows | None = None, allowed: Bools | None = None
    ) -> Recommendations:
        """Only items with a score above zero: at zero nothing in the history speaks for them."""
        histories = checked(histories, len(self.items))
        return best_of(self.scores, histories, k, exclude, allowed, floor=0.0)

    def similar(self, items: Ints, k: int) -> Recommendations:
        """The targets that each item speaks for most."""
        itself = Histories(
            np.arange(len(items) + 1, dtype=np.int64), items, np.ones(len(items), np.float32), np.zeros(len(items), np.int64)
        )
        return best_of(self.rows, itself, k, floor=0.0)

    def rows(self, items: Rows) -> Floats:
        """The tables' rows, dense, of one item a row: (rows, items)."""
        rows = np.zeros((len(items), len(self.items)), np.float32)
        for table in self.tables:
            rows += table.rows(items.items)
        return rows

    def explain(self, histories: Histories, item: int) -> Floats:
        parts: Floats = self.contributions(histories, np.array([item], np.int32))[0]
        return parts

    def contributions(self, histories: Histories, items: Ints) -> Floats:
        """The terms of the scores, (items, entries)."""
        asked = self.query(checked(single(histories), len(self.items)))
        parts = np.zeros((len(items), len(asked.items)), np.float32)
        for table in self.tables:
            parts += table.parts(asked.items, asked.weights, items)
        return parts

    def save(self, folder: Path) -> None:
        save_artifact(folder, self.kind, self.params, self.items, packed(self.tables), self.losses)

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = load_artifact(folder, cls.kind)
        model = cls(params_of(artifact, cls.Params, folder))
        model.items, model.losses, model.tables = artifact.items, artifact.losses, unpacked(artifact.arrays)
        return model
