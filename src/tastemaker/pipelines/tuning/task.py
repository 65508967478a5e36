"""What ``tastemaker tune`` searches, and on what: the events of the training period, split once more.

The split that judges models is not touched. What lies before it, the training period, is split again in the same manner:
trials learn from its older part and are judged on its newer one, so the test knows nothing of the search.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tastemaker import __version__
from tastemaker.config import Config
from tastemaker.errors import ConfigError, InputError, NotFound
from tastemaker.evaluation.evaluate import lists_of, with_fallback
from tastemaker.evaluation.metrics import Doubles, evaluate_lists
from tastemaker.evaluation.splits import Split
from tastemaker.evaluation.translation import translated
from tastemaker.models import MODELS, Progress, Recommender, create, model_class, silent
from tastemaker.models.interactions import Histories, Interactions
from tastemaker.models.space import Range, space_of
from tastemaker.models.untouched import suited
from tastemaker.pipelines.steps.ingest import TABLES
from tastemaker.pipelines.steps.train import FALLBACK, check_metric, split_of
from tastemaker.pipelines.training import training_set
from tastemaker.storage import Storage

BLOCK = 1024  # users whose lists are made at once


@dataclass(frozen=True)
class Task:
    """What is searched, and on what."""

    kind: str
    config: Config
    space: Mapping[str, Range]
    configured: Mapping[str, Any]  # the searched hyper-parameters as they are now
    split: Split  # of the training period; what the test asks about is not in it
    standby: Recommender | None  # follows where the model has too few items, as it does for users
    name: str  # kind, metric, split, and a hash of everything that moves a value

    def judge(self, params: Mapping[str, Any], progress: Progress = silent) -> Doubles:
        """The metric of each user, (users,), from a model that is trained for this and then forgotten."""
        settings = self.config.evaluate
        k = int(settings.metric.partition("@")[2])
        model = create(self.kind, {**self.config.models.get(self.kind, {}), **params})
        train = suited(self.kind, self.split.train, self.split.train)
        model.fit(train, seed=self.config.train.seed, progress=progress)
        recommend = translated(model, self.split.train.items)
        if self.standby is not None:
            recommend = with_fallback(recommend, translated(self.standby, self.split.train.items))
        lists = lists_of(recommend, self.split.histories, k, BLOCK, progress)
        return evaluate_lists(lists, self.split.relevant, [k])[settings.metric]


def task_of(storage: Storage, config: Config, kind: str) -> Task:
    """The search of a kind of model on what is in the lake now.

    Raises ``ConfigError`` for a kind that does not exist or has nothing to search, ``NotFound`` where there are no data, and
    ``InputError`` where the training period has nobody to judge by.
    """
    space = checked_space(kind)
    model = create(kind, config.models.get(kind, {}))
    check_metric(config.evaluate)
    versions = {name: version for name in TABLES if (version := storage.lake.version(name)) >= 0}
    if "interactions" not in versions:
        raise NotFound(
            "there are no interactions in the lake to tune on: use `tastemaker import`, or send events to the API and let "
            "`tastemaker run daily` move them there"
        )
    data = training_set(storage, config, versions)
    split = inner_split(data, config)
    standby = None if kind == FALLBACK else create(FALLBACK, config.models.get(FALLBACK, {})).fit(split.train)
    stated = msgspec.to_builtins(model.params)
    facts = [kind, stated, space, config.evaluate, config.train.seed, config.models.get(FALLBACK), __version__]
    name = f"{kind}-{config.evaluate.metric}-{config.evaluate.split}-{fingerprint(data, facts)}"
    return Task(kind, config, space, {name: stated[name] for name in space}, split, standby, name)


def checked_space(kind: str) -> Mapping[str, Range]:
    space = space_of(model_class(kind).Params)
    if not space:
        others = sorted(other for other in MODELS if space_of(model_class(other).Params))
        raise ConfigError(f"model {kind!r} has no hyper-parameter with a range to search; models with: {', '.join(others)}")
    return space


def inner_split(data: Interactions, config: Config) -> Split:
    """The training period, split once more: what the test asks about is in no part of it."""
    training = split_of(data, config.evaluate).train
    if not len(training.histories.items):
        raise InputError("interactions", len(data.histories.items), "too few to hold out events twice; bring more data")
    found = split_of(training, config.evaluate)
    if not len(found):
        remedy = f"nobody is left to judge trials by within the training period ({found.excluded}); bring more data"
        raise InputError("evaluate.split", config.evaluate.split, remedy)
    return found


def fingerprint(data: Interactions, facts: list[object]) -> str:
    """A hash of the training set and of all settings that move a value: a search goes on only where all are the same.

    The content counts, not the version of the table: a lake that was only compacted is the same data.
    """
    digest = hashlib.sha256(repr(facts).encode())
    for each in fields(data):
        feed(digest, getattr(data, each.name))
    return digest.hexdigest()[:12]


def feed(digest: hashlib._Hash, thing: Any) -> None:
    """Adds the content of a part of a training set, wherever it lies: in memory or in files."""
    if isinstance(thing, Histories):
        thing = (thing.indptr, thing.items, thing.weights, thing.times)
    if isinstance(thing, np.ndarray):
        digest.update(repr((thing.shape, thing.dtype.str)).encode())
        digest.update(np.ascontiguousarray(thing).reshape(-1).view(np.uint8).data)
    elif isinstance(thing, tuple) and all(isinstance(part, str) for part in thing):
        digest.update(f"{len(thing)} names".encode() + "\0".join(thing).encode())
    elif isinstance(thing, tuple):
        for part in thing:
            feed(digest, part)
    elif is_dataclass(thing):
        for each in fields(thing):
            feed(digest, getattr(thing, each.name))
    else:
        digest.update(repr(thing).encode())


def folder_of(task: Task) -> Path:
    """Where the search is kept."""
    return task.config.home / "tuning" / task.name
