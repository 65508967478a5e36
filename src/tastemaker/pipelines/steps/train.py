"""The step ``train``: every configured model, twice.

The twin learns from the training part of the split alone: it is judged by ``evaluate`` on events it has not seen, now and
as the live model of later runs. The model learns from everything and is what goes live. Both have the same parameters.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from tastemaker import __version__
from tastemaker.config import Config, Evaluate
from tastemaker.domain import ModelCard
from tastemaker.errors import ConfigError, InputError, did_you_mean
from tastemaker.evaluation import splits
from tastemaker.evaluation.metrics import PER_USER
from tastemaker.evaluation.splits import Split
from tastemaker.features import catalog
from tastemaker.models import Recommender, create
from tastemaker.models.interactions import Interactions
from tastemaker.models.untouched import suited, touched
from tastemaker.pipelines.pipeline import Outcome, Progress, Window
from tastemaker.pipelines.training import pinned
from tastemaker.storage import Storage
from tastemaker.storage.artifacts import Artifacts

MODEL, TWIN = "model", "twin"
FALLBACK = "popular"


def train(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    """Trains what is not trained yet in this run and writes artifacts and cards."""
    kinds = list(dict.fromkeys((FALLBACK, *config.train.models)))
    models = {kind: create(kind, config.models.get(kind, {})) for kind in kinds}  # wrong parameters fail before any work
    check_metric(config.evaluate)
    data, versions, _ = pinned(storage, config, window)
    split = split_of(data, config.evaluate)
    facts = {
        "lake": versions,
        "events": len(data.histories.items),
        "users": len(data.users),
        "items": touched(data),
        "catalogue": len(data.items),
        "until": data.now,
        "run": window.run,
    }
    trained: list[str] = []
    left_out: dict[str, str] = {}
    for done, kind in enumerate(kinds):
        version = f"{kind}-{window.suffix}"
        if storage.tables.models.get(version) is not None:  # a run taken up again
            trained.append(version)
            continue

        def report(step: int, total: int, note: str, kind: str = kind, done: int = done) -> None:
            progress(done * 100 + (100 * step) // max(total, 1), len(kinds) * 100, f"{kind}: {note}")

        try:
            halves = suited(kind, split.train, data), suited(kind, data, data)
            card = train_one(storage.models, config, models[kind], *halves, version, facts, report, window.end)
        except InputError as error:  # a model that this data cannot feed, as nmf without categories
            if kind == FALLBACK:
                raise  # there is nothing to learn from at all
            left_out[kind] = str(error)
            continue
        storage.tables.models.put(card)
        trained.append(version)
    return Outcome({"models": trained, "left_out": left_out, "data": facts, "held_out": len(split.relevant.items)})


def train_one(
    store: Artifacts,
    config: Config,
    model: Recommender,
    past: Interactions,
    data: Interactions,
    version: str,
    facts: Mapping[str, object],
    progress: Progress,
    now: int,
) -> ModelCard:
    """Trains the twin on ``past`` and the model on ``data``, and saves both."""
    began = time.perf_counter()
    store.remove(version)  # what a run that was killed left of a version that nobody knows of yet
    twin = create(model.kind, msgspec.to_builtins(model.params))
    twin.fit(past, seed=config.train.seed, progress=lambda a, b, note: progress(a, 2 * b, f"{note} (to be judged)"))
    store.publish(f"{version}/{TWIN}", twin.save)
    model.fit(data, seed=config.train.seed, progress=lambda a, b, note: progress(a + b, 2 * b, note))
    store.publish(f"{version}/{MODEL}", model.save)
    return ModelCard(
        version,
        model.kind,
        "candidate",
        now,
        msgspec.to_builtins(model.params),
        dict(facts),
        config.rewards.version,
        catalog.version(),
        __version__,
        model.losses,
        artifact=f"{version}/{MODEL}",
        seconds=time.perf_counter() - began,
    )


def check_metric(config: Evaluate) -> None:
    """Raises ``ConfigError`` for a metric that ``evaluate`` would not compute: better before the training than after it."""
    known = [f"{name}@{k}" for name in PER_USER for k in config.k]
    if config.metric not in known:
        raise ConfigError(f"evaluate.metric = {config.metric!r} is not computed; {did_you_mean(config.metric, known)}")


def split_of(data: Interactions, config: Evaluate) -> Split:
    """The split that the configuration names."""
    if config.split == "temporal":
        return splits.temporal(data, config.test_fraction)
    if config.split == "leave_one_out":
        return splits.leave_one_out(data)
    raise ConfigError(f"evaluate.split = {config.split!r}: choose temporal or leave_one_out")
