"""The step ``train``: every configured model, twice.

The twin learns from the training part of the split alone: it is judged by ``evaluate`` on events it has not seen, now and
as the live model of later runs. The model learns from everything and is what goes live. Both have the same parameters.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tastemaker import __version__
from tastemaker.config import Config, Evaluate
from tastemaker.domain import ModelCard
from tastemaker.errors import ConfigError, InputError, did_you_mean
from tastemaker.evaluation import splits
from tastemaker.evaluation.metrics import PER_USER
from tastemaker.evaluation.splits import Split
from tastemaker.features import catalog
from tastemaker.features.rewards import fingerprint
from tastemaker.models import Recommender, create
from tastemaker.models.interactions import Interactions
from tastemaker.models.untouched import suited, touched
from tastemaker.pipelines.engines import fit
from tastemaker.pipelines.pipeline import Outcome, Progress, Window
from tastemaker.pipelines.training import pinned
from tastemaker.registry import live
from tastemaker.registry.labels import check_version
from tastemaker.storage import Storage
from tastemaker.storage.artifacts import Artifacts

MODEL, TWIN = "model", "twin"
FALLBACK = "popular"


def train(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    """Trains what is not trained yet in this run and writes artifacts and cards."""
    return joined(train_kinds(storage, config, window, progress, kinds(config)))


def kinds(config: Config) -> tuple[str, ...]:
    """The kinds of models that a run trains: the fallback of all others first."""
    return tuple(dict.fromkeys((FALLBACK, *config.train.models)))


def train_kind(storage: Storage, config: Config, window: Window, progress: Progress, kind: str) -> Outcome:
    """Trains one kind: a part of the step, for a scheduler that does several at once."""
    if kind not in kinds(config):
        raise InputError("part", kind, f"train.models has no such kind; {did_you_mean(kind, kinds(config))}")
    (summary,) = train_kinds(storage, config, window, progress, (kind,))
    return Outcome(summary)


def train_kinds(
    storage: Storage, config: Config, window: Window, progress: Progress, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Trains kinds one after the other; a summary for each."""
    models = {kind: create(kind, config.models.get(kind, {})) for kind in names}  # wrong parameters fail before any work
    check_metric(config.evaluate)
    check_version(storage.tables.models, config.rewards)
    data, versions, _ = pinned(storage, config, window)
    split = split_of(data, config.evaluate)
    facts = facts_of(data, versions, window)
    found: list[dict[str, Any]] = []
    for done, kind in enumerate(names):

        def report(step: int, total: int, note: str, kind: str = kind, done: int = done) -> None:
            progress(done * 100 + (100 * step) // max(total, 1), len(names) * 100, f"{kind}: {note}")

        version, reason = f"{kind}-{window.suffix}", ""
        if window.force:
            check_unused(storage, version)
        if window.force or storage.tables.models.get(version) is None:  # else a run is taken up again
            reason = trained(storage, config, models[kind], split, data, version, facts, report, window.end)
        outcome: dict[str, Any] = {"left_out": {kind: reason}} if reason else {"models": [version]}
        found.append(outcome | {"data": facts, "held_out": len(split.relevant.items)})
    return found


def facts_of(data: Interactions, versions: Mapping[str, int], window: Window) -> dict[str, Any]:
    """What a card says of a training set."""
    return {
        "lake": dict(versions),
        "events": len(data.histories.items),
        "users": len(data.users),
        "items": touched(data),
        "catalogue": len(data.items),
        "until": data.now,
        "run": window.run,
    }


def check_unused(storage: Storage, version: str) -> None:
    """Raises ``InputError`` for a version that people are served by: it must not change under them."""
    now = live.read(storage.kv)
    in_use = () if now is None else (now.version, now.previous, now.fallback.partition("/")[0])
    if version in in_use:
        raise InputError("force", version, "this version is in use, and is not trained anew; run a later interval instead")


def trained(
    storage: Storage,
    config: Config,
    model: Recommender,
    split: Split,
    data: Interactions,
    version: str,
    facts: Mapping[str, object],
    progress: Progress,
    now: int,
) -> str:
    """Trains one version and writes its card, or says why this data cannot feed it, as nmf without categories."""
    kind = model.kind
    try:
        halves = suited(kind, split.train, data), suited(kind, data, data)
        card = train_one(storage.models, config, model, *halves, version, facts, progress, now)
    except InputError as error:
        if kind == FALLBACK:
            raise  # there is nothing to learn from at all
        return str(error)
    storage.tables.models.put(card)
    return ""


def joined(summaries: Sequence[Mapping[str, Any]]) -> Outcome:
    """What the step has done, from what its parts did."""
    models = [version for summary in summaries for version in summary.get("models", [])]
    left_out = {kind: reason for summary in summaries for kind, reason in summary.get("left_out", {}).items()}
    last = summaries[-1]
    return Outcome({"models": models, "left_out": left_out, "data": last["data"], "held_out": last["held_out"]})


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
    fit(config, twin, past, lambda a, b, note: progress(a, 2 * b, f"{note} (to be judged)"))
    store.publish(f"{version}/{TWIN}", twin.save)
    fit(config, model, data, lambda a, b, note: progress(a + b, 2 * b, note))
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
        reward_table=fingerprint(config.rewards),
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
