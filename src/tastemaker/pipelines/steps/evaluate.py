"""The step ``evaluate``: every candidate of the run, and the live model, on the same held-out events.

Means with intervals go to the cards and the metrics history, the values of every user to the lake table ``evaluations``.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from tastemaker.config import Config
from tastemaker.domain import Interval, ModelCard
from tastemaker.evaluation.evaluate import Evaluation
from tastemaker.evaluation.splits import Split
from tastemaker.pipelines.judging import evaluation_of
from tastemaker.pipelines.pipeline import Outcome, Progress, Window, summary_of
from tastemaker.pipelines.steps.train import split_of
from tastemaker.pipelines.training import pinned
from tastemaker.registry import live
from tastemaker.storage import Storage
from tastemaker.storage.tables.learning import Metric


def evaluate_candidates(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    """Judges what ``train`` made; the best by ``evaluate.metric`` is named in the summary."""
    versions: list[str] = summary_of(storage, window, "train")["models"]
    data, _, _ = pinned(storage, config, window)
    split = split_of(data, config.evaluate)
    now = live.read(storage.kv)
    judged = [*versions, now.version] if now is not None and now.version not in versions else versions
    values: dict[str, float] = {}
    users, excluded = 0, {}
    for done, version in enumerate(judged):
        card = storage.tables.models.get(version)
        if card is None:
            continue  # the live version's card may have been removed by hand
        progress(done, len(judged), version)
        found = evaluation_of(storage, config, card, split, lambda *_: None)
        users, excluded = found.users, found.excluded
        keep(storage, window, card, found, split, candidate=version in versions)
        values[version] = found.intervals[config.evaluate.metric].value
    # a metric that is not a number compares with nothing: it must not win for being first
    best = max(versions, key=lambda version: -math.inf if math.isnan(values[version]) else values[version])
    return Outcome(
        {
            "best": best,
            "metric": config.evaluate.metric,
            "values": values,
            "users": users,
            "excluded": excluded,
            "reward": config.rewards.version,
        }
    )


def keep(storage: Storage, window: Window, card: ModelCard, found: Evaluation, split: Split, *, candidate: bool) -> None:
    """Writes an evaluation to card, metrics history and lake; again is the same."""
    beyond = {name: Interval(value, math.nan, math.nan, found.users) for name, value in found.beyond.items()}
    if candidate:
        storage.tables.models.put(replace(card, metrics=found.intervals | beyond))
    slices = {"all": found.intervals | beyond} | found.slices
    storage.tables.metrics.put(
        [
            Metric(name=name, model=card.version, value=v.value, low=v.low, high=v.high, n=v.n, time=window.end, slice=part)
            for part, metrics in slices.items()
            for name, v in metrics.items()
        ]
    )
    mark = f"evaluate-{window.run}-{card.version}"
    if storage.lake.transaction("evaluations", mark) < 0:
        storage.lake.append("evaluations", table_of(window, card, found, split), {mark: 1})


def table_of(window: Window, card: ModelCard, found: Evaluation, split: Split) -> pa.Table:
    """One row a user: run, model, user, and a column a metric."""
    names = [split.train.users[row] if row >= 0 else "" for row in found.rows.tolist()]
    columns = {"run": [window.run] * len(names), "model": [card.version] * len(names), "user": names}
    return pa.table(columns | {name.replace("@", "_at_"): np.asarray(v, float) for name, v in found.per_user.items()})
