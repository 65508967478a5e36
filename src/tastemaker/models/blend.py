"""A blend: the sum of several models' scores, each over its own standard deviation.

Models that err differently are better together than the best of them, and equal weights are hard to beat: a neighbourhood
model knows what is close, a factor model what is like. The standard deviation is that of a part's scores over the histories it
was trained on, measured once, so that a score means the same in training, publishing and a request, and stays a sum over the
history: contributions of a blend are the blend of contributions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import msgspec
import numba
import numpy as np
from msgspec import Meta

from tastemaker.errors import ConfigError
from tastemaker.models import Progress, Recommendations, Recommender, create, silent
from tastemaker.models.artifact import load_artifact, load_model, params_of, save_artifact
from tastemaker.models.dense import best_of
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

SAMPLE = 1024  # histories over which the standard deviations are taken
BLOCK = 128


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model of a blend."""

    kind: str
    weight: Annotated[float, Meta(gt=0)] = 1.0
    params: dict[str, Any] = {}


class BlendParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of ``blend``."""

    parts: Annotated[tuple[Part, ...], Meta(min_length=1)] = (Part("ridge"), Part("als"))
    """The models, each with its weight and its hyper-parameters."""


class Blend:
    """Models and what their scores are multiplied by."""

    kind: ClassVar[str] = "blend"
    Params: ClassVar[type[msgspec.Struct]] = BlendParams

    def __init__(self, params: BlendParams | None = None) -> None:
        self.params = params or BlendParams()
        if any(part.kind == self.kind for part in self.params.parts):
            raise ConfigError("models.blend.parts: a blend cannot be a part of a blend; name its parts here")
        self.parts = [create(part.kind, part.params) for part in self.params.parts]
        self.factors: Floats = np.ones(len(self.parts), np.float32)  # (parts,), weight over standard deviation
        self.items = Vocabulary(())
        self.losses: tuple[float, ...] = ()

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:
        sample = sample_of(trainable(data))
        for place, part in enumerate(self.parts):

            def report(done: int, total: int, note: str, place: int = place, kind: str = part.kind) -> None:
                progress(100 * place + 100 * done // max(total, 1), 100 * len(self.parts), f"{kind}: {note}")

            part.fit(data, seed=seed, progress=report)
            deviation = deviation_of(part, sample)
            self.factors[place] = self.params.parts[place].weight / deviation if deviation > 0 else 0
        self.items = data.items
        return self

    def scores(self, histories: Histories) -> Floats:
        total = np.zeros((len(histories), len(self.items)), np.float32)
        for part, factor in zip(self.parts, self.factors, strict=True):
            scores = part.scores(histories)
            add_scaled(scores, factor, total)
        return total

    def recommend(
        self, histories: Histories, k: int, *, exclude: Rows | None = None, allowed: Bools | None = None
    ) -> Recommendations:
        return best_of(self.scores, checked(histories, len(self.items)), k, exclude, allowed)

    def similar(self, items: Ints, k: int) -> Recommendations:
        """The sum of the parts' likenesses; each part's own are divided by the largest of each item first."""
        itself = Histories(
            np.arange(len(items) + 1, dtype=np.int64), items, np.ones(len(items), np.float32), np.zeros(len(items), np.int64)
        )
        return best_of(lambda rows: self.likeness(rows.items, k), itself, k, floor=0.0)

    def likeness(self, items: Ints, k: int) -> Floats:
        """Summed likeness to each of the items, (rows, items), where it is among a part's ``k`` best, else 0."""
        total = np.zeros((len(items), len(self.items)), np.float32)
        for part, described in zip(self.parts, self.params.parts, strict=True):
            found = part.similar(items, k)
            for row in range(len(items)):
                used = found.items[row] >= 0
                if used.any():
                    scores = found.scores[row, used]
                    total[row, found.items[row, used]] += described.weight * scores / max(float(scores.max()), 1e-30)
        return total

    def explain(self, histories: Histories, item: int) -> Floats:
        parts: Floats = self.contributions(histories, np.array([item], np.int32))[0]
        return parts

    def contributions(self, histories: Histories, items: Ints) -> Floats:
        histories = checked(single(histories), len(self.items))
        total = np.zeros((len(items), len(histories.items)), np.float32)
        for part, factor in zip(self.parts, self.factors, strict=True):
            total += factor * part.contributions(histories, items)
        return total

    def save(self, folder: Path) -> None:
        parts = {f"part-{place}": part for place, part in enumerate(self.parts)}
        save_artifact(folder, self.kind, self.params, self.items, {"factors": self.factors}, self.losses, parts)

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = load_artifact(folder, cls.kind)
        model = cls(params_of(artifact, BlendParams, folder))
        model.items, model.losses = artifact.items, artifact.losses
        model.factors = artifact.arrays["factors"]
        model.parts = [load_model(Path(folder) / f"part-{place}") for place in range(len(model.parts))]
        return model


@numba.njit(cache=True, nogil=True)
def add_scaled(scores: Floats, factor: np.float32, total: Floats) -> None:
    """total += factor * scores, in one pass."""
    for row in range(len(total)):
        for item in range(total.shape[1]):
            total[row, item] += factor * scores[row, item]


def sample_of(histories: Histories) -> Histories:
    """Some of the histories, evenly spread; the same ones for the same data."""
    step = -(-len(histories) // SAMPLE)
    return histories.take(np.arange(0, len(histories), step))


def deviation_of(model: Recommender, histories: Histories) -> float:
    """The standard deviation of a model's scores of all items for these histories."""
    count, total, squares = 0, 0.0, 0.0
    for start in range(0, len(histories), BLOCK):
        scores = model.scores(histories.take(np.arange(start, min(start + BLOCK, len(histories))))).astype(np.float64)
        count, total, squares = count + scores.size, total + scores.sum(), squares + (scores * scores).sum()
    return float(np.sqrt(max(squares / count - (total / count) ** 2, 0.0)))
