"""Judging one model version on a run's split: its twin, which has not seen the held-out events, with the fallback behind it.

``evaluate`` asks this of every candidate and of the live model, ``gate`` of the two that it compares.
"""

from __future__ import annotations

from tastemaker.config import Config
from tastemaker.domain import ModelCard
from tastemaker.evaluation.evaluate import Evaluation, evaluate, with_fallback
from tastemaker.evaluation.splits import Split
from tastemaker.evaluation.translation import translated
from tastemaker.models.artifact import load_model
from tastemaker.pipelines.pipeline import Progress
from tastemaker.pipelines.steps.train import FALLBACK, MODEL, TWIN
from tastemaker.storage import Storage


def evaluation_of(storage: Storage, config: Config, card: ModelCard, split: Split, progress: Progress) -> Evaluation:
    """How good a version's twin is on a split."""
    twin = load_model(storage.models.folder(twin_of(card.artifact)))
    recommend = translated(twin, split.train.items)
    suffix = card.version.rpartition("-")[2]
    if twin.kind != FALLBACK:
        standby = load_model(storage.models.folder(f"{FALLBACK}-{suffix}/{TWIN}"))
        recommend = with_fallback(recommend, translated(standby, split.train.items))
    settings = config.evaluate
    return evaluate(
        recommend,
        split,
        settings.k,
        confidence=settings.confidence,
        resamples=settings.bootstrap,
        seed=config.train.seed,
        progress=progress,
    )


def twin_of(artifact: str) -> str:
    """The folder of the twin of an artifact.

    >>> twin_of("als-20260131T120000000/model")
    'als-20260131T120000000/twin'
    """
    return artifact.removesuffix(MODEL) + TWIN
